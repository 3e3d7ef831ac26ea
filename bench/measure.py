"""What the benchmarks share: the table, times from scripts, what processes need."""

import glob
import os
import re
import statistics
import sys

TIMED = 'start=$(date +%s%N); { SCRIPT; } >/dev/null 2>&1; status=$?; end=$(date +%s%N); echo "took $((end - start)) status $status"'


def say(text):
    print(text, file=sys.stderr, flush=True)


class Table:
    def __init__(self, columns):
        self.columns = columns
        self.missed = []
        print(f"{'row':<28}" + "".join(f"{name:>12}" for name in columns) + f"{'ratio':>8}{'target':>8}  ", flush=True)

    def row(self, name, values, target, hard, unit="ns"):
        """values: {system: [numbers]}"""
        medians = {system: statistics.median(numbers) for system, numbers in values.items() if numbers}
        text = f"{name:<28}"
        for column in self.columns:
            text += f"{show(medians[column], unit) if column in medians else '-':>12}"
        verdict = "no figure"
        if "umk" in medians and medians.get("native"):
            ratio = medians["umk"] / medians["native"]
            text += f"{ratio:8.2f}"
            verdict = "" if target is None else "ok" if ratio <= target else "MISS" if hard else "miss (wanted)"
        else:
            text += f"{'-':>8}"
        text += f"{'' if target is None else f'{target:.2f}':>8}  {verdict}"
        if verdict in ("MISS", "no figure") and hard:
            self.missed.append(name)
        print(text, flush=True)

    def single(self, name, value, target, unit, note=""):
        verdict = "no figure" if value is None else "ok" if value <= target else "MISS"
        shown = "-" if value is None else f"{value:.2f} {unit}"
        print(f"{name:<28}{'':>12}{shown:>12}{'':>8}{f'{target:g} {unit}':>10}  {verdict} {note}", flush=True)
        if verdict != "ok":
            self.missed.append(name)


def show(value, unit):
    if unit != "ns":
        return f"{value:.3f} {unit}"
    for limit, divisor, name in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / divisor:.1f} {name}"
    return f"{value / 1e9:.2f} s"


def descendants(pid):
    found = [pid]
    for entry in found:
        for task in glob.glob(f"/proc/{entry}/task/*/children"):
            try:
                with open(task) as file:
                    found += [int(word) for word in file.read().split()]
            except OSError:
                pass
    return found


def memory_bytes(pids):
    """Proportional sizes of all processes, and what the files of memory hold beyond what anyone maps."""
    total = 0
    mapped = {}
    files = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps") as file:
                inode = "0"
                for line in file:
                    head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)", line)
                    if head:
                        inode = head.group(1)
                    elif line.startswith("Pss:"):
                        size = int(line.split()[1]) * 1024
                        total += size
                        mapped[inode] = mapped.get(inode, 0) + size
            for link in glob.glob(f"/proc/{pid}/fd/*"):
                name = os.readlink(link)
                if "memfd:" in name or ("(deleted)" in name and name.startswith(("/dev/shm", "/tmp"))):
                    stat = os.stat(link)
                    files[str(stat.st_ino)] = stat.st_blocks * 512
        except OSError:
            continue
    return total + sum(max(0, size - mapped.get(inode, 0)) for inode, size in files.items())
