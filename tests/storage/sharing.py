"""Images that nobody writes: machines read and map the host's own pages of them."""

import glob
import hashlib
import os
import random
import subprocess
import threading
import time

import disks
import harness
import page_cache

MIB = 1 << 20


def make_image(folder, file_mib):
    """A filesystem with one file `data` in it, in blocks as long as pages, and what is in the file."""
    tree = os.path.join(folder, "tree")
    os.makedirs(tree, exist_ok=True)
    data = random.Random(5).randbytes(file_mib * MIB)
    with open(os.path.join(tree, "data"), "wb") as file:
        file.write(data)
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate((file_mib + 16) * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, image], check=True)
    os.utime(image, (1700000000, 1700000000))
    return image, data


def process_tree(pid):
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue
        children.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(path.split("/")[2]))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory_of(pid):
    """MiB of its own that a machine has, by the host's proportional count."""
    total = 0
    for one in process_tree(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        except OSError:
            pass
    return total / 1024


def check_memory(folder):
    """Machines that read and map a file of one image, read only or below a copy-on-write file, have no copy of it."""
    image, data = make_image(folder, 64)
    script = """
import hashlib, mmap, os, sys, time
with open("/mnt/data", "rb") as f:
    print(hashlib.md5(f.read()).hexdigest())
    for how in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
        m = mmap.mmap(f.fileno(), 0, flags=how, prot=mmap.PROT_READ)
        print(hashlib.md5(m).hexdigest())
open(sys.argv[1] + "/ready" + sys.argv[2], "w").close()
while not os.path.exists(sys.argv[1] + "/go"): time.sleep(0.05)
"""
    machines = []
    for number in range(3):
        disk = f"ubd0={folder}/cow{number},{image}" if number else f"ubd0r={image}"
        words = [harness.UMK, "run", "--root", "/", disk, "--", "/bin/sh", "-ec", "mount -o ro /dev/ubda /mnt; exec python3 -c \"$@\"", "sh", script, folder, str(number)]
        machines.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(glob.glob(folder + "/ready*")) < len(machines):
        time.sleep(0.05)
    sizes = [memory_of(machine.pid) for machine in machines]
    with open(folder + "/go", "w"):
        pass
    problems = []
    wanted = hashlib.md5(data).hexdigest()
    for machine, size in zip(machines, sizes):
        try:
            output, error = machine.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            harness.kill_tree(machine.pid)
            problems.append("a machine does not end")
            continue
        if output.decode().split() != [wanted] * 3:
            problems.append(f"what was read is not what is in the image: {output.decode()} {error.decode()[-300:]}")
        # Programs, their text and the kernel take some; the file would be 64 more.
        if not 1 < size < 48:
            problems.append(f"a machine has {size:.0f} MiB of its own")
    return problems


def check_changes(folder):
    """What is written to a file is seen by all who map it, and the backing file stays as it is."""
    image, data = make_image(folder, 8)
    script = """
f = os.open("data", os.O_RDWR)
size = os.fstat(f).st_size
shown = mmap.mmap(f, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
constant = mmap.mmap(f, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
copy = mmap.mmap(f, size, flags=mmap.MAP_PRIVATE)
before = os.pread(f, size, 0)
print(shown[:] == before, constant[:] == before, copy[:] == before, flush=True)
copy[5000:5004] = b"mine"
ready, done = os.pipe(), os.pipe()
if os.fork() == 0:
    # Another process sees it too, in mappings that it has from its parent.
    os.read(done[0], 1)
    print(shown[100:107], constant[100:107], shown[-3:], flush=True)
    os._exit(0)
os.pwrite(f, b"written", 100)
writable = mmap.mmap(f, size)
writable[-3:] = b"end"
print(shown[100:107], constant[100:107], copy[5000:5004], shown[5000:5004] == before[5000:5004], shown[-3:], flush=True)
os.write(done[1], b"x")
os.wait()
wanted = bytearray(before); wanted[100:107] = b"written"; wanted[-3:] = b"end"
print(os.pread(f, size, 0) == wanted, shown[:] == wanted)
os.fsync(f)
open("/proc/sys/vm/drop_caches", "w").write("3")
print(os.pread(f, size, 0) == wanted, shown[:] == wanted, constant[:] == wanted, copy[5000:5004])
os.ftruncate(f, 12345)
print(shown[:12345] == wanted[:12345], os.pread(f, 100000, 0) == wanted[:12345])
"""
    wanted = ("True True True\nb'written' b'written' b'mine' True b'end'\nb'written' b'written' b'end'\nTrue True\nTrue True True b'mine'\nTrue True\n")
    cow = os.path.join(folder, "cow")
    digest = hashlib.md5(disks.contents(image)).hexdigest()
    shell = f"mount -t ext4 /dev/ubda {folder}/mount; cd {folder}/mount; python3 -c \"$1\"; cd /; umount {folder}/mount"
    os.makedirs(os.path.join(folder, "mount"), exist_ok=True)
    outcome = harness.run_guest(["/bin/sh", "-ec", shell, "sh", page_cache.COMMON + script], limit=60, switches=[f"ubd0={cow},{image}"], root="/")
    problems = disks.problems_of(outcome, wanted)
    if hashlib.md5(disks.contents(image)).hexdigest() != digest:
        problems.append("the backing file was changed")
    again = harness.run_guest(["/bin/sh", "-ec", f"mount /dev/ubda {folder}/mount; head -c 107 {folder}/mount/data | tail -c 7; wc -c < {folder}/mount/data"], limit=30,
                              switches=[f"ubd0={cow}"], root="/")
    return problems + disks.problems_of(again, "written12345\n")


def check_vanishing(folder):
    """An image that becomes shorter under a machine: EIO for readers, SIGBUS for those who map it, and the machine goes on."""
    image, _ = make_image(folder, 16)
    script = """
import signal
f = os.open("/mnt/data", os.O_RDONLY)
shown = mmap.mmap(f, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
copy = mmap.mmap(f, 0, flags=mmap.MAP_PRIVATE)
print(len(shown[:4096]))
open(FOLDER + "/mapped", "w").close()
while not os.path.exists(FOLDER + "/cut"): time.sleep(0.02)
try: os.pread(f, 4096, 12 << 20)
except OSError as failure: print(failure.errno)
for view in (shown, copy):
    child = os.fork()
    if child == 0: view[12 << 20]; os._exit(0)
    print(os.wait()[1] & 127 == signal.SIGBUS)
# The kernel itself looks there.
try: print(os.write(os.pipe()[1], memoryview(shown)[12 << 20:(12 << 20) + 4096]))
except OSError as failure: print(failure.errno)
print("alive")
""".replace("FOLDER", repr(folder))

    def cut():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not os.path.exists(folder + "/mapped"):
            time.sleep(0.02)
        os.truncate(image, MIB)
        with open(folder + "/cut", "w"):
            pass

    cutter = threading.Thread(target=cut)
    cutter.start()
    outcome = harness.run_guest(["/bin/sh", "-ec", "mount -o ro /dev/ubda /mnt; python3 -c \"$1\"", "sh", page_cache.COMMON + script], limit=60, switches=[f"ubd0r={image}"], root="/")
    cutter.join()
    return disks.problems_of(outcome, "4096\n5\nTrue\nTrue\n14\nalive\n")


def check_giving_back(folder):
    """What drop_caches drops is the host's again."""
    image, _ = make_image(folder, 64)
    script = """
mount /dev/ubda /mnt; cat /mnt/data > /dev/null; echo full; read _
echo 3 > /proc/sys/vm/drop_caches; echo empty; read _
"""
    words = [harness.UMK, "run", "--root", "/", f"ubd0={image}", "--", "/bin/sh", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as machine:
        sizes = []
        for _ in range(2):
            machine.stdout.readline()
            sizes.append(memory_of(machine.pid))
            machine.stdin.write(b"\n")
            machine.stdin.flush()
        machine.wait(timeout=30)
    return [] if sizes[0] > 64 and sizes[1] < 32 else [f"{sizes[0]:.0f} MiB before and {sizes[1]:.0f} after"]


CHECKS = [check_memory, check_changes, check_vanishing, check_giving_back]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/sharing", CHECKS)
