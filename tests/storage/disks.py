"""Disks in the guest: images, partitions, copy-on-write files, loop devices, as programs see them."""

import hashlib
import os
import random
import struct
import subprocess
import time

import cow_tools
import harness

MIB = 1 << 20


def guest(folder, script, *switches, limit=60, root="/"):
    return harness.run_guest(["/bin/sh", "-ec", script], limit=limit, switches=list(switches), root=root)


def problems_of(outcome, wanted=None, status=0):
    problems = []
    if outcome.timed_out:
        problems.append("stopped at its time limit")
    if outcome.status != status:
        problems += [f"exit status {outcome.status}"] + harness.tail(outcome.error + outcome.output)
    if wanted is not None and outcome.output.decode(errors="replace") != wanted:
        problems.append("output differs\n" + harness.differences(wanted.splitlines(), outcome.output.decode(errors="replace").splitlines()))
    if outcome.leftovers:
        problems.append("left behind: " + ", ".join(outcome.leftovers))
    return problems


def make_image(folder, name, size, seed=1):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.truncate(size)
        for start in range(0, size, MIB // 4):
            file.seek(start)
            file.write(random.Random(seed + start).randbytes(min(5000, size - start)))
    os.utime(path, (1700000000, 1700000000))
    return path


def digest(data):
    return hashlib.md5(data).hexdigest()


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def check_plain(folder):
    """What is in the image is in the device, and the other way round; sizes and numbers as on Linux."""
    image = make_image(folder, "image", 3 * MIB + 100)
    before = contents(image)
    script = """
        md5sum < /dev/ubda | cut -d' ' -f1
        stat -c '%F %t:%T %a' /dev/ubda
        blockdev --getsize64 --getsz --getss --getpbsz --getbsz --getro --getalignoff --getiomin --getdiscardzeroes /dev/ubda
        cat /sys/block/ubda/size /sys/block/ubda/ro /sys/class/block/ubda/dev /sys/dev/block/98:0/queue/logical_block_size
        grep ubda /proc/partitions
        grep -w ubd /proc/devices
        printf hello | dd of=/dev/ubda bs=1 seek=1000 conv=notrunc 2> /dev/null
        dd if=/dev/ubda bs=1 skip=998 count=9 2> /dev/null | od -An -c
        dd if=/dev/zero of=/dev/ubda bs=64k seek=16 count=4 conv=fsync 2> /dev/null
        if dd if=/dev/zero of=/dev/ubda bs=512 seek=6145 2> /dev/null; then echo no end; fi
        wc -c < /dev/ubda
    """
    size = len(before) + 412
    around = before[998:1000] + b"hello" + before[1005:1007]
    shown = "".join(f"{chr(b) if 32 <= b < 127 else ('' if b else chr(92) + '0'):>4}" for b in around)
    outcome = guest(folder, script, f"ubd0={image}")
    wanted = "\n".join([digest(before + b"\0" * 412), "block special file 62:0 660", f"{size}", f"{size // 512}", "512", "512", "512", "0", "0", "512", "0",
                        f"{size // 512}", "0", "98:0", "512", f"  98        0       {size // 1024} ubda", " 98 ubd"])
    problems = problems_of(outcome)
    got = outcome.output.decode(errors="replace")
    if not got.startswith(wanted + "\n"):
        problems.append("output differs\n" + harness.differences(wanted.splitlines(), got.splitlines()[:17]))
    if "h   e   l   l   o" not in got:
        problems.append(f"what was written in the middle of a sector is not read: {shown}")
    if "no end" in got or not got.endswith(f"\n{size}\n"):
        problems.append("the end of the device is not where it should be")
    after = contents(image)
    expected = bytearray(before + b"\0" * 412)
    expected[1000:1005] = b"hello"
    expected[MIB:MIB + 4 * 65536] = b"\0" * (4 * 65536)
    expected[6145 * 512:] = b"\0" * (len(expected) - 6145 * 512)
    if after.ljust(len(expected), b"\0") != bytes(expected):
        problems.append("the image is not what was written")
    return problems


def check_read_only(folder):
    image = make_image(folder, "image", MIB)
    before = contents(image)
    script = """
        if (: > /dev/ubda); then echo opened for writing; fi
        blockdev --getro /dev/ubda
        wc -c < /dev/ubda
        blockdev --setrw /dev/ubda && echo made writable
        true
    """
    outcome = guest(folder, script, f"ubd0r={image}")
    problems = problems_of(outcome, f"1\n{MIB}\n")
    if b"Read-only file system" not in outcome.error:
        problems += ["an open for writing is not refused with EROFS"] + harness.tail(outcome.error)
    if contents(image) != before:
        problems.append("the image was changed")
    return problems


def check_write_protected(folder):
    """A file that may only be read is a disk that may only be read."""
    image = os.path.join(folder, "image")
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", image], check=True)
    os.chmod(image, 0o444)
    os.chmod(folder, 0o755)
    script = "blockdev --getro /dev/ubda; mount /dev/ubda /mnt 2> /dev/null; grep ' /mnt ' /proc/mounts | cut -d' ' -f3,4"
    outcome = harness.run(harness.as_ordinary_user() + harness.guest_command(["/bin/sh", "-ec", script], switches=[f"ubd0={image}"]))
    return problems_of(outcome, "1\next4 ro,relatime\n")


def check_many(folder):
    """More disks than letters."""
    switches = []
    for number in range(40):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(b"%04d" % number + b"\0" * 508)
        switches.append(f"ubd{number}r={folder}/{number}")
    script = "for disk in a z aa an; do head -c 4 /dev/ubd$disk; stat -c ' %Hr:%Lr' /dev/ubd$disk; done; grep -c ubd /proc/partitions"
    return problems_of(guest(folder, script, *switches), "0000 98:0\n0025 98:400\n0026 98:416\n0039 98:624\n40\n")


def check_host_device(folder):
    """A block device of the host as a disk: its size, discard, and a filesystem on it that the host reads."""
    image, place = os.path.join(folder, "image"), os.path.join(folder, "place")
    os.mkdir(place)
    with open(image, "wb") as file:
        file.truncate(32 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    before = os.stat(image).st_blocks
    bound = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True, check=False)
    if bound.returncode != 0:
        raise harness.LeftOut("no loop device can be had")
    device = bound.stdout.strip()
    try:
        script = """
            blockdev --getsize64 /dev/ubda
            mount /dev/ubda /mnt
            head -c 4000000 /dev/zero | tr '\\0' x > /mnt/file
            rm /mnt/file
            fstrim /mnt
            echo content > /mnt/file
            umount /mnt
        """
        problems = problems_of(guest(folder, script, f"ubd0={device}"), f"{32 * MIB}\n")
        checked = subprocess.run(["e2fsck", "-fn", device], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            problems.append("e2fsck: " + checked.stdout[-600:])
        if subprocess.run(["mount", "-o", "ro", device, place], check=False).returncode == 0:
            if contents(os.path.join(place, "file")) != b"content\n":
                problems.append("the host reads something else")
            subprocess.run(["umount", place], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    if (os.stat(image).st_blocks - before) * 512 > 2 * MIB:
        problems.append("what was trimmed did not become a hole")
    return problems


# A filter for seccomp(2) that refuses io_uring_setup(2), by errno.
WITHOUT_RING = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *row) for row in code))
program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(code), ctypes.addressof(filters)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def check_without_io_uring(folder):
    """A host that refuses io_uring is told of, and everything works by plain calls."""
    image = os.path.join(folder, "image")
    with open(image, "wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    script = """
        mount /dev/ubda /mnt
        seq 2000000 > /mnt/numbers
        sync
        echo 3 > /proc/sys/vm/drop_caches
        md5sum < /mnt/numbers | cut -d' ' -f1
        dmesg | grep -c 'refuses io_uring'
        umount /mnt
    """
    numbers = "".join(f"{i}\n" for i in range(1, 2000001)).encode()
    command = ["/usr/bin/python3", "-c", WITHOUT_RING] + harness.guest_command(["/bin/sh", "-ec", script], switches=[f"ubd0={image}"])
    problems = problems_of(harness.run(command), digest(numbers) + "\n1\n")
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    return problems + ([] if checked.returncode == 0 else ["e2fsck: " + checked.stdout[-600:]])


def mbr(path, entries):
    with open(path, "r+b") as file:
        file.write(b"\0" * 512)
        for index, first, count in entries:
            file.seek(446 + 16 * index)
            file.write(struct.pack("<B3xB3xII", 0, 0x83, first, count))
        file.seek(510)
        file.write(b"\x55\xaa")


def check_partitions(folder):
    image = make_image(folder, "image", 4 * MIB)
    mbr(image, [(0, 8, 2048), (2, 4096, 1024)])
    script = """
        ls /dev | grep ubdb
        grep ubdb /proc/partitions
        cat /sys/block/ubdb/ubdb3/start /sys/block/ubdb/ubdb3/size /sys/block/ubdb/ubdb3/partition
        ls -d /sys/class/block/ubdb*
        printf part | dd of=/dev/ubdb3 conv=notrunc 2> /dev/null
        dd if=/dev/ubdb skip=4096 count=1 2> /dev/null | head -c 4; echo
        # Another table, and partitions in use.
        printf '\\020' | dd of=/dev/ubdb bs=1 seek=454 conv=notrunc 2> /dev/null
        if blockdev --rereadpt /dev/ubdb 9< /dev/ubdb1 2> /dev/null; then echo reread although in use; fi
        blockdev --rereadpt /dev/ubdb
        cat /sys/block/ubdb/ubdb1/start
        if blockdev --rereadpt /dev/ubdb1 2> /dev/null; then echo a partition has partitions; fi
    """
    wanted = "\n".join(["ubdb", "ubdb1", "ubdb3", "  98       16       4096 ubdb", "  98       17       1024 ubdb1", "  98       19        512 ubdb3", "4096", "1024",
                        "3", "/sys/class/block/ubdb", "/sys/class/block/ubdb1", "/sys/class/block/ubdb3", "part", "16", ""])
    return problems_of(guest(folder, script, f"ubd1={image}"), wanted)


def check_statistics(folder):
    image = make_image(folder, "image", MIB)
    script = """
        dd if=/dev/ubda of=/dev/null bs=4k count=8 iflag=direct 2> /dev/null
        dd if=/dev/zero of=/dev/ubda bs=4k count=4 oflag=direct conv=fsync 2> /dev/null
        awk '$3 == "ubda" { print NF, $4, $6, $8, $10, ($19 > 0) }' /proc/diskstats
        awk '{ print NF, ($3 >= 64), ($7 >= 32) }' /sys/block/ubda/stat
    """
    outcome = guest(folder, script, f"ubd0={image}")
    problems = problems_of(outcome)
    fields = outcome.output.decode().split()
    if len(fields) != 9 or fields[0] != "20" or int(fields[2]) < 64 or int(fields[4]) < 32 or fields[5] != "1" or fields[6:] != ["17", "1", "1"]:
        problems.append(f"the figures are {fields}")
    return problems


def check_discard(folder):
    image = os.path.join(folder, "image")
    with open(image, "wb") as file:
        file.write(b"x" * (4 * MIB))
        file.flush()
        os.fsync(file.fileno())
    outcome = guest(folder, "blkdiscard -o 1048576 -l 2097152 /dev/ubda; blkdiscard -z -o 0 -l 4096 /dev/ubda", f"ubd0={image}")
    problems = problems_of(outcome)
    if os.stat(image).st_blocks * 512 > 3 * MIB:
        problems.append("the host did not get its space back")
    if contents(image) != b"\0" * 4096 + b"x" * (MIB - 4096) + b"\0" * (2 * MIB) + b"x" * MIB:
        problems.append("something else was discarded")
    outcome = guest(folder, "blkdiscard /dev/ubda", f"ubd0t={image}")
    if outcome.status == 0 or b"not supported" not in outcome.error:
        problems.append("flag t leaves discard on")
    return problems


def check_exclusive(folder):
    image = make_image(folder, "image", MIB)
    program = ("import os, errno\n"
               "a = os.open('/dev/ubda', os.O_RDONLY | os.O_EXCL)\n"
               "for flags in (os.O_EXCL, 0):\n"
               "    try:\n"
               "        os.close(os.open('/dev/ubda', os.O_RDONLY | flags)); print('open')\n"
               "    except OSError as error:\n"
               "        print(errno.errorcode[error.errno])\n"
               "os.close(a)\n"
               "os.close(os.open('/dev/ubda', os.O_RDONLY | os.O_EXCL))\n"
               "print(os.lseek(b := os.open('/dev/ubda', os.O_RDONLY), 0, os.SEEK_END))\n"
               "try:\n"
               "    os.lseek(b, 1, os.SEEK_END)\n"
               "except OSError as error:\n"
               "    print(errno.errorcode[error.errno])\n")
    outcome = harness.run_guest(["/usr/bin/python3", "-c", program], switches=[f"ubd0={image}"])
    return problems_of(outcome, f"EBUSY\nopen\n{MIB}\nEINVAL\n")


def check_mapping(folder):
    """A mapped device, and another open file, show the same pages; O_DIRECT goes past them and agrees."""
    image = make_image(folder, "image", MIB)
    program = ("import mmap, os\n"
               "a, b = (os.open('/dev/ubda', os.O_RDWR) for _ in range(2))\n"
               "shared = mmap.mmap(a, 0x100000)\n"
               "os.pwrite(b, b'written', 10000)\n"
               "print(shared[10000:10007])\n"
               "shared[20000:20006] = b'mapped'\n"
               "print(os.pread(b, 6, 20000))\n"
               "shared.flush()\n"
               "direct = os.open('/dev/ubda', os.O_RDONLY | os.O_DIRECT)\n"
               "page = mmap.mmap(-1, 4096)\n"
               "os.preadv(direct, [page], 16384)\n"
               "print(page[3616:3622])\n"
               "os.fsync(b)\n")
    outcome = harness.run_guest(["/usr/bin/python3", "-c", program], switches=[f"ubd0={image}"])
    problems = problems_of(outcome, "b'written'\nb'mapped'\nb'mapped'\n")
    data = contents(image)
    if data[10000:10007] != b"written" or data[20000:20006] != b"mapped":
        problems.append("the image is not what was written")
    return problems


def check_cow(folder):
    """Made when absent, found by its header, private, and understood by Debian's uml_moo."""
    backing = make_image(folder, "backing", 2 * MIB)
    before = contents(backing)
    cow = os.path.join(folder, "cow")
    write = "printf changed | dd of=/dev/ubda bs=1 seek=5000 conv=notrunc,fsync 2> /dev/null; printf end | dd of=/dev/ubda bs=1 seek=2097149 conv=notrunc 2> /dev/null"
    outcome = guest(folder, write, f"ubd0={cow},{backing}")
    problems = problems_of(outcome)
    if f'Creating "{cow}" as COW file for "{backing}"'.encode() not in outcome.error:
        problems.append("the making of the file is not told")
    if contents(backing) != before:
        problems.append("the backing file was changed")
    wanted = bytearray(before)
    wanted[5000:5007] = b"changed"
    wanted[-3:] = b"end"
    # By the header alone.
    problems += problems_of(guest(folder, "md5sum < /dev/ubda | cut -d' ' -f1", f"ubd0={cow}"), digest(bytes(wanted)) + "\n")
    if os.stat(cow).st_blocks * 512 > MIB // 4:
        problems.append("the file is not sparse")
    merged = os.path.join(folder, "merged")
    for tools in (cow_tools.OURS, cow_tools.THEIRS):
        status, text = cow_tools.call(f"{tools}/uml_moo", cow, merged)
        if status != 0 or contents(merged) != bytes(wanted):
            problems.append(f"{tools}/uml_moo: {status} {text}")
    # A file by Debian's tool.
    other = os.path.join(folder, "other")
    cow_tools.call(f"{cow_tools.THEIRS}/uml_mkcow", other, backing)
    cow_tools.change_sectors(other, [3, 4000], b"o")
    expected = cow_tools.expected(backing, [3, 4000], b"o")
    problems += problems_of(guest(folder, "md5sum < /dev/ubdb | cut -d' ' -f1", f"ubd1={other}"), digest(expected) + "\n")
    # As plain data.
    problems += problems_of(guest(folder, "head -c 4 /dev/ubda", f"ubd0d={other}"), "OOOM")
    return problems


def check_cow_refusals(folder):
    problems = []
    backing = make_image(folder, "backing", MIB)
    cow = os.path.join(folder, "cow")
    cow_tools.call(f"{cow_tools.OURS}/uml_mkcow", cow, backing)

    def refused(text, *switches):
        outcome = guest(folder, "true", *switches)
        if outcome.status != 1 or text.encode() not in outcome.error:
            problems.extend([f"{switches}: exit status {outcome.status}, not: {text}"] + harness.tail(outcome.error))

    os.utime(backing, (1700000001, 1700000001))
    refused("mtime mismatch (1700000000 vs 1700000001) of COW header vs backing file", f"ubd0={cow}")
    with open(backing, "ab") as file:
        file.write(b"x")
    refused(f"Size mismatch ({MIB} vs {MIB + 1}) of COW header vs backing file", f"ubd0={cow}")
    refused("Failed to read COW header from COW file", f"ubd0={backing},{backing}")
    refused("No such file", f"ubd0={folder}/none")
    refused("Is a directory", f"ubd0={folder}")
    return problems


def check_switched_backing(folder):
    """The backing file was moved: the switch names the new place, which the header remembers."""
    backing = make_image(folder, "backing", MIB)
    cow, moved = os.path.join(folder, "cow"), os.path.join(folder, "moved")
    cow_tools.call(f"{cow_tools.OURS}/uml_mkcow", cow, backing)
    os.rename(backing, moved)
    outcome = guest(folder, "md5sum < /dev/ubda | cut -d' ' -f1", f"ubd0={cow},{moved}")
    problems = problems_of(outcome, digest(contents(moved)) + "\n")
    if b"Backing file mismatch" not in outcome.error or f"Switching backing file to '{moved}'".encode() not in outcome.error:
        problems.append("the switch is not told")
    return problems + problems_of(guest(folder, "md5sum < /dev/ubda | cut -d' ' -f1", f"ubd0={cow}"), digest(contents(moved)) + "\n")


def check_lock(folder):
    """Two machines do not write one image, and the second learns who the first is."""
    image = make_image(folder, "image", MIB)
    command = harness.guest_command(["/bin/sh", "-c", "echo up; cat"], switches=[f"ubd0={image}"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        problems = []
        first.stdout.readline()
        outcome = guest(folder, "true", f"ubd0={image}")
        if outcome.status != 1 or f"already locked by pid {first.pid}".encode() not in outcome.error:
            problems += ["a second writer is not refused by name"] + harness.tail(outcome.error)
        outcome = guest(folder, "true", f"ubd0c={image}")
        if outcome.status != 0 or f'Not locking "{image}" on the host'.encode() not in outcome.error:
            problems += ["flag c does not share"] + harness.tail(outcome.error)
        first.stdin.close()
        first.wait(20)
    outcome = guest(folder, "true", f"ubd0={image}")
    return problems + problems_of(outcome)


def check_shrunk(folder):
    image = make_image(folder, "image", MIB)
    command = harness.guest_command(["/bin/sh", "-c", "echo up; read line; dd if=/dev/ubda bs=4k skip=200 count=1 of=/dev/null; head -c 512 /dev/ubda | wc -c"],
                                    switches=[f"ubd0={image}"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as machine:
        machine.stdout.readline()
        os.truncate(image, 65536)
        output, errors = machine.communicate(b"go\n", timeout=30)
    if b"Input/output error" not in errors or output != b"512\n":
        return [f"an image that shrank gives {output!r}, {errors!r}"]
    return []


def check_kill(folder):
    """What was synced before a kill is in the copy-on-write file."""
    backing = make_image(folder, "backing", 8 * MIB)
    cow = os.path.join(folder, "cow")
    script = ("i=0; while :; do i=$((i + 1)); printf '%08d' $i | dd of=/dev/ubda bs=1 seek=$(( (i % 500) * 4096 + 100 )) conv=notrunc,fsync 2> /dev/null;"
              " echo $i; done")
    command = harness.guest_command(["/bin/sh", "-c", script], switches=[f"ubd0={cow},{backing}"])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as machine:
        time.sleep(0.5)
        last = 0
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            last = int(machine.stdout.readline())
        machine.kill()
        machine.wait()
    harness.reap_leftovers()
    merged = os.path.join(folder, "merged")
    status, text = cow_tools.call(f"{cow_tools.OURS}/uml_moo", cow, merged)
    if status != 0:
        return [f"uml_moo after a kill: {text}"]
    data = contents(merged)
    before = contents(backing)
    problems = []
    for i in range(max(1, last - 499), last + 1):
        place = i % 500 * 4096 + 100
        # The next round may have written here already.
        if int(data[place:place + 8]) not in (i, i + 500):
            problems.append(f"write {i} was synced and is lost")
            break
    if last == 0:
        problems.append("nothing was written")
    for sector in range(len(before) // 512):
        if data[sector * 512:sector * 512 + 100] != before[sector * 512:sector * 512 + 100] and sector % 8 != 0:
            problems.append(f"sector {sector}, which nobody wrote, has changed")
            break
    return problems


def check_loop(folder):
    """losetup and mount -o loop of util-linux."""
    image = os.path.join(folder, "ext4.img")
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    script = f"""
        test "$(losetup -f)" = /dev/loop0
        losetup -o 1024 --sizelimit 4096 /dev/loop1 {image}
        blockdev --getsize64 /dev/loop1
        losetup -n -O NAME,OFFSET,SIZELIMIT,RO /dev/loop1 | tr -s ' '
        dd if=/dev/loop1 bs=1 skip=56 count=2 2> /dev/null | od -An -tx1
        if losetup /dev/loop1 {image} 2> /dev/null; then echo bound twice; fi
        losetup -d /dev/loop1
        if losetup /dev/loop1 2> /dev/null; then echo still bound; fi
        losetup -r -f {image}
        losetup -n -O RO /dev/loop0 | tr -d ' '
        if dd if=/dev/zero of=/dev/loop0 count=1 2> /dev/null; then echo written; fi
        losetup -d /dev/loop0
        mkdir {folder}/mnt
        mount -o loop {image} {folder}/mnt
        echo content > {folder}/mnt/file
        losetup -n -O NAME,AUTOCLEAR | tr -s ' '
        umount {folder}/mnt
        losetup -l -n
        test "$(losetup -f)" = /dev/loop0
        mount -o loop,ro {image} {folder}/mnt
        cat {folder}/mnt/file
        umount {folder}/mnt
    """
    problems = problems_of(guest(folder, script, limit=120), "4096\n/dev/loop1 1024 4096 0\n 53 ef\n1\n/dev/loop0 1\ncontent\n")
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        problems.append("e2fsck: " + checked.stdout[-600:])
    return problems


def check_swap(folder):
    """There is no swapping, and nothing says that there is."""
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    script = f"""
        mkdir {folder}/mnt
        mount /dev/ubda {folder}/mnt
        head -c 1048576 /dev/zero > {folder}/mnt/swap
        chmod 600 {folder}/mnt/swap
        mkswap -q {folder}/mnt/swap
        if swapon {folder}/mnt/swap 2> {folder}/message; then echo swaps; fi
        grep -o 'Function not implemented' {folder}/message
        wc -l < /proc/swaps
        grep SwapTotal /proc/meminfo | tr -d ' '
        grep -c '^167 ' /proc/umk/unimplemented
        umount {folder}/mnt
    """
    return problems_of(guest(folder, script, f"ubd0={image}"), "Function not implemented\n1\nSwapTotal:0kB\n1\n")


def check_root(folder):
    """--root IMAGE, --cow FILE, root_fs of the working directory, and messages for what is no root."""
    tree, image, cow = (os.path.join(folder, name) for name in ("tree", "image", "cow"))
    os.makedirs(os.path.join(tree, "bin"))
    for name in ("dev", "proc", "sys", "tmp"):
        os.makedirs(os.path.join(tree, name))
    subprocess.run(["cp", "/bin/busybox", os.path.join(tree, "bin/busybox")], check=True)
    os.symlink("busybox", os.path.join(tree, "bin/sh"))
    with open(image, "wb") as file:
        file.truncate(32 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image], check=True)
    os.utime(image, (1700000000, 1700000000))
    before = contents(image)
    sh = ["/bin/busybox", "sh", "-ec"]
    script = "/bin/busybox grep ' / ' /proc/mounts | /bin/busybox cut -d' ' -f1,3; echo kept > /file"
    problems = problems_of(harness.run_guest(sh + [script], root=image, switches=["--cow", cow]), "/dev/root ext4\n")
    if contents(image) != before:
        problems.append("--cow changes the image")
    problems += problems_of(harness.run_guest(sh + ["cat /file"], root=image, switches=["--cow", cow]), "kept\n")
    problems += problems_of(harness.run_guest(sh + ["echo here > /file; cat /file"], root=image), "here\n")
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        problems.append("e2fsck: " + checked.stdout[-600:])
    # As UML: root_fs of the working directory is ubd0, and ubd0 is the root, read-only at first.
    os.rename(image, os.path.join(folder, "root_fs"))
    busybox = "/bin/busybox"
    script = f"{busybox} mount -t proc proc /proc; {busybox} cut -d' ' -f1-4 /proc/mounts | {busybox} head -n 2; {busybox} cat /file; {busybox} poweroff -f"
    outcome = harness.run([harness.UMK, "quiet", f"init={busybox}", "--", "sh", "-c", script], cwd=folder)
    shown = outcome.output.decode(errors="replace").replace("\r", "")
    if outcome.status != 0 or "/dev/root / ext4 ro" not in shown or not shown.endswith("here\n"):
        problems += [f"root_fs of the working directory: exit status {outcome.status}"] + harness.tail(outcome.output + outcome.error)
    os.rename(os.path.join(folder, "root_fs"), image)
    plain = make_image(folder, "plain", MIB)
    outcome = harness.run_guest(["/bin/true"], root=plain)
    if outcome.status != 1 or b"no filesystem of this kernel is on the root device" not in outcome.error:
        problems += [f"an image without a filesystem: {outcome.status}"] + harness.tail(outcome.error)
    outcome = harness.run_guest(["/bin/true"], root=None, switches=["root=/dev/ubdc", f"ubd0={image}"])
    if outcome.status != 1 or b"there is no disk with the root filesystem" not in outcome.error:
        problems += [f"a root that is no disk: {outcome.status}"] + harness.tail(outcome.error)
    return problems


CHECKS = [check_plain, check_read_only, check_write_protected, check_many, check_host_device, check_without_io_uring, check_partitions,
          check_statistics, check_discard, check_exclusive, check_mapping, check_cow, check_cow_refusals, check_switched_backing,
          check_lock, check_shrunk, check_kill, check_loop, check_swap, check_root]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/disks", CHECKS)
