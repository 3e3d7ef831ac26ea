"""What programs find at a serial line and a console: requests, limits, hang-up. The same program asks a pseudo-terminal of the host; only what is a line's own differs."""

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time

import harness
from host_lines import differs

# Asks the terminal that it is given, with somebody at the other end who answers as Peer does; prints what it finds as JSON.
PROGRAM = r'''
import errno, fcntl, json, os, select, signal, struct, sys, termios, time
path = sys.argv[1]
found = {}

def outcome(call):
    try:
        return call()
    except OSError as failure:
        return errno.errorcode[failure.errno]

fd = os.open(path, os.O_RDWR | os.O_NOCTTY)

# --- requests
REQUESTS = {
    "TIOCMGET": 0x5415, "TIOCMBIS": 0x5416, "TIOCMBIC": 0x5417, "TIOCMSET": 0x5418, "TIOCMIWAIT": 0x545c, "TIOCGICOUNT": 0x545d, "TIOCGSERIAL": 0x541e,
    "TIOCSERGETLSR": 0x5459, "TIOCGRS485": 0x542e, "TIOCLINUX": 0x541c, "TIOCGPTN": 0x80045430, "TIOCPKT": 0x5420,
    "KDGKBTYPE": 0x4b33, "KDGETMODE": 0x4b3b, "KDSETMODE": 0x4b3a, "KDGKBMODE": 0x4b44, "KDGETLED": 0x4b31, "KDMKTONE": 0x4b30, "GIO_FONT": 0x4b60,
    "VT_OPENQRY": 0x5600, "VT_GETMODE": 0x5601, "VT_GETSTATE": 0x5603, "VT_ACTIVATE": 0x5606, "VT_DISALLOCATE": 0x5608,
    "TCGETS": 0x5401, "TCGETS2": 0x802c542a, "TCGETA": 0x5405, "TCSBRK": 0x5409, "TCSBRKP": 0x5425, "TIOCSBRK": 0x5427, "TIOCCBRK": 0x5428,
    "TIOCGWINSZ": 0x5413, "TIOCGPGRP": 0x540f, "TIOCGSID": 0x5429, "TIOCGETD": 0x5424, "TIOCGEXCL": 0x80045440, "TIOCGSOFTCAR": 0x5419,
    "TIOCOUTQ": 0x5411, "FIONREAD": 0x541b, "BLKGETSIZE": 0x1260, "unknown": 0x54ff,
}
for name, request in REQUESTS.items():
    found[name] = outcome(lambda: fcntl.ioctl(fd, request, bytes(64)) is not None)
found["seek"] = outcome(lambda: os.lseek(fd, 0, os.SEEK_CUR))
found["truncate"] = outcome(lambda: os.ftruncate(fd, 0))
found["type"] = oct(os.fstat(fd).st_mode & 0o170000)
mode = termios.tcgetattr(fd)
found["flags"] = [hex(word) for word in mode[:4]]
found["speed"] = mode[4:6]
found["characters"] = [c.hex() if isinstance(c, bytes) else c for c in mode[6]]

# --- speed and settings are kept
fast = list(mode)
fast[4] = fast[5] = termios.B115200
fast[2] = fast[2] & ~termios.CBAUD | termios.B115200
termios.tcsetattr(fd, termios.TCSADRAIN, fast)
found["fast"] = termios.tcgetattr(fd)[4:6] == [termios.B115200] * 2
termios.tcsetattr(fd, termios.TCSANOW, mode)

# --- lines and their limit
quiet = list(mode)
quiet[3] &= ~termios.ECHO
termios.tcsetattr(fd, termios.TCSANOW, quiet)
os.write(fd, b"lines please\n")
found["lines"] = []
while not found["lines"] or found["lines"][-1] != "the end\n":
    line = os.read(fd, 8192).decode()
    found["lines"].append(line if len(line) < 100 else f"{line[:3]} {len(line)} {line[-2:]!r}")
termios.tcdrain(fd)
found["pending"] = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0]

# --- raw reads: how many bytes wait, and the time to wait for them
raw = list(quiet)
raw[3] &= ~termios.ICANON
raw[6] = list(raw[6])
raw[6][termios.VMIN], raw[6][termios.VTIME] = 5, 0
termios.tcsetattr(fd, termios.TCSANOW, raw)
os.write(fd, b"five please\n")
found["five"] = os.read(fd, 100).decode()
raw[6][termios.VMIN], raw[6][termios.VTIME] = 0, 1
termios.tcsetattr(fd, termios.TCSANOW, raw)
found["nothing"] = os.read(fd, 100).decode()
termios.tcsetattr(fd, termios.TCSANOW, quiet)
os.set_blocking(fd, False)
found["would block"] = outcome(lambda: os.read(fd, 1).decode())
os.set_blocking(fd, True)

# --- a session of its own, interrupted by its terminal, which then hangs up
report_in, report_out = os.pipe()
child = os.fork()
if child == 0:
    os.setsid()
    own = os.open(path, os.O_RDWR)
    got = {"group": os.tcgetpgrp(own) == os.getpid(), "session": termios.tcgetsid(own) == os.getpid() if hasattr(termios, "tcgetsid") else True}
    controlling = os.open("/dev/tty", os.O_RDWR)
    seen = []
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCONT):
        signal.signal(number, lambda number, frame: seen.append(number))
    os.write(own, b"interrupt please\n")
    while signal.SIGINT not in seen:
        time.sleep(0.01)
    os.write(own, b"hang up please\n")
    deadline = time.monotonic() + 20
    while signal.SIGHUP not in seen and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    got["signals"] = sorted(set(int(number) for number in seen))
    got["read"] = outcome(lambda: os.read(own, 10).decode())
    got["write"] = outcome(lambda: os.write(own, b"x"))
    got["ioctl"] = outcome(lambda: fcntl.ioctl(own, termios.TIOCGWINSZ, bytes(8)) is not None)
    got["tcgetpgrp"] = outcome(lambda: os.tcgetpgrp(own))
    poll = select.poll()
    poll.register(own, select.POLLIN | select.POLLOUT)
    got["poll"] = poll.poll(0)[0][1]
    got["controlling"] = outcome(lambda: os.open("/dev/tty", os.O_RDWR) > 0)
    got["its read"] = outcome(lambda: os.read(controlling, 10).decode())
    os.write(report_out, json.dumps(got).encode())
    os._exit(0)
os.waitpid(child, 0)
found["hang-up"] = json.loads(os.read(report_in, 65536))
found["others"] = [outcome(lambda: os.read(fd, 1).decode()), outcome(lambda: os.write(fd, b"x"))]
with open(sys.argv[2], "w") if len(sys.argv) > 2 else sys.stdout as out:
    out.write(json.dumps(found) + "\n")
'''

LONG = b"a" * 5000


class Peer(threading.Thread):
    """The other end of the terminal: does what it is asked for."""

    REQUESTS = ((b"lines please", b"short\n" + LONG + b"\n" + b"b" * 4094 + b"\n" + b"erased\x15kept\nhalf\x04the end\n"), (b"five please", b"12345"),
                (b"interrupt please", b"\x03"), (b"hang up please", None))

    def __init__(self, fd):
        super().__init__(daemon=True)
        self.fd = fd

    def run(self):
        seen = b""
        for request, answer in self.REQUESTS:
            while request not in seen:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:
                    data = b""
                if not data:
                    os.close(self.fd)
                    return
                seen += data
            time.sleep(0.05)  # who asked reads, or waits for the signal
            while answer:
                answer = answer[os.write(self.fd, answer):]
        os.close(self.fd)


def ask_host(folder):
    master, slave = pty.openpty()
    path = os.ttyname(slave)
    peer = Peer(master)
    peer.start()
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    out, _ = program.communicate(timeout=60)
    os.close(slave)
    peer.join(5)
    return json.loads(out)


def ask_guest(switch, device):
    """What the program finds on a line whose channel is a socket."""
    ours, theirs = socket.socketpair()
    peer = Peer(ours.detach())
    peer.start()
    words = [harness.UMK, "run", "--root", "/", "--ro", f"{switch}=fd:{theirs.fileno()}", "--", sys.executable, "-c", PROGRAM, device]
    program = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[theirs.fileno()], start_new_session=True)
    theirs.close()
    out, error = program.communicate(timeout=120)
    peer.join(5)
    return json.loads(out) if program.returncode == 0 else {"status": program.returncode, "error": error.decode()[-2000:]}


def compare(found, expected):
    return [problem for name in sorted(found.keys() | expected.keys()) for problem in differs(name, found.get(name), expected.get(name))]


def expected_of_host(folder):
    expected = ask_host(folder)
    # A line begins with the settings that all terminals of Linux begin with, tty_std_termios: a pseudo-terminal's slave has no HUPCL.
    expected["flags"][2] = hex(int(expected["flags"][2], 16) | 0x400)
    return expected


def check_serial_line(folder):
    """Requests, settings, limits, reads, signals and the hang-up on /dev/ttyS0, against a pseudo-terminal of the host."""
    return compare(ask_guest("ssl0", "/dev/ttyS0"), expected_of_host(folder))


def check_console(folder):
    """The same on /dev/tty3."""
    return compare(ask_guest("con3", "/dev/tty3"), expected_of_host(folder))


NUMBERS = r'''
import errno, os, stat, sys
def attempt(major, minor):
    path = f"/tmp/node-{major}-{minor}"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        return "open"
    except OSError as failure:
        return errno.errorcode[failure.errno]
    finally:
        os.unlink(path)
print([attempt(*number) for number in ((4, 0), (4, 1), (4, 2), (4, 3), (4, 15), (4, 16), (4, 63), (4, 64), (4, 65), (4, 127), (4, 128), (5, 1), (5, 3))])
print(sorted(name for name in os.listdir("/dev") if name.startswith("tty") and name != "tty"))
print(sorted(name for name in os.listdir("/sys/class/tty") if name.startswith("tty") and name != "tty"))
print(open("/sys/class/tty/ttyS3/dev").read().strip(), open("/sys/class/tty/ttyS3/uevent").read().split())
print(os.readlink("/sys/dev/char/4:67").endswith("/tty/ttyS3"))
'''


def check_numbers(folder):
    """Which device numbers are lines, by those that the machine was given; nodes and /sys/class/tty say so too. A null channel opens at once."""
    words = [harness.UMK, "run", "con2=null", "ssl=none", "ssl3=null", "--root", "/", "--ro", "--", "sh", "-c", f"mount -t tmpfs tmpfs /tmp && exec {sys.executable} -c '{NUMBERS}'"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if done.returncode != 0:
        return [f"status {done.returncode}: {done.stderr.decode()[-1000:]}"]
    lines = done.stdout.decode().splitlines()
    wanted = [str(["open", "open", "open", "ENXIO", "ENXIO", "ENXIO", "ENXIO", "ENXIO", "ENXIO", "ENXIO", "ENXIO", "open", "ENXIO"]),
              str(["tty0", "tty1", "tty2", "ttyS3"]), str(["tty0", "tty1", "tty2", "ttyS3"]), "4:67 ['MAJOR=4', 'MINOR=67', 'DEVNAME=ttyS3']", "True"]
    return compare(dict(enumerate(lines)), dict(enumerate(wanted)))


CHECKS = [check_serial_line, check_console, check_numbers]


def run_all(report, wanted):
    harness.run_checks(report, wanted, "consoles/line", CHECKS)
