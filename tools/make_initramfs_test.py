#!/usr/bin/env python3
"""The embedded root: the same bytes each time, and an archive that other programs read."""

import gzip
import os
import subprocess
import tempfile
import unittest

TOOLS = os.path.dirname(os.path.abspath(__file__))
BUSYBOX = next((path for path in ("/usr/bin/busybox", "/bin/busybox") if os.path.exists(path)), None)


def make(output, busybox=BUSYBOX):
    return subprocess.run(
        [os.path.join(TOOLS, "make_initramfs"), busybox, output], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False
    )


class MakeInitramfs(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.output = os.path.join(self.scratch.name, "root.gz")

    def tearDown(self):
        self.scratch.cleanup()

    def test_is_deterministic(self):
        contents = []
        for _ in range(2):
            self.assertEqual(make(self.output).returncode, 0)
            with open(self.output, "rb") as file:
                contents.append(file.read())
        self.assertEqual(contents[0], contents[1])

    def test_cpio_lists_what_a_shell_needs(self):
        self.assertEqual(make(self.output).returncode, 0)
        with gzip.open(self.output) as file:
            listing = subprocess.run(["cpio", "-tv", "--quiet"], input=file.read(), stdout=subprocess.PIPE, check=True).stdout.decode()
        lines = {line.split()[8] if "->" not in line else line.split()[-3]: line for line in listing.splitlines() if line[0] in "-dl"}
        self.assertTrue(lines["init"].startswith("-rwxr-xr-x"))
        self.assertIn("-> /bin/busybox", lines["bin/sh"])
        self.assertTrue(lines["tmp"].startswith("drwxrwxrwt"))
        for name in ("dev", "proc", "sys", "root", "mnt", "run", "var", "etc/passwd", "etc/group", "sbin/poweroff", "usr/bin/setsid"):
            self.assertIn(name, lines)
        self.assertRegex(listing, r"crw------- .* 5, +1 .* dev/console")

    def test_refuses_a_program_that_needs_a_loader(self):
        result = make(self.output, "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("not static", result.stderr)
        self.assertFalse(os.path.exists(self.output))


if __name__ == "__main__":
    unittest.main()
