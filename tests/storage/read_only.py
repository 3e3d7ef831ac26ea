"""Read-only images in the guest: squashfs and ISO 9660 by Debian's tools, on loop devices and disks, and as the root."""

import os
import random
import shutil
import subprocess

import disks
import harness

MIB = 1 << 20

# What a tree holds, for a shell in it. Directories differ in size and links between filesystems.
DESCRIBE = r"""
    find . -type d -printf '%y %m %U:%G {time} %p\n' , ! -type d -printf '%y %m %U:%G {links} %s {time} %l %p\n' | grep -v rr_moved | sort
    find . -type f -print0 | sort -z | xargs -0 md5sum
"""


def make_tree(folder, deep=False):
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "bin"))
    os.makedirs(os.path.join(tree, "a/b/c"))
    os.makedirs(os.path.join(tree, "many"))
    if deep:
        os.makedirs(os.path.join(tree, "1/2/3/4/5/6/7/8/9/10/11"))
        with open(os.path.join(tree, "1/2/3/4/5/6/7/8/9/10/11/deep"), "w") as file:
            file.write("deep\n")
    generator = random.Random(5)

    def put(name, data):
        with open(os.path.join(tree, name), "wb") as file:
            file.write(data)

    put("empty", b"")
    put("small", b"hello\n")
    put("noise", generator.randbytes(3 * MIB + 17))
    put("text", b"".join(b"line %d of some text\n" % generator.randrange(1000) for _ in range(100000)))
    put("holes", b"\0" * (2 * MIB) + generator.randbytes(5000) + b"\0" * MIB)
    put("a/b/c/a name with Letters and dots..txt", b"x" * 5000)
    for number in range(1500):
        put(f"many/{number:05} is a name that is not short", b"%d\n" % number)
    shutil.copy("/bin/busybox", os.path.join(tree, "bin/busybox"))
    os.link(os.path.join(tree, "small"), os.path.join(tree, "another name"))
    os.symlink("../small", os.path.join(tree, "a/link"))
    os.symlink("/long" * 20, os.path.join(tree, "a/long"))
    os.mkfifo(os.path.join(tree, "fifo"))
    os.chmod(os.path.join(tree, "text"), 0o4751)
    if os.geteuid() == 0:
        os.mknod(os.path.join(tree, "null"), 0o020666, os.makedev(1, 3))
        os.chown(os.path.join(tree, "noise"), 1000, 70000)
    for path, _, names in os.walk(tree):
        for name in names:
            os.utime(os.path.join(path, name), (1600000000, 1600000000), follow_symlinks=False)
        os.utime(path, (1600000000, 1600000000))
    return tree


def describe(tree, script):
    return subprocess.run(["/bin/sh", "-ec", script], cwd=tree, capture_output=True, text=True, check=True).stdout


def compare(folder, image, tree, links="%n", time="%Ts", options="", type_name=""):
    """Mounts an image by a loop device and as a disk, and compares it with its tree."""
    script = DESCRIBE.replace("{links}", links).replace("{time}", time)
    wanted = describe(tree, script)
    place = os.path.join(folder, "mount")
    os.makedirs(place, exist_ok=True)
    problems = []
    for source in (f"-o loop,ro{options} {image}", f"-o ro{options} /dev/ubda"):
        shell = f"mount {type_name} {source} {place}; cd {place}; {script} cd /; umount {place}; test -z \"$(losetup -n -l)\""
        found = disks.problems_of(disks.guest(folder, shell, f"ubd0r={image}", limit=180), wanted)
        problems += [f"mount {source}:"] + found if found else []
    return problems


def mksquashfs(tree, image, *options):
    if os.path.exists(image):
        os.remove(image)
    subprocess.run(["mksquashfs", tree, image, "-noappend", "-quiet", "-processors", "2", *options], check=True, stdout=subprocess.DEVNULL)


def check_squashfs(folder):
    """Each compressor, with the sizes of blocks that it has in practice."""
    tree, image = make_tree(folder), os.path.join(folder, "image")
    problems = []
    for options in (["-comp", "gzip"], ["-comp", "zstd", "-b", "1M"], ["-comp", "xz", "-Xbcj", "x86"], ["-comp", "lz4", "-no-fragments", "-b", "4096"], ["-comp", "lzo"]):
        mksquashfs(tree, image, *options)
        found = compare(folder, image, tree)
        problems += [" ".join(options)] + found if found else []
    return problems


def check_squashfs_behaviour(folder):
    """Read-only whatever is asked for, statfs, attributes, programs that run from it, and reading from many places at once."""
    tree, image = make_tree(folder), os.path.join(folder, "image")
    has_attributes = True
    try:
        os.setxattr(os.path.join(tree, "small"), "user.colour", b"green")
    except OSError:
        has_attributes = False
    mksquashfs(tree, image)
    place = os.path.join(folder, "mount")
    os.makedirs(place)
    script = f"""
        mount -t squashfs -o loop,rw {image} {place} 2> /dev/null
        grep {place} /proc/mounts | cut -d' ' -f3,4
        touch {place}/new 2>&1 | sed 's/.*: //'
        rm {place}/small 2>&1 | sed 's/.*: //'
        stat -f -c '%T %s %a %f %l' {place}
        stat -c %w {place}/small
        {place}/bin/busybox echo runs
        for i in 1 2 3 4; do md5sum < {place}/noise & done | sort -u | wc -l
        echo 3 > /proc/sys/vm/drop_caches
        cmp {place}/text {tree}/text
        python3 -c 'import os, sys
try: print(os.getxattr(sys.argv[1], "user.colour"))
except OSError as e: print(e.errno)
f = open(sys.argv[2], "rb")
m = __import__("mmap").mmap(f.fileno(), 0, prot=1)
print(len(m), m[-5000 - (1 << 20):-(1 << 20)] == open(sys.argv[3], "rb").read()[-5000 - (1 << 20):-(1 << 20)])' {place}/small {place}/holes {tree}/holes
        umount {place}
        mountpoint -q {place} && echo still mounted
        true
    """
    size = 3 * MIB + 5000
    attribute = "b'green'" if has_attributes else "61"
    wanted = f"squashfs ro,relatime,errors=continue\nRead-only file system\nRead-only file system\nsquashfs 131072 0 0 256\n-\nruns\n1\n{attribute}\n{size} True\n"
    return disks.problems_of(disks.guest(folder, script, limit=120), wanted)


def check_iso9660(folder):
    """Rock Ridge by both programs, with what is too deep for the format."""
    tree, image = make_tree(folder, deep=True), os.path.join(folder, "image")
    problems = []
    for command in (["genisoimage", "-quiet", "-R", "-hide-rr-moved"], ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-joliet-long"]):
        subprocess.run(command + ["-o", image, tree], check=True, stderr=subprocess.DEVNULL)
        # A record of its own for each name: what links say depends on who wrote them.
        found = compare(folder, image, tree, links="-")
        problems += [" ".join(command)] + found if found else []
    return problems


def check_iso9660_behaviour(folder):
    """The type is found, writing refused, options shown as on Linux, Joliet and plain names."""
    tree, image, place = (os.path.join(folder, name) for name in ("tree", "image", "mount"))
    os.makedirs(os.path.join(tree, "Dir"))
    os.makedirs(place)
    with open(os.path.join(tree, "Dir", "A longer Name.txt"), "w") as file:
        file.write("content\n")
    subprocess.run(["genisoimage", "-quiet", "-R", "-J", "-o", image, tree], check=True, stderr=subprocess.DEVNULL)
    show = f"cut -d' ' -f2-4 /proc/mounts | grep {place} | cut -d' ' -f2-; ls -R {place} | tail -n 1"
    script = f"""
        mount -o loop {image} {place} 2>&1 | sed 's/.*: //'
        {show}
        stat -f -c '%T %s %a' {place}
        touch {place}/new 2>&1 | sed 's/.*: //'
        umount {place}
        mount -o loop,ro,norock,uid=3,mode=0400 {image} {place}
        {show}
        stat -c '%a %u' {place}/Dir/*
        umount {place}
        mount -o loop,ro,norock,nojoliet {image} {place}
        {show}
        cat {place}/dir/*
        umount {place}
        mount -t iso9660 -o loop,rw {image} {place} 2>&1 | sed 's/.*: //'
        mount -t iso9660 -o loop,ro,nonsense {image} {place} 2> /dev/null || echo refused
    """
    wanted = "\n".join([
        "source write-protected, mounted read-only.", "iso9660 ro,relatime,nojoliet,check=s,map=n,blocksize=2048", "A longer Name.txt", "isofs 2048 0", "Read-only file system",
        "iso9660 ro,relatime,norock,check=s,map=n,blocksize=2048,uid=3,fmode=400,iocharset=utf8", "A longer Name.txt", "400 3",
        "iso9660 ro,relatime,norock,check=s,map=n,blocksize=2048", "a_longer.txt", "content", "cannot mount", "refused", ""])
    outcome = disks.guest(folder, script)
    # mount(8) tells the write protection only when it was not asked to write.
    wanted = wanted.replace("cannot mount\n", outcome.output.decode(errors="replace").splitlines()[-2] + "\n" if outcome.output.count(b"\n") > 2 else "")
    return disks.problems_of(outcome, wanted)


def check_root(folder):
    """A system that runs from an image: the short way, and as User Mode Linux is started."""
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "bin"))
    for name in ("dev", "proc", "sys", "tmp"):
        os.makedirs(os.path.join(tree, name))
    shutil.copy("/bin/busybox", os.path.join(tree, "bin/busybox"))
    os.symlink("busybox", os.path.join(tree, "bin/sh"))
    squashfs, iso = os.path.join(folder, "squashfs"), os.path.join(folder, "iso")
    mksquashfs(tree, squashfs, "-comp", "zstd")
    subprocess.run(["genisoimage", "-quiet", "-R", "-o", iso, tree], check=True, stderr=subprocess.DEVNULL)
    problems = []
    busybox = "/bin/busybox"
    shown = f"{busybox} grep ' / ' /proc/mounts | {busybox} cut -d' ' -f1,3,4 | {busybox} cut -d, -f1"
    for image, type_name in ((squashfs, "squashfs"), (iso, "iso9660")):
        problems += disks.problems_of(harness.run_guest([busybox, "sh", "-ec", shown], root=image), f"/dev/root {type_name} ro\n")
        script = f"{busybox} mount -t proc proc /proc; {shown}; {busybox} poweroff -f"
        command = [harness.UMK, "quiet", f"ubd0={image}", "root=/dev/ubda", f"rootfstype={type_name}", "ro", f"init={busybox}", "--", "sh", "-c", script]
        outcome = harness.run(command, cwd=folder)
        if outcome.status != 0 or f"/dev/root {type_name} ro" not in outcome.output.decode(errors="replace"):
            problems += [f"{type_name} as root: exit status {outcome.status}"] + harness.tail(outcome.output + outcome.error)
    return problems


CHECKS = [check_squashfs, check_squashfs_behaviour, check_iso9660, check_iso9660_behaviour, check_root]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "storage/read_only", CHECKS)
