"""Runs the guest programs natively and in the guest, and compares what they print, case by case.

expectations/PROGRAM.txt says where the two may differ. After a comment with the reason, a line is

    CASE | TEXT     lines of the case that start with TEXT are not compared, on both sides; `*` means the whole case
    enosys CASE     the case may see ENOSYS natively

recorded/PROGRAM.txt is the output of a native run as root. It stands in where the tests run as another user, since guests run as
root and only root mounts disks; `tests/run --record` writes it. What has none is compared with a run as that user.
"""

import contextlib
import os
import re
import subprocess
import tempfile

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
# Also run with calls caught by seccomp: what they test has to do with entering and leaving the kernel.
BY_SECCOMP = ["call_sites", "exec", "faults", "processes", "restarts", "segments", "signals", "threads", "vectors"]
# Also run on a tmpfs and on a disk with ext4: what they test is the work of a file system.
ON_FILE_SYSTEMS = ["files_open", "files_at", "files_data", "directories", "permissions", "xattrs", "locks", "memory_files", "inotify"]
# And on a disk: what they do with files on the side.
ON_EXT4 = ON_FILE_SYSTEMS + ["async_io", "exec", "memory", "mounts", "pipes"]

# Not recorded: what they print is the machine's, whoever runs them.
OF_THE_PROCESSOR = ["call_sites", "processor", "vectors"]


def program_names():
    names = []
    for name in sorted(os.listdir(HERE)):
        stem, extension = os.path.splitext(name)
        if extension == ".cpp":
            names += ["elf_dynamic", "elf_static", "elf_static_pie", "elf_non_pie"] if stem == "elf_kind" else [stem]
    return names


def scripts():
    folder = os.path.join(HERE, "scripts")
    return sorted(name for name in os.listdir(folder) if name.endswith((".sh", ".py")))


def expectations(name):
    ignored = []
    enosys = set()
    path = os.path.join(HERE, "expectations", name + ".txt")
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                line = line.rstrip("\n")
                if not line.strip() or line.startswith("#"):
                    continue
                if line.startswith("enosys "):
                    enosys.add(line.split()[1])
                else:
                    case, text = line.split(" | ", 1)
                    ignored.append((case, text))
    return ignored, enosys


def without_folder(output):
    """A shell names its script in what it complains about: the recordings must not depend on where the sources lie."""
    return output.replace(os.path.join(HERE, "scripts").encode(), b"scripts")


def split(output):
    """The output as {case: [line]}; a script without cases is one case."""
    cases = {"": []}
    current = ""
    for line in without_folder(output).decode(errors="backslashreplace").splitlines():
        match = re.match(r"== (\w+)$", line)
        if match:
            current = match.group(1)
            cases[current] = []
        else:
            cases[current].append(line)
    if len(cases) > 1 and not cases[""]:
        del cases[""]
    return cases


def visible(lines, case, ignored):
    prefixes = [text for name, text in ignored if name == case]
    return [line for line in lines if not any(line.startswith(prefix) for prefix in prefixes)]


def make_disk(folder):
    image = os.path.join(folder, "disk")
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
    return image


@contextlib.contextmanager
def native_place(kind):
    """A directory for a native run as root: on an ext4 of its own, on a tmpfs, or where temporary files are."""
    with tempfile.TemporaryDirectory(prefix="umk-test-", dir="/dev/shm" if kind == "tmpfs" else None) as folder:
        place = os.path.join(folder, "place")
        os.mkdir(place)
        if kind == "ext4":
            subprocess.run(["mount", "-t", "ext4", "-o", "loop", make_disk(folder), place], check=True)
        os.chmod(folder, 0o755)
        os.chmod(place, 0o755)
        try:
            yield place
        finally:
            if kind == "ext4":
                subprocess.run(["umount", place], check=True)
            harness.remove_tree(place)
            os.makedirs(folder, exist_ok=True)


def recorded_path(name, place):
    return os.path.join(HERE, "recorded", name + (f"@{place}" if place else "") + ".txt")


def native_output(name, command, place, record):
    recorded = recorded_path(name, place)
    if os.geteuid() != 0 and (place == "ext4" or os.path.exists(recorded)):
        with open(recorded, "rb") as file:
            return harness.Outcome(file.read(), b"", 0, 0)
    with native_place(place) as folder:
        outcome = harness.run(command, cwd=folder, limit=120)
    if record and not outcome.timed_out and name not in OF_THE_PROCESSOR:
        os.makedirs(os.path.dirname(recorded), exist_ok=True)
        with open(recorded, "wb") as file:
            file.write(without_folder(outcome.output))
    return outcome


def stale_cases(name, place, native):
    """A recording that lacks cases of today would hide them from who is not root."""
    path = recorded_path(name, place)
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        stale = set(split(file.read())) ^ set(split(native.output))
    return [f"recorded/{os.path.basename(path)} is out of date (tests/run --record): {' '.join(sorted(stale))}"] if stale else []


def guest_output(command, place, switches=()):
    """Also what e2fsck finds wrong with the disk, if there is one."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        os.chmod(folder, 0o755)
        words = command
        if place == "tmpfs":
            words = ["sh", "-c", 'mount -t tmpfs none . && cd "$PWD" && exec "$@"', "sh"] + command
        elif place == "ext4":
            image = make_disk(folder)
            switches = [*switches, f"ubd0={image}"]
            words = ["sh", "-c", 'mkdir place && mount -t ext4 /dev/ubda place && chmod 755 place && cd place && "$@"; s=$?; cd ..; umount place; exit $s', "sh"] + command
        outcome = harness.run_guest(words, workdir=folder, limit=120, switches=switches)
        if place == "ext4":
            checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, errors="replace", check=False)
            if checked.returncode != 0:
                problems.append("e2fsck: " + checked.stdout[-600:])
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
    return outcome, problems


def run_one(report, name, command, place, record, native_only, by_seccomp=False):
    title = "conformance/" + name + (f"@{place}" if place else "") + ("@seccomp" if by_seccomp else "")
    ignored, enosys = expectations(os.path.splitext(name)[0])
    native = native_output(name, command, place, record)
    problems = stale_cases(name, place, native)
    if native.timed_out:
        problems.append("the native run was stopped at its time limit")
    native_cases = split(native.output)
    bad = set()
    for case, lines in native_cases.items():
        for line in lines:
            if ("ENOSYS" in line or "CANNOT" in line) and case not in enosys:
                bad.add(case)
                problems.append(f"native, {case}: {line}")
            if line in ("stopped at its time limit", "end: exit 94"):
                bad.add(case)
                problems.append(f"native, {case}: {line}")
    if native_only:
        report.add(title, problems, len(native_cases), len(bad) or bool(problems), native.seconds)
        return

    guest, found = guest_output(command, place, ["dispatch=seccomp"] if by_seccomp else [])
    problems += found
    guest_cases = split(guest.output)
    if guest.timed_out:
        problems.append(f"the guest was stopped at its time limit after {guest.seconds:.0f} s")
    if guest.status != native.status:
        problems.append(f"exit status {guest.status}, natively {native.status}")
    if guest.leftovers:
        problems.append("left behind: " + ", ".join(guest.leftovers))
    if guest.error != native.error and (guest.timed_out or guest.status != native.status):
        problems += harness.tail(guest.error)
    unknown = [case for case in guest_cases if case not in native_cases]
    if unknown:
        problems.append("not seen natively: " + " ".join(unknown))
    elsewhere = bool(problems)
    for case, lines in native_cases.items():
        if (case, "*") in ignored:
            continue
        expected = visible(lines, case, ignored)
        if case not in guest_cases:
            bad.add(case)
            continue
        got = visible(guest_cases[case], case, ignored)
        if got != expected:
            bad.add(case)
            problems.append(f"{case}:\n{harness.differences(expected, got)}")
    missing = [case for case in native_cases if case not in guest_cases]
    if missing:
        problems.append("missing in the guest: " + " ".join(missing))
    count = len(bad) or (1 if elsewhere else 0)
    report.add(title, problems, len(native_cases), count, guest.seconds)


def run_all(report, wanted, record=False, native_only=False):
    for name in program_names():
        command = [os.path.join(harness.PROGRAMS, "conformance", name)]
        for place in [None] + ["tmpfs"] * (name in ON_FILE_SYSTEMS) + ["ext4"] * (name in ON_EXT4):
            title = "conformance/" + name + (f"@{place}" if place else "")
            if not wanted(title):
                continue
            if not os.path.exists(command[0]):
                report.add(title, [f"{command[0]} was not built"])
                continue
            run_one(report, name, command, place, record, native_only)
        if name in BY_SECCOMP and not native_only and wanted(f"conformance/{name}@seccomp"):
            run_one(report, name, command, None, record, native_only, True)
    for name in scripts():
        if wanted("conformance/" + name):
            interpreter = "python3" if name.endswith(".py") else "sh"
            path = "/usr/bin/python3" if interpreter == "python3" else "/bin/sh"
            run_one(report, name, [path, os.path.join(HERE, "scripts", name)], None, record, native_only)
