"""A host that allows no more processes: programs are told so, and the machine lives."""

import os
import subprocess

import harness
from killing import Machine

PROGRAMS = os.environ.get("UMK_TEST_PROGRAMS", os.path.join(harness.SOURCE, "build/release/tests"))
# Limits do not hold for root. And who may not change those of others, but is root, does it as that user.
AS_ORDINARY_USER = {"user": 54321, "group": 54321, "extra_groups": []} if os.geteuid() == 0 else {}


class OrdinaryMachine(Machine):
    def __init__(self, command):
        self.output = b""
        self.process = subprocess.Popen(harness.guest_command(command), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        **AS_ORDINARY_USER)

    def allow_no_more_processes(self):
        """The nursery, which makes processes, is the first child."""
        monitor = self.process.pid
        with open(f"/proc/{monitor}/task/{monitor}/children") as file:
            nursery = file.read().split()[0]
        subprocess.run(["prlimit", "--pid", nursery, "--nproc=1:"], check=True, **AS_ORDINARY_USER)


def refuse_processes():
    """posix_spawn fails with EAGAIN, from the exec that finds no process to move to, and works again when others have ended."""
    machine = OrdinaryMachine([os.path.join(PROGRAMS, "stress/spawner")])
    machine.wait_for(b"ready\n")
    machine.allow_no_more_processes()
    machine.say(b"go\n")
    machine.wait_for(b"then", 40)
    machine.say(b"go\n")
    status, error = machine.end(30)
    assert status == 0, f"status {status}: {machine.output!r} {error!r}"
    assert machine.output == b"ready\nstarted some, then EAGAIN\nall ended, then status 0\n", f"{machine.output!r} {error!r}"


def wait_for_processes():
    """A process that ends in time makes room for the one that waits."""
    machine = OrdinaryMachine(["/usr/bin/python3", "-c", WAITING])
    machine.wait_for(b"ready\n")
    machine.allow_no_more_processes()
    machine.say(b"go\n")
    status, error = machine.end(60)
    assert status == 0 and machine.output.endswith(b"12 started\n"), f"status {status}: {machine.output!r} {error!r}"


WAITING = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
started = [os.posix_spawn("/bin/sleep", ["sleep", "0.3"], os.environ) for i in range(12)]
for pid in started: os.waitpid(pid, 0)
print(len(started), "started")
"""

TESTS = {"refuse_processes": refuse_processes, "wait_for_processes": wait_for_processes}
