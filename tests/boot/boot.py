"""Console tests: umk on a real pseudo-terminal, and `umk run` on pipes."""

import fcntl
import hashlib
import os
import pty
import random
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time

import harness
import killing

PROMPT = rb"[#$] (?:\x1b\[[0-9;?]*[a-zA-Z])*$"


class Terminal:
    """umk on a pseudo-terminal of its own. Closing it kills what is left."""

    def __init__(self, command, env=None, size=(24, 80)):
        self.seen = b""
        self.before = set(harness.children())
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                self.fd = 0
                self.resize(*size)
                os.execvpe(command[0], command, dict(os.environ, TERM="dumb", **(env or {})))
            finally:
                os._exit(127)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)
        harness.reap_leftovers(self.before, 2.0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def expect(self, pattern, seconds=10):
        """Waits for the pattern, and returns and forgets all up to its end."""
        if isinstance(pattern, str):
            pattern = pattern.encode()
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen, re.DOTALL)
            if match:
                text = self.seen[:match.end()]
                self.seen = self.seen[match.end():]
                return text.decode(errors="replace")
            if time.monotonic() > deadline or not self.read(max(0.01, deadline - time.monotonic())):
                raise AssertionError(f"waited for {pattern!r}, saw {self.seen[-300:]!r}")

    def command(self, text, seconds=10):
        """Types a command line, and returns what it prints up to the next prompt."""
        self.type(text + "\n")
        out = self.expect(PROMPT, seconds)
        lines = out.replace("\r", "").split("\n")
        return "\n".join(lines[1:-1])

    def end(self, seconds=10):
        """The exit status, as a shell tells it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                left = harness.reap_leftovers(self.before, 1.0)
                assert not left, "left behind: " + ", ".join(left)
                return code if code >= 0 else 128 - code
        raise AssertionError(f"umk does not end; saw {self.seen[-300:]!r}")


def equal(got, expected, what=""):
    assert got == expected, f"{what}: got {got!r}, expected {expected!r}"


def boots_to_a_prompt():
    with Terminal([harness.UMK]) as t:
        t.expect(PROMPT, 20)
        equal(t.command("echo hello $((6 * 7))"), "hello 42", "echo")
        equal(t.command("cat /proc/version | cut -c1-5"), "Linux", "version")
        t.command("ls /; ps; mount; free; df")
        t.type("poweroff -f\n")
        equal(t.end(), 0, "status of power off")


def end_of(command, expected):
    def test():
        with Terminal([harness.UMK]) as t:
            t.expect(PROMPT, 20)
            t.type(command + "\n")
            equal(t.end(), expected, f"status after {command}")
    return test


def restarts_in_place():
    with Terminal([harness.UMK]) as t:
        t.expect(PROMPT, 20)
        t.command("touch /root/here")
        t.type("reboot\n")
        # The old prompt may be drawn again before the machine ends.
        t.expect(rb"Linux version[^\r\n]*\r\n.*" + PROMPT, 20)
        equal(t.command("ls /root"), "", "a fresh root")
        t.type("poweroff -f\n")
        equal(t.end(), 0, "status")


def panic_is_not_zero():
    with Terminal([harness.UMK, "init=/bin/false"]) as t:
        code = t.end(20)
        assert code != 0, "init ended, and umk ends with 0"


def typing_and_signals():
    with Terminal([harness.UMK]) as t:
        t.expect(PROMPT, 20)
        t.type("sleep 100\n")
        time.sleep(0.5)
        t.type("\x03")
        t.expect(PROMPT, 5)
        equal(t.command("echo $?"), "130", "status after ^C")
        t.type("cat\n")
        time.sleep(0.3)
        t.type("echoed\n")
        t.expect("echoed\r\nechoed", 5)
        t.type("\x04")
        t.expect(PROMPT, 5)
        t.type("sleep 100\n")
        time.sleep(0.5)
        t.type("\x1a")
        t.expect("Stopped", 5)
        t.expect(PROMPT, 5)
        assert "sleep 100" in t.command("jobs"), "jobs names the stopped one"
        t.type("fg\n")
        time.sleep(0.5)
        t.type("\x03")
        t.expect(PROMPT, 5)
        equal(t.command("jobs"), "", "no jobs")
        t.command("sleep 100 &")
        assert "Running" in t.command("jobs") or "sleep" in t.command("jobs")
        t.command("kill %1; wait")
        t.type("cat\n")
        time.sleep(0.3)
        t.type("erasX\x7fe\n")
        t.expect("erase\r\n", 5)
        t.type("\x1c")
        t.expect(PROMPT, 5)
        equal(t.command("echo $?"), "131", "status after ^\\")


def control_d_ends_the_shell():
    with Terminal([harness.UMK]) as t:
        t.expect(PROMPT, 20)
        t.type("\x04")
        equal(t.end(), 0, "status")


def window_size():
    with Terminal([harness.UMK], size=(30, 90)) as t:
        t.expect(PROMPT, 20)
        equal(t.command("stty size"), "30 90", "size")
        t.command("trap 'echo resized' WINCH")
        t.resize(50, 120)
        time.sleep(0.3)
        # The shell may draw its prompt again, so this waits for the answer itself.
        t.type("stty size\n")
        t.expect("50 120", 5)


def terminal_is_restored():
    # A shell outside keeps the terminal: its settings before and after a guest must be equal, however the guest ends.
    for ending in ("poweroff -f\n", None):
        with tempfile.TemporaryDirectory(prefix="umk-test-") as folder, \
                Terminal(["/bin/sh", "-c", f"stty -a >{folder}/before; {harness.UMK}; stty -a >{folder}/after; echo DONE"]) as t:
            t.expect(PROMPT, 20)
            if ending:
                t.type(ending)
            else:
                for pid in subprocess.run(["pgrep", "-P", str(t.pid), "-f", harness.UMK], capture_output=True, text=True).stdout.split():
                    os.kill(int(pid), signal.SIGTERM)
            t.expect("DONE", 10)
            with open(f"{folder}/before") as before, open(f"{folder}/after") as after:
                equal(after.read(), before.read(), "stty -a")


def run_on_a_terminal():
    with Terminal([harness.UMK, "run", "--", "sh", "-c", "tty >/dev/null && echo a terminal; stty size; exit 5"], size=(33, 77)) as t:
        t.expect("a terminal\r\n33 77", 20)
        equal(t.end(), 5, "status")


def kill_of_the_monitor():
    with Terminal([harness.UMK]) as t:
        t.expect(PROMPT, 20)
        t.command("sleep 1000 & sleep 1000 &")
        os.kill(t.pid, signal.SIGKILL)
        os.waitpid(t.pid, 0)
        left = harness.reap_leftovers(t.before, 2.0)
        assert not left, "left behind: " + ", ".join(left)


def run_status(script, expected, **how):
    def test():
        outcome = harness.run_guest(["sh", "-c", script], root=None, limit=20, **how)
        assert not outcome.timed_out, "stopped at its time limit"
        equal(outcome.status, expected, script)
        assert not outcome.leftovers, "left behind: " + ", ".join(outcome.leftovers)
    return test


def unknown_command():
    outcome = harness.run_guest(["no-such-command"], root=None, limit=20)
    equal(outcome.status, 127, "status")
    assert b"no-such-command" in outcome.error, f"message {outcome.error!r}"


def pipes_and_end_of_file():
    data = b"line one\nline two\n\x00\xff binary"
    outcome = harness.run_guest(["cat"], root=None, limit=20, stdin=data)
    equal(outcome.output, data, "cat")
    equal(outcome.status, 0, "status")
    outcome = harness.run_guest(["sh", "-c", "echo out; echo err >&2"], root=None, limit=20)
    equal(outcome.output, b"out\n", "standard output")
    assert b"err\n" in outcome.error, f"standard error {outcome.error!r}"


def large_output_through_a_pipe():
    size = 64 << 20
    script = f"seq 1 12000000 | head -c {size}"
    expected = hashlib.sha256()
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        while block := child.stdout.read(1 << 20):
            expected.update(block)
    got = hashlib.sha256()
    count = 0
    with subprocess.Popen(harness.guest_command(["sh", "-c", script], root=None), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while block := child.stdout.read(65536):
            got.update(block)
            count += len(block)
            if time.monotonic() > deadline:
                child.kill()
                raise AssertionError(f"too slow: {count} bytes in a minute")
    equal(count, size, "bytes")
    equal(got.hexdigest(), expected.hexdigest(), "content")


def large_input_through_a_pipe():
    data = os.urandom(1 << 20) * 16
    with subprocess.Popen(harness.guest_command(["md5sum"], root=None), stdout=subprocess.PIPE, stdin=subprocess.PIPE) as child:
        out, _ = child.communicate(data, timeout=60)
    equal(out.split()[0].decode(), hashlib.md5(data).hexdigest(), "sum")


def slow_reader_of_one_who_stays():
    """The command has ended, a process that it left writes on: what was written until then is shown, and umk ends."""
    with subprocess.Popen(harness.guest_command(["sh", "-c", "yes & sleep 0.3; exit 3"], root=None), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as child:
        time.sleep(1)
        count = 0
        while block := child.stdout.read(16 << 10):
            count += len(block)
            if count > 4 << 20:
                child.kill()
                raise AssertionError("output without end")
            time.sleep(0.01)
        equal(child.wait(20), 3, "status")
        assert count > 64 << 10, f"only {count} bytes"


def closed_standard_streams():
    for closed, expected in (("<&-", b"hi\n4\n"), (">&-", b"4\n"), ("<&- >&- 2>&-", b"4\n")):
        line = shlex.join(harness.guest_command(["sh", "-c", "cat; echo hi; exit 4"], root=None)) + f" {closed}; echo $?"
        outcome = harness.run(["sh", "-c", line], limit=20)
        equal(outcome.output, expected, closed)


def signals_at_random_moments():
    for number, least in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)):
        for _ in range(8):
            with subprocess.Popen(harness.guest_command(["sh", "-c", "sleep 0.2 & sleep 0.2; exit 3"], root=None), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as child:
                time.sleep(random.random() * 0.4)
                child.send_signal(number)
                try:
                    status = child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    raise AssertionError(f"{number.name} does not end it") from None
                # Before umk looks after its signals they end it as any program.
                assert status in (3, least, -number), f"status {status} after {number.name}"


def wrong_switches():
    for words, name in ((["mem=banana"], "mem"), (["ncpus=0"], "ncpus"), (["shield=maybe"], "shield"), (["rootfstyp=hostfs"], "rootfstyp"),
                        (["run", "--mem", "banana", "--", "true"], "mem"), (["run", "--nonsense", "--", "true"], "nonsense"),
                        (["root=/dev/nothing"], "root")):
        outcome = harness.run([harness.UMK] + words, limit=20)
        assert not outcome.timed_out, f"{words} hangs"
        assert outcome.status != 0, f"{words} is taken"
        assert name.encode() in outcome.error + outcome.output, f"the message about {words} does not name it: {outcome.error[-200:]!r}"


def help_and_version():
    for switch in ("--help", "--version", "--showconfig"):
        outcome = harness.run([harness.UMK, switch], limit=10)
        equal(outcome.status, 0, switch)
        assert outcome.output, f"{switch} prints nothing"


def environment_and_directory():
    outcome = harness.run_guest(["sh", "-c", "echo $UMK_X; pwd"], root=None, limit=20, switches=["--env", "UMK_X=a b", "--workdir", "/tmp"])
    equal(outcome.output, b"a b\n/tmp\n", "output")


def read_only_root():
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        outcome = harness.run_guest(["sh", "-c", f"echo x >{folder}/f; test -e {folder}/f; echo $?"], limit=20, switches=["--ro"])
        equal(outcome.output, b"1\n", "output")
        equal(os.listdir(folder), [], "files")
        outcome = harness.run_guest(["sh", "-c", f"echo x >{folder}/f"], limit=20)
        equal(os.listdir(folder), ["f"], "files")


def memory_limit():
    outcome = harness.run_guest(["python3", "-c", "x = bytearray(400 << 20); print(len(x))"], limit=60, switches=["--mem", "128M"])
    assert outcome.status != 0, "400 MiB fitted into 128"
    outcome = harness.run_guest(["python3", "-c", "x = bytearray(40 << 20); print(len(x))"], limit=60, switches=["--mem", "256M"])
    equal(outcome.status, 0, "40 MiB in 256")
    outcome = harness.run_guest(["python3", "-c", "x = [bytearray(b'x' * (1 << 20)) for i in range(200)]"], limit=60, switches=["--mem", "64M"])
    equal(outcome.status, 137, "status of what was killed")
    assert b"Out of memory: killed process 1 (python3)" in outcome.error, f"nobody was told: {outcome.error!r}"


def log_of_a_command():
    """Of a command's machine only errors are shown, unless more is asked for."""
    equal(harness.run_guest(["true"], limit=20).error, b"", "of a run without errors")
    error = harness.run_guest(["sh", "-c", "echo '<3>an error' >/dev/kmsg; echo '<4>a warning' >/dev/kmsg"], limit=20).error
    assert b"an error" in error and b"a warning" not in error, f"without a switch: {error!r}"
    error = harness.run_guest(["true"], limit=20, switches=["loglevel=6"]).error
    assert b"Kernel command line: loglevel=6" in error, f"with loglevel=6: {error!r}"


def scheduling_wishes():
    """What a program wished of the host's scheduler goes with it, and is not found by those that come after it on the same host process."""
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        script = "for i in 1 2 3 4 5 6; do nice -n 5 taskset -c 0 true; /bin/true; done; echo ready; read x; exec nice -n 7 taskset -c 0 sleep 20"
        machine = killing.Machine(["bash", "-c", script], folder)
        try:
            machine.wait_for(b"ready\n")
            nices = {os.getpriority(os.PRIO_PROCESS, pid) for pid in killing.vessels(machine.process.pid)}
            masks = {frozenset(os.sched_getaffinity(pid)) for pid in killing.vessels(machine.process.pid)}
            equal((nices, masks), ({os.getpriority(os.PRIO_PROCESS, 0)}, {frozenset(os.sched_getaffinity(0))}), "nice values and affinities of host processes")
            machine.say(b"go\n")
            time.sleep(0.5)
            found = {(os.getpriority(os.PRIO_PROCESS, pid), tuple(os.sched_getaffinity(pid))) for pid in machine.guests()}
            equal(found, {(os.getpriority(os.PRIO_PROCESS, 0) + 7, (0,))}, "of the program's host process")
        finally:
            machine.process.kill()
            machine.process.communicate()


def memory_adjustment():
    """Who is killed when memory ends: not the largest, if another has volunteered or it is exempted."""
    script = """
import os, sys, time
def child(adjustment, mebibytes):
    pid = os.fork()
    if pid: return pid
    open("/proc/self/oom_score_adj", "w").write(str(adjustment))
    room = []
    for piece in range(mebibytes // 10):
        room.append(bytearray(b"x" * (10 << 20)))
        time.sleep(0.02)
    time.sleep(20)
    os._exit(0)
kept, volunteer = child(-1000, 70), child(900, 40)
time.sleep(1)
eater = child(0, 300)
first, status = os.wait()
names = {kept: "kept", volunteer: "volunteer", eater: "eater"}
print(names[first], status)
second, status = os.wait()
print(names[second], status)
os.kill(kept, 15)
"""
    outcome = harness.run_guest(["python3", "-c", script], limit=60, switches=["--mem", "192M"])
    equal(outcome.output, b"volunteer 9\neater 9\n", f"who was killed ({outcome.error[-300:]!r})")


def as_an_ordinary_user():
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "umk")
        shutil.copy(harness.UMK, program)
        as_nobody = [*harness.as_ordinary_user(), "env", "HOME=/nonexistent", program]
        outcome = harness.run(as_nobody + ["run", "--", "sh", "-c", "id -u; echo works; exit 4"], limit=30, cwd="/")
        equal((outcome.status, outcome.output), (4, b"0\nworks\n"), f"embedded root ({outcome.error[-200:]!r})")
        outcome = harness.run(as_nobody + ["run", "--root", "/", "--", "/bin/bash", "-c", "cd && ls >/dev/null && echo $((1 + 1)); exit 3"], limit=30, cwd="/")
        equal((outcome.status, outcome.output), (3, b"2\n"), f"host root ({outcome.error[-200:]!r})")
        equal(harness.children(), [], "children")


def names_of_the_root():
    """A root is named as the shell that starts umk names it."""
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        for folder_in_root in ("tree/bin", "tree/dev"):
            os.makedirs(os.path.join(folder, folder_in_root))
        shutil.copy("/bin/busybox", os.path.join(folder, "tree/bin/sh"))
        outcome = harness.run([harness.UMK, "run", "--root", "tree", "--", "sh", "-c", "echo in /*"], limit=20, cwd=folder)
        equal((outcome.status, outcome.output), (0, b"in /bin /dev\n"), f"relative name ({outcome.error!r})")
        outcome = harness.run([harness.UMK, "rootfstype=hostfs", "rootflags=../umk-test-nosuch"], limit=20, cwd=folder)
        equal((outcome.status, outcome.error), (1, b"umk: the root ../umk-test-nosuch: No such file or directory\n"), "missing")
        outcome = harness.run([harness.UMK, "run", "--root", "no.img", "--", "true"], limit=20, cwd=folder)
        equal((outcome.status, outcome.error), (1, b"umk: the root no.img: No such file or directory\n"), "missing image")


def limits_of_the_host():
    """What the host's limits do not let umk have is said with the limit."""
    for limit in ("ulimit -f 1000", "ulimit -d 1000", "ulimit -v 4000000"):
        outcome = harness.run(["sh", "-c", f"{limit}; exec {harness.UMK} run -- true"], limit=20)
        equal(outcome.status, 1, f"status with {limit} ({outcome.error!r})")
        assert outcome.error.startswith(b"umk: ") and limit[:9].encode() in outcome.error, f"{limit}: {outcome.error!r}"


def image_is_left_clean():
    """After a command its image is as if it were unmounted, though others still run: it can be mounted where nothing can be replayed."""
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        for folder_in_root in ("tree/bin", "tree/dev"):
            os.makedirs(os.path.join(folder, folder_in_root))
        for name in ("sh", "sleep", "cat"):
            shutil.copy("/bin/busybox", os.path.join(folder, "tree/bin", name))
        image = os.path.join(folder, "image")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", os.path.join(folder, "tree"), image, "32M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        script = "(while echo more; do :; done > /more) & sleep 0.2; echo kept > /kept; exit 3"
        outcome = harness.run([harness.UMK, "run", "--root", image, "--", "sh", "-c", script], limit=20)
        equal(outcome.status, 3, f"status ({outcome.error!r})")
        checked = subprocess.run(["e2fsck", "-n", image], capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and "recover" not in checked.stdout + checked.stderr, f"e2fsck: {checked.stdout} {checked.stderr}"
        os.chmod(image, 0o444)
        outcome = harness.run([harness.UMK, "run", "--root", image, "--ro", "--", "cat", "/kept"], limit=20)
        equal((outcome.status, outcome.output), (0, b"kept\n"), f"read-only ({outcome.error!r})")


def uml_form():
    outcome = harness.run([harness.UMK, "quiet", "init=/bin/sh", "UMK_VAR=value", "--", "-c", "echo $UMK_VAR $0 $1; poweroff -f", "zero", "one"], limit=20)
    assert b"value zero one" in outcome.output + outcome.error, f"saw {outcome.output[-300:]!r} {outcome.error[-300:]!r}"
    equal(outcome.status, 0, "status")


TESTS = {
    "names_of_the_root": names_of_the_root,
    "image_is_left_clean": image_is_left_clean,
    "limits_of_the_host": limits_of_the_host,
    "help_and_version": help_and_version,
    "exit_status": run_status("exit 7", 7),
    "exit_status_zero": run_status("true", 0),
    "killed_by_a_signal": run_status("kill -9 $$", 137),
    "terminated": run_status("kill -TERM $$", 143),
    "background_processes_end_with_the_command": run_status("sleep 1000 & exit 2", 2),
    "standard_input_of_nothing": run_status("cat; exit 1", 1),
    "unknown_command": unknown_command,
    "pipes_and_end_of_file": pipes_and_end_of_file,
    "large_output_through_a_pipe": large_output_through_a_pipe,
    "large_input_through_a_pipe": large_input_through_a_pipe,
    "slow_reader_of_one_who_stays": slow_reader_of_one_who_stays,
    "closed_standard_streams": closed_standard_streams,
    "signals_at_random_moments": signals_at_random_moments,
    "wrong_switches": wrong_switches,
    "environment_and_directory": environment_and_directory,
    "read_only_root": read_only_root,
    "memory_limit": memory_limit,
    "log_of_a_command": log_of_a_command,
    "scheduling_wishes": scheduling_wishes,
    "memory_adjustment": memory_adjustment,
    "as_an_ordinary_user": as_an_ordinary_user,
    "boots_to_a_prompt": boots_to_a_prompt,
    "halt": end_of("halt", 0),
    "power_off": end_of("poweroff", 0),
    "leaving_the_shell": end_of("exit", 0),
    "restarts_in_place": restarts_in_place,
    "panic_is_not_zero": panic_is_not_zero,
    "uml_form": uml_form,
    "typing_and_signals": typing_and_signals,
    "control_d_ends_the_shell": control_d_ends_the_shell,
    "window_size": window_size,
    "terminal_is_restored": terminal_is_restored,
    "run_on_a_terminal": run_on_a_terminal,
    "kill_of_the_monitor": kill_of_the_monitor,
}


def run_all(report, wanted, long):  # pylint: disable=unused-argument
    for name, test in TESTS.items():
        title = "boot/" + name
        if not wanted(title):
            continue
        start = time.monotonic()
        marks = harness.traces()
        before = set(harness.children())
        problems = []
        try:
            test()
        except AssertionError as problem:
            problems.append(str(problem))
        except Exception as problem:  # a broken test is a failed one, and the others still run
            problems.append(f"{type(problem).__name__}: {problem}")
        problems += harness.reap_leftovers(before, 0.5)
        problems += [f"left behind: {trace}" for trace in sorted(harness.traces() - marks)]
        report.add(title, problems, seconds=time.monotonic() - start)
