"""Runs the attacks, each in a machine of its own: an attack is stopped when its program says so and the machine lives to its end.

Where the processor has protection keys the shield is demanded (shield=on) and every attack is run, and host_view looks at the
host's tables from outside. Elsewhere only those are run that make sense without keys.
"""

import atexit
import functools
import os
import re
import signal
import struct
import subprocess
import tempfile
import time

import harness

FOLDER = os.path.join(harness.PROGRAMS, "attack")
PROGRAMS = ["memory", "gate", "signal_gate", "frames", "flags", "compat", "calls", "mappings", "executable", "hostfs", "reuse"]
NOT_BY_ITSELF = {"hold_executable"}  # for host_view


def has_keys():
    with open("/proc/cpuinfo") as file:
        return re.search(r"^flags\s*:.*\bospke\b", file.read(), re.MULTILINE) is not None


@functools.cache
def kernel_file():
    """The kernel as umk carries it, symbols and all, in a file of its own: what any attacker has who has the program."""
    with open(harness.UMK, "rb") as file:
        umk = file.read()
    image = layout()["kImage"]
    at = umk.find(b"\x7fELF", 1)
    while at > 0:
        # Where program headers and section headers begin, how large a section header is, how many there are.
        segments, sections, size, count = struct.unpack_from("<QQ10xHH", umk, at + 32)
        if segments == 64 and struct.unpack_from("<Q", umk, at + segments + 16)[0] == image:
            break
        at = umk.find(b"\x7fELF", at + 1)
    if at < 0:
        return ""
    with tempfile.NamedTemporaryFile(prefix="umk-test-kernel-", delete=False) as file:
        file.write(umk[at:at + sections + size * count])
    atexit.register(os.unlink, file.name)
    return file.name


def attacks():
    """[(program, attack, needs keys?)]"""
    found = []
    for program in PROGRAMS:
        path = os.path.join(FOLDER, program)
        if not os.path.exists(path):
            found.append((program, "", False))
            continue
        for line in subprocess.run([path, "list"], capture_output=True, text=True, check=True).stdout.splitlines():
            name, needs = line.split()
            found.append((program, name, needs == "keys"))
    return found


def environment(everything):
    words = ["env", "UMK_KERNEL=" + kernel_file(), "ATTACK_FRESH=" + os.path.join(FOLDER, "fresh_state")]
    return words + (["ATTACK_ALL=1"] if everything else [])


def run_one(report, program, name, keys, everything):
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        os.chmod(folder, 0o755)
        command = environment(everything) + [os.path.join(FOLDER, program), name]
        outcome = harness.run_guest(command, workdir=folder, limit=3600 if everything else 240, switches=["shield=on"] if keys else [])
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
    problems = []
    if outcome.timed_out:
        problems.append(f"stopped at its time limit after {outcome.seconds:.0f} s")
    if outcome.status != 0 or not outcome.output.endswith(b"stopped\n"):
        problems.append(f"status {outcome.status}")
        problems += harness.tail(outcome.output) + harness.tail(outcome.error, 12)
    if outcome.leftovers:
        problems.append("left behind: " + ", ".join(outcome.leftovers))
    report.add("attack/" + name, problems, seconds=outcome.seconds)


# --- what the host's tables say

def layout():
    """The numbers of layout.h."""
    values = {}
    with open(os.path.join(harness.SOURCE, "src/core/kernel/mm/layout.h")) as file:
        for name, text in re.findall(r"inline constexpr uint64_t (k\w+) = ([^;]+);", file.read()):
            text = re.sub(r"uint64_t\{(\w+)\}", r"\1", text.replace("'", ""))
            values[name] = eval(text, {"__builtins__": {}}, values)
    return values


class Mapping:
    def __init__(self, pid, start, end, rights, offset, file, name):
        self.pid, self.start, self.end, self.rights, self.offset, self.file, self.name = pid, start, end, rights, offset, file, name
        self.key = 0
        self.private_bytes = 0  # that are no longer the file's

    def __str__(self):
        return f"process {self.pid}: {self.start:x}-{self.end:x} {self.rights} key {self.key} {self.offset:x} {self.name}"

    def is_in(self, start, length):
        return self.start < start + length and self.end > start

    def overlaps(self, other):
        if self.file is None or self.file != other.file:
            return False
        return self.offset < other.offset + other.end - other.start and other.offset < self.offset + self.end - self.start


def mappings_of(pid):
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) ([0-9]+)\s*(.*)", line)
            if match:
                start, end, rights, offset, device, inode, name = match.groups()
                identity = (device, inode) if inode != "0" else None
                found.append(Mapping(pid, int(start, 16), int(end, 16), rights, int(offset, 16), identity, name))
            elif line.startswith("ProtectionKey:"):
                found[-1].key = int(line.split()[1])
            elif line.startswith("Anonymous:"):
                found[-1].private_bytes = int(line.split()[1]) * 1024
    return found


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def offences(processes, numbers):
    """What is wrong with the mappings of the vessels."""
    found = []
    everything = [mapping for mappings in processes for mapping in mappings]
    own_files = {mapping.file for mapping in everything if mapping.start >= numbers["kKernelData"] and mapping.file}
    guests = [mapping for mapping in everything if mapping.start < numbers["kUserEnd"]]
    for mapping in everything:
        if "w" in mapping.rights and "x" in mapping.rights:
            found.append(f"writable and executable: {mapping}")
        if mapping.key == 0:
            for start, length in (("kKernelData", "kKernelDataBytes"), ("kCacheWindow", "kCacheWindowBytes"), ("kVesselPage", "kVesselPageBytes")):
                if mapping.is_in(numbers[start], numbers.get(length, 4096)):
                    found.append(f"kernel memory without a key: {mapping}")
        if mapping.is_in(numbers["kImage"], numbers["kImageBytes"]) and "w" in mapping.rights:
            found.append(f"the kernel's image can be written: {mapping}")
    writable = [mapping for mapping in guests if "w" in mapping.rights and "s" in mapping.rights]
    for mapping in guests:
        if "x" not in mapping.rights:
            continue
        if "r" not in mapping.rights or mapping.key != 0:
            found.append(f"executable only: {mapping}")
        # Pages of a private mapping that were written are the process's own; nobody can change them.
        if mapping.file is None or mapping.private_bytes == mapping.end - mapping.start:
            continue
        if mapping.file not in own_files:
            found.append(f"a file of the host is executable itself: {mapping}")
        found += [f"executable here, writable there: {mapping}; {other}" for other in writable if mapping.overlaps(other)]
    return found


def misused_doubles(processes, doubles):
    """Doubly mapped pages that nobody may use as they were used last: what offences() finds nothing in would else be a page that nobody can use."""
    found = [] if any(use == "code" for use, _ in doubles) else ["no doubly mapped page was executed"]
    for use, text in doubles:
        address, right = int(text, 16), "x" if use == "code" else "w"
        if not any(mapping.is_in(address, 4096) and right in mapping.rights for mappings in processes for mapping in mappings):
            found.append(f"nobody has the page at {text} as {use}")
    return found


def host_view(report):
    numbers = layout()
    start = time.monotonic()
    problems = []
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        os.chmod(folder, 0o755)
        command = environment(False) + [os.path.join(FOLDER, "executable"), "hold_executable"]
        child = subprocess.Popen(harness.guest_command(command, folder, ["shield=on"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        try:
            signal.alarm(120)
            doubles = []
            while (line := child.stdout.readline()).startswith((b"code ", b"data ")):
                doubles.append(line.decode().split())
            if line != b"ready\n":
                problems.append(f"the program in the guest is not ready: {line!r}")
            else:
                vessels = [mappings for mappings in map(mappings_of, children_of(child.pid)) if any(m.start < numbers["kUserEnd"] for m in mappings)]
                if len(vessels) < 3:
                    problems.append(f"only {len(vessels)} processes with a guest in them")
                if sum("x" in mapping.rights and mapping.start < numbers["kUserEnd"] for mappings in vessels for mapping in mappings) < 8:
                    problems.append("hardly anything is executable: the test looks at the wrong processes")
                problems += offences(vessels, numbers)[:20] + misused_doubles(vessels, doubles)
            child.stdin.close()
            rest = child.stdout.read()
            if child.wait(60) != 0 or not rest.endswith(b"stopped\n"):
                problems.append(f"the program in the guest ended with {child.returncode}: {rest[-200:]!r}")
        finally:
            signal.alarm(0)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
    report.add("attack/host_view", problems, seconds=time.monotonic() - start)


def states(report, keys):
    """shield=on, off and auto: what the boot log says, and which key the vessels' kernel data has."""
    numbers = layout()
    start = time.monotonic()
    problems = []

    def log_with(switch):
        outcome = harness.run_guest(["dmesg"], limit=60, switches=[switch])
        if outcome.status != 0:
            problems.append(f"{switch}: status {outcome.status}: {outcome.error!r}")
        return next((line.split("shield: ", 1)[1] for line in outcome.output.decode().splitlines() if "shield: " in line), "")

    def keys_with(switch):
        child = subprocess.Popen(harness.guest_command(["sh", "-c", "echo ready; read line"], switches=[switch]), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            child.stdout.readline()
            mappings = [mapping for pid in children_of(child.pid) for mapping in mappings_of(pid)]
            return {mapping.key for mapping in mappings if mapping.is_in(numbers["kKernelData"], numbers["kKernelDataBytes"])}
        finally:
            child.stdin.close()
            child.stdout.close()
            child.wait(60)

    expected = {"shield=auto": "on, not complete" if keys else "off, since the processor has no memory protection keys", "shield=off": ""}
    if keys:
        expected["shield=on"] = "on, not complete"
    else:
        outcome = harness.run_guest(["true"], limit=60, switches=["shield=on"])
        if outcome.status != 1 or b"shield=on is not possible" not in outcome.error:
            problems.append(f"shield=on where there are no keys: status {outcome.status}: {outcome.error!r}")
    for switch, text in expected.items():
        said = log_with(switch)
        if not said.startswith(text) or (said and not text):
            problems.append(f"{switch}: the log says {said!r}")
        found = keys_with(switch)
        if not found or (0 in found) == text.startswith("on"):
            problems.append(f"{switch}: kernel data has the keys {found}")
    report.add("attack/shield_states", problems, seconds=time.monotonic() - start)


CLOCK_SOURCE = "/sys/devices/system/clocksource/clocksource0/"


def has_clock_sources():
    """Whether this is the machine of tests/keyed, where the clock source may be changed: nobody else's time is told by it."""
    if os.uname().nodename != "keyed" or not os.access(CLOCK_SOURCE + "current_clocksource", os.W_OK):
        return False
    with open(CLOCK_SOURCE + "available_clocksource") as file:
        return "acpi_pm" in file.read().split()


def clock_source(report):
    """A host whose vDSO cannot read the clock and calls the host instead: from the start, and from one moment to the next."""
    def use(name):
        with open(CLOCK_SOURCE + "current_clocksource", "w") as file:
            file.write(name)

    with open(CLOCK_SOURCE + "current_clocksource") as file:
        usual = file.read().strip()
    start = time.monotonic()
    problems = []
    try:
        for switch in ("shield=on", "shield=off", "dispatch=seccomp"):
            use("acpi_pm")
            outcome = harness.run_guest(["sh", "-c", "date >/dev/null && sleep 0.1 && echo fine"], limit=60, switches=[switch])
            if outcome.output != b"fine\n":
                problems.append(f"{switch}, from the start: status {outcome.status}: {outcome.error[-300:]!r}")
            use(usual)
            child = subprocess.Popen(harness.guest_command(["sh", "-c", "echo ready; read line; date >/dev/null && sleep 0.1 && echo fine"], switches=[switch]),
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            child.stdout.readline()
            use("acpi_pm")
            output = child.communicate(b"go\n", timeout=60)[0]
            if output != b"fine\n":
                problems.append(f"{switch}, while it runs: status {child.returncode}, {output!r}")
    finally:
        use(usual)
    report.add("attack/clock_source", problems, seconds=time.monotonic() - start)


def run_all(report, wanted, everything):
    keys = has_keys()
    if wanted("attack/clock_source") and has_clock_sources():
        clock_source(report)
    if wanted("attack/shield_states"):
        states(report, keys)
    for program, name, needs_keys in attacks():
        if not name:
            if wanted("attack/" + program):
                report.add("attack/" + program, [f"{os.path.join(FOLDER, program)} was not built"])
            continue
        if wanted("attack/" + name) and name not in NOT_BY_ITSELF and (keys or not needs_keys):
            run_one(report, program, name, keys, everything)
    if keys and wanted("attack/host_view"):
        host_view(report)
