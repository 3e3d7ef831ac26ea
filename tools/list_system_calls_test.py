#!/usr/bin/env python3
"""The list of system calls follows the rows, and the page in the tree is the one that they make."""

import os
import shutil
import subprocess
import tempfile
import unittest

TOOLS = os.path.dirname(os.path.abspath(__file__))
PAGE = "docs/compatibility/system-calls.md"
ROWS = """
const SyscallRow kSysFileRows[] = {
    full<sys_read>(0, "read"),  // comment
    partial<sys_futex>(202, "futex",
                       "no | bars, "
                       "no ends"),
    ROW
};
"""


def run(*arguments):
    result = subprocess.run(
        [os.path.join(TOOLS, "list_system_calls"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


class ListSystemCalls(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.root = self.scratch.name
        os.makedirs(os.path.join(self.root, "src/core/kernel/syscall"))
        os.makedirs(os.path.join(self.root, "tools"))
        shutil.copy(os.path.join(TOOLS, "linux_system_calls.txt"), os.path.join(self.root, "tools"))

    def tearDown(self):
        self.scratch.cleanup()

    def write(self, row):
        with open(os.path.join(self.root, "src/core/kernel/syscall/sys_file.cpp"), "w", encoding="utf-8") as file:
            file.write(ROWS.replace("ROW", row))

    def page(self):
        with open(os.path.join(self.root, PAGE), encoding="utf-8") as file:
            return file.read()

    def test_lists_rows_with_notes_and_what_has_none(self):
        self.write("")
        self.assertEqual(run("--root", self.root), (0, ""))
        self.assertIn("| 0 | `read` | full |  | `sys_file.cpp` |", self.page())
        self.assertIn("| 202 | `futex` | partial | no \\| bars, no ends | `sys_file.cpp` |", self.page())
        self.assertIn("write (1), ", self.page())
        self.assertNotIn("read (0)", self.page())

    def test_check_notices_a_page_that_is_out_of_date(self):
        self.write("")
        self.assertEqual(run("--root", self.root, "--check")[0], 1)
        run("--root", self.root)
        self.assertEqual(run("--root", self.root, "--check"), (0, ""))
        self.write('full<sys_write>(1, "write"),')
        self.assertEqual(run("--root", self.root, "--check")[0], 1)

    def test_refuses_rows_that_contradict(self):
        for row in ('full<sys_write>(0, "read"),', 'full<sys_write>(1, "wrote"),', 'partial<sys_write>(1, "write"),', "full<sys_write>(kWrite, x),"):
            self.write(row)
            self.assertEqual(run("--root", self.root)[0], 1, row)

    def test_the_page_of_this_tree_is_up_to_date(self):
        self.assertEqual(run("--check"), (0, ""))


if __name__ == "__main__":
    unittest.main()
