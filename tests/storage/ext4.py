"""ext4 as programs see it: features, what moves within files, who may fill the disk, growing while mounted, the device beside the filesystem."""

import hashlib
import os
import re
import subprocess

import disks
import harness
import models

MIB = 1 << 20


def make_disk(folder, size, *arguments):
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", *arguments, image], check=True)
    return image


def guest(folder, image, shell, *words, limit=120):
    mount = os.path.join(folder, "mount")
    os.makedirs(mount, exist_ok=True)
    script = f"mount -t ext4 /dev/ubda {mount}; cd {mount}; {shell}\ncd /; umount {mount}"
    return harness.run_guest(["/bin/sh", "-ec", script, "sh", *words], limit=limit, switches=[f"ubd0={image}"], root="/")


def fsck(image):
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    return [] if checked.returncode == 0 else ["e2fsck: " + checked.stdout[-600:]]


def check_shift(folder):
    """A collapsed and an inserted range show in mappings, which were written to before."""
    script = """
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
def fallocate(mode, offset, length):
    if libc.fallocate(f, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        print(os.strerror(ctypes.get_errno()))
f = os.open("file", os.O_RDWR | os.O_CREAT)
os.write(f, b"".join(bytes([65 + i]) * 4096 for i in range(16)))
m = mmap.mmap(f, 16 * 4096)
m[4 * 4096] = 97
fallocate(8, 2 * 4096, 2 * 4096)
print("".join(chr(m[i * 4096]) for i in range(14)), os.fstat(f).st_size // 4096)
m[2 * 4096 + 1] = 98
fallocate(0x20, 4096, 4096)
print(repr(bytes(m[i * 4096] for i in range(15))), bytes(m[3 * 4096:3 * 4096 + 3]), os.fstat(f).st_size // 4096)
m[4096] = 99
os.fsync(f)
fallocate(8, 0, 15 * 4096)
fallocate(9, 0, 4096)
fallocate(8, 100, 4096)
print(os.pread(f, 1, 4096))
"""
    image = make_disk(folder, 64 * MIB)
    wanted = "ABaFGHIJKLMNOP 14\nb'A\\x00BaFGHIJKLMNOP' b'abE' 15\nInvalid argument\nOperation not supported\nInvalid argument\nb'c'\n"
    return disks.problems_of(guest(folder, image, "python3 -c \"$1\"", script), wanted) + fsck(image)


# What mke2fs can switch on or off, as its arguments.
FEATURES = ["-O 64bit", "-O ^64bit", "-O ^64bit,^extent", "-O ^dir_index", "-O ^dir_nlink", "-O ^extra_isize", "-O ^ext_attr", "-O fast_commit", "-O ^filetype",
            "-O ^flex_bg", "-O ^has_journal", "-O ^huge_file", "-O large_dir", "-O ^large_file", "-O ^metadata_csum", "-O metadata_csum_seed", "-O orphan_file",
            "-O orphan_file,metadata_csum_seed", "-O ^resize_inode", "-O meta_bg,^resize_inode", "-O ^sparse_super,^resize_inode", "-O sparse_super2", "-O stable_inodes",
            "-O ^metadata_csum,uninit_bg", "-I 128", "-I 1024", "-b 1024", "-b 2048", "-b 4096", "-b 1024 -g 1024", "-G 1", "-J size=8"]
# What this kernel does not know: written to by nobody, or read by nobody.
READ_ONLY = {"bigalloc -b 4096": "bigalloc", "quota": "quota", "project": "project", "verity": "verity"}
REFUSED = {"encrypt": "encrypt", "inline_data": "inline_data", "ea_inode": "ea_inode", "mmp": "mmp", "casefold": "casefold", "bigalloc -b 1024": "bigalloc"}


def check_features(folder):
    """Filesystems with each feature on and off are used, and clean; those with features that are unknown are refused by their names."""
    kinds = FEATURES + ["-O " + feature for feature in list(READ_ONLY) + list(REFUSED)]
    images = [os.path.join(folder, str(number)) for number in range(len(kinds))]
    for image, kind in zip(images, kinds):
        with open(image, "wb") as file:
            file.truncate(32 * MIB)
        # It warns of small inodes.
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *kind.split(), image], stderr=subprocess.DEVNULL, check=True)
    script = f"""
        mkdir {folder}/mnt
        for disk in $(grep -o 'ubd.*' /proc/partitions); do
          if mount -t ext4 /dev/$disk {folder}/mnt 2> /dev/null; then
            cd {folder}/mnt
            if mkdir many 2> /dev/null; then
              i=0; while [ $i -lt 400 ]; do echo $i > many/a_name_that_is_not_short_$i; i=$((i + 1)); done
              seq 200000 > large; truncate -s 3000000000 sparse; echo end >> sparse
              ln -s many short; ln -s {"x" * 100} long; ln large linked; mkfifo fifo
              rm many/*1 many/*2; rm linked; cp -r many copy
              sync
              echo $disk $(cat many/*_77) $(ls many | wc -l) $(tail -c 4 sparse) $(md5sum < large | head -c 8)
            else
              echo $disk only read
            fi
            cd /; umount {folder}/mnt
          else
            echo $disk refused
          fi
        done
        dmesg | grep -o 'ubd.*not supported.*'
    """
    outcome = harness.run_guest(["/bin/sh", "-c", script], limit=120, switches=[f"ubd{number}={image}" for number, image in enumerate(images)])
    numbers = hashlib.md5("".join(f"{i}\n" for i in range(1, 200001)).encode()).hexdigest()[:8]
    problems = disks.problems_of(outcome)
    lines = outcome.output.decode(errors="replace").splitlines()
    for number, (image, kind) in enumerate(zip(images, kinds)):
        disk = "ubd" + ("a" if number > 25 else "") + chr(ord("a") + number % 26)
        told = [line for line in lines if line.startswith((disk + " ", disk + ":"))]
        feature = kind[3:]
        if feature in REFUSED or feature in READ_ONLY:
            name = REFUSED.get(feature) or READ_ONLY[feature]
            wanted = f"{disk} refused" if feature in REFUSED else f"{disk} only read"
            if told[:1] != [wanted] or not any(name in line for line in told[1:]):
                problems.append(f"{kind}: {told}")
        elif told != [f"{disk} 77 320 end {numbers}"]:
            problems.append(f"{kind}: {told}")
        checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            problems.append(f"{kind}: e2fsck: {checked.stdout[-400:]}")
    return problems


ATTRIBUTES = """
import errno, os, struct, subprocess, sys
def code(action, *words):
    try:
        action(*words)
        return "done"
    except OSError as problem:
        return errno.errorcode[problem.errno]
def put(name, flags=0):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | flags))
put("fixed"), put("log"), os.mkdir("names"), put("names/one")
subprocess.run("chattr +i fixed && chattr +a log && chattr +a names", shell=True, check=True)
print(code(put, "fixed"), code(os.unlink, "fixed"), code(os.chmod, "fixed", 0), code(os.link, "fixed", "linked"), code(os.utime, "fixed"))
print(code(put, "log"), code(put, "log", os.O_APPEND | os.O_TRUNC), code(put, "log", os.O_APPEND), code(os.unlink, "log"))
print(code(put, "names/two"), code(os.unlink, "names/one"), code(os.rename, "names/one", "names/three"))
for name, seconds in (("late", 13572600000), ("early", -2147483648), ("first", 2147483648)):
    put(name)
    os.utime(name, ns=(seconds * 10**9 + 123456789,) * 2)
put("shared")
os.chmod("shared", 0o600)
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in ((1, 6, 2**32 - 1), (2, 4, 65534), (4, 0, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)))
os.setxattr("shared", "system.posix_acl_access", acl)
os.mkdir("inherits")
os.setxattr("inherits", "system.posix_acl_default", acl)
put("inherits/file")
print(oct(os.stat("shared").st_mode), oct(os.stat("inherits/file").st_mode), os.getxattr("inherits/file", "system.posix_acl_access") == acl)
os.makedirs("many")
for number in range(65100):
    os.mkdir(f"many/{number}")
print(os.stat("many").st_nlink, len(os.listdir("many")))
for number in range(65000):
    os.rmdir(f"many/{number}")
print(os.stat("many").st_nlink, len(os.listdir("many")))
os.chmod(".", 0o755)
sys.stdout.flush()
if os.fork() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    print(code(open, "shared"), code(put, "shared"), code(open, "inherits/file"), flush=True)
    os._exit(0)
os.wait()
"""


def check_attributes(folder):
    """Flags, times far away, access lists, and more directories in one than links can be counted, in umk and as the host reads them."""
    image = make_disk(folder, 512 * MIB, "-b", "4096", "-N", "70000")
    problems = disks.problems_of(guest(folder, image, 'python3 -c "$1"', ATTRIBUTES),
                                 "EPERM EPERM EPERM EPERM EPERM\nEPERM EPERM done EPERM\ndone EPERM EPERM\n0o100640 0o100640 True\n1 65100\n1 100\ndone EACCES done\n")
    problems += fsck(image)
    with models.ReadBack(image, folder) as back:
        times = [os.stat(os.path.join(back.place, name)).st_mtime_ns for name in ("late", "early", "first")]
        if back.is_mounted and times != [13572600000123456789, -2147483647876543211, 2147483648123456789]:
            problems.append(f"times: {times}")
        if back.is_mounted and os.getxattr(os.path.join(back.place, "inherits/file"), "system.posix_acl_access")[:4] != b"\2\0\0\0":
            problems.append("the host finds no access list")
        if len(os.listdir(os.path.join(back.place, "many"))) != 100:
            problems.append("directories are missing")
    flags = subprocess.run(["debugfs", "-R", "stat fixed", image], capture_output=True, text=True, check=True).stdout
    return problems + ([] if "Flags: 0x80010" in flags else ["the flag is not on the disk"])


def check_errors(folder):
    """What errors= says is done where the disk is found damaged, and both superblock and log tell of it."""
    problems = []
    for way, wanted in (("continue", "EUCLEAN\ndone\n"), ("remount-ro", "EUCLEAN\nEROFS\n"), ("panic", "")):
        image = make_disk(folder, 16 * MIB, "-b", "1024", "-O", "^metadata_csum", "-e", "continue")
        subprocess.run(["debugfs", "-w", "-R", "mkdir damaged", image], capture_output=True, check=True)
        where = subprocess.run(["debugfs", "-R", "blocks damaged", image], capture_output=True, text=True, check=True).stdout.split()
        with open(image, "r+b") as file:
            file.seek(int(where[0]) * 1024 + 4)
            file.write(b"\3\0")  # the length of an entry
        script = """
mount -t ext4 -o errors=$1 /dev/ubda $2
python3 -c "
import errno, os
for action in (lambda: os.listdir('damaged'), lambda: os.mkdir('new')):
    try:
        action()
        print('done', flush=True)
    except OSError as problem:
        print(errno.errorcode[problem.errno], flush=True)
"
"""
        mount = os.path.join(folder, "mount")
        os.makedirs(mount, exist_ok=True)
        outcome = harness.run_guest(["/bin/sh", "-ec", script.replace("python3", f"cd {mount}; python3"), "sh", way, mount], switches=[f"ubd0={image}"])
        told = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=False).stdout
        if "with errors" not in told:
            problems.append(f"errors={way}: the superblock does not tell")
        if way == "panic":
            if outcome.status == 0 or b"Kernel panic" not in outcome.error:
                problems += [f"errors=panic: exit status {outcome.status}"] + harness.tail(outcome.error)
            continue
        problems += [f"errors={way}: {problem}" for problem in disks.problems_of(outcome, wanted)]
        if b"damaged" not in outcome.error:
            problems.append(f"errors={way}: the log does not tell")
    return problems


def check_reserve(folder):
    """The reserved blocks are for the superuser and those that the superblock or the options name."""
    script = """
import os
def fill(name, uid, gid):
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        f = os.open(name, os.O_WRONLY | os.O_CREAT)
        done = 0
        try:
            while True:
                done += os.write(f, b"x" * 65536)
        except OSError as problem:
            print(problem.strerror, end=" ")
        try:
            os.posix_fallocate(f, 1 << 27, 1 << 20)
        except OSError as problem:
            print(problem.strerror, end=" ")
        print(done > 0, flush=True)
        os._exit(0)
    os.wait()
    s = os.statvfs(".")
    print(s.f_bavail < 100, s.f_bfree > 3500, flush=True)
os.chmod(".", 0o777)
fill("a", 1000, 1000)
fill("b", 1000, 1000)
fill("c", 1000, 77)
os.unlink("c")
fill("d", 55, 1000)
os.unlink("d")
fill("e", 0, 0)
os.sync()
"""
    image = make_disk(folder, 64 * MIB, "-m", "8", "-b", "1024")
    full = "No space left on device No space left on device "
    wanted = full + "True\nTrue True\n" + full + "False\nTrue True\n" + (full + "True\nTrue False\n") * 3
    remount = "mount -o remount,resuid=55,resgid=77 .; grep -o 'resuid=.*,resgid=[0-9]*' /proc/mounts >&2"
    return disks.problems_of(guest(folder, image, f"{remount}; python3 -c \"$1\"", script), wanted) + fsck(image)


def check_growth(folder):
    """resize2fs of e2fsprogs on a mounted filesystem, when the image's file has grown; files and free space are as they should be."""
    problems = []
    for arguments in (("-b", "4096"), ("-b", "4096", "-O", "^resize_inode"), ("-b", "1024", "-O", "^metadata_csum,^64bit")):
        image = make_disk(folder, 96 * MIB, *arguments)
        shell = """
            echo kept > kept
            before=$(stat -f -c %b .)
            truncate -s 700M "$1"
            resize2fs /dev/ubda 2>&1 | grep -o 'is now [0-9]* '
            resize2fs /dev/ubda 2>&1 | grep -o 'Nothing to do'
            [ $(stat -f -c %b .) -gt $((before * 6)) ] && echo grown
            head -c 300000000 /dev/zero > big
            sync
            cat kept
            dumpe2fs -h /dev/ubda 2>/dev/null | grep 'Block count'
        """
        mapped = os.path.join(folder, "mount")
        os.makedirs(mapped, exist_ok=True)
        outcome = guest(folder, image, shell.replace('"$1"', image))
        text = outcome.output.decode(errors="replace")
        blocks = 700 * MIB // (1024 if "1024" in arguments else 4096)
        wanted = rf"is now {blocks} \nNothing to do\ngrown\nkept\nBlock count: *{blocks}\n"
        problems += disks.problems_of(outcome) + ([] if re.fullmatch(wanted, text) else ["output: " + text]) + fsck(image)
    return problems


def check_beside(folder):
    """Programs that look at the device of a mounted filesystem see it as it is, and may change what tune2fs changes."""
    shell = """
        count() { dumpe2fs -h /dev/ubda 2>/dev/null | sed -n "s/^$1: *//p"; }
        a=$(count 'Free inodes')
        mkdir d1 d2 d3
        echo $((a - $(count 'Free inodes')))
        exec 5< /dev/ubda
        a=$(count 'Free inodes')
        rmdir d1 d2
        echo $(($(count 'Free inodes') - a))
        tune2fs -m 10 -c 77 /dev/ubda > /dev/null
        tune2fs -L first /dev/ubda > /dev/null
        mkdir d4
        sync
        count 'Maximum mount count'
        e2label /dev/ubda
        [ $(stat -f -c '%f' .) -gt $(($(stat -f -c '%a' .) + $(stat -f -c '%b' .) / 11)) ] && echo reserved
        e2label /dev/ubda second
        e2label /dev/ubda
        debugfs -R 'ls -p /' /dev/ubda 2>/dev/null | grep -c '/d4/'
    """
    image = make_disk(folder, 64 * MIB)
    wanted = "3\n2\n77\nfirst\nreserved\nsecond\n1\n"
    problems = disks.problems_of(guest(folder, image, shell), wanted) + fsck(image)
    told = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=False).stdout
    return problems + [word for word in ("second", "77") if not re.search(rf": *{word}$", told, re.M)]


CHECKS = (check_features, check_attributes, check_errors, check_shift, check_reserve, check_growth, check_beside)


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/ext4", CHECKS)
