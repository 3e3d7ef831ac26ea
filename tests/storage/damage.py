"""Damaged disks: images with wrong bytes in them are mounted, read, changed and unmounted. Whatever is refused, no machine panics, hangs or loses a process."""

import os
import random
import subprocess
import tempfile
import time

import harness

MIB = 1 << 20
DISKS = 20  # a machine
FEATURES = ["-t ext4 -b 1024 -O ^metadata_csum", "-t ext4 -b 4096 -O ^metadata_csum", "-t ext2 -b 1024", "-t ext3 -b 1024 -I 128", "-t ext4 -b 1024",
            "-t ext4 -b 1024 -O ^metadata_csum,^flex_bg,^64bit,orphan_file", "-t ext4 -b 2048 -O ^metadata_csum"]

# Every command may fail; none may take long.
SCRIPT = """
exec 2> /dev/null
mkdir -p $1
for disk in {disks}; do
  timeout -s KILL 20 mount -t ext4 -o errors=continue /dev/$disk $1; test $? = 137 && echo "$disk: mount hangs"
  timeout -s KILL 40 sh -c '
    cd $0
    ls -lR > /dev/null; ls -lR > /dev/null
    find . -type f -size -2000k | head -n 300 | xargs cat > /dev/null
    find . | head -n 300 | xargs getfattr -d > /dev/null
    mkdir new; for i in 1 2 3 4 5 6 7 8 9; do echo $i > new/f$i; echo more >> d$i/f$i; mv d$i/f1 d$((i / 2))/moved$i; done
    dd if=/dev/zero of=new/large bs=64k count=40
    : > d3/f5
    rm -rf d1 d2 deep
    ln -s x d4/link; ln d4/f2 d5/linked; setfattr -n user.x -v y d4/f3
    sync
  ' $1
  test $? = 137 && echo "$disk: work hangs"
  for i in 1 2 3 4 5; do umount $1 && break; grep -q " $1 " /proc/mounts || break; sleep 0.2; done
  grep " $1 " /proc/mounts && echo "$disk: stays mounted"
done
echo done
"""


def make_tree(tree):
    chance = random.Random(1)
    for i in range(1, 13):
        os.makedirs(f"{tree}/d{i}")
        for k in range(1, 16):
            with open(f"{tree}/d{i}/f{k}", "wb") as file:
                file.write(chance.randbytes(chance.choice([0, 10, 900, 5000, 40000])))
        os.symlink("target" * chance.choice([1, 20]), f"{tree}/d{i}/link{i}")
    os.makedirs(f"{tree}/deep/1/2/3/4/5/6")
    os.makedirs(f"{tree}/many")
    for i in range(400):
        with open(f"{tree}/many/a_name_that_is_not_short_{i}", "wb"):
            pass
    with open(f"{tree}/sparse", "wb") as file:
        for i in range(60):
            file.seek(i * 20000)
            file.write(b"x" * 100)


def used_blocks(image):
    """What holds something, with its size, so that damage hits it."""
    listing = subprocess.run(["dumpe2fs", image], capture_output=True, text=True, errors="replace", check=True).stdout
    size = int(next(line.split()[2] for line in listing.splitlines() if line.startswith("Block size:")))
    free = set()
    for line in listing.splitlines():
        if line.startswith("  Free blocks: "):
            for part in line[15:].replace(",", " ").split():
                first, _, last = part.partition("-")
                free |= set(range(int(first), int(last or first) + 1))
    return size, [block for block in range(os.path.getsize(image) // size) if block not in free]


def damage(image, blocks, size, chance):
    """A few wrong places: bits, words of special values, whole blocks of somewhere else."""
    with open(image, "r+b") as file:
        for _ in range(chance.choice([1, 2, 5, 20, 100])):
            # The first blocks describe all others.
            block = chance.choice(blocks[:60]) if chance.random() < 0.5 else chance.choice(blocks)
            place = block * size + chance.randrange(size)
            kind = chance.randrange(5)
            file.seek(place)
            if kind == 0:
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << chance.randrange(8)]))
            elif kind == 1:
                file.write(chance.choice([b"\xff\xff", b"\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\1\0\0\0", b"\xff" * 8, b"\0" * 64]))
            elif kind == 2:
                file.write(chance.randbytes(chance.choice([1, 2, 4, 32])))
            elif kind == 3:
                file.seek(chance.choice(blocks) * size)
                other = file.read(size)
                file.seek(block * size)
                file.write(other)
            else:
                file.write(chance.choice(blocks).to_bytes(4, "little"))


def one_machine(folder, fresh, seed):
    chance = random.Random(seed)
    switches = []
    names = []
    for i in range(DISKS):
        source, blocks, size = fresh[chance.randrange(len(fresh))]
        image = os.path.join(folder, f"disk{i}")
        subprocess.run(["cp", "--sparse=always", source, image], check=True)
        damage(image, blocks, size, chance)
        switches.append(f"ubd{i}={image}")
        names.append(f"ubd{chr(97 + i)}")
    outcome = harness.run_guest(["/bin/sh", "-c", SCRIPT.format(disks=" ".join(names)), "sh", os.path.join(folder, "mount")], limit=300, switches=switches)
    problems = []
    if outcome.timed_out:
        problems.append("stopped at its time limit")
    if outcome.status != 0 or outcome.output != b"done\n":
        problems += [f"exit status {outcome.status}"] + harness.tail(outcome.output + outcome.error, 40)
    if outcome.leftovers:
        problems.append("left behind: " + ", ".join(outcome.leftovers))
    return problems


def run_all(report, wanted, long):
    """With --all: two thousand disks. UMK_DAMAGE_SEED says from where."""
    title = "storage/damage"
    if not wanted(title):
        return
    start = time.monotonic()
    problems = []
    first = int(os.environ.get("UMK_DAMAGE_SEED", "1"))
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        make_tree(f"{folder}/tree")
        fresh = []
        for i, features in enumerate(FEATURES):
            image = os.path.join(folder, f"fresh{i}")
            with open(image, "wb") as file:
                file.truncate(12 * MIB)
            subprocess.run(["mke2fs", "-q", "-F", "-N", "1500", *features.split(), "-d", f"{folder}/tree", image], check=True, capture_output=True)
            size, blocks = used_blocks(image)
            fresh.append((image, blocks, size))
        for seed in range(first, first + (100 if long else 2)):
            try:
                found = one_machine(folder, fresh, seed)
            except (OSError, subprocess.SubprocessError) as problem:
                found = [f"{type(problem).__name__}: {problem}"]
            if found:
                problems += [f"seed {seed}:"] + found
                break
    report.add(title, problems, seconds=time.monotonic() - start)
