"""Copy-on-write files between our tools and those of Debian's uml-utilities, in both directions."""

import hashlib
import os
import random
import struct
import subprocess
import tempfile
import time

import harness

OURS = os.environ.get("UMK_TOOLS", os.path.join(harness.SOURCE, "build"))
THEIRS = "/usr/bin"
SECTOR = 512


def call(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def make_backing(folder, size, name="backing"):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        # Data and holes, so that sparse output is put to the test.
        file.truncate(size)
        for start in range(0, size, 40000):
            file.seek(start)
            file.write(random.Random(start).randbytes(min(9000, size - start)))
    os.utime(path, (1700000000, 1700000000))
    return path


def layout(path):
    with open(path, "rb") as file:
        head = file.read(32)
    size, sector, alignment = struct.unpack(">QII", head[12:28])
    bitmap = -(-4128 // alignment) * alignment
    sectors = -(-size // sector)
    return size, bitmap, -(-(bitmap + -(-sectors // 8)) // alignment) * alignment


def change_sectors(path, sectors, letter):
    """Writes as a kernel does: data, then the bits."""
    size, bitmap, data = layout(path)
    with open(path, "r+b") as file:
        for sector in sectors:
            file.seek(data + sector * SECTOR)
            file.write(letter * min(SECTOR, size - sector * SECTOR))
            file.seek(bitmap + sector // 8)
            byte = file.read(1) or b"\0"
            file.seek(bitmap + sector // 8)
            file.write(bytes([byte[0] | 1 << sector % 8]))


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def expected(backing, sectors, letter):
    data = bytearray(contents(backing))
    for sector in sectors:
        length = min(SECTOR, len(data) - sector * SECTOR)
        data[sector * SECTOR:sector * SECTOR + length] = letter * length
    return bytes(data)


def old_version(path, version, backing, size):
    """An empty file of version 1 or 2, as UML of those days made it. Returns where bitmap and data begin."""
    name = backing.encode()
    if version == 1:
        head = struct.pack("<II256sIQI", 0x4F4F4F4D, 1, name, 1700000000, size, SECTOR)
    else:
        head = struct.pack(">II4096sIQI", 0x4F4F4F4D, 2, name, 1700000000, size, SECTOR)
    bitmap = (size + SECTOR - 1) // (8 * SECTOR)
    data = -(-(len(head) + bitmap) // SECTOR) * SECTOR
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(data + size)
    return len(head), data


def check_made_alike(folder):
    problems = []
    for size in (1000000, 1 << 20, 512, 100, 40 << 20):
        backing = make_backing(folder, size)
        ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs")
        for path in (ours, theirs):
            if os.path.exists(path):
                os.unlink(path)
        for tools, path in ((OURS, ours), (THEIRS, theirs)):
            status, text = call(f"{tools}/uml_mkcow", path, backing)
            if status != 0:
                problems.append(f"{tools}/uml_mkcow of {size} bytes: {status}: {text}")
        if not problems and contents(ours) != contents(theirs):
            problems.append(f"files for {size} bytes differ")
    return problems


def check_merges(folder, size, maker, merger):
    backing = make_backing(folder, size)
    cow, merged = os.path.join(folder, "cow"), os.path.join(folder, "merged")
    status, text = call(f"{maker}/uml_mkcow", "-f", cow, backing)
    if status != 0:
        return [f"{maker}/uml_mkcow: {status}: {text}"]
    last = (size - 1) // SECTOR
    sectors = sorted({0, 1, 7, 8, 77, 78, 79, last // 2, max(last - 1, 0)} | ({last} if size % SECTOR == 0 or merger == OURS else set()))
    sectors = [sector for sector in sectors if sector <= last]
    change_sectors(cow, sectors, b"c")
    wanted = expected(backing, sectors, b"c")
    status, text = call(f"{merger}/uml_moo", cow, merged)
    if status != 0:
        return [f"{merger}/uml_moo of a file by {maker}: {status}: {text}"]
    # Theirs leaves out a last sector that is not whole.
    got = contents(merged)
    whole = size if merger == OURS else size // SECTOR * SECTOR
    problems = []
    if len(got) != whole or got != wanted[:whole]:
        problems.append(f"merged by {merger} of {maker}: {len(got)} bytes, not what was written")
    allocated = os.stat(merged).st_blocks * 512
    if size >= 1 << 20 and allocated > size * 3 // 4:
        problems.append(f"{merger}/uml_moo made {allocated} of {size} bytes: not sparse")
    status, text = call(f"{merger}/uml_moo", "-d", cow)
    if status != 0 or contents(backing)[:whole] != wanted[:whole]:
        problems.append(f"{merger}/uml_moo -d: {status} {text}")
    # The backing file has changed, so its time has, and the same again is refused.
    status, text = call(f"{OURS}/uml_moo", cow, merged)
    if status != 1 or "mtime mismatch" not in text:
        problems.append(f"a changed backing file is accepted: {status} {text}")
    return problems


def check_old_versions(folder):
    problems = []
    size = 1 << 20
    backing = make_backing(folder, size)
    for version in (1, 2):
        cow, merged = os.path.join(folder, f"v{version}"), os.path.join(folder, "merged")
        bitmap, data = old_version(cow, version, backing, size)
        with open(cow, "r+b") as file:
            for sector in (3, 2047):
                file.seek(data + sector * SECTOR)
                file.write(b"o" * SECTOR)
            file.seek(bitmap)
            file.write(b"\x08")
            file.seek(bitmap + 255)
            file.write(b"\x80")
        for tools in (OURS, THEIRS):
            status, text = call(f"{tools}/uml_moo", cow, merged)
            if status != 0 or contents(merged) != expected(backing, (3, 2047), b"o"):
                problems.append(f"{tools}/uml_moo of version {version}: {status} {text}")
    return problems


def check_options(folder):
    problems = []
    backing = make_backing(folder, 100000)
    cow, other = os.path.join(folder, "cow"), os.path.join(folder, "elsewhere")
    call(f"{OURS}/uml_mkcow", "-f", cow, backing)
    status, text = call(f"{OURS}/uml_mkcow", cow, backing)
    if status != 1 or "open COW file: File exists" not in text:
        problems.append(f"uml_mkcow overwrites: {status} {text}")
    os.rename(backing, other)
    status, _ = call(f"{OURS}/uml_moo", cow, os.path.join(folder, "merged"))
    if status != 1:
        problems.append("uml_moo finds a backing file that is not there")
    status, text = call(f"{OURS}/uml_moo", "-b", other, cow, os.path.join(folder, "merged"))
    if status != 0 or contents(other) != contents(os.path.join(folder, "merged")):
        problems.append(f"uml_moo -b: {status} {text}")
    status, text = call(f"{OURS}/uml_moo", "-b", other, cow, other)
    if status != 1 or contents(other) == b"":
        problems.append(f"uml_moo merges onto its own input: {status} {text}")
    if call(f"{OURS}/uml_mkcow")[0] != 2 or call(f"{OURS}/uml_moo")[0] != 1:
        problems.append("usage does not fail")
    return problems


def check_kernel_of_uml(folder):
    """A file made by the kernel of Debian's user-mode-linux when it opens its disk; there it waits for a root that never comes."""
    backing = make_backing(folder, 1000000)
    by_kernel, ours, merged = (os.path.join(folder, name) for name in ("by_kernel", "ours", "merged"))
    words = ["/usr/bin/linux.uml", f"ubd0={by_kernel},{backing}", "root=/dev/ubdq", "rootwait", "con0=null,fd:1", "con=null", "mem=64M", f"uml_dir={folder}/", "quiet"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as kernel:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and kernel.poll() is None:
            if os.path.exists(by_kernel) and os.stat(by_kernel).st_size == 1012288:
                break
            time.sleep(0.1)
        # Its helpers make groups of their own.
        harness.kill_tree(kernel.pid)
    call(f"{OURS}/uml_mkcow", ours, backing)
    theirs = bytearray(contents(by_kernel))
    # Behind the name it leaves what was there before.
    end = 32 + len(backing)
    theirs[end:4128] = b"\0" * (4128 - end)
    problems = [] if bytes(theirs) == contents(ours) else ["the files differ"]
    change_sectors(by_kernel, [5, 1900], b"k")
    status, text = call(f"{OURS}/uml_moo", by_kernel, merged)
    if status != 0 or contents(merged) != expected(backing, [5, 1900], b"k"):
        problems.append(f"uml_moo: {status} {text}")
    return problems


def check_written_by_kernel_of_uml(folder):
    """A file system that umk was killed on is mounted by the kernel of user-mode-linux through a copy-on-write file: it replays our journal into that file, and then
    ends, as it finds nothing to run. umk reads the result."""
    backing, cow, merged, tree, mount = (os.path.join(folder, name) for name in ("backing", "cow", "merged", "tree", "mount"))
    for name in (mount, os.path.join(tree, "dev"), os.path.join(tree, "sbin")):
        os.makedirs(name)
    with open(backing, "wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, backing], check=True)
    script = f"mount -t ext4 /dev/ubda {mount}; for i in $(seq 50); do mkdir {mount}/d$i; echo $i > {mount}/d$i/file; done; sync; echo synced; sleep 60"
    with subprocess.Popen(harness.guest_command(["/bin/sh", "-ec", script], switches=[f"ubd0={backing}"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        is_synced = machine.stdout.readline() == b"synced\n"
        machine.kill()
    harness.reap_leftovers()
    if not is_synced:
        return ["nothing was written"]
    os.utime(backing, (1700000000, 1700000000))
    words = ["/usr/bin/linux.uml", f"ubd0={cow},{backing}", "root=/dev/ubda", "rootfstype=ext4", "rw", "con0=null,fd:1", "con=null", "mem=64M", f"uml_dir={folder}/"]
    said = harness.run(words, limit=60, patience=3.0)
    if b"recovery complete" not in said.output:
        return ["it replays nothing"] + harness.tail(said.output, 10)
    status, text = call(f"{OURS}/uml_moo", cow, merged)
    problems = [] if status == 0 else [f"uml_moo: {text}"]
    script = (f"md5sum < /dev/ubda | cut -d' ' -f1; mount -t ext4 /dev/ubda {mount}; cat {mount}/d*/file | sort -n | md5sum | cut -d' ' -f1;"
              f" umount {mount}")
    outcome = harness.run_guest(["/bin/sh", "-ec", script], switches=[f"ubd0={cow}"])
    numbers = "".join(f"{i}\n" for i in range(1, 51)).encode()
    wanted = "".join(hashlib.md5(data).hexdigest() + "\n" for data in (contents(merged), numbers))
    if outcome.status != 0 or outcome.output.decode() != wanted:
        problems += ["umk reads something else"] + harness.tail(outcome.output + outcome.error)
    call(f"{THEIRS}/uml_moo", cow, merged)
    checked = subprocess.run(["e2fsck", "-fn", merged], capture_output=True, text=True, errors="replace", check=False)
    if checked.returncode != 0:
        problems.append("e2fsck: " + checked.stdout[-600:])
    return problems


def run_all(report, wanted):
    checks = [("storage/cow_tools/options", check_options, False), ("storage/cow_tools/files_alike", check_made_alike, True),
              ("storage/cow_tools/old_versions", check_old_versions, True)]
    for size in (1000000, 1 << 20, 4 << 20):
        for maker in (OURS, THEIRS):
            for merger in (OURS, THEIRS):
                label = ("ours" if maker == OURS else "theirs") + "_" + ("ours" if merger == OURS else "theirs")
                checks.append((f"storage/cow_tools/merge_{label}_{size}", lambda folder, s=size, a=maker, b=merger: check_merges(folder, s, a, b), True))
    # The package is large; where it is there, it is asked.
    if os.access("/usr/bin/linux.uml", os.X_OK):
        checks.append(("storage/cow_tools/kernel_of_uml", check_kernel_of_uml, False))
        checks.append(("storage/cow_tools/written_by_kernel_of_uml", check_written_by_kernel_of_uml, True))
    for title, check, needs_theirs in checks:
        if not wanted(title):
            continue
        if needs_theirs and not os.access(f"{THEIRS}/uml_moo", os.X_OK):
            report.add(title, ["needs the package uml-utilities"])
            continue
        with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
            report.add(title, check(folder))
