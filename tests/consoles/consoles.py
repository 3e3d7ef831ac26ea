"""Consoles and serial lines on the host: each kind of channel in a real machine, lines that are lost and found again, pastes, floods, changes at run time."""

import fcntl
import functools
import hashlib
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import termios
import threading
import time

import harness
import shells
from boot import PROMPT, Terminal
from host_lines import Stream, announced, attach, connect, differs, free_port, paste, run_getty, run_shell
from managed_machine import Machine
from windows import check_screenshot, check_xterm, check_xterm_with_our_helper

NOBODY = 65534


def check_pts(folder):
    """A pseudo-terminal is announced when the guest opens it; getty and login run on it; who leaves hangs up, and the next one finds a login again."""
    problems = []
    with Machine(folder, types=True, switches=["con1=pts", "ssl2=pts"]) as machine:
        machine.wait_until_up()
        machine.expect("Initialized stdio console driver")
        machine.expect("Initializing software serial port version 1")
        problems += differs("before it is opened", machine.ask("config con1"), (0, "pts"))
        problems += differs("announced too early", "assigned device" in machine.text(), False)
        run_getty(machine, "tty1")
        device = announced(machine, "Virtual console 1")
        problems += differs("while it is open", machine.ask("config con1"), (0, f"pts:{device}"))
        problems += differs("removal while it is open", machine.ask("remove con1"), (-16, "Device is already open"))
        with attach(device) as line:
            line.expect(rb"umk login: ")
            line.type("root\r")
            line.expect(PROMPT[:-1])
            line.type("tty; echo $((6*7))\r")
            line.expect(rb"/dev/tty1\r\n42\r\n")
            line.type("exit\r")
            line.expect(rb"umk login: ")
            # In the middle of a session: the shell goes with the line.
            line.type("root\r")
            line.expect(PROMPT[:-1])
            line.type("sleep 1234\r")
            machine.command("until pidof sleep; do :; done")
        device = announced(machine, "Virtual console 1")
        problems += differs("what ran on the lost line", machine.command("sleep 0.2; ps | grep 'sleep 123[4]'"), "")
        with attach(device) as line:
            line.expect(rb"umk login: ")
        # A serial line, for one command.
        machine.type("(sleep 1; cat /etc/hostname; sleep 1) >/dev/ttyS2 &")
        with attach(announced(machine, "Serial line 2")) as line:
            line.expect(rb"umk\r\n")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_telnet(folder):
    """Debian's telnet: a login, the window's size, eight-bit characters, two sessions on one port, a third that has to wait, one that leaves."""
    if not shutil.which("telnet"):
        return ["telnet is missing"]
    problems = []
    port = free_port()
    with Machine(folder, types=True, switches=[f"ssl=none", f"ssl0=port:{port}", f"ssl1=port:{port}"]) as machine:
        machine.wait_until_up()
        with Terminal(["telnet", "127.0.0.1", str(port)]) as early:
            early.expect(r"\*\*\*\*\r\n.*\*\*\*\*\r\n")
            machine.expect("No one waiting for port")
            run_getty(machine, "ttyS0")
            early.expect("login: ")
            early.type("root\r")
            early.expect(PROMPT[:-1])
            early.type("tty; stty size; printf '\\303\\244\\n'\r")
            early.expect("/dev/ttyS0\r\n24 80\r\nä\r\n".encode())
            early.resize(31, 101)
            # The client is told by a signal, and tells on.
            time.sleep(0.3)
            early.expect(PROMPT[:-1])
            early.type("stty size\r")
            early.expect("31 101\r\n")
            early.type("sleep 1000\r")
            machine.command("until pidof sleep; do :; done")
            early.type("\x03")
            early.expect(PROMPT[:-1])
            run_getty(machine, "ttyS1")
            with Terminal(["telnet", "127.0.0.1", str(port)]) as second:
                second.expect("login: ")
                with Terminal(["telnet", "127.0.0.1", str(port)]) as third:
                    third.expect(r"\*\*\*\*\r\n.*\*\*\*\*\r\n")
                    second.type("\x1d")
                    second.expect("telnet> ")
                    second.type("quit\r")
                    third.expect("login: ")
                    third.type("root\r")
                    third.expect(PROMPT[:-1])
                    third.type("tty\r")
                    third.expect("/dev/ttyS1\r\n")
            # Logging out keeps the connection: getty has the line again.
            early.type("exit\r")
            early.expect("login: ")
        problems += differs("port", machine.ask("config ssl0")[1], f"port:{port}")
        # All have left: the next one gets a login at once.
        with Terminal(["telnet", "127.0.0.1", str(port)]) as again:
            again.expect("login: ")
        # Somebody else's port.
        problems += differs("a port that is taken", machine.ask(f"config ssl5=port:{port}"), (0, ""))
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            number = taken.getsockname()[1]
            problems += differs("somebody else's port", machine.ask(f"config ssl6=port:{number}"), (-1, f"binding to port {number} failed, errno = 98"))
        problems += differs("after that", machine.ask("config ssl6"), (0, "none"))
        problems += differs("status", machine.halt(), 0)
    return problems


def check_no_display(folder):
    """Without a display consoles have no windows unless they are asked for, and then their open fails with a message."""
    problems = []
    with Machine(folder, types=True, switches=["con2=xterm"], setup=lambda: os.environ.pop("DISPLAY", None)) as machine:
        machine.wait_until_up()
        problems += differs("console without a switch", machine.ask("config con3"), (0, "none"))
        problems += differs("its open", "No such device" in machine.command("echo x >/dev/tty2"), True)
        problems += differs("the reason", "xterm_open: $DISPLAY not set." in machine.command("dmesg"), True)
        problems += differs("status", machine.halt(), 0)
    return problems


def check_terminal(folder):
    """tty:PATH: a terminal device of the host is raw while it is used, tells its size, and is put back, also when umk is killed."""
    problems = []
    master, slave = pty.openpty()
    settings = termios.tcgetattr(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    device = os.ttyname(slave)

    def is_restored():
        deadline = time.monotonic() + 10
        while termios.tcgetattr(slave) != settings and time.monotonic() < deadline:
            time.sleep(0.02)
        return termios.tcgetattr(slave) == settings

    def is_raw():
        return not termios.tcgetattr(slave)[3] & termios.ICANON

    with Stream(master) as line:
        for ends in ("removed", "halted", "killed"):
            with Machine(folder, name=ends, types=True, switches=[f"ssl3=tty:{device}"]) as machine:
                machine.wait_until_up()
                machine.command("true")
                problems += differs("raw before the guest opens it", is_raw(), False)
                machine.type("setsid -c sh </dev/ttyS3 >/dev/ttyS3 2>&1")
                deadline = time.monotonic() + 20
                while not is_raw() and time.monotonic() < deadline:
                    time.sleep(0.01)
                problems += differs("raw", is_raw(), True)
                line.type("stty size\r")
                line.expect(rb"\r\n33 77\r\n")
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 34, 78, 0, 0))
                line.type("until stty size | grep '34 78'; do :; done\r")
                line.expect(rb"\r\n34 78\r\n")
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
                problems += differs("device", machine.ask("config ssl3"), (0, f"tty:{device}"))
                if ends == "removed":
                    line.type("exit\r")
                    machine.expect(r"[#$] ")
                    deadline = time.monotonic() + 10
                    while (answer := machine.ask("remove ssl3")) == (-16, "Device is already open") and time.monotonic() < deadline:
                        time.sleep(0.05)
                    problems += differs("removal", answer, (0, ""))
                elif ends == "halted":
                    machine.halt()
                else:
                    machine.process.kill()
                problems += differs(f"put back when {ends}", is_restored(), True)
                line.seen = b""
    os.close(slave)
    return problems


def check_descriptors(folder):
    """fd:N: descriptors that umk was started with, one for each direction; others are refused."""
    problems = []
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    for fd in (theirs.fileno(), writer):
        os.set_inheritable(fd, True)
    switches = [f"con1=fd:{theirs.fileno()}", f"con2=null,fd:{writer}", "con3=fd:77", f"con4=fd:{theirs.fileno()},null"]

    words = [harness.UMK, "umid=box", f"uml_dir={folder}/uml", "con0=fd:0,fd:1", "env=SHELLS=", *switches]
    log = os.path.join(folder, "log")
    with open(log, "wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=output, pass_fds=[theirs.fileno(), writer])
    machine = Machine.__new__(Machine)
    machine.process, machine.log, machine.seen, machine.socket, machine.started = process, log, 0, f"{folder}/uml/box/mconsole", time.monotonic()
    theirs.close()
    os.close(writer)
    with machine, Stream(ours.detach()) as line, Stream(reader) as output:
        machine.wait_until_up()
        run_shell(machine, "tty1")
        line.expect(rb"[#$] ")
        line.type("tty; echo $((6*7)) >/dev/tty2\r")
        line.expect(rb"/dev/tty1\r\n")
        output.expect(rb"42\r\n")
        problems += differs("a descriptor that is umk's own", "rror" in machine.command("echo x >/dev/tty3") or "descriptor" in machine.command("dmesg"), True)
        problems += differs("query", machine.ask("config con2"), (0, f"null,fd:{writer}"))
        # The other end goes.
        problems += differs("status", machine.halt(), 0)
    return problems


def paste_into(machine, line, device):
    """Types the paste into `cat` on a line, and returns what arrived."""
    target = os.path.join("/tmp", device)
    machine.type(f"stty -F /dev/{device} -echo 2>/dev/null; (echo ready; cat >{target}; echo done) </dev/{device} >/dev/{device} &")
    line.expect(rb"ready\r\n")
    line.type(paste())
    line.type("\x04")
    line.expect(rb"done\r\n", 60)
    return machine.command(f"sha256sum <{target}").split()[0]


def check_paste(folder):
    """A megabyte of text pasted into `cat > file`, through a pseudo-terminal, a telnet connection and a terminal: it arrives byte by byte."""
    wanted = hashlib.sha256(paste()).hexdigest()
    problems = differs("size of the paste", len(paste()), 1 << 20)
    port = free_port()
    with Machine(folder, types=True, switches=["con1=pts", f"ssl0=port:{port}"]) as machine:
        machine.wait_until_up()
        machine.type("exec 8<>/dev/tty1")
        with attach(announced(machine, "Virtual console 1")) as line:
            problems += differs("by pts", paste_into(machine, line, "tty1"), wanted)
        machine.type("exec 9<>/dev/ttyS0")
        with connect(port) as line:
            problems += differs("by port", paste_into(machine, line, "ttyS0"), wanted)
        problems += differs("status", machine.halt(), 0)
    with Terminal([harness.UMK]) as console:
        console.expect(PROMPT, 20)
        line = Stream(os.dup(console.fd))
        with line:
            line.type("stty -echo; echo re''ady; cat >/tmp/paste; stty echo; sha256sum </tmp/paste\n")
            line.expect(rb"ready\r\n")
            line.type(paste())
            line.type("\x04")
            text = line.expect(rb"[0-9a-f]{64}  -", 60)
            problems += differs("by the terminal", re.search(rb"([0-9a-f]{64})  -", text).group(1).decode(), wanted)
            line.type("poweroff -f\n")
            while line.read(1):
                line.seen = line.seen[-100:]
    return problems


def check_floods(folder):
    """A client that never reads stops who writes on its line and nobody else; one that writes without end is read at the guest's pace."""
    problems = []
    port = free_port()
    with Machine(folder, types=True, switches=[f"ssl=port:{port}"]) as machine:
        machine.wait_until_up()
        machine.type("exec 3<>/dev/ttyS0; exec 4<>/dev/ttyS1")
        with connect(port) as deaf, connect(port) as loud:
            machine.command("true")
            machine.type("yes >/dev/ttyS0 &")
            stop = threading.Event()

            def flood():
                os.set_blocking(loud.fd, False)
                while not stop.is_set():
                    if select.select([], [loud.fd], [], 0.1)[1]:
                        try:
                            os.write(loud.fd, b"x" * 65536)
                        except BlockingIOError:
                            pass

            thread = threading.Thread(target=flood)
            thread.start()
            time.sleep(1)
            begin = time.monotonic()
            for _ in range(20):
                problems += differs("the management console", machine.ask("version")[0], 0)
            problems += differs("an answer takes long", (time.monotonic() - begin) / 20 > 0.5, False)
            problems += differs("another console", machine.command("echo still here"), "still here\n")
            stop.set()
            thread.join()
            # Idle is free, also with both of them there.
            before = cpu_time(machine.process.pid)
            time.sleep(1)
            problems += differs("CPU time while nobody moves", cpu_time(machine.process.pid) - before < 0.2, True)
            deaf.expect(rb"(y\r\n){1000}")
        problems += differs("status", machine.halt(), 0)
    return problems


def cpu_time(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_changes(folder):
    """config and remove while the machine runs: nodes come and go, errors are User Mode Linux's."""
    problems = []
    with Machine(folder, types=True, switches=["con=none", "con0=fd:0,fd:1", "ssl=none", "ssl7=null"]) as machine:
        machine.wait_until_up()
        machine.command("true")
        lines = "ls /dev | grep -E '^tty([0-9]+|S[0-9]+)$' | tr '\\n' ' '"
        problems += differs("lines at boot", machine.command(lines).strip(), "tty0 tty1 ttyS7")
        for request, answer in [
                ("config ssl1=pts", (0, "")), ("config ssl1", (0, "pts")), ("config con9=null", (0, "")), ("config con9", (0, "null")),
                ("config con9=bogus", (-1, "failed to parse channel pair")), ("config con9", (0, "none")), ("config con9=null,fd", (-1, "failed to parse channel pair")),
                ("remove con9", (0, "")), ("remove ssl7", (0, "")), ("config ssl7", (0, "none")), ("config ssl64=null", (-22, "Device number out of range")),
                ("config ssl=null", (-22, "Can't configure all devices from mconsole")), ("remove ssl", (1, "Couldn't parse device number")),
                ("remove ssl64", (1, "Invalid device number - must be between 0 and 63")), ("config ssl", (1, "line_get_config failed to parse device number")),
                ("config con0=pts", (-16, "Device is already open")), ("remove con0", (-16, "Device is already open")), ("config con5=fd:77", (0, "")),
                ("config con5", (0, "fd:77")), ("config con2=null", (0, ""))]:
            problems += differs(request, machine.ask(request), answer)
        problems += differs("lines afterwards", machine.command(lines).strip(), "tty0 tty1 tty2 tty5 ttyS1")
        problems += differs("a line that is not there", "No such device or address" in machine.command("mknod /tmp/gone c 4 71; cat /tmp/gone"), True)
        problems += differs("null", machine.command("echo x >/dev/tty2 && timeout 0.3 cat /dev/tty2; echo $?").strip().endswith("143"), True)
        machine.type("cat /dev/ttyS1 &")
        device = announced(machine, "Serial line 1")
        problems += differs("busy", machine.ask("config ssl1=null"), (-16, "Device is already open"))
        with attach(device) as line:
            line.type("through\r")
            machine.expect(r"through\r?\n")
        machine.command("wait")
        problems += differs("free again", machine.ask("config ssl1=null"), (0, ""))
        problems += differs("opened again", machine.command("echo x >/dev/ttyS1; echo $?").strip(), "0")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_console_elsewhere(folder):
    """con0 on a pseudo-terminal: the boot's messages are there for who comes, and a shell."""
    problems = []
    with Machine(folder, switches=["con0=pts"]) as machine:
        machine.wait_until_up()
        error, text = machine.ask("config con0")
        problems += differs("con0", (error, text.startswith("pts:")), (0, True))
        with attach(text.removeprefix("pts:")) as line:
            line.expect(rb"Linux version[^\r\n]*\r\n.*Welcome to umk.*[#$] ")
            line.type("dmesg | grep -c 'Virtual console 0 assigned'\r")
            line.expect(rb"\r\n1\r\n")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_ordinary_user(folder):
    """umk as nobody: pts and port work as for root."""
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    port = free_port()
    program = os.path.join(folder, "umk")
    shutil.copy(harness.UMK, program)
    os.chmod(folder, 0o755)
    place = os.path.join(folder, "uml")
    os.mkdir(place)
    os.chown(place, user, -1)

    def become_nobody():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    problems = []
    before, harness.UMK = harness.UMK, program
    try:
        with Machine(folder, types=True, switches=["con1=pts", f"ssl0=port:{port}"], setup=become_nobody) as machine:
            machine.wait_until_up()
            run_shell(machine, "tty1")
            device = announced(machine, "Virtual console 1")
            problems += differs("owner of the terminal", os.stat(device).st_uid, user)
            with attach(device) as line:
                line.type("echo $((6*7))\r")
                line.expect(rb"\r\n42\r\n")
            run_shell(machine, "ttyS0")
            with connect(port) as line:
                line.expect(rb"[#$] ")
            problems += differs("status", machine.halt(), 0)
    finally:
        harness.UMK = before
    return problems


CHECKS = [check_pts, check_telnet, check_xterm, check_xterm_with_our_helper, check_screenshot, check_no_display, check_terminal, check_descriptors, check_paste, check_floods,
          check_changes, check_console_elsewhere, check_ordinary_user, *shells.CHECKS]


def telling(check):
    """Terminal's expectations are assertions."""
    @functools.wraps(check)
    def told(folder):
        try:
            return check(folder)
        except AssertionError as problem:
            return [str(problem)]
    return told


def run_all(report, wanted):
    harness.run_checks(report, wanted, "consoles", [telling(check) for check in CHECKS])
