"""What the tests of consoles share: the host's ends of lines, and programs on the guest's."""

import os
import re
import select
import socket
import time

from managed_machine import require

PASTE_LINES = 16 * 1024  # of 64 bytes


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def paste():
    return b"".join(b"%08d " % i + bytes(33 + (i * 7 + k) % 90 for k in range(54)) + b"\n" for i in range(PASTE_LINES))


class Stream:
    """The host's end of a line by its descriptor, read and written without ever waiting for one alone."""

    def __init__(self, fd):
        self.fd = fd
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def expect(self, pattern, seconds=20):
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen, re.DOTALL)
            if match:
                text, self.seen = self.seen[:match.end()], self.seen[match.end():]
                return text
            require(time.monotonic() < deadline, f"waited for {pattern!r}, saw {self.seen[-300:]!r}")
            if not self.read(0.2):
                time.sleep(0.02)

    def type(self, text):
        """Writes all, and reads what comes meanwhile: an echo that nobody takes would stop the other side."""
        data = text.encode() if isinstance(text, str) else text
        os.set_blocking(self.fd, False)
        deadline = time.monotonic() + 120
        while data:
            require(time.monotonic() < deadline, f"{len(data)} bytes are not taken")
            readable, writable, _ = select.select([self.fd], [self.fd], [], 5)
            if writable:
                try:
                    data = data[os.write(self.fd, data[:4096]):]
                except BlockingIOError:
                    pass
            if readable:
                self.seen = self.seen[-4096:] + os.read(self.fd, 65536)


def attach(device):
    """A program's end of a pseudo-terminal that umk announced, as screen(1) uses it."""
    # It is raw from the start, and must not be flushed: something may have been written already.
    return Stream(os.open(device, os.O_RDWR | os.O_NOCTTY))


def connect(port):
    """A telnet connection that answers nothing, as nc(1) makes one."""
    return Stream(socket.create_connection(("127.0.0.1", port)).detach())


def run_getty(machine, device):
    """A getty for ever on a line, root without a password."""
    machine.command("sed -i 's/^root:[^:]*/root:/' /etc/shadow")
    machine.type(f"while :; do setsid getty 38400 {device} linux; done 2>/dev/null &")


def run_shell(machine, device):
    machine.type(f"while :; do setsid -c sh </dev/{device} >/dev/{device} 2>&1; done 2>/dev/null &")


def announced(machine, name):
    return machine.expect(re.escape(name) + r" assigned device '([^']+)'").group(1)
