#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets in this folder. They are kept in the repository; run this after changing it."""

import os
import struct
import subprocess
import zlib

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")


def write(target, name, content):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(content)


def elf(kind, segments, tail=b""):
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0x401000, 64, 0, 0, 64, 56, len(segments), 64, 0, 0)
    return header + b"".join(struct.pack("<IIQQQQQQ", *s) for s in segments) + tail


def cpio(name, data=b"", mode=0o100644, links=1, inode=1, magic=b"070701", checksum=0):
    fields = [inode, mode, 0, 0, links, 1, len(data), 8, 1, 0, 0, len(name) + 1, checksum]
    entry = magic + b"".join(b"%08X" % f for f in fields) + name + b"\0"
    entry += b"\0" * (-len(entry) % 4)
    return entry + data + b"\0" * (-len(data) % 4)


def elf_seeds():
    text = (1, 5, 0x1000, 0x401000, 0x401000, 0x234, 0x234, 0x1000)
    data = (1, 6, 0x1FF0, 0x402FF0, 0x402FF0, 0x20, 0x3000, 0x1000)
    stack = (0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    write("elf", "static", elf(2, [(1, 4, 0, 0x400000, 0x400000, 0x200, 0x200, 0x1000), text, data, stack]))
    interpreter = b"/lib64/ld-linux-x86-64.so.2\0"
    at = 64 + 5 * 56
    segments = [
        (3, 4, at, at, at, len(interpreter), len(interpreter), 1),
        (1, 5, 0, 0, 0, 0x1800, 0x1800, 0x200000),
        (1, 6, 0x2000, 0x202000, 0x202000, 0x10, 0x4000, 0x200000),
        (7, 4, 0x2000, 0x202000, 0x202000, 8, 64, 32),
        stack,
    ]
    write("elf", "dynamic", elf(3, segments, interpreter))
    write("elf", "script", b"#! /bin/sh -e \necho hello\n")
    write("elf", "script_long", b"#!/usr/bin/env " + b"x" * 300)


def cpio_seeds():
    trailer = cpio(b"TRAILER!!!", mode=0)
    tree = cpio(b".", mode=0o40755) + cpio(b"bin", mode=0o40755) + cpio(b"bin/sh", b"#!/bin/false\n", mode=0o100755)
    tree += cpio(b"lib", b"usr/lib", mode=0o120777) + cpio(b"dev/null", mode=0o20666)
    links = cpio(b"a", links=2, inode=9) + cpio(b"b", b"content", links=2, inode=9)
    write("cpio", "tree", tree + trailer)
    write("cpio", "links", links + trailer)
    write("cpio", "two", links + trailer + b"\0" * 300 + tree + trailer + b"\0" * 8)
    write("cpio", "checksum", cpio(b"f", b"AB", magic=b"070702", checksum=131) + trailer)


def mbr_sector(*entries):
    """A sector with a table: (index, type, first sector, sectors) each."""
    sector = bytearray(512)
    for index, kind, first, count in entries:
        struct.pack_into("<B3xB3xII", sector, 446 + 16 * index, 0, kind, first, count)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def tty_log_seeds():
    def short(what, tty, data=b"", direction=0, at=1700000000):
        return struct.pack("=iIiiII", what, tty, len(data), direction, at, 250000) + data

    def long(what, tty, data=b"", direction=0, at=1700000000):
        return struct.pack("@iLiiLL", what, tty, len(data), direction, at, 250000) + data

    for name, record, parent in (("short", short, struct.pack("=I", 0)), ("long", long, struct.pack("=Q", 0))):
        log = record(1, 0x400, parent) + record(3, 0x400, b"# ", 2) + record(3, 0x400, b"ls\n", 1, 1700000002)
        log += record(4, 0x400, b"ls\0-l\0\0", 0, 1700000003) + record(2, 0x400)
        write("tty_log", name, log)
        write("tty_log", name + "_cut", log[:-50])


def ext4_seeds():
    extents = struct.pack("<HHHHI", 0xF30A, 3, 340, 0, 0)
    extents += b"".join(struct.pack("<IHHI", i * 100, 50, 0, 5000 + 60 * i) for i in range(3))
    write("ext4", "extents", b"\x01" + extents)
    entries = b"".join(struct.pack("<IHBB4s", 12 + i, 12, 3, 1, b"f%02d" % i) for i in range(4))
    entries += struct.pack("<IHBB4s", 20, 4096 - len(entries), 4, 1, b"last")
    write("ext4", "directory", b"\x02" + entries)
    root = struct.pack("<IHBB4sIHBB4s", 2, 12, 1, 2, b".", 2, 4084, 2, 2, b"..")
    root += struct.pack("<IBBBBHHI", 0, 1, 8, 0, 0, 508, 3, 1) + struct.pack("<IIII", 1000, 2, 90000, 3)
    write("ext4", "htree", b"\x03" + root)
    attribute = struct.pack("<BBHIII4s", 4, 1, 4080, 0, 5, 0, b"name") + b"\0" * 4
    block = struct.pack("<IIIII12x", 0xEA020000, 1, 1, 0, 0) + attribute
    write("ext4", "attributes", b"\x04" + block.ljust(4080, b"\0") + b"value".ljust(16, b"\0"))
    journal = struct.pack(">IIIIIIIII", 0xC03B3998, 4, 0, 4096, 1024, 1, 7, 1, 0) + struct.pack(">III", 0, 3, 0)
    write("ext4", "journal", b"\x06" + journal.ljust(1024, b"\0"))


def partition_table_seeds():
    primary = mbr_sector((0, 0x83, 1, 2), (2, 0x82, 3, 4)) + b"\0" * 512 * 8
    chain = mbr_sector((0, 0x83, 1, 1), (1, 0x05, 2, 8)) + b"\0" * 512
    chain += mbr_sector((0, 0x83, 1, 1), (1, 0x05, 3, 4)) + b"\0" * 1024 + mbr_sector((0, 0x83, 1, 2)) + b"\0" * 1024
    entries = bytearray(4 * 128)
    for index, first, last in ((0, 4, 5), (2, 6, 9)):
        struct.pack_into("<16s16sQQ", entries, 128 * index, b"t" * 16, b"u" * 16, first, last)
    header = bytearray(512)
    struct.pack_into("<8sIIIIQQQQ16sQIII", header, 0, b"EFI PART", 0x10000, 92, 0, 0, 1, 9, 3, 9, b"d" * 16, 2, 4, 128, zlib.crc32(entries))
    struct.pack_into("<I", header, 16, zlib.crc32(header[:92]))
    gpt = mbr_sector((0, 0xEE, 1, 0xFFFFFFFF)) + bytes(header) + bytes(entries) + b"\0" * 512 * 7
    for name, disk in (("primary", primary), ("extended", chain), ("gpt", gpt)):
        write("partition_table", name, b"\0" + disk)


def cow_format_seeds():
    name = b"/tmp/base".ljust(4096, b"\0")
    write("cow_format", "version3", struct.pack(">IIIQIII", 0x4F4F4F4D, 3, 1700000000, 1000000, 512, 4096, 0) + name)
    write("cow_format", "wide", struct.pack(">IIIIQIII", 0x4F4F4F4D, 3, 1700000000, 0, 1000000, 512, 4096, 0) + name + b"\0" * 4)
    write("cow_format", "version2", struct.pack(">II", 0x4F4F4F4D, 2) + name + struct.pack(">IQI", 1700000000, 1 << 20, 512))
    write("cow_format", "version1", struct.pack("<II", 0x4F4F4F4D, 1) + name[:256] + struct.pack("<IQI", 1700000000, 1 << 20, 512))


def decompress_seeds():
    """A text with repetitions, packed by each method; the tools are those of Debian. The bare blocks are cut out of what lz4 and lzop write."""
    text = b"".join(b"line %d of a text, line %d of %d\n" % (i % 7, i, i * i) for i in range(60))

    def packed(*command):
        return subprocess.run(command, input=text, capture_output=True, check=True).stdout

    write("decompress", "zlib", b"\0\4" + zlib.compress(text))
    write("decompress", "zlib_stored", b"\0\4" + zlib.compress(text[:300], 0))
    write("decompress", "lz4", b"\1\4" + packed("lz4", "-lc9")[8:])
    lzo = packed("lzop", "-c9")
    at = 33 + 1 + lzo[33] + 4
    write("decompress", "lzo", b"\2\4" + lzo[at + 12:at + 12 + struct.unpack_from(">I", lzo, at + 4)[0]])
    write("decompress", "xz", b"\3\4" + packed("xz", "-c", "--check=none"))
    write("decompress", "xz_x86", b"\3\4" + packed("xz", "-c", "--check=crc32", "--x86", "--lzma2"))
    write("decompress", "zstd", b"\4\4" + packed("zstd", "-c19", "--no-check"))
    write("decompress", "zstd_fast", b"\4\4" + packed("zstd", "-c1", "--no-check"))


def squashfs_seeds():
    layout = struct.pack("<IIIIIHHHHHHQQQQQQQQ", 0x73717368, 5, 0, 131072, 1, 1, 17, 0xC0, 1, 4, 0, 0x20, 4096, 3000, 2**64 - 1, 1000, 2000, 2500, 2**64 - 1)
    write("squashfs", "layout", b"\0" + layout)
    head = struct.pack("<HHHII", 0o644, 0, 0, 1000, 7)
    write("squashfs", "file", b"\1" + struct.pack("<H", 9) + head + struct.pack("<QQQIIII", 96, 300000, 0, 1, 0, 5, 2**32 - 1) + struct.pack("<II", 5000, 6000))
    index = struct.pack("<III", 8000, 100, 3) + b"name"
    write("squashfs", "directory_inode", b"\1" + struct.pack("<H", 8) + head + struct.pack("<IIIIHHI", 3, 9000, 0, 6, 1, 12, 2**32 - 1) + index)
    write("squashfs", "link", b"\1" + struct.pack("<H", 3) + head + struct.pack("<II", 1, 6) + b"target")
    entries = b"".join(struct.pack("<HhHH", 32 * i, i, 2, 3) + b"f%03d" % i for i in range(5))
    write("squashfs", "directory", b"\2" + struct.pack("<III", 4, 0, 7) + entries)
    attributes = struct.pack("<HH", 0, 1) + b"x" + struct.pack("<I", 5) + b"value" + struct.pack("<HH", 0x102, 3) + b"sel" + struct.pack("<IQ", 8, 0x12345)
    write("squashfs", "attributes", b"\3" + attributes)


def iso9660_seeds():
    def both(value, form="I"):
        return struct.pack("<" + form, value) + struct.pack(">" + form, value)

    def field(signature, content):
        return signature + bytes([len(content) + 4, 1]) + content

    def record(name, system_use=b"", flags=0):
        text = both(24) + both(2048) + bytes([120, 2, 29, 12, 30, 15, 4, flags, 0, 0]) + both(1, "H") + bytes([len(name)]) + name
        text += b"\0" * (len(name) % 2 == 0) + system_use
        text += b"\0" * (len(text) % 2)
        return bytes([len(text) + 2, 0]) + text

    posix = field(b"PX", both(0o100644) + both(1) + both(1000) + both(1000)) + field(b"TF", bytes([0x0E]) + bytes([120, 2, 29, 12, 30, 15, 4]) * 3)
    name = field(b"NM", b"\0a longer name.txt")
    link = field(b"SL", b"\0" + b"\x08\0" + b"\0\3usr" + b"\4\0" + b"\1\2li" + b"\0\1b")
    more = field(b"CE", both(30) + both(100) + both(200)) + field(b"CL", both(40)) + field(b"PN", both(8) + both(300))
    descriptor = (b"\1CD001\1".ljust(80, b"\0") + both(40)).ljust(128, b"\0") + both(2048, "H")
    write("iso9660", "descriptor", b"\0" + descriptor.ljust(156, b"\0") + record(b"\0", flags=2))
    write("iso9660", "joliet", b"\0" + (b"\2CD001\1".ljust(88, b"\0") + b"%/E").ljust(128, b"\0") + both(2048, "H") + b"\0" * 24 + record(b"\0", flags=2))
    first = record(b"\0", field(b"SP", b"\xbe\xef\0") + posix, 2)
    write("iso9660", "records", b"\1" + first + record(b"README.TXT;1", posix + name) + record(b"\0A\0\xe4\0;\0001", flags=128) + record(b"A.;1"))
    write("iso9660", "fields", b"\2" + posix + name + link + more)


def line_discipline_seeds():
    """Steps as the target reads them: a step's number, then its bytes."""

    def settings(iflag, oflag, lflag, controls=(3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0)):
        return b"\0" + struct.pack("<IIIIB", iflag, oflag, 0xBF, lflag, 0) + bytes(controls)

    def typed(keys, times=1):
        return bytes([1, len(keys)]) + keys + bytes([times - 1])

    def printed(text):
        return bytes([2, len(text)]) + text

    def read(size):
        return bytes([3, size])

    room = bytes([4, 255])
    usual = settings(0x500, 0x5, 0x8A3B)
    raw = settings(0, 0, 0)
    paper = settings(0x4500, 0x1805, 0x8E3B)
    write("line_discipline", "lines", room + usual + typed(b"hello\tx\x7f\x7f\x17\n") + read(3) + read(100) + typed(b"\x04") + read(1))
    write("line_discipline", "raw", room + typed(b"abc\ndef") + raw + read(5) + typed(b"x\xff\x03") + usual + read(50) + read(50))
    write("line_discipline", "full", typed(b"0123456789abcdef" * 8, 200) + typed(b"\n") + read(255) * 18 + room)
    write("line_discipline", "paper", room + paper + typed(b"caf\xc3\xa9\t1\x7f\x7f\x7f\x12\x15") + printed(b"a\tb\r\n\b") + b"\x05\x07")
    write("line_discipline", "stop", typed(b"a\x13bc") + printed(b"text") + bytes([6, 1]) + room + bytes([6, 0]) + typed(b"\x11\x03"))


def mconsole_seeds():
    magic, version = 0xCAFEBABE, 2
    for name, text in (("version", b"version"), ("config", b"config ubd0=/tmp/image"), ("empty", b"")):
        write("mconsole", name, (struct.pack("<III", magic, version, len(text)) + text).ljust(524, b"\0"))
    write("mconsole", "other_version", struct.pack("<III", magic, 3, 4) + b"help")
    write("mconsole", "too_large", struct.pack("<III", magic, version, 512) + b"x" * 512)
    write("mconsole", "reply", struct.pack("<iII", -19, 1, 21) + b"Device doesn't exist\0")
    write("mconsole", "notification", struct.pack("<IIII", magic, version, 3, 5) + b"hello")
    write("mconsole", "watchdog", struct.pack("<QIIII", magic, version, 2, 0, 0))


def patcher_seeds():
    """Programs with call sites of several forms, their unwind tables with and without an index."""
    code = (
        bytes.fromhex("b827000000 0f05 4889fe 31c0 0f05 8b3d00010000 89d0 0f05 c3")
        + bytes.fromhex("0f1f440000 31c0 0f05 eb fa 803d0001000000 7404 31c0 0f05 c3 ba3c000000 31ff 89d0 0f05 ebf8")
        + bytes.fromhex("48c7c00f000000 0f05")
    )
    text, frame = 0x401000, 0x402000
    common = struct.pack("<IIB", 20, 0, 1) + b"zR\0\x01\x78\x10\x01\x1b" + b"\0" * 6
    common += b"\0" * (24 - len(common))
    entries, rows = common, []
    for begin, size in ((0, 25), (30, len(code) - 39), (len(code) - 9, 9)):
        at = frame + 0x40 + len(entries)
        rows.append((text + begin, at))
        entries += struct.pack("<IIiIBxxx", 16, at + 4 - frame - 0x40, text + begin - at - 8, size, 0)
    entries += b"\0" * 4
    index = b"\x01\x1b\x03\x3b" + struct.pack("<iI", 0x40 - 4, len(rows)) + b"".join(struct.pack("<ii", a - frame, b - frame) for a, b in rows)
    tables = index.ljust(0x40, b"\0") + entries
    code_at = 64 + 4 * 56
    segments = [
        (1, 5, code_at, text, text, len(code), len(code), 0x1000),
        (1, 4, code_at + len(code), frame, frame, len(tables), len(tables), 0x1000),
        (0x6474E550, 4, 0, frame, frame, len(index), len(index), 4),
        (0x6474E551, 6, 0, 0, 0, 0, 0, 16),
    ]
    write("patcher", "index", elf(2, segments, code + tables))
    no_table = tables[:2] + b"\xff\xff" + tables[4:]
    write("patcher", "no_table", elf(2, segments, code + no_table))
    write("patcher", "no_unwinding", elf(2, segments[:1] + segments[3:] * 3, code))


if __name__ == "__main__":
    elf_seeds()
    ext4_seeds()
    cpio_seeds()
    decompress_seeds()
    squashfs_seeds()
    iso9660_seeds()
    cow_format_seeds()
    line_discipline_seeds()
    mconsole_seeds()
    partition_table_seeds()
    tty_log_seeds()
    patcher_seeds()
