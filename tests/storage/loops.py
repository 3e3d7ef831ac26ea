"""Partitions on loop devices and disks, by their tables and by BLKPG; sectors of other sizes; direct access to the file. As losetup(8) and partx(8) use them."""

import os
import random
import subprocess

import disks
import harness

MIB = 1 << 20


def make_table(path, size, partitions):
    """A file with a GPT of so many partitions of 256 KiB. Returns where the last one begins."""
    with open(path, "wb") as file:
        file.truncate(size)
    table = "label: gpt\n" + "size=512\n" * partitions
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    listed = subprocess.run(["sfdisk", "-q", "-l", "-o", "start", path], capture_output=True, text=True, check=True)
    return int(listed.stdout.split()[-1])


def check_partitions(folder):
    """losetup -P: more partitions than a disk has numbers, used, kept while in use, and gone with the file."""
    image = os.path.join(folder, "image")
    last = make_table(image, 32 * MIB, 20)
    script = f"""
        test "$(losetup -P -f --show {image})" = /dev/loop0
        ls -d /dev/loop0p* | wc -l
        stat -c '%F %t %a' /dev/loop0p1
        cd /sys/block/loop0
        cat loop/partscan range ext_range loop0p20/start loop0p20/partition
        grep -c loop0p /proc/partitions
        grep blkext /proc/devices
        mkfs.ext2 -q /dev/loop0p20
        mkdir {folder}/mnt
        mount /dev/loop0p20 {folder}/mnt
        echo kept > {folder}/mnt/file
        blockdev --rereadpt /dev/loop0 2>&1 | sed 's/.*: //'
        losetup -d /dev/loop0
        losetup -n -O AUTOCLEAR /dev/loop0 | tr -d ' '
        umount {folder}/mnt
        ls -d /dev/loop0p* /sys/block/loop0/loop0p* 2> /dev/null | wc -l
        losetup -l -n
        # Without -P the table is not looked at.
        losetup /dev/loop0 {image}
        ls -d /dev/loop0p* 2> /dev/null | wc -l
        blockdev --rereadpt /dev/loop0 2>&1 | sed 's/.*: //'
        partx -a /dev/loop0
        ls -d /dev/loop0p* | wc -l
        losetup -d /dev/loop0
        ls -d /dev/loop0p* 2> /dev/null | wc -l
        losetup -o 1M /dev/loop1 {image}
        losetup -d /dev/loop1
    """
    wanted = "\n".join(["20", "block special file 103 660", "1", "1", "256", str(last), "20", "20", "259 blkext", "Device or resource busy", "1", "0", "0", "Invalid argument",
                        "20", "0", ""])
    return disks.problems_of(disks.guest(folder, script, limit=120), wanted)


def check_changes(folder):
    """addpart, delpart, resizepart, partx and sfdisk, and what they may not do."""
    image = os.path.join(folder, "image")
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    script = f"""
        losetup -P /dev/loop0 {image}
        count() {{ ls -d /dev/loop0p* 2> /dev/null | wc -l; }}
        try() {{ "$@" 2>&1 | sed 's/.*: //'; }}
        addpart /dev/loop0 1 2048 2048
        try addpart /dev/loop0 1 8192 2048
        try addpart /dev/loop0 2 3000 2048
        try addpart /dev/loop0 2 32000 2048
        try addpart /dev/loop0 300 8192 10
        try addpart /dev/loop0p1 1 8 8
        addpart /dev/loop0 200 8192 16
        resizepart /dev/loop0 200 32
        cat /sys/block/loop0/loop0p200/size /sys/block/loop0/loop0p200/partition
        blockdev --getsize64 /dev/loop0p200
        exec 9< /dev/loop0p200
        try delpart /dev/loop0 200
        exec 9<&-
        delpart /dev/loop0 200
        try delpart /dev/loop0 200
        count
        partx -d /dev/loop0
        count
        echo start=2048,size=4096 | sfdisk -q /dev/loop0
        cat /sys/block/loop0/loop0p1/size
        echo size=4096 | sfdisk -q -a /dev/loop0
        count
        partx -o NR,START,SECTORS -g /dev/loop0 | tr -s ' '
        printf abc | dd of=/dev/loop0p2 conv=notrunc 2> /dev/null
        sync
        losetup -d /dev/loop0
        dd if={image} bs=512 skip=6144 count=1 2> /dev/null | head -c 3
    """
    wanted = "\n".join(["Device or resource busy", "Device or resource busy", "Invalid argument", "Invalid argument", "Invalid argument", "32", "200", "16384", "Device or resource busy",
                        "No such device or address", "1", "0", "4096", "2", " 1 2048 4096", " 2 6144 4096", "abc"])
    return disks.problems_of(disks.guest(folder, script, limit=120), wanted)


def check_disk(folder):
    """A disk of the command line: 15 partitions have numbers of the disk, further ones numbers of their own."""
    image = os.path.join(folder, "image")
    last = make_table(image, 32 * MIB, 18)
    script = """
        ls -d /dev/ubda?* | wc -l
        cat /sys/block/ubda/ubda15/dev /sys/block/ubda/ubda16/dev /sys/block/ubda/ubda18/dev
        printf there | dd of=/dev/ubda18 conv=notrunc,fsync 2> /dev/null
        blockdev --rereadpt /dev/ubda
        ls -d /dev/ubda?* | wc -l
        head -c 5 /dev/ubda18
    """
    problems = disks.problems_of(disks.guest(folder, script, f"ubd0={image}"), "18\n98:15\n259:0\n259:2\n18\nthere")
    with open(image, "rb") as file:
        file.seek(last * 512)
        if file.read(5) != b"there":
            problems.append("the last partition is not where its table says")
    return problems


def check_sectors(folder):
    """losetup -b: what programs and filesystems see, and that smaller transfers are refused."""
    image = os.path.join(folder, "image")
    with open(image, "wb") as file:
        file.truncate(16 * MIB + 512)
    script = f"""
        losetup -b 4096 /dev/loop0 {image}
        blockdev --getss --getpbsz --getsize64 /dev/loop0
        cat /sys/block/loop0/queue/logical_block_size
        if dd if=/dev/zero of=/dev/loop0 bs=512 count=1 oflag=direct 2> /dev/null; then echo small; fi
        head -c 1M /dev/urandom > {folder}/data
        dd if={folder}/data of=/dev/loop0 bs=4096 oflag=direct 2> /dev/null
        printf part | dd of=/dev/loop0 bs=1 seek=5000 conv=notrunc 2> /dev/null
        printf part | dd of={folder}/data bs=1 seek=5000 conv=notrunc 2> /dev/null
        losetup --sector-size 512 /dev/loop0
        blockdev --getss /dev/loop0
        head -c 1M /dev/loop0 | cmp - {folder}/data && echo same
        losetup --sector-size 700 /dev/loop0 2>&1 | sed 's/.*: //'
        losetup -d /dev/loop0
        losetup -b 100 /dev/loop0 {image} 2>&1 | sed 's/.*: //'
        losetup -b 2048 /dev/loop0 {image}
        losetup -d /dev/loop0
        blockdev --getss /dev/loop0
    """
    wanted = "\n".join(["4096", "4096", str(16 * MIB), "4096", "512", "same", "Invalid argument", "Invalid argument", "512", ""])
    return disks.problems_of(disks.guest(folder, script, limit=120), wanted)


def check_direct(folder):
    """losetup --direct-io: refused for a file in memory, and right on a file of the host and on a disk's filesystem."""
    image, disk = (os.path.join(folder, name) for name in ("image", "disk"))
    with open(image, "wb") as file:
        file.write(random.Random(3).randbytes(4 * MIB))
    with open(disk, "wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", disk], check=True)
    script = f"""
        losetup --direct-io=on /dev/loop0 {image}
        cat /sys/block/loop0/loop/dio
        cmp /dev/loop0 {image}
        losetup --direct-io=off /dev/loop0
        losetup -n -O DIO /dev/loop0 | tr -d ' '
        losetup -d /dev/loop0
        mkdir {folder}/mnt
        mount /dev/ubda {folder}/mnt
        head -c 8M /dev/zero > {folder}/mnt/file
        sync
        echo 3 > /proc/sys/vm/drop_caches
        losetup --direct-io=on /dev/loop0 {folder}/mnt/file
        cat /sys/block/loop0/loop/dio
        cat {folder}/mnt/file > /dev/null
        dd if={image} of=/dev/loop0 bs=64k oflag=direct conv=fsync 2> /dev/null
        fincore -n -o PAGES {folder}/mnt/file | tr -d ' '
        echo 3 > /proc/sys/vm/drop_caches
        head -c 4M /dev/loop0 | cmp - {image}
        losetup -d /dev/loop0
        umount {folder}/mnt
        mount -t tmpfs none {folder}/mnt
        head -c 1M /dev/zero > {folder}/mnt/file
        losetup /dev/loop0 {folder}/mnt/file
        losetup --direct-io=on /dev/loop0 2>&1 | sed 's/.*: //'
        losetup -d /dev/loop0
    """
    wanted = "1\n0\n1\n1024\nInvalid argument\n"
    return disks.problems_of(disks.guest(folder, script, f"ubd0={disk}", limit=120), wanted)


CHECKS = [check_partitions, check_changes, check_disk, check_sectors, check_direct]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/loops", CHECKS)
