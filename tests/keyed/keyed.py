"""The guest tests that the shield matters to, in the machine with protection keys, where the processor here has none."""

import os
import re
import time

import attack
import harness
import machine

WANTED = ["attack/", "conformance/"]
LIMIT_SECONDS = 3600


def run_all(report, filters, everything):
    """With --all; or what a filter names that begins with "keyed/"."""
    names = [text.removeprefix("keyed/") for text in filters if text.startswith("keyed/")] if filters else WANTED if everything else []
    if not names or attack.has_keys():
        return
    command = [os.path.join(harness.SOURCE, "tests/run")] + [word for name in names for word in ("--filter", name)]
    told = Told(report)
    begin = time.monotonic()
    try:
        result = machine.run(command, cwd=harness.SOURCE, env={"UMK": harness.UMK, "UMK_TEST_PROGRAMS": harness.PROGRAMS}, limit=LIMIT_SECONDS,
                             empty_tmp=True, output=told.take, error=told.take)
    except machine.CannotRun as reason:
        report.add("keyed/machine", [f"no machine with keys: {reason}"])
        return
    told.end()
    problems = []
    if result.timed_out or result.status is None:
        problems = ["stopped at its time limit" if result.timed_out else "the machine ended by itself", *told.last_lines, *result.console.splitlines()[-6:]]
    report.add("keyed/machine", problems, seconds=time.monotonic() - begin)


class Told:
    """Says again, as it comes, what tests/run says in the machine."""

    def __init__(self, report):
        self.report = report
        self.rest = b""
        self.last_lines = []
        self.result = None  # name, problems, cases, bad cases, seconds

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.take_line(line.decode(errors="replace"))

    def take_line(self, line):
        self.last_lines = (self.last_lines + [line])[-6:]
        if line.startswith("      ") and self.result is not None:
            self.result[1].append(line[6:])
            return
        self.end()
        match = re.match(r"(ok  |FAIL)  (\S+)\s+(?:([0-9]+)/([0-9]+))?\s+([0-9.]+) s$", line)
        if match:
            verdict, name, good, cases, seconds = match.groups()
            bad = int(cases) - int(good) if cases else int(verdict == "FAIL")
            self.result = ("keyed/" + name, [], int(cases or 1), bad, float(seconds))

    def end(self):
        if self.result is not None:
            self.report.add(*self.result)
        self.result = None
