"""Measures disks: ext4 of umk on an image beside the host's ext4 on a loop device of such an image.

Where the caller may not mount, the host's column is a directory of its own filesystem. Each row is prepared and timed on filesystems that were mounted for it,
natively and in a guest, one after the other; before a cold row the host's cache forgets both images. Each guest's image ends with e2fsck.
"""

import os
import re
import shutil
import statistics
import subprocess
import tarfile
import time

import boot
import harness
from measure import TIMED, descendants, memory_bytes, say

MIB = 1 << 20
FILES = 10000
IMAGE_BYTES = 1536 * MIB
DATA_MIB = 256
COMMITS = 200
MACHINES = 20
SHARED_MIB = 64

IMAGE, HOST = "image", "host"

# name, what runs before, what is timed, whether the caches are cold, the greatest ratio of times, what stands in the host's column
ROWS = [
    ("cached_read_64k", "", "{micro} --time {time} read_64k", False, 1.0, IMAGE),
    ("cached_read_4k", "", "{micro} --time {time} read_4k", False, None, IMAGE),
    ("sequential_write_fsync", "rm -f data", "{storage} write {mib}", False, 1 / 0.9, IMAGE),
    ("cold_read", "", "{storage} read", True, 1 / 0.9, IMAGE),
    ("create_write_unlink", "", "{storage} churn --time {time}0", False, 1 / 0.8, IMAGE),
    ("fsync", "", "{storage} fsync --time {time}0", False, 1 / 0.9, IMAGE),
    ("fdatasync", "", "{storage} fdatasync --time {time}0", False, 1 / 0.9, IMAGE),
    ("fsync, host fdatasync", "", "{storage} {sync} --time {time}0", False, 1 / 0.9, HOST),
    ("untar", "cat tree.tar >/dev/null", "tar xf tree.tar", False, 1.2, IMAGE),
    ("find", "find tree >/dev/null", "find tree -type f -newer tree.tar", False, 1.2, IMAGE),
    ("find, cold", "", "find tree -type f -newer tree.tar", True, 1.2, IMAGE),
    ("read_tree, cold", "", "cat tree/*/*", True, None, IMAGE),
    ("untar_sync", "rm -rf tree; sync; cat tree.tar >/dev/null", "tar xf tree.tar && sync", False, None, IMAGE),
    ("rm_r, cold", "cp -a tree copy; sync", "rm -r copy", True, None, IMAGE),
    ("rm_r", "find tree >/dev/null", "rm -r tree", False, 1.2, IMAGE),
    ("sqlite3_commits", "rm -f db; sqlite3 db 'create table t(a,b)'", "SQLITE", False, 1.15, IMAGE),
]


def make_tree(path):
    """A tar file of files of 0 to 16 KiB, 4 KiB on average, in a hundred directories."""
    class Zeroes:
        def read(self, count):
            return b"umk " * (count // 4) + b"umk "[:count % 4]
    with tarfile.open(path, "w") as tar:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"tree/directory-{number // 100:02}/file-{number}")
            entry.size = (number * 7919 % 128) ** 2
            entry.mtime = 1700000000
            tar.addfile(entry, Zeroes())


def forget(path):
    """The host's cache holds nothing of the file, or of the files in the directory, afterwards."""
    os.sync()
    names = [path] if os.path.isfile(path) else [os.path.join(place, name) for place, _, files in os.walk(path) for name in files]
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Native:
    """The host's ext4 on a loop device, or a directory of the host."""

    def __init__(self, folder, image, can_mount):
        self.image = image
        self.place = os.path.join(folder, "native")
        self.can_mount = can_mount
        os.makedirs(self.place, exist_ok=True)

    def run(self, script, limit):
        if self.can_mount:
            subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)
        try:
            return harness.run(["/bin/sh", "-c", f"cd {self.place} && {script}"], limit=limit)
        finally:
            if self.can_mount:
                subprocess.run(["umount", self.place], check=True)

    def forget(self):
        forget(self.image if self.can_mount else self.place)


class Guest:
    def __init__(self, folder, image):
        self.folder = folder
        self.image = image

    def run(self, script, limit):
        whole = f"mount -t ext4 /dev/ubda /mnt && cd /mnt && {{ {script}; }}; status=$?; cd /; umount /mnt; exit $status"
        return harness.run_guest(["/bin/sh", "-c", whole], limit=limit, switches=[f"ubd0={self.image}"])

    def forget(self):
        forget(self.image)


def may_mount(folder):
    """Whether images can be mounted here: as root, with a loop device."""
    image, place = os.path.join(folder, "probe.img"), os.path.join(folder, "probe")
    os.mkdir(place)
    with open(image, "wb") as file:
        file.truncate(16 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], stderr=subprocess.DEVNULL, check=False).returncode == 0
    if done:
        subprocess.run(["umount", place], check=True)
    os.unlink(image)
    return done


def make_images(folder, can_mount):
    top = os.path.join(folder, "top")
    os.mkdir(top)
    make_tree(os.path.join(top, "tree.tar"))
    images = []
    for name in ("native.img", "umk.img"):
        images.append(os.path.join(folder, name))
        if name == "native.img" and not can_mount:
            shutil.copytree(top, os.path.join(folder, "native"))
            continue
        with open(images[-1], "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", top, images[-1]], check=True)
    return images


def took(outcome, name, who):
    text = outcome.output.decode(errors="replace")
    found = re.search(r"took (\d+) status 0", text) or re.search(r"^read_\w+ ([\d.]+)$", text, re.M)
    if found and outcome.status == 0 and not outcome.timed_out:
        return float(found.group(1))
    say(f"   {who}: {name}: status {outcome.status}, {(outcome.error.decode(errors='replace') + text).strip()[-200:]}")
    return None


def file_rows(table, wanted, rounds, folder, programs, milliseconds):
    rows = [row for row in ROWS if wanted(row[0])]
    if not rows:
        return
    values = {row[0]: {"native": [], "umk": []} for row in rows}
    can_mount = may_mount(folder)
    print("native: " + ("ext4 of the host on a loop device" if can_mount else "a directory of the host's filesystem, as nothing can be mounted here"))
    last = max(ROWS.index(row) for row in rows)
    for number in range(rounds):
        native_image, image = make_images(folder, can_mount)
        native, guest = Native(folder, native_image, can_mount), Guest(folder, image)
        plain = Native(folder, None, False)
        plain.place = os.path.join(folder, "plain")
        os.makedirs(plain.place, exist_ok=True)
        made = set()
        for name, before, timed, is_cold, _, column in ROWS[:last + 1]:
            # What later rows need is made by these, wanted or not.
            needed = name in values or (name in ("sequential_write_fsync", "untar") and any(other in values for other in NEEDS[name]))
            if not needed:
                continue
            say(f"   {name}, round {number + 1} of {rounds}")
            made.add(name)
            for who, system in (("native", native if column == IMAGE else plain), ("umk", guest)):
                if is_cold and before:
                    system.run(before, 300)
                if is_cold:
                    system.forget()
                words = {"micro": os.path.join(programs, "micro"), "storage": os.path.join(programs, "storage"), "time": milliseconds, "mib": DATA_MIB,
                         "sync": "fdatasync" if who == "native" else "fsync"}
                if timed == "SQLITE":
                    script = TIMED.replace("SCRIPT", f"seq {COMMITS} | sed 's/.*/insert into t values(&, &*&);/' | sqlite3 db")
                elif timed.startswith("{"):
                    script = timed.format(**words)
                else:
                    script = TIMED.replace("SCRIPT", timed)
                outcome = system.run(f"{before or ':'}; {script}" if not is_cold else script, 300)
                figure = took(outcome, name, who)
                if figure is not None and name in values:
                    values[name][who].append(figure / COMMITS if timed == "SQLITE" else figure)
        checked = subprocess.run(["e2fsck", "-fn", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if checked.returncode != 0:
            print(f"e2fsck finds damage after round {number + 1}:\n" + checked.stdout.decode(errors="replace")[-800:], flush=True)
            table.missed.append("e2fsck")
        for name in ("top", "native", "plain"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        for path in (native_image, image):
            if os.path.exists(path):
                os.unlink(path)
    for name, _, _, _, target, _ in rows:
        table.row(name, values[name], target, target is not None)


NEEDS = {"sequential_write_fsync": ["cold_read"], "untar": ["find", "find, cold", "read_tree, cold", "rm_r, cold", "rm_r"]}


def used_bytes():
    """What of the host's memory is in use, its cache of files too."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":") for line in file)
    return (int(fields["MemTotal"].split()[0]) - int(fields["MemFree"].split()[0])) * 1024


def shared_image_row(table, wanted, folder):
    """How often the data of one read-only image is in the host's memory when many machines read it."""
    name = f"{MACHINES}_on_one_image"
    if not wanted(name):
        return
    image, top = os.path.join(folder, "shared.img"), os.path.join(folder, "shared")
    os.mkdir(top)
    with open(os.path.join(top, "data"), "wb") as file:
        file.write(os.urandom(SHARED_MIB * MIB))
    with open(image, "wb") as file:
        file.truncate((SHARED_MIB + 64) * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", top, image], check=True)

    def machines(script):
        """Memory that is used, and that the machines' processes have, while they all have run the script."""
        script = f"mount -t ext4 -o ro /dev/ubda /mnt && {script}; echo ready; exec sleep 1000"
        running = [subprocess.Popen(harness.guest_command(["/bin/sh", "-c", script], switches=[f"ubd0r={image}"]), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(MACHINES)]
        try:
            if any(b"ready" not in machine.stdout.readline() for machine in running):
                return None
            time.sleep(1)
            return used_bytes(), memory_bytes([pid for machine in running for pid in descendants(machine.pid)])
        finally:
            for machine in running:
                harness.kill_tree(machine.pid)
                machine.wait()
                machine.stdout.close()
            harness.reap_leftovers(patience=2.0)

    forget(image)
    before = machines("true")
    forget(image)
    # By read(2) and by a mapping: both ways that data comes to programs.
    after = machines("cat /mnt/data >/dev/null && grep -c no-such-text /mnt/data >/dev/null; true")
    if before and after:
        data = SHARED_MIB * MIB
        table.single(name, (after[0] - before[0]) / data, 1.5, "copies", f"of {SHARED_MIB} MiB by free; {(after[1] - before[1]) / data:.2f} in the machines by smaps")
    else:
        table.single(name, None, 1.5, "copies")


def boot_row(table, wanted, rounds, folder, source):
    if not wanted("debian_boot"):
        return
    image = os.environ.get("UMK_BENCH_DEBIAN", os.path.join(source, "build/bench-debian.img"))
    if not os.path.exists(image):
        say(f"   making {image}")
        made = subprocess.run([os.path.join(source, "dev"), "root", "debian", image], stdout=subprocess.DEVNULL, check=False)
        if made.returncode != 0:
            table.single("debian_boot", None, 1.5, "s", "no image: ./dev root debian failed")
            return
    times = []
    for number in range(rounds):
        cow = os.path.join(folder, f"debian-{number}.cow")
        start = time.monotonic()
        try:
            with boot.Terminal([harness.UMK, f"ubd0={cow},{image}", "mem=512M"]) as terminal:
                terminal.expect(r"login: ?$", 60)
                times.append(time.monotonic() - start)
                terminal.type("root\n")
                terminal.expect(rb"# $", 20)
                terminal.type("poweroff\n")
                terminal.end(30)
        except AssertionError as problem:
            say(f"   debian_boot: {problem}")
    table.single("debian_boot", statistics.median(times) if times else None, 1.5, "s", "from image to login")


def run(table, wanted, rounds, folder, programs, milliseconds, source):
    file_rows(table, wanted, rounds, folder, programs, milliseconds)
    shared_image_row(table, wanted, folder)
    boot_row(table, wanted, rounds, folder, source)
