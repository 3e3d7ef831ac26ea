"""Disks that fail while a guest uses them: an error at each n-th request, a full host, images that shrink, grow and vanish. The guest sees an error and the log
tells it, nothing hangs, and what was synced with success is there afterwards."""

import errno
import os
import signal
import subprocess

import crashes
import harness

MIB = 1 << 20
FILES = 6
SIZE = 30000

# Says which files were synced with success. What fails in between is allowed to fail.
WORK = f"""
for i in $(seq 1 {FILES}); do
  mkdir d$i
  yes file$i | head -c {SIZE} | dd of=d$i/f bs={SIZE} iflag=fullblock conv=fsync status=none && echo synced $i
  cat d$((i / 2))/f | wc -c
done
"""

# The same on a disk with files, of which nothing is cached.
READING_WORK = """
echo 3 > /proc/sys/vm/drop_caches
ls -lR > /dev/null
cat t*/* | wc -c
rm -r t1 t2
mv t3/f1 t4/moved
echo more >> t5/f2
""" + WORK


def make_tree(folder):
    tree = os.path.join(folder, "tree")
    for i in range(10):
        os.makedirs(os.path.join(tree, f"t{i}"))
        for k in range(12):
            with open(os.path.join(tree, f"t{i}", f"f{k}"), "w") as file:
                file.write(f"{i} {k}\n" * 900)
    return tree


def is_told(output):
    return b"I/O error" in output or b"No space left" in output or b"error -" in output or b"EIO" in output or b"ubda: " in output


def run_with(folder, disk, image, prepare=None, script=WORK, limit=60):
    """Mounts the disk, then does what is to be done to it, then works. Returns output with the kernel's log, and status; None for a machine that hangs."""
    mount = os.path.join(folder, "mount")
    full = f"mount -t ext4 /dev/ubda {mount}; cd {mount}; echo ready; read line; set +e; {script}\ncd /; umount {mount}; echo umounted $?; echo log; dmesg"
    words = crashes.guest_words(folder, full, f"ubd0={image}")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
        try:
            if machine.stdout.readline() != b"ready\n":
                return machine.communicate(timeout=limit)[0], 99
            if prepare:
                prepare()
            output = machine.communicate(b"go\n", timeout=limit)[0]
        except subprocess.TimeoutExpired:
            machine.send_signal(signal.SIGKILL)
            return machine.communicate()[0], None
        return output, machine.returncode


def synced_problems(folder, behind, output):
    """What was synced with success must be there after e2fsck, which must find nothing but the note of an error."""
    copy = os.path.join(folder, "copy")
    subprocess.run(["cp", "--sparse=always", behind, copy], check=True)
    done = subprocess.run(["e2fsck", "-fy", copy], capture_output=True, text=True, errors="replace", check=False)
    problems = []
    if done.returncode > 1 or "yes\n" in done.stdout:
        problems.append(f"e2fsck -fy: {done.returncode}: {done.stdout[-800:]}")
    for line in output.decode(errors="replace").splitlines():
        if line.startswith("synced "):
            number = line.split()[1]
            data = subprocess.run(["debugfs", "-R", f"cat /d{number}/f", copy], capture_output=True, check=False).stdout
            wanted = (f"file{number}\n" * SIZE).encode()[:SIZE]
            if data != wanted:
                problems.append(f"file {number} was synced with success, and has {len(data)} bytes now")
    return problems


def each_request(folder, operation, points, count):
    """Requests fail, from the n-th on or just that one, for several n."""
    with crashes.Disk(folder) as disk:
        image = disk.make_image("disk", 24 * MIB, f"-t ext4 -J size=4 -d {make_tree(folder)}")
        script = READING_WORK if operation == "read" else WORK
        behind = os.path.join(disk.behind, "disk")
        fresh = os.path.join(folder, "fresh")
        subprocess.run(["cp", "--sparse=always", behind, fresh], check=True)
        before = []
        output, status = run_with(folder, disk, image, lambda: before.append(disk.counts()), script)
        after = disk.counts()
        if status != 0 or output.count(b"synced ") != FILES:
            return [f"without any fault: status {status}"] + harness.tail(output)
        total = after[operation + "s"] - before[0][operation + "s"]
        disk.tell("crash none 1")
        step = max(1, total // points)
        problems = []
        for first in range(1, total + 1, step):
            with open(fresh, "rb") as source, open(behind, "r+b") as target:
                target.write(source.read())
            output, status = run_with(folder, disk, image, lambda n=first: disk.tell(f"fail {operation} {n} {count} {errno.EIO}"), script)
            disk.tell("mend")
            disk.tell("crash none 1")
            found = [] if status is not None else ["it hangs"]
            if status not in (0, None):
                found.append(f"exit status {status}")
            if b"log\n" in output and not is_told(output.split(b"log\n", 1)[1]):
                found.append("the kernel's log does not tell")
            found += synced_problems(folder, behind, output)
            if found:
                problems += [f"{operation} {first} of {total}:"] + found + harness.tail(output, 12)
                break
        return problems


def full_host(code):
    """The host takes no more: writes of the guest fail when they are synced, until there is room again."""
    def check(folder):
        with crashes.Disk(folder) as disk:
            image = disk.make_image("disk", 64 * MIB, "-t ext4 -E lazy_itable_init=1")
            behind = os.path.join(disk.behind, "disk")
            script = ("dd if=/dev/zero bs=1M count=1 status=none | tr '\\000' x > small; sync small && echo small is synced; "
                      "dd if=/dev/zero bs=1M count=20 status=none | tr '\\000' y | dd of=large bs=1M iflag=fullblock conv=fsync status=none || echo large fails; cat small | wc -c")
            output, status = run_with(folder, disk, image, lambda: disk.tell(f"room {8 * MIB} {code}"), script)
            problems = [] if status == 0 else [f"status {status}"] + harness.tail(output, 12)
            shown, log = (output.split(b"log\n", 1) + [b""])[:2]
            if b"small is synced" not in shown or b"large fails" not in shown or f"{MIB}\n".encode() not in shown:
                problems += ["the guest sees:"] + harness.tail(shown, 12)
            if not is_told(log):
                problems += ["the log does not tell:"] + harness.tail(log, 8)
            disk.tell("mend")
            disk.tell("crash none 1")
            output, status = run_with(folder, disk, image, None, "md5sum small; rm -f large; head -c 3000000 /dev/urandom > other; sync other && echo again")
            if status != 0 or b"again\n" not in output:
                problems += [f"with room again: status {status}"] + harness.tail(output, 12)
            disk.tell("crash none 1")
            done = subprocess.run(["e2fsck", "-fy", behind], capture_output=True, text=True, errors="replace", check=False)
            if done.returncode > 1 or "yes\n" in done.stdout:
                problems.append(f"e2fsck -fy: {done.returncode}: {done.stdout[-800:]}")
            return problems
    return check


def check_shrinks(folder):
    """An image that was cut while it is mounted: what is behind its end gives errors, the rest goes on, and the machine ends."""
    with crashes.Disk(folder) as disk:
        image = disk.make_image("disk", 64 * MIB, "-t ext4 -E lazy_itable_init=1")
        script = ("for i in 1 2 3 4 5 6 7 8; do head -c 3000000 /dev/zero | tr '\\000' x > f$i; sync f$i || echo sync fails; done; echo 3 > /proc/sys/vm/drop_caches; "
                  "dd if=/dev/ubda bs=1M skip=40 count=1 of=/dev/null 2> /dev/null || echo reading fails; head -c 1024 /dev/ubda | wc -c")
        output, status = run_with(folder, disk, image, lambda: os.truncate(image, 16 * MIB), script)
        problems = [] if status == 0 else [f"status {status}"] + harness.tail(output, 12)
        if b"reading fails\n1024\n" not in output or not is_told(output.split(b"log\n", 1)[-1]):
            problems += ["the guest sees:"] + harness.tail(output, 12)
        return problems


def check_grows(folder):
    """An image that grew: the disk is larger, and nothing else happens."""
    with crashes.Disk(folder) as disk:
        image = disk.make_image("disk", 32 * MIB, "-t ext4")
        behind = os.path.join(disk.behind, "disk")
        output, status = run_with(folder, disk, image, lambda: os.truncate(image, 64 * MIB), WORK)
        problems = [] if status == 0 else [f"status {status}"] + harness.tail(output, 12)
        disk.tell("crash none 1")
        return problems + synced_problems(folder, behind, output) + ([] if output.count(b"synced ") == FILES else ["not all was synced"])


def check_vanishes(folder):
    """The file system under the image is gone, by error or because who served it was killed: errors in the guest, and the machine ends."""
    problems = []
    for way in ("error", "killed"):
        with crashes.Disk(folder) as disk:
            image = disk.make_image("disk", 32 * MIB, "-t ext4")
            vanish = (lambda: disk.tell(f"fail any 1 0 {errno.EIO}")) if way == "error" else disk.process.kill  # pylint: disable=cell-var-from-loop
            output, status = run_with(folder, disk, image, vanish, WORK + "echo x > new; sync new || echo sync fails")
            if status != 0 or b"synced " in output or b"sync fails" not in output:
                problems += [f"{way}: status {status}"] + harness.tail(output, 12)
    return problems


def fault_test(operation, count):
    return lambda folder, points: each_request(folder, operation, points, count)


TESTS = {
    "reads_fail_once": fault_test("read", 1),
    "reads_fail_from_then_on": fault_test("read", 0),
    "writes_fail_once": fault_test("write", 1),
    "writes_fail_from_then_on": fault_test("write", 0),
    "syncs_fail_once": fault_test("sync", 1),
    "syncs_fail_from_then_on": fault_test("sync", 0),
    "host_is_full": lambda folder, points: full_host(errno.ENOSPC)(folder),
    "quota_of_the_host": lambda folder, points: full_host(errno.EDQUOT)(folder),
    "image_shrinks": lambda folder, points: check_shrinks(folder),
    "image_grows": lambda folder, points: check_grows(folder),
    "image_vanishes": lambda folder, points: check_vanishes(folder),
}


def run_all(report, wanted, long):
    """With --all: at each request, not at some."""
    for name, test in TESTS.items():
        title = "faults/" + name
        if wanted(title):
            harness.run_check(report, title, lambda folder, test=test: test(folder, 1000 if long else 6))
