"""A machine with a management console, for tests: starts umk, asks it raw packets, types into its console."""

import os
import re
import socket
import struct
import subprocess
import time

import harness

MAGIC, VERSION = 0xCAFEBABE, 2
TOOL = os.path.join(os.path.dirname(harness.UMK), "uml_mconsole")
if not os.access(TOOL, os.X_OK):
    TOOL = os.path.join(harness.SOURCE, "build/uml_mconsole")
DEBIANS_TOOL = "/usr/bin/uml_mconsole"


def require(condition, text):
    if not condition:
        raise OSError(text)


class Client:
    """A datagram socket with a name, as the tools have."""

    def __init__(self, path, timeout=10.0):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("")  # a name of the host's choice
        self.socket.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, text, magic=MAGIC, version=VERSION, length=None, padded=True):
        data = text.encode() if isinstance(text, str) else text
        packet = struct.pack("<III", magic, version, len(data) if length is None else length) + data
        self.send_bytes(packet.ljust(524, b"\0") if padded else packet)

    def send_bytes(self, packet):
        # A full queue refuses at once when the socket has a time limit.
        for _ in range(2000):
            try:
                return self.socket.sendto(packet, self.path)
            except BlockingIOError:
                time.sleep(0.002)
        raise TimeoutError("the machine takes no more requests")

    def receive(self):
        return self.socket.recv(4096)

    def packets(self):
        """The packets of one answer: (error, more, text)."""
        answer = []
        while True:
            data = self.receive()
            error, more, length = struct.unpack("<iII", data[:12])
            require(length == len(data) - 12 and data[-1] == 0, f"a reply of {len(data)} bytes says {length}")
            answer.append((error, more, data[12:-1].decode(errors="replace")))
            if not more:
                return answer

    def ask(self, text, **how):
        """(error, text) of the answer."""
        self.send(text, **how)
        answer = self.packets()
        return answer[0][0], "".join(packet[2] for packet in answer)


class Machine:
    """umk on pipes: what is typed goes to console 0, what the console shows goes to a file."""

    def __init__(self, folder, name="box", switches=(), types=False, directory=None, setup=None, log=None, shells=False):
        self.directory = directory or os.path.join(folder, "uml")
        self.name = name
        self.socket = os.path.join(self.directory, name, "mconsole")
        self.log = log or os.path.join(folder, name + ".log")
        self.seen = 0
        # Lines belong to the tests, unless they want the shells of the embedded root there.
        words = [harness.UMK, f"umid={name}", f"uml_dir={self.directory}", f"con0={'fd:0' if types else 'null'},fd:1"]
        words += [*([] if shells else ["env=SHELLS="]), *switches]
        self.started = time.monotonic()
        with open(self.log, "wb"):
            pass
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE if types else subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True, preexec_fn=setup)

    def __enter__(self):
        return self

    def __exit__(self, _kind=None, problem=None, _trace=None):
        if isinstance(problem, OSError) and len(problem.args) == 1:
            # Where it did not say what it waited for, the console may.
            problem.args = (f"{problem}; at last the console showed {self.text()[-600:]!r}",)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def wait_until_up(self, seconds=20):
        """Waits for an answer to `version`; returns how long the machine took from its start."""
        deadline = time.monotonic() + seconds
        while True:
            require(self.process.poll() is None, f"umk ended with {self.process.returncode}: {self.text()[-500:]}")
            require(time.monotonic() < deadline, f"no management console after {seconds} s: {self.text()[-500:]}")
            try:
                with Client(self.socket, 2) as client:
                    error, text = client.ask("version")
                break
            except (FileNotFoundError, ConnectionRefusedError):  # not yet, or of a machine that was killed
                time.sleep(0.001)
            except TimeoutError:  # of one that was killed just now: its last process took the request along
                pass
        require(error == 0 and text.startswith("Linux "), text)
        return time.monotonic() - self.started

    def ask(self, text, timeout=20.0):
        with Client(self.socket, timeout) as client:
            return client.ask(text)

    def text(self):
        with open(self.log, "rb") as file:
            return file.read().decode(errors="replace")

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def expect(self, pattern, seconds=20):
        """Waits until the console shows the pattern behind what was expected before."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.compile(pattern).search(self.text(), self.seen)
            if match:
                self.seen = match.end()
                return match
            require(time.monotonic() < deadline, f"waited for {pattern!r}, saw {self.text()[self.seen:][-400:]!r}")
            time.sleep(0.02)

    def command(self, line, seconds=20):
        """Types a command for a shell and returns what it prints."""
        self.type(f"echo begin-$((1)); {line}; echo end-$((1))")
        begin = self.expect(r"begin-1\r?\n", seconds).end()
        end = self.expect(r"end-1\r?\n", seconds).start()
        return self.text()[begin:end].replace("\r", "")

    def end(self, seconds=20):
        """The exit status, as a shell tells it."""
        code = self.process.wait(seconds)
        return code if code >= 0 else 128 - code

    def halt(self):
        require(self.ask("halt") == (0, ""), "halt is refused")
        return self.end()
