"""/dev/watchdog with the program uml_watchdog on the host: Debian's, and some that write down what they see."""

import os
import socket
import stat
import struct
import time

import harness
from managed_machine import Machine

DEBIANS = "/usr/bin/uml_watchdog"

# Says how it was called, that it is ready, how often it was petted, and that its input ended.
TAME = """#!/bin/sh
exec 3>> "{log}"
echo "$$ called $*" >&3
printf x
count=0
while read -r line; do count=$((count + 1)); echo "$$ pet $count" >&3; done
echo "$$ end" >&3
"""
LAME = "#!/bin/sh\nexit 1\n"

PROGRAM = r"""
import errno, fcntl, os, struct, sys, time
def attempt(what, call):
    try:
        print(what, call())
    except OSError as failure:
        print(what, errno.errorcode[failure.errno])
dog = os.open("/dev/watchdog", os.O_WRONLY)
attempt("second", lambda: os.open("/dev/watchdog", os.O_WRONLY))
attempt("write", lambda: os.write(dog, b"x"))
attempt("many", lambda: os.write(dog, b"many bytes"))
attempt("nothing", lambda: os.write(dog, b""))
attempt("read", lambda: os.read(dog, 1))
attempt("keepalive", lambda: fcntl.ioctl(dog, 0x80045705, 0))
buffer = bytearray(40)
fcntl.ioctl(dog, 0x80285700, buffer)
print("support", hex(struct.unpack("I", buffer[:4])[0]), buffer[8:].split(b"\0")[0].decode())
for name, number in (("status", 0x80045701), ("boot status", 0x80045702), ("timeout", 0x80045707)):
    word = bytearray(4)
    attempt(name, lambda: fcntl.ioctl(dog, number, word) or struct.unpack("i", word)[0])
os.close(dog)
dog = os.open("/dev/watchdog", os.O_WRONLY)
print("again", os.write(dog, b"V"))
os.close(dog)
time.sleep(0.5)  # the end of the machine would kill the dog before it has written
"""
ANSWERS = """second EBUSY
write 1
many 10
nothing 0
read EBADF
keepalive 0
support 0x8000 UML Hardware Watchdog
status 0
boot status 0
timeout ENOTTY
again 1
"""


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def install(folder, text):
    """A folder for PATH with a uml_watchdog of that text."""
    place = os.path.join(folder, "bin")
    os.makedirs(place, exist_ok=True)
    path = os.path.join(place, "uml_watchdog")
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, stat.S_IRWXU)
    return dict(os.environ, PATH=place + ":" + os.environ["PATH"])


def lines_of(path, count, seconds=5):
    """What dogs have written, once there are so many lines: those of each dog, in the order of their calls."""
    deadline = time.monotonic() + seconds
    lines = []
    while len(lines) < count and time.monotonic() < deadline:
        time.sleep(0.02)
        try:
            with open(path) as file:
                lines = file.read().splitlines()
        except OSError:
            pass
    dogs = {}
    for line in lines:
        number, text = line.split(" ", 1)
        dogs.setdefault(number, []).append(text)
    return list(dogs.values())


def check_calls(folder):
    """Who opens it has a dog, alone; every write and keep-alive is a pet; the close ends it, whatever was written."""
    log = os.path.join(folder, "log")
    outcome = harness.run_guest(["python3", "-c", PROGRAM], env=install(folder, TAME.format(log=log)))
    problems = differs("answers", outcome.output.decode(), ANSWERS)
    dogs = lines_of(log, 5 + 3)  # the first one may still be at its end when the second one is called
    problems += differs("their switch", [lines[0].split()[:2] for lines in dogs], [["called", "-pid"]] * 2)
    problems += differs("what they saw", [lines[1:] for lines in dogs], [["pet 1", "pet 2", "pet 3", "end"], ["pet 1", "end"]])
    return problems + (harness.tail(outcome.error) if problems else [])


def check_no_dog(folder):
    """A dog that dies before it is ready, and none at all: the device cannot be opened, and the log says why."""
    script = ["sh", "-c", "true > /dev/watchdog; dmesg | grep harddog | sed 's/.*harddog/harddog/'"]
    outcome = harness.run_guest(script, env=install(folder, LAME))
    problems = differs("lame", outcome.output.decode(), "harddog_open: the watchdog process died before it was ready\n")
    if "I/O error" not in outcome.error.decode() and "Input/output" not in outcome.error.decode():
        problems.append(f"the error is {outcome.error.decode()!r}")
    return problems


def dogs_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    found = []
    for child in children:
        try:
            with open(f"/proc/{child}/cmdline") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "uml_watchdog":
            found.append(words[1:-1])
    return found


def wait_for_dogs(machine, wanted, seconds=5):
    deadline = time.monotonic() + seconds
    while (found := dogs_of(machine.process.pid)) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return differs("dogs", found, wanted)


def check_debians(folder):
    """Debian's uml_watchdog is there as long as the device is open, with the listener's socket when there is one, and leaves with the machine."""
    if not os.access(DEBIANS, os.X_OK):
        return [f"{DEBIANS} is missing: install uml-utilities"]
    problems = []
    listener = os.path.join(folder, "listener")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(listener)
        for switches, words in (([], lambda pid: ["-pid", str(pid)]), ([f"mconsole=notify:{listener}"], lambda _: ["-mconsole", listener])):
            with Machine(folder, switches=switches, types=True) as machine:
                machine.wait_until_up()
                machine.command("exec 9> /dev/watchdog; echo >&9")
                problems += wait_for_dogs(machine, [words(machine.process.pid)])
                machine.command("exec 9>&-")
                problems += wait_for_dogs(machine, [])
                machine.command("exec 9> /dev/watchdog")
                problems += wait_for_dogs(machine, [words(machine.process.pid)])
                problems += differs("status", machine.halt(), 0)
    return problems


def check_bite(folder):
    """A machine that does not pet for a minute: the dog interrupts it, or tells the listener and goes."""
    problems = []
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        started = time.monotonic()
        machine.command("exec 9> /dev/watchdog")
        problems += differs("status of an interrupted machine", machine.end(90), 1)
        if not 55 < time.monotonic() - started < 75:
            problems.append(f"it was interrupted after {time.monotonic() - started:.0f} s")
    listener = os.path.join(folder, "listener")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(listener)
        heard.settimeout(90)
        with Machine(folder, switches=[f"mconsole=notify:{listener}"], types=True) as machine:
            machine.wait_until_up()
            heard.recv(4096)  # the socket's name
            machine.command("exec 9> /dev/watchdog")
            packet = heard.recv(4096)
            problems += differs("magic and type of the notification", (struct.unpack("<Q", packet[:8])[0], struct.unpack("<I", packet[12:16])[0]), (0xCAFEBABE, 2))
            problems += differs("a pet without a dog", machine.command("sleep 0.3; echo >&9; echo $?").splitlines()[-1], "1")
            problems += differs("status", machine.halt(), 0)
    return problems


def run_all(report, wanted, everything):
    harness.run_checks(report, wanted, "watchdog", [check_calls, check_no_dog, check_debians] + ([check_bite] if everything else []))
