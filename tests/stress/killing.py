"""Host processes of a machine that are killed from outside: their guest processes end as by SIGKILL, and the machine lives."""

import os
import random
import signal
import subprocess
import tempfile
import time

import harness
import tracing

# A guest's own memory lies below the kernel's private pages.
USER_END = 0x7DFF80100000


def vessels(monitor):
    """The children of the monitor, without the nursery, which is the first; numbers may begin anew between two."""
    try:
        with open(f"/proc/{monitor}/task/{monitor}/children") as file:
            return [int(word) for word in file.read().split()][1:]
    except OSError:
        return []


def carries_guest(pid):
    try:
        with open(f"/proc/{pid}/maps") as file:
            return int(file.readline().split("-")[0] or "f" * 16, 16) < USER_END
    except (OSError, ValueError):
        return False


class Machine:
    """umk with a program as its first process; commands go to its standard input."""

    def __init__(self, command, workdir, switches=()):
        self.process = subprocess.Popen(harness.guest_command(command, workdir, switches), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.output = b""

    def wait_for(self, text, seconds=20):
        os.set_blocking(self.process.stdout.fileno(), False)
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r} in {self.output!r}"
            self.output += self.process.stdout.read() or b""
            time.sleep(0.01)

    def say(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def guests(self):
        return [pid for pid in vessels(self.process.pid) if carries_guest(pid)]

    def end(self, seconds=60):
        os.set_blocking(self.process.stdout.fileno(), True)
        try:
            output, error = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, error = self.process.communicate()
            raise AssertionError(f"did not end: {(self.output + (output or b''))[-4000:]!r} {error[-800:]!r}") from None
        self.output += output
        return self.process.returncode, error


def kill_one(script):
    """A shell, whose only child is killed: it must see 137."""
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        machine = Machine(["sh", "-c", f"echo ready; read line; {script}"], folder)
        machine.wait_for(b"ready\n")
        first = set(machine.guests())
        assert len(first) == 1, f"{len(first)} processes carry the shell"
        machine.say(b"go\n")
        machine.wait_for(b"victim\n")
        time.sleep(0.2)
        victims = set(machine.guests()) - first
        assert len(victims) == 1, f"{len(victims)} processes to kill"
        os.kill(victims.pop(), signal.SIGKILL)
        status, error = machine.end(20)
        assert status == 0, f"status {status}: {machine.output!r} {error!r}"
        assert machine.output.endswith(b"status 137\n"), f"{machine.output!r} {error!r}"


def kill_idle():
    """Those that wait in the pool, and those that come after them."""
    with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
        machine = Machine(["sh", "-c", "echo ready; read line; for i in 1 2 3 4 5 6; do /bin/echo $i; done"], folder)
        machine.wait_for(b"ready\n")
        for pid in vessels(machine.process.pid):
            if not carries_guest(pid):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        machine.say(b"go\n")
        status, error = machine.end(30)
        assert status == 0 and machine.output.endswith(b"1\n2\n3\n4\n5\n6\n"), f"status {status}: {machine.output!r} {error!r}"


class Victims:
    """A machine in which victims are killed one after the other, each at one call to the host that its process makes."""

    CLONE, SIGRETURN = 56, 15

    def __init__(self, folder, around):
        program = os.path.join(harness.PROGRAMS, "stress", "victim")
        self.machine = Machine(["sh", "-c", around, "sh", program], folder, ["--cpus", "2"])
        self.machine.wait_for(b"ready\n")

    def read(self):
        os.set_blocking(self.machine.process.stdout.fileno(), False)
        self.machine.output += self.machine.process.stdout.read() or b""
        assert self.machine.process.poll() is None, f"the machine was lost: {self.machine.end(5)!r}"

    def await_more(self, text, before):
        deadline = time.monotonic() + 30
        while self.machine.output.count(text) == before:
            self.read()
            assert time.monotonic() < deadline, f"no {text!r} in {self.machine.output[-300:]!r}"
            time.sleep(0.002)

    def new_process(self, text):
        """Goes on until the program says so, having made one process; returns its number on the host."""
        before, others = self.machine.output.count(text), set(self.machine.guests())
        self.machine.say(b"\n")
        self.await_more(text, before)
        # The list of children may lack one when it is read while another ends.
        for _ in range(200):
            found = [pid for pid in self.machine.guests() if pid not in others]
            if found:
                break
            time.sleep(0.005)
        assert len(found) == 1, f"{len(found)} new processes"
        return found[0]

    def kill_at(self, number, at_beginning):
        """Kills at the beginning or at the end of the call with this number, counted from where the victim begins its work. False: it made fewer."""
        ended = self.machine.output.count(b"status ")
        self.new_process(b"partner\n")
        victim = self.new_process(b"victim\n")
        calls, has_begun = [], False

        def has_ended():
            nonlocal has_begun
            self.read()
            if not has_begun:
                has_begun = True
                self.machine.say(b"\n")
            return self.machine.output.count(b"status ") > ended

        def choose(registers, is_beginning, others):
            # In clone, in a signal handler, and outside of calls a thread may be running kernel code.
            if not has_begun or is_beginning != at_beginning or registers.orig_rax == self.CLONE or any(call in (None, self.CLONE, self.SIGRETURN) for call in others):
                return False
            calls.append(registers.orig_rax)
            return len(calls) == number

        killed = tracing.trace(victim, has_ended, choose)
        self.await_more(b"status ", ended)
        answer = self.machine.output.rsplit(b"victim\n", 1)[1]
        assert answer in (b"status 137\n", b"status 0\n"), f"after call {calls[-1]}, number {number} at its {'beginning' if at_beginning else 'end'}: {answer!r}"
        return killed


def kill_at_calls(step, around, note, leaks):
    """A process that dies before or after each of its calls to the host, or every step-th: while it held or waited for something, while it woke others, between two tasks."""
    count = 0
    for at_beginning in (True, False):
        with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
            os.chmod(folder, 0o777)
            victims = Victims(folder, around)
            number = 1
            # The pool of idle processes fills on the way, and an end with a full pool is another: first those at the end.
            while number < 200 and victims.kill_at(number, at_beginning):
                number += 8
            for number in range(min(number + 1, 200), 0, -step):
                count += victims.kill_at(number, at_beginning)
            victims.machine.process.stdin.close()
            victims.machine.process.stdin = None
            status, error = victims.machine.end()
            assert status == 0, f"status {status}: {victims.machine.output[-300:]!r} {error[-1500:]!r}"
            found = leaks(victims.machine.output)
            assert not found, ", ".join(found)
            harness.remove_tree(folder)
            os.makedirs(folder, exist_ok=True)
    note(f"killed at {count} calls")
    assert count * step >= 60, f"only {count} were killed"


def kill_at_random(seed, seconds, around, note, leaks):
    """Kills under load. A machine may be lost when its victim ran kernel code, and must say so."""
    chance = random.Random(seed)
    killed = lost = 0
    program = os.path.join(harness.PROGRAMS, "stress", "survivor")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
            os.chmod(folder, 0o777)
            machine = Machine(["sh", "-c", around, "sh", program, "12", str(max(3, round(deadline - time.monotonic())))], folder, ["--cpus", "2"])
            machine.wait_for(b"ready\n")
            keep = set(machine.guests())  # the shell and the program that watches
            machine.say(b"go\n")
            # Not to the end: what the shell starts to wait behind the program shall live.
            os.set_blocking(machine.process.stdout.fileno(), False)
            while machine.process.poll() is None and time.monotonic() < deadline - 1.5:
                time.sleep(chance.uniform(0.01, 0.08))
                machine.output += machine.process.stdout.read() or b""
                if b"killed " in machine.output:
                    break
                victims = [pid for pid in machine.guests() if pid not in keep]
                if not victims:
                    continue
                try:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            status, error = machine.end(60)
            harness.remove_tree(folder)
            os.makedirs(folder, exist_ok=True)
            if status == 134 and b"while it ran kernel code" in error:
                lost += 1
                continue
            assert status == 0, f"status {status} after {killed} kills: {machine.output[-300:]!r} {error[-1500:]!r}"
            assert b"done\n" in machine.output, f"{machine.output!r}"
            found = leaks(machine.output)
            assert not found, ", ".join(found)
    note(f"{killed} killed, {lost} machines lost")
    assert killed >= 10, f"only {killed} were killed"
    assert lost * 5 <= killed, f"{lost} machines lost by {killed} kills"


TESTS = {
    "kill_sleeper": lambda: kill_one('{ echo victim; exec sleep 100; } & wait $!; echo "status $?"'),
    "kill_computer": lambda: kill_one('{ echo victim; while :; do :; done; } & wait $!; echo "status $?"'),
    "kill_reader": lambda: kill_one('mkfifo f; { echo victim; read x < f; } & wait $!; echo "status $?"'),
    "kill_idle": kill_idle,
}
