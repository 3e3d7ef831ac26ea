"""Machines that lose power: the monitor is killed while a guest writes and syncs, and what the host had not synced by then is dropped, all or in parts. Then umk
mounts the disk again, `e2fsck -fn` finds nothing, and all that the guest had synced is there. The disk is a file in a file system of our own (crash_disk), which
can also fail as disks and hosts do."""

import contextlib
import os
import random
import re
import shutil
import subprocess
import time

import cow_tools
import harness
import models

MIB = 1 << 20
WORKERS = 3
LOAD = os.path.join(harness.PROGRAMS, "crash/crash_load")


class Disk:
    """A folder whose files can lose what is not synced: `place` is where they are used, `behind` where they are what a crash leaves."""

    def __init__(self, folder):
        self.behind, self.place = os.path.join(folder, "behind"), os.path.join(folder, "place")
        os.makedirs(self.behind, exist_ok=True)
        os.makedirs(self.place, exist_ok=True)
        program = os.path.join(harness.PROGRAMS, "crash/crash_disk")
        if not os.path.exists(program):
            raise OSError(f"{program} was not built: it needs libfuse3-dev and pkg-config")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise harness.LeftOut("/dev/fuse cannot be opened")
        self.process = subprocess.Popen([program, self.behind, self.place], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while not os.path.exists(os.path.join(self.place, ".control")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"crash_disk does not start: {self.process.stderr.read(500) if self.process.poll() is not None else ''}")
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for words in (["umount", self.place], ["fusermount3", "-u", self.place], ["umount", "-l", self.place]):
            with contextlib.suppress(OSError):
                if subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                    break
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def tell(self, command):
        fd = os.open(os.path.join(self.place, ".control"), os.O_WRONLY)
        try:
            os.write(fd, command.encode())
        finally:
            os.close(fd)

    def counts(self):
        with open(os.path.join(self.place, ".control")) as file:
            words = file.read().split()
        return {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}

    def make_image(self, name, size, features):
        path = os.path.join(self.behind, name)
        with open(path, "wb") as file:
            file.truncate(size)
        subprocess.run(["mke2fs", "-q", "-F", *features.split(), path], check=True)
        return os.path.join(self.place, name)


def guest_words(folder, script, *switches):
    os.makedirs(os.path.join(folder, "mount"), exist_ok=True)
    return harness.guest_command(["/bin/sh", "-ec", script], switches=list(switches))


def is_clean(image):
    done = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, errors="replace", check=False)
    return [] if done.returncode == 0 else ["e2fsck: " + done.stdout[-1500:]]


def wait_for_lines(path, count, seconds, machine):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and machine.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            with open(path) as file:
                if sum(1 for _ in file) >= count:
                    return
        time.sleep(0.02)
    raise ValueError(f"the load has not begun after {seconds} s: machine {'runs' if machine.poll() is None else 'ended'}")


def check_words(report, seed, options):
    return [LOAD, "check", str(seed), str(WORKERS), report] + (["stale"] if "writeback" in options else [])


def one_crash(folder, seed, features, options="", with_cow=False, size=96 * MIB):
    """A machine is killed at a random moment; what a crash leaves is looked at by umk, and by e2fsck and the host's kernel."""
    chance = random.Random(seed)
    report = os.path.join(folder, "report")
    mount = os.path.join(folder, "mount")
    before = set(harness.children())
    with Disk(folder) as disk:
        before.add(disk.process.pid)
        image = disk.make_image("disk", size, features)
        switch = f"ubd0={image}"
        behind = os.path.join(disk.behind, "disk")
        if with_cow:
            switch = f"ubd0={disk.place}/disk.cow,{image}"
        script = f"mount -t ext4 {options} /dev/ubda {mount}; cd {mount}; exec {LOAD} run {seed} {WORKERS} {report}"
        with subprocess.Popen(guest_words(folder, script, switch), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
            try:
                wait_for_lines(report, 5 * WORKERS, 30, machine)
                time.sleep(chance.random() * 1.2)
                alive = machine.poll() is None
            except ValueError as problem:
                machine.kill()
                return [str(problem)] + harness.tail(machine.stdout.read())
            machine.kill()
            output = machine.stdout.read()
        if not alive:
            return ["the load ended by itself"] + harness.tail(output)
        harness.reap_leftovers(before, 3.0)
        disk.tell(f"crash {chance.choice(['all', 'some', 'some', 'some'])} {seed}")
        # The power may fail again while the journal is replayed.
        for again in range(chance.choice([0, 0, 1, 2])):
            script = f"mount -t ext4 {options} /dev/ubda {mount}; sleep 60"
            with subprocess.Popen(guest_words(folder, script, switch), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as machine:
                time.sleep(chance.random() * 0.15)
                machine.kill()
            harness.reap_leftovers(before, 3.0)
            disk.tell(f"crash some {seed + again}")

        problems = []
        if with_cow:
            merged = os.path.join(folder, "merged")
            status, text = cow_tools.call(f"{cow_tools.OURS}/uml_moo", os.path.join(disk.behind, "disk.cow"), merged)
            if status != 0:
                return [f"uml_moo: {text}"]
            behind, switch = merged, f"ubd0={merged}"
        copy = os.path.join(folder, "copy")
        subprocess.run(["cp", "--sparse=always", behind, copy], check=True)
        # e2fsck replays the journal in its own way, and so does the host's kernel.
        done = subprocess.run(["e2fsck", "-p", copy], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode > 1:
            problems.append("e2fsck -p of what the crash left: " + done.stdout[-800:])
        problems += [f"after the replay by e2fsck: {problem}" for problem in is_clean(copy)]
        with models.ReadBack(copy, folder) as back:
            done = subprocess.run(check_words(report, seed, options), cwd=back.place, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode != 0:
                problems += ["after the replay by e2fsck:"] + harness.tail(done.stdout.encode())
        script = f"mount -t ext4 {options} /dev/ubda {mount}; cd {mount}; s=0; {' '.join(check_words(report, seed, options))} || s=1; cd /; umount {mount}; exit $s"
        outcome = harness.run(guest_words(folder, script, switch), limit=60)
        problems += models.outcome_problems(outcome, "after the replay by umk")
        problems += [f"after the replay by umk: {problem}" for problem in is_clean(behind)]
        if problems and os.environ.get("UMK_KEEP_CRASH"):
            shutil.copytree(folder, os.environ["UMK_KEEP_CRASH"], dirs_exist_ok=True, ignore=shutil.ignore_patterns("mount", "place", "readback"))
        versions = re.search(rb"checked (\d+) files, (\d+) versions", outcome.output)
        if not problems and (not versions or int(versions.group(2)) < 5):
            problems.append(f"hardly anything was written: {outcome.output!r}")
        return problems


KINDS = {
    "ext4": {"features": "-t ext4"},
    "ext4_small_blocks": {"features": "-t ext4 -b 1024 -J size=2 -O ^metadata_csum,^64bit"},
    "ext3": {"features": "-t ext3"},
    "orphan_file": {"features": "-t ext4 -O orphan_file -J size=4"},
    "short_commits": {"features": "-t ext4", "options": "-o commit=1"},
    "journaled_data": {"features": "-t ext4", "options": "-o data=journal"},
    "writeback_data": {"features": "-t ext4", "options": "-o data=writeback"},
    "copy_on_write": {"features": "-t ext4", "with_cow": True},
}


def run_all(report, wanted, long):
    """With --all: each kind of file system forty times. UMK_CRASH_ROUNDS and UMK_CRASH_SEED say how often and from where."""
    rounds = int(os.environ.get("UMK_CRASH_ROUNDS", "40" if long else "2"))
    first = int(os.environ.get("UMK_CRASH_SEED", "1"))
    for name, how in KINDS.items():
        title = "crash/" + name
        if wanted(title):
            harness.run_check(report, title, lambda folder, seed, how=how: one_crash(folder, seed, **how), range(first, first + rounds))
