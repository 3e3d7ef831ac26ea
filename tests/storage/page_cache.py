"""The page cache of disk files as programs see it: write-back, mappings, direct access, little memory."""

import os
import subprocess

import disks
import harness

MIB = 1 << 20

COMMON = """
import mmap, os, time
def field(name, file="/proc/meminfo"):
    return next(int(line.split()[1]) for line in open(file) if line.split()[0] == name)
"""


def run_python(folder, image, script, *switches, limit=120):
    shell = f"mount -t ext4 /dev/ubda {folder}/mount; cd {folder}/mount; python3 -c \"$1\"; cd /; umount {folder}/mount"
    os.makedirs(os.path.join(folder, "mount"), exist_ok=True)
    return harness.run_guest(["/bin/sh", "-ec", shell, "sh", COMMON + script], limit=limit, switches=[f"ubd0={image}", *switches], root="/")


def make_disk(folder, size, features="-t ext4"):
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-q", *features.split(), image], check=True)
    return image


def check(folder, size, script, wanted, *switches, features="-t ext4"):
    image = make_disk(folder, size, features)
    problems = disks.problems_of(run_python(folder, image, script, *switches), wanted)
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        problems.append("e2fsck: " + checked.stdout[-600:])
    return problems


def check_ways_to_a_file(folder):
    """read, write, shared and private mappings and O_DIRECT see one file, and what was synced is in the storage."""
    script = """
f = os.open("file", os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 1 << 20)
shared = mmap.mmap(f, 1 << 20)
private = mmap.mmap(f, 1 << 20, mmap.MAP_PRIVATE)
shared[5:10] = b"hello"
os.pwrite(f, b"world", 500000)
print(os.pread(f, 5, 5), bytes(shared[500000:500005]), bytes(private[5:10]))
private[5:10] = b"mine!"
print(os.pread(f, 5, 5))
shared.flush()
shared[8192:8196] = b"late"
os.fsync(f)
print(field("Dirty:"))
shared[8192:8196] = b"more"
os.fsync(f)
open("/proc/sys/vm/drop_caches", "w").write("1")
d = os.open("file", os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
print(os.preadv(d, [page], 8192), bytes(page[:4]))
page[:6] = b"direct"
print(os.pwritev(d, [page], 8192), bytes(shared[8192:8198]), os.pread(f, 6, 8192))
try:
    os.preadv(d, [page], 100)
except OSError as problem:
    print(problem.errno)
print(os.stat("file").st_blocks)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)
os.posix_fallocate(f, 1 << 20, 4096)
print(os.pread(f, 5, 5), os.fstat(f).st_size)
"""
    wanted = "b'hello' b'world' b'hello'\nb'hello'\n0\n4096 b'more'\n4096 b'direct' b'direct'\n22\n24\nb'hello' 1052672\n"
    return check(folder, 64 * MIB, script, wanted)


def check_age(folder):
    """What nobody syncs is written by itself when it is old."""
    script = """
for name, value in (("dirty_expire_centisecs", 100), ("dirty_writeback_centisecs", 20)):
    open("/proc/sys/vm/" + name, "w").write(str(value))
open("file", "w").write("x" * 100000)
print(field("Dirty:") >= 100)
end = time.monotonic() + 30
while field("Dirty:") and time.monotonic() < end: time.sleep(0.1)
print(field("Dirty:"), field("nr_written", "/proc/vmstat") >= 25)
"""
    return check(folder, 64 * MIB, script, "True\n0 True\n")


def check_little_memory(folder):
    """Files larger than the machine's memory are written, read and mapped, and programs still start."""
    script = """
block = bytes(range(256)) * 4096
with open("file", "wb") as f:
    for i in range(160): f.write(block)
with open("file", "rb") as f:
    print(all(f.read(len(block)) == block for i in range(160)))
print(os.system("true"))
f = os.open("file", os.O_RDWR)
m = mmap.mmap(f, 0)
print(sum(m[at] for at in range(7, len(m), 65536)) == 7 * (len(m) >> 16))
for at in range(0, len(m), 1 << 20): m[at] = 99
m.close()
print(all(os.pread(f, 2, at) == bytes((99, 1)) for at in range(0, 160 << 20, 1 << 20)))
print(os.system("true"), field("pgsteal_direct", "/proc/vmstat") > 10000)
"""
    return check(folder, 256 * MIB, script, "True\n0\nTrue\nTrue\n0 True\n", "mem=96M")


def check_many_names(folder):
    """Names and inodes that were used once take a part of a small machine's memory, and make way for programs."""
    script = """
for i in range(20000):
    os.close(os.open("n" * 120 + str(i), os.O_CREAT | os.O_WRONLY))
print(field("Slab:") < 28 << 10)
before = field("Slab:")
memory = mmap.mmap(-1, 40 << 20, mmap.MAP_PRIVATE)
for at in range(0, len(memory), 4096):
    memory[at] = 1
time.sleep(0.2)
print(sum(memory[::4096]), field("Slab:") < before)
"""
    return check(folder, 64 * MIB, script, "True\n10240 True\n", "mem=64M", features="-t ext4 -N 30000")


def check_append_beside_sync(folder):
    """One appends, others sync: whatever page they write out in between, what the one has synced is on the disk."""
    script = """
import random
children = []
for i in range(2):
    pid = os.fork()
    if pid == 0:
        while not os.path.exists("end"): os.sync()
        os._exit(0)
    children.append(pid)
chance = random.Random(1)
text = b""
with open("file", "wb", 0) as f:
    end = time.monotonic() + 4
    while time.monotonic() < end and len(text) < 30000000:
        more = chance.randbytes(chance.randrange(1, 1500))
        text += more
        f.write(more)
    os.fsync(f.fileno())
open("end", "w").close()
for pid in children: os.waitpid(pid, 0)
open("/proc/sys/vm/drop_caches", "w").write("3")
got = open("file", "rb").read()
print(len(got) == len(text), next((i for i in range(min(len(got), len(text))) if got[i] != text[i]), None) if got != text else "equal")
"""
    return check(folder, 64 * MIB, script, "True equal\n", features="-t ext4 -b 1024")


CHECKS = [check_ways_to_a_file, check_age, check_append_beside_sync, check_little_memory, check_many_names]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/page_cache", CHECKS)
