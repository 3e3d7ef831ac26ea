"""Stress: crowds of processes without leaks, random system calls, random programs."""

import os
import re
import tempfile
import time

import harness
import killing
import process_limit

HERE = os.path.dirname(os.path.abspath(__file__))
# Prints the counters, runs the command, waits until as many tasks are left as were before, for some seconds, and prints them again. A process counts for
# a moment after its parent has waited for it, so the shell reads the counters itself, and looks again and again.
AROUND = """
count() {
  counters= kept=
  while read -r line; do
    counters="$counters$line
"
    case "$line" in "tasks "*|"vessels "*) kept="$kept $line";; esac
  done < /proc/umk/counters
}
count; before=$counters; kept_before=$kept
"$@"; status=$?
sleep 0.5
looks=0
while count; [ "$kept" != "$kept_before" ] && [ $looks -lt 60000 ]; do looks=$((looks + 1)); done
echo "before"; echo "$before"
echo "after"; echo "$counters"
exit $status
"""
# What may grow over a run: sums, and caches that are kept on purpose.
GROWING = re.compile(r"total|syscall|call|trap|fault|fork|exec|kick|patch|cache|dentr|inode|scan|switch|wake|borrow|idle|slab|page_store|high|peak|made|text|refused")


def counters(text):
    found = {}
    for line in text.splitlines():
        match = re.match(r"\s*([\w .:/-]+?)[\s:=]+(\d+)\b", line)
        if match:
            found[match.group(1).strip()] = int(match.group(2))
    return found


def leaks(output):
    text = output.decode(errors="replace")
    if "before\n" not in text or "after\n" not in text:
        return ["no counters"]
    before = counters(text.split("before\n", 1)[1].split("after\n")[0])
    after = counters(text.split("after\n", 1)[1])
    if not before:
        return ["/proc/umk/counters is empty or missing"]
    # A shell that reads a file has open files and an address space: a 0 there is a counter that nobody keeps, not a clean bill.
    unkept = [name for name in ("open_files", "inodes", "dentries", "address_spaces", "areas") if before.get(name) == 0]
    if unkept:
        return ["these counters are not kept, so leaks cannot be seen: " + " ".join(unkept)]
    return [f"{name}: {before[name]} before, {after.get(name, 0)} after" for name in before
            if after.get(name, 0) > before[name] and not GROWING.search(name.lower())]


def in_guest(command, limit, switches=()):
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        os.chmod(folder, 0o777)
        outcome = harness.run_guest(["sh", "-c", AROUND, "sh"] + command, workdir=folder, limit=limit, switches=switches)
        harness.remove_tree(folder)
        os.makedirs(folder, exist_ok=True)
        return outcome


def run_all(report, wanted, long):
    program = os.path.join(harness.PROGRAMS, "stress")
    tests = {
        "crowd": ([f"{program}/crowd", "200", "60" if long else "10"], 200 if long else 60, ["--cpus", "2"]),
        "random_calls": ([f"{program}/fuzz_calls", "1", "20000" if long else "600"], 3000 if long else 120, []),
        "random_elf": (["/usr/bin/python3", os.path.join(HERE, "random_elf.py"), "1", "4000" if long else "150"], 1000 if long else 120, []),
    }
    for name, (command, limit, switches) in tests.items():
        title = "stress/" + name
        if not wanted(title):
            continue
        outcome = in_guest(command, limit, switches)
        problems = []
        if outcome.timed_out:
            problems.append(f"stopped at its time limit after {outcome.seconds:.0f} s")
        if outcome.status != 0:
            problems.append(f"exit status {outcome.status}")
        if b"done\n" not in outcome.output:
            problems.append("did not come to its end")
        if problems:
            problems += harness.tail(outcome.error, 12)
        else:
            problems += leaks(outcome.output)
        if outcome.leftovers:
            problems.append("left behind: " + ", ".join(outcome.leftovers))
        report.add(title, problems, seconds=outcome.seconds)
    run_kills(report, wanted, long)


def run_kills(report, wanted, long):
    notes = []
    tests = dict(killing.TESTS, **process_limit.TESTS)
    tests["kill_at_calls"] = lambda: killing.kill_at_calls(1 if long else 3, AROUND, notes.append, leaks)
    tests["kill_at_random"] = lambda: killing.kill_at_random(1, 60 if long else 8, AROUND, notes.append, leaks)
    for name, test in tests.items():
        title = "stress/" + name
        if not wanted(title):
            continue
        start = time.monotonic()
        before = set(harness.children())
        problems = []
        try:
            test()
        except AssertionError as problem:
            problems.append(str(problem))
        problems += harness.reap_leftovers(before, 0.5)
        report.add(title, problems, seconds=time.monotonic() - start)
    for note in notes:
        report.line("      " + note)
