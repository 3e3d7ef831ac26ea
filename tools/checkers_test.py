#!/usr/bin/env python3
"""The checkers fail on what they are there to find, and pass what is right."""

import os
import subprocess
import tempfile
import unittest

TOOLS = os.path.dirname(os.path.abspath(__file__))


def run(tool, *arguments):
    result = subprocess.run(
        [os.path.join(TOOLS, tool), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


class Tree(unittest.TestCase):
    """A source tree of its own for each test."""

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.root = self.scratch.name

    def tearDown(self):
        self.scratch.cleanup()

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        return full


class CheckLayers(Tree):
    def setUp(self):
        super().setUp()
        self.write("src/core/base/CMakeLists.txt", "umk_core_library(base)")
        self.write("src/core/base/a.h", "#include <span>\n")
        self.write("src/core/sync/CMakeLists.txt", "umk_core_library(sync SOURCES s.cpp DEPENDS base)")
        self.write("src/core/sync/s.cpp", "")
        self.write("src/core/sync/s.h", '#include "core/base/a.h"\n')
        for name in ("tmpfs", "proc"):
            self.write(f"src/core/fs/{name}/CMakeLists.txt", f"umk_core_library({name} DEPENDS sync)")
            self.write(f"src/core/fs/{name}/x.h", '#include "core/sync/s.h"\n')

    def errors(self):
        status, output = run("check_layers", self.root)
        self.assertEqual(status, 1 if "errors" in output else 0, output)
        return output if status else ""

    def test_passes_a_right_tree(self):
        self.assertEqual(self.errors(), "")

    def test_finds_an_include_upwards(self):
        self.write("src/core/base/b.h", '#include "core/sync/s.h"\n')
        self.assertIn("src/core/base/b.h:1: core/base may not use core/sync", self.errors())

    def test_finds_a_sibling(self):
        self.write("src/core/fs/proc/y.cpp", '\n#include "core/fs/tmpfs/x.h"\n')
        self.assertIn("src/core/fs/proc/y.cpp:2: core/fs/proc may not use core/fs/tmpfs", self.errors())

    def test_finds_a_missing_dependency(self):
        self.write("src/core/fs/proc/y.cpp", '#include "core/base/a.h"\n')
        self.assertIn("DEPENDS of src/core/fs/proc/CMakeLists.txt lacks base", self.errors())

    def test_finds_an_unused_dependency(self):
        self.write("src/core/fs/proc/CMakeLists.txt", "umk_core_library(proc DEPENDS sync base)")
        self.assertIn("DEPENDS lists src/core/base, which nothing here includes", self.errors())

    def test_finds_an_unknown_library(self):
        self.write("src/core/fs/proc/CMakeLists.txt", "umk_core_library(proc DEPENDS sync nothing)")
        self.assertIn("no folder declares the library 'nothing'", self.errors())

    def test_finds_a_file_that_is_listed_and_missing(self):
        self.write("src/core/fs/proc/CMakeLists.txt", "umk_core_library(proc SOURCES p.cpp DEPENDS sync TESTS p_test.cpp)")
        self.write("src/core/fs/proc/p.cpp", "")
        output = self.errors()
        self.assertIn("src/core/fs/proc/CMakeLists.txt: p_test.cpp does not exist", output)
        self.assertNotIn("p.cpp does", output)

    def test_finds_a_circle(self):
        self.write("src/core/base/CMakeLists.txt", "umk_core_library(base DEPENDS sync)")
        self.assertIn("src/core/base depends on itself in a circle", self.errors())

    def test_finds_a_header_of_the_host(self):
        self.write("src/core/sync/t.cpp", "#include <unistd.h>\n")
        self.write("src/core/sync/u.cpp", "#include <string>\n")
        output = self.errors()
        self.assertIn("src/core/sync/t.cpp:1: <unistd.h> has no place", output)
        self.assertIn("src/core/sync/u.cpp:1: <string> has no place", output)

    def test_lets_tests_use_the_whole_library(self):
        self.write("src/core/sync/s_test.cpp", '#include <string>\n#include <thread>\n#include "core/sync/s.h"\n')
        self.assertEqual(self.errors(), "")

    def test_lets_error_numbers_be_used_with_and_without_a_dependency(self):
        self.write("src/core/abi/CMakeLists.txt", "umk_core_library(abi)")
        self.write("src/core/abi/errno.h", "#include <errno.h>\n")
        self.write("src/core/base/e.h", '#include "core/abi/errno.h"\n')
        self.write("src/core/fs/proc/CMakeLists.txt", "umk_core_library(proc DEPENDS sync abi)")
        self.write("src/core/fs/proc/y.cpp", '#include "core/abi/errno.h"\n')
        self.assertEqual(self.errors(), "")

    def test_finds_a_folder_without_a_place(self):
        self.write("src/core/misc/x.h", "")
        self.assertIn("src/core/misc/x.h: its folder is not in the table", self.errors())

    def test_keeps_host_calls_from_file_systems_other_than_hostfs(self):
        self.write("src/core/host/CMakeLists.txt", "umk_core_library(host)")
        self.write("src/core/host/h.h", "")
        for name in ("proc", "hostfs"):
            self.write(f"src/core/fs/{name}/CMakeLists.txt", f"umk_core_library({name} DEPENDS sync host)")
            self.write(f"src/core/fs/{name}/x.h", '#include "core/sync/s.h"\n#include "core/host/h.h"\n')
        output = self.errors()
        self.assertIn("core/fs/proc may not use core/host", output)
        self.assertNotIn("core/fs/hostfs may not", output)


class CheckHeaders(Tree):
    def test_tells_good_from_bad(self):
        self.write("src/core/base/CMakeLists.txt", "umk_core_library(base)")
        good = self.write("src/core/base/good.h", "#pragma once\n#include <cstddef>\ninline std::size_t f() { return 1; }\n")
        self.assertEqual(run("check_headers", "--root", self.root, good)[0], 0)
        self.write("src/core/base/bad.h", "#pragma once\ninline std::size_t g() { return 1; }\n")
        status, output = run("check_headers", "--root", self.root)
        self.assertEqual(status, 1)
        self.assertIn("src/core/base/bad.h does not compile alone", output)
        self.assertNotIn("good.h", output)

    def test_compiles_the_core_without_vector_registers(self):
        self.write("src/core/base/CMakeLists.txt", "umk_core_library(base)")
        text = "#pragma once\nstruct S {\n  double x = 1;\n};\ndouble f(S s) { return s.x + 1; }\n"
        self.write("src/core/base/float.h", text)
        self.assertEqual(run("check_headers", "--root", self.root)[0], 1)

        self.write("src/monitor/CMakeLists.txt", "umk_host_library(monitor)")
        header = self.write("src/monitor/float.h", text)
        self.assertEqual(run("check_headers", "--root", self.root, header)[0], 0)

    def test_finds_a_missing_include_guard(self):
        self.write("src/core/base/CMakeLists.txt", "umk_core_library(base)")
        self.write("src/core/base/twice.h", "struct S {};\n")
        self.assertEqual(run("check_headers", "--root", self.root)[0], 1)


class CheckImage(Tree):
    def link(self, assembly, *options):
        source = self.write("x.S", ".section .note.GNU-stack,\"\",@progbits\n.text\n.globl _start\n_start:\n" + assembly + "\n")
        image = os.path.join(self.root, "image")
        objects = os.path.join(self.root, "x.o")
        subprocess.run(["gcc", "-c", source, "-o", objects], check=True)
        subprocess.run(["gcc", "-nostdlib", *(options or ("-static", "-no-pie")), objects, "-o", image], check=True)
        return image, objects

    def assert_passes(self, assembly):
        status, output = run("check_image", self.link(assembly)[0])
        self.assertEqual(status, 0, output)

    def assert_fails(self, assembly, message, *options):
        image, objects = self.link(assembly, *options)
        status, output = run("check_image", image, objects)
        self.assertEqual(status, 1, output)
        self.assertIn(message, output)

    def test_passes_general_registers(self):
        self.assert_passes("push %rbp; rep movsb; lock incl (%rdi); mov %fs:0, %rax; verw (%rsp); lfence; rdfsbase %rax; pop %rbp; ret")

    def test_passes_state_that_is_saved_for_the_guest(self):
        self.assert_passes("xsave (%rdi); xsavec64 (%rdi); xrstor64 (%rdi); testl $0x200, %eax; ret")

    def test_passes_host_calls_where_they_are_known(self):
        self.assert_passes("mov $1, %eax; umk_host_call_instruction: syscall; ret; umk_compat_call: push %rbp; int $0x80; pop %rbp; ret")

    def test_finds_other_host_calls(self):
        self.assert_fails("mov $1, %eax; syscall; ret", "call of the host")
        self.assert_fails("umk_clone_instruction: syscall; syscall; ret", "call of the host")
        self.assert_fails("int $0x80; ret", "call of the host")

    def test_passes_key_loads_that_are_tested(self):
        self.assert_passes("wrpkru; cmpl $4, %eax; wrpkru; leaq -4(%rax), %rcx; ret")

    def test_finds_key_loads_at_any_byte(self):
        for assembly in (
            "wrpkru; ret",
            "xrstor64 (%rdi); ret",
            "movl $0xef010f, %eax",  # the immediate is WRPKRU
            "movl $0x2fae0f, %eax",  # XRSTOR (%rdi)
            "movl $0x1fc70f00, %eax",  # XRSTORS (%rdi)
        ):
            with self.subTest(assembly=assembly):
                self.assert_fails(assembly, "bytes that load the protection keys")

    def test_finds_each_kind_of_register(self):
        for instruction in (
            "movaps %xmm0, (%rdi)",
            "vmovdqu (%rdi), %ymm3",
            "vpxorq %zmm17, %zmm17, %zmm17",
            "movq %mm1, (%rdi)",
            "kmovq %k1, %rax",
            "fldl (%rdi)",
            "fninit",
            "fxsave (%rdi)",
            "vzeroupper",
            "ldmxcsr (%rdi)",
            "emms",
        ):
            with self.subTest(instruction):
                self.assert_fails(instruction + "; ret", "_start: ")

    def test_finds_an_undefined_symbol(self):
        self.assert_fails(".weak missing; mov $missing, %eax; ret", "undefined symbol missing (weak)")
        self.assert_fails("call missing; ret", "undefined symbol missing", "-shared")

    def test_finds_run_time_relocations(self):
        self.assert_fails("ret; .data; .quad _start", "relocations for run time", "-pie", "-static-pie")

    def test_finds_initialisers_also_where_the_link_dropped_them(self):
        self.assert_fails('ret; .section .init_array,"aw",@init_array; .quad _start', "initialisers")
        script = self.write("drop.ld", "SECTIONS { . = 0x10000; .text : { *(.text) } /DISCARD/ : { *(.init_array) } }")
        self.assert_fails(
            'ret; .section .init_array,"aw",@init_array; .quad _start', "x.o: .init_array", "-static", "-no-pie", "-T", script
        )

    def test_finds_thread_local_data(self):
        self.assert_fails('mov %fs:x@tpoff, %eax; ret; .section .tdata,"awT",@progbits; x: .long 1', "thread-local")


if __name__ == "__main__":
    unittest.main()
