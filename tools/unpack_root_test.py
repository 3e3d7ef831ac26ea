#!/usr/bin/env python3
"""Unpacking a root filesystem: what the host cannot hold is written down, and nothing leaves the tree."""

import io
import os
import stat
import subprocess
import tarfile
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unpack_root")


def member(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info


class UnpackRoot(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(dir=os.path.dirname(TOOL) if os.access(os.path.dirname(TOOL), os.W_OK) else None)
        os.chmod(self.scratch.name, 0o777)
        self.archive = os.path.join(self.scratch.name, "root.tar")
        self.tree = os.path.join(self.scratch.name, "tree")

    def tearDown(self):
        self.scratch.cleanup()

    def unpack(self, members, contents=b""):
        with tarfile.open(self.archive, "w", format=tarfile.PAX_FORMAT) as archive:
            for info in members:
                if info.isreg():
                    info.size = len(contents)
                archive.addfile(info, io.BytesIO(contents))
        os.chmod(self.archive, 0o644)
        # As an ordinary user also where the test runs as root.
        command = [TOOL, self.archive, self.tree]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def recorded(self, name):
        path = os.path.join(self.tree, name)
        return {key: os.getxattr(path, key).decode() for key in os.listxattr(path) if key.startswith("user.umk.")}

    def test_records_owner_mode_and_device(self):
        result = self.unpack(
            [
                member("usr", tarfile.DIRTYPE, mode=0o755),
                member("usr/su", mode=0o4755, uid=0, gid=5),
                member("usr/shadow", mode=0o000, uid=0, gid=42),
                member("usr/null", tarfile.CHRTYPE, mode=0o640, devmajor=1, devminor=3),
                member("usr/link", tarfile.SYMTYPE, linkname="su", uid=7, gid=8, mode=0o777),
                member("usr/hard", tarfile.LNKTYPE, linkname="usr/su"),
            ],
            b"x",
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.recorded("usr/su"), {"user.umk.owner": "0:5", "user.umk.mode": "4755"})
        self.assertEqual(self.recorded("usr/shadow"), {"user.umk.owner": "0:42", "user.umk.mode": "0"})
        self.assertEqual(self.recorded("usr/null"), {"user.umk.owner": "0:0", "user.umk.device": "c 1:3"})
        su = os.stat(os.path.join(self.tree, "usr/su"))
        self.assertFalse(su.st_mode & stat.S_ISUID, "the host's user must not get a set-user-ID file")
        self.assertEqual(su.st_nlink, 2)
        with open(os.path.join(self.tree, ".umk-owners"), encoding="utf-8") as side:
            self.assertEqual(side.read(), "usr/link\t7:8\t777\t-\n")

    def test_refuses_names_that_leave_the_tree(self):
        result = self.unpack([member("../outside")], b"x")
        self.assertNotEqual(result.returncode, 0)
        self.assertFalse(os.path.exists(os.path.join(self.scratch.name, "outside")))

    def test_refuses_symlinks_that_leave_the_tree(self):
        result = self.unpack([member("way", tarfile.SYMTYPE, linkname=".."), member("way/outside")], b"x")
        self.assertNotEqual(result.returncode, 0)
        self.assertFalse(os.path.exists(os.path.join(self.scratch.name, "outside")))


if __name__ == "__main__":
    unittest.main()
