"""What the guest tests share: running a program natively or in a guest, time limits, leftovers, comparing, counting."""

import ctypes
import difflib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UMK = os.environ.get("UMK", os.path.join(SOURCE, "build/umk"))
PROGRAMS = os.environ.get("UMK_TEST_PROGRAMS", os.path.join(SOURCE, "build/release/tests"))
PR_SET_CHILD_SUBREAPER = 36
# Debian keeps mke2fs and its like out of an ordinary user's path.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class Outcome:
    """How a command ended: standard output and error as bytes, and the status as a shell tells it (128 + signal)."""

    def __init__(self, output, error, status, seconds, timed_out=False, leftovers=()):
        self.output = output
        self.error = error
        self.status = status
        self.seconds = seconds
        self.timed_out = timed_out
        self.leftovers = list(leftovers)


def become_subreaper():
    """Orphans of what we start become our children, so that none can stay unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    found = []
    for name in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{name}/children") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            pass
    return found


def describe(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
        state = text[text.rindex(")") + 2]
        name = text[text.index("(") + 1:text.rindex(")")]
    except OSError:
        return None
    return None if state in "ZX" else f"process {pid} ({name}, state {state})"


def reap_leftovers(known=(), patience=1.0):
    """Names and kills the processes that still run under us, apart from `known`."""
    deadline = time.monotonic() + patience
    while True:
        running = []
        for pid in children():
            if pid in known:
                continue
            text = describe(pid)
            if text is not None:
                running.append((pid, text))
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        if not running or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for pid, _ in running:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
    return [text for _, text in running]


def kill_tree(pid):
    """Kills a process with all its descendants, whatever groups they are in."""
    below = [pid]
    for parent in below:
        try:
            for name in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{name}/children") as file:
                    below += [int(word) for word in file.read().split()]
        except OSError:
            pass
    for each in below:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def traces():
    """Files and sockets that umk may leave: its names in the places for such things."""
    found = set()
    for folder in {"/tmp", "/dev/shm", "/run", os.environ.get("XDG_RUNTIME_DIR", "/run")}:
        try:
            found |= {os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("umk") and not name.startswith("umk-test")}
        except OSError:
            pass
    try:
        with open("/proc/net/unix") as file:
            found |= {line.split()[-1] for line in file if "umk" in line.split()[-1] and "umk-test" not in line.split()[-1]}
    except (OSError, IndexError):
        pass
    return found


def run(command, limit=60, stdin=b"", cwd=None, env=None, patience=1.0):
    """Runs a command to its end or for `limit` seconds, then looks for what it left."""
    before = set(children())
    marks = traces()
    start = time.monotonic()
    # Not pipes, so that a process left behind cannot hold us up by an open end.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error, tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        try:
            child = subprocess.Popen(command, stdin=given, stdout=output, stderr=error, cwd=cwd, env=env, start_new_session=True)
        except OSError as problem:
            return Outcome(b"", str(problem).encode(), 127, 0)
        timed_out = False
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
        seconds = time.monotonic() - start
        left = reap_leftovers(before, 0.1 if timed_out else patience)
        left += [] if timed_out else sorted(traces() - marks)
        output.seek(0)
        error.seek(0)
        return Outcome(output.read(), error.read(), status if status >= 0 else 128 - status, seconds, timed_out, left)


def as_ordinary_user():
    """Words before a command that make it an ordinary user's; none where it is that already."""
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []


@functools.cache
def as_another_user():
    """Words before a command that make it that of a user who is neither root nor the one of umk: one of /etc/subuid where we are not root."""
    if os.geteuid() == 0:
        return as_ordinary_user()
    words = ["unshare", "--map-auto", "--map-root-user", "setpriv", "--reuid", "1", "--regid", "1", "--clear-groups"]
    if subprocess.run(words + ["true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise LeftOut("there is no second user: no /etc/subuid, newuidmap or user namespaces")
    return words


def guest_command(command, workdir=None, switches=(), root="/"):
    words = [UMK, "run"]
    if root is not None:
        words += ["--root", root]
    if workdir is not None:
        words += ["--workdir", workdir]
    return words + list(switches) + ["--"] + list(command)


def run_guest(command, limit=60, stdin=b"", workdir=None, switches=(), root="/", env=None):
    return run(guest_command(command, workdir, switches, root), limit, stdin, env=env)


def differences(native, guest, lines=24):
    """The lines of a difference that tell most, as text."""
    text = list(difflib.unified_diff(native, guest, "native", "guest", lineterm="", n=1))[2:]
    if len(text) > lines:
        text = text[:lines] + [f"... {len(text) - lines} more lines"]
    return "\n".join("        " + line for line in text)


class LeftOut(Exception):
    """A test that cannot run for this user or on this host: tests/left_out.txt must say so, with the reason; else it has failed."""


def may_be_left_out(name):
    """The reason that tests/left_out.txt gives for a test, or None."""
    with open(os.path.join(SOURCE, "tests/left_out.txt")) as file:
        for line in file:
            words = line.split(None, 1)
            if len(words) == 2 and not line.startswith("#") and re.fullmatch(words[0], name):
                return words[1].strip()
    return None


class Report:
    """Counts and prints: one line a test, more where it failed. What is left out counts as nothing and is named again at the end."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.failures = []
        self.left_out = []

    def line(self, text):
        print(text, flush=True)

    def add(self, name, problems, cases=1, bad_cases=None, seconds=0.0):
        bad = (1 if problems else 0) if bad_cases is None else bad_cases
        self.passed += cases - bad
        self.failed += bad
        share = f"{cases - bad}/{cases}" if cases > 1 else ""
        self.line(f"{'FAIL' if bad else 'ok  '}  {name:<44} {share:>7} {seconds:6.1f} s")
        for problem in problems:
            self.line(f"      {problem}")
        if bad:
            self.failures.append(name)

    def leave_out(self, name, why):
        reason = may_be_left_out(name)
        if reason is None:
            self.add(name, [f"it cannot run here ({why}), and tests/left_out.txt does not say that it need not"])
            return
        self.line(f"left  {name}: {why}")
        self.left_out.append((name, reason))

    def end(self):
        for reason in dict.fromkeys(reason for _, reason in self.left_out):
            self.line(f"left out: {' '.join(name for name, each in self.left_out if each == reason)}: {reason}")
        if self.failures:
            self.line("failed: " + " ".join(self.failures))
        self.line(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def remove_tree(path):
    """Also what stands under directories without permissions, or deeper than a path may be long."""
    subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(path, ignore_errors=True)
    if os.path.exists(path):
        subprocess.run(["rm", "-rf", path], check=False)


def tail(data, count=6):
    lines = data.decode(errors="replace").splitlines()
    return [("| " + line)[:200] for line in lines[-count:]]


def run_check(report, title, check, seeds=(None,)):
    """Runs check(folder), or check(folder, seed) for each seed until one finds problems. Every run has a folder of its own; what a check returns, or
    raises, are its problems."""
    start = time.monotonic()
    problems = []
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
            try:
                problems = check(folder) if seed is None else check(folder, seed)
            except LeftOut as why:
                report.leave_out(title, why)
                return
            except (OSError, subprocess.SubprocessError, ValueError) as problem:
                problems = [f"{type(problem).__name__}: {problem}"]
        if problems:
            if seed is not None:
                problems = [f"seed {seed}:"] + problems
            break
    report.add(title, problems, seconds=time.monotonic() - start)


def run_checks(report, wanted, family, checks):
    """Runs functions called check_NAME; FAMILY/NAME is the test's title."""
    for check in checks:
        title = f"{family}/" + check.__name__[len("check_"):]
        if wanted(title):
            run_check(report, title, check)


if __name__ == "__main__":
    sys.exit("this is a module: see tests/run")
