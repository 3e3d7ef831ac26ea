"""File systems on disks against models in memory: programs change files and trees at random and know what must be there. The same programs run here first, on
the host's own file system. Each run ends with `e2fsck -fn`, and with the host's kernel (or debugfs, where mounting is not allowed) reading back what umk wrote."""

import os
import stat
import subprocess
import tempfile
import zlib

import harness

MIB = 1 << 20
KINDS = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}


def program(name, *words):
    return [os.path.join(harness.PROGRAMS, "storage", name)] + [str(word) for word in words]


def make_disk(folder, size, features):
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-m", "0", *features.split(), image], check=True)
    return image


def checked(image):
    """What e2fsck finds."""
    done = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else ["e2fsck: " + done.stdout[-800:] + done.stderr[-200:]]


class ReadBack:
    """The files of an image in a directory: mounted by the host's kernel for root, else as debugfs copies them out."""

    def __init__(self, image, folder):
        self.place = os.path.join(folder, "readback")
        os.makedirs(self.place, exist_ok=True)
        self.is_mounted = False
        if os.geteuid() == 0:
            done = subprocess.run(["mount", "-t", "ext4", "-o", "ro,loop", image, self.place], capture_output=True, text=True, check=False)
            self.is_mounted = done.returncode == 0
        if not self.is_mounted:
            subprocess.run(["debugfs", "-R", f"rdump / {self.place}", image], capture_output=True, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.is_mounted:
            subprocess.run(["umount", self.place], check=True)


def contents(path, status):
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return file.read()
    return os.readlink(path).encode() if stat.S_ISLNK(status.st_mode) else b""


def attributes_of(path, status):
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return b""
    names = sorted(name for name in os.listxattr(path) if name.startswith("user.a"))
    return b"".join(name.encode() + b"=" + os.getxattr(path, name) + b";" for name in names)


def line_of(top, path):
    """A file as tree_model prints it."""
    full = os.path.join(top, path)
    status = os.lstat(full)
    data = contents(full, status)
    mode = status.st_mode
    return (f"{path} {KINDS.get(stat.S_IFMT(mode), '?')} {mode & 0o7777:o} {status.st_uid}:{status.st_gid} {status.st_nlink} {len(data)}"
            f" {zlib.crc32(data):08x} {zlib.crc32(attributes_of(full, status)):08x}")


def paths_below(top, path):
    yield path
    full = os.path.join(top, path)
    if not os.path.islink(full) and os.path.isdir(full):
        for name in sorted(os.listdir(full)):
            yield from paths_below(top, os.path.join(path, name))


def host_lines(place, is_mounted):
    """All trees that the host sees, as tree_model prints them."""
    lines = [line_of(place, path) for top in os.listdir(place) if top.startswith("tree") for path in paths_below(place, top)]
    return lines if is_mounted else essentials(lines)


def essentials(lines):
    """What debugfs copies out: no owners, modes and attributes, and no FIFOs."""
    found = []
    for line in lines:
        path, kind, _, _, _, size, checksum, _ = line.split(" ")
        if kind in "-dl":
            found.append(f"{path} {kind} {size if kind in '-l' else ''} {checksum}")
    return found


def run_in_guest(folder, image, command, kind, *switches, limit=300, options=""):
    mount = os.path.join(folder, "mount")
    os.makedirs(mount, exist_ok=True)
    script = f'mount -t {kind} {options} /dev/ubda {mount}; cd {mount}; "$@"; cd /; umount {mount}'
    return harness.run_guest(["/bin/sh", "-ec", script, "sh", *command], limit=limit, switches=[f"ubd0={image}", *switches])


def run_here(command, limit=300):
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        outcome = harness.run(command, cwd=folder, limit=limit)
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
    return outcome


def outcome_problems(outcome, where):
    problems = []
    if outcome.timed_out:
        problems.append(f"{where}: stopped at its time limit")
    if outcome.status != 0 or not outcome.output.endswith(b"done\n"):
        problems += [f"{where}: exit status {outcome.status}"] + harness.tail(outcome.output, 10) + harness.tail(outcome.error, 60)
    if outcome.leftovers:
        problems.append("left behind: " + ", ".join(outcome.leftovers))
    return problems


def lines_of(outcome, refused):
    lines = outcome.output.decode(errors="replace").splitlines()[:-1]
    return sorted(line for line in lines if line.startswith("refused: ") == refused)


def difference(what, wanted, got):
    return [] if wanted == got else [f"{what}\n" + harness.differences(wanted, got)]


def run_both(folder, image, command, kind, switches, options):
    native = run_here(command)
    guest = run_in_guest(folder, image, command, kind, *switches, options=options)
    return native, guest, outcome_problems(native, "here") + outcome_problems(guest, "guest")


def check_files(folder, command, features, kind="ext4", size=64 * MIB, switches=(), options=""):
    image = make_disk(folder, size, features)
    native, guest, problems = run_both(folder, image, command, kind, switches, options)
    if problems:
        return problems + checked(image)
    lines = lines_of(guest, False)
    # Where both can do the same they have done the same.
    if lines_of(native, True) == lines_of(guest, True):
        problems += difference("here and in the guest", lines_of(native, False), lines)
    problems += checked(image)
    with ReadBack(image, folder) as back:
        got = []
        for name in sorted(os.listdir(back.place)):
            if name.startswith("file"):
                with open(os.path.join(back.place, name), "rb") as file:
                    data = file.read()
                got.append(f"{name} {len(data)} {zlib.crc32(data):08x}")
        problems += difference("what the host reads", lines, sorted(got))
    return problems


def check_trees(folder, command, features, kind="ext4", size=64 * MIB, switches=(), options=""):
    image = make_disk(folder, size, features)
    native, guest, problems = run_both(folder, image, command, kind, switches, options)
    if problems:
        return problems + checked(image)
    lines = lines_of(guest, False)
    if os.geteuid() == 0:
        problems += difference("here and in the guest", lines_of(native, False), lines)
    problems += checked(image)
    with ReadBack(image, folder) as back:
        wanted = lines if back.is_mounted else essentials(lines)
        problems += difference("what the host reads", sorted(wanted), sorted(host_lines(back.place, back.is_mounted)))
    return problems


def check_crowd(folder, command, features, kind="ext4", size=64 * MIB, switches=(), options=""):
    problems = [] if "full" in command else outcome_problems(run_here(command), "here")
    image = make_disk(folder, size, features)
    guest = run_in_guest(folder, image, command, kind, *switches, options=options)
    problems += outcome_problems(guest, "guest") + checked(image)
    if not problems:
        with ReadBack(image, folder) as back:
            for path in paths_below(back.place, "shared"):
                line_of(back.place, path)  # all can be read
    return problems


SMALL_BLOCKS = "-t ext4 -b 1024 -N 20000"
SMALL_MEMORY = ["mem=64M"]
TESTS = {
    "files": lambda f, seed, n: check_files(f, program("file_model", seed, 2500 * n, 4, 500_000), "-t ext4"),
    "files_small_blocks": lambda f, seed, n: check_files(f, program("file_model", seed, 2500 * n, 4, 500_000), SMALL_BLOCKS),
    "files_ext3": lambda f, seed, n: check_files(f, program("file_model", seed, 1500 * n, 4, 500_000), "-t ext3", "ext3"),
    "files_ext2": lambda f, seed, n: check_files(f, program("file_model", seed, 1500 * n, 4, 500_000), "-t ext2 -b 1024", "ext2"),
    "files_little_memory": lambda f, seed, n: check_files(f, program("file_model", seed, 1500 * n, 5, 2_000_000), "-t ext4", switches=SMALL_MEMORY),
    "trees": lambda f, seed, n: check_trees(f, program("tree_model", seed, 2500 * n, 2), "-t ext4 -N 40000"),
    "trees_small_blocks": lambda f, seed, n: check_trees(f, program("tree_model", seed, 2000 * n, 2), SMALL_BLOCKS + " -O ^metadata_csum"),
    "trees_ext3": lambda f, seed, n: check_trees(f, program("tree_model", seed, 1500 * n, 2), "-t ext3 -N 40000", "ext3"),
    "trees_ext2": lambda f, seed, n: check_trees(f, program("tree_model", seed, 1500 * n, 2), "-t ext2 -b 1024 -N 20000", "ext2"),
    "trees_little_memory": lambda f, seed, n: check_trees(f, program("tree_model", seed, 2000 * n, 4), "-t ext4 -N 40000", switches=SMALL_MEMORY),
    "trees_small_journal": lambda f, seed, n: check_trees(f, program("tree_model", seed, 2000 * n, 4), "-t ext4 -b 1024 -J size=1 -O orphan_file -N 40000"),
    "crowd": lambda f, seed, n: check_crowd(f, program("tree_crowd", seed, 6000 * n, 8), "-t ext4", size=128 * MIB),
    "crowd_ext2": lambda f, seed, n: check_crowd(f, program("tree_crowd", seed, 3000 * n, 4), "-t ext2", "ext2"),
    "crowd_on_a_full_disk": lambda f, seed, n: check_crowd(f, program("tree_crowd", seed, 6000 * n, 6, "full"), "-t ext4 -b 1024", size=4 * MIB),
}


def run_all(report, wanted, long):
    """With --all: more seeds, longer runs."""
    for name, test in TESTS.items():
        title = "storage/models/" + name
        if wanted(title):
            harness.run_check(report, title, lambda folder, seed, test=test: test(folder, seed, 8 if long else 1), range(1, 9 if long else 2))
