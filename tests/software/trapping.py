"""How many calls trap: a call site is patched when it traps first, whose ever text it is in, and does not trap from then on."""

import os
import re

import harness

PROGRAMS = os.environ.get("UMK_TEST_PROGRAMS", os.path.join(harness.SOURCE, "build/release/tests"))

# 300 processes, after some that show the kernel their call sites. One call of each would be 300.
PROCESSES = """
many() { i=0; while [ $i -lt $1 ]; do i=$((i + 1)); /bin/true; done; }
many 20; sleep 0.3; many 20; sleep 0.3
cat /proc/umk/counters; many 300; cat /proc/umk/counters
"""
MOST_TRAPS = 60

# The same program in ever new files: no site of one is taken for that of another, whose text is gone.
NEW_FILES = """
mount -t tmpfs none /mnt
for i in 1 2 3 4 5 6 7 8; do
  cp PROGRAM /mnt/$i; cat /proc/umk/counters; /mnt/$i >/dev/null; sleep 0.2; rm /mnt/$i
done
cat /proc/umk/counters
"""


def readings(output, name):
    return [int(value) for value in re.findall(rf"^{name} (\d+)$", output, re.M)]


def guest(script):
    outcome = harness.run_guest(["/bin/sh", "-c", script], limit=60)
    problems = []
    if outcome.timed_out or outcome.status != 0:
        problems = ["time limit" if outcome.timed_out else f"exit status {outcome.status}"] + harness.tail(outcome.error)
    if outcome.leftovers:
        problems.append("left behind: " + ", ".join(outcome.leftovers))
    return outcome, problems


def run_all(report, wanted):
    if wanted("software/patched_processes"):
        outcome, problems = guest(PROCESSES)
        if not problems:
            before, after = readings(outcome.output.decode(), "trapped_calls")
            if after - before > MOST_TRAPS:
                problems.append(f"{after - before} calls trapped in 300 processes")
        report.add("software/patched_processes", problems, seconds=outcome.seconds)

    if wanted("software/patched_new_files"):
        outcome, problems = guest(NEW_FILES.replace("PROGRAM", os.path.join(PROGRAMS, "conformance/elf_static")))
        if not problems:
            patched = readings(outcome.output.decode(), "patched_sites")
            # The first one may share its growth with the shell.
            for one, next_one in zip(patched[1:], patched[2:]):
                if next_one - one < 20:
                    problems.append(f"only {next_one - one} sites of a new text were patched")
        report.add("software/patched_new_files", problems, seconds=outcome.seconds)
