"""The embedded root on machines with several lines: a shell on each that was asked for. And lines on BSD pseudo-terminals, which few hosts have."""

import ctypes
import fcntl
import os
import struct
import subprocess
import time

import harness
from host_lines import Stream, announced, attach, connect, differs, free_port
from managed_machine import Machine, require

# In two steps: one that is about to run another program is a shell, too.
COUNT_SHELLS = "ps -o comm > /tmp/ps; grep -cx sh /tmp/ps"


def check_shells(folder):
    """Who names a line finds a shell there, again after leaving it; none on those without input, and one on the console alone."""
    problems = []
    port = free_port()
    with Machine(folder, types=True, shells=True, switches=["con1=pts", "con2=null,fd:1", f"ssl3=port:{port}", "ssl4=none", "con63=pts"]) as machine:
        machine.wait_until_up()
        first, last = announced(machine, "Virtual console 1"), announced(machine, "Virtual console 63")
        with attach(first) as line, attach(last) as other:
            for number in (1, 2):
                line.expect(rb"root@umk:~# ")
                line.type("tty; sleep 1000\r")
                line.expect(rb"/dev/tty1\r\n")
                machine.command("until pidof sleep; do :; done")
                line.type("\x03")
                line.expect(rb"# ")
                line.type(f"echo left $(({number}))\rexit\r")
                line.expect(b"left %d\r\n.*exit\r\n.*BusyBox" % number)
            other.expect(rb"root@umk:~# ")
            other.type("tty\r")
            other.expect(rb"/dev/tty63\r\n")
            problems += differs("shells on con0, con1, con63", machine.command(COUNT_SHELLS), "3\n")
        with connect(port) as line:
            line.expect(rb"root@umk:~# ")
            line.type("tty; exit\r")
            line.expect(rb"/dev/ttyS3\r\n")
        problems += differs("status", machine.halt(), 0)
    with Machine(folder, "other", types=True, switches=["con1=pts", "ssl0=pts"], log=os.path.join(folder, "other.log")) as machine:
        machine.wait_until_up()
        problems += differs("without shells", machine.command(COUNT_SHELLS), "1\n")
        machine.halt()
    with Machine(folder, "serial", shells=True, switches=["ssl0=pts", "console=ttyS0"], log=os.path.join(folder, "serial.log")) as machine:
        machine.wait_until_up()
        error, text = machine.ask("config ssl0")
        problems += differs("console", (error, text.startswith("pts:")), (0, True))
        with attach(text.removeprefix("pts:")) as line:
            line.expect(rb"Welcome to umk.*root@umk:~# ")
            line.type(COUNT_SHELLS + "\r")
            line.expect(rb"\r\n1\r\n")
        problems += differs("status", machine.halt(), 0)
    return problems


# A /dev of our own in which BSD names lead to pseudo-terminals of today. The first pair is one that somebody else has.
BSD_DEVICES = r"""
set -e
mount --make-rprivate /
mkdir "$1"; mount -t tmpfs none "$1"; cd "$1"
for name in null zero full random urandom tty; do : > $name; mount --bind /dev/$name $name; done
mkdir pts shm; mount --rbind /dev/pts pts; mount --bind /dev/shm shm
ln -s ptyp0 ptyp0; : > ttyp0; ln -s pts/ptmx ptyp1; ln -s null ttyp1
cd /; mount --move "$1" /dev
shift; exec "$@"
"""


def slave_of(pid):
    """The other side of the only pseudo-terminal whose master a process has."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if os.path.basename(os.readlink(f"/proc/{pid}/fd/{name}")) != "ptmx":
                continue
            master = call(438, process, int(name), 0)  # pidfd_getfd(2)
            require(master >= 0, f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
            fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: BSD's are never locked
            slave = fcntl.ioctl(master, 0x5441, os.O_RDWR | os.O_NOCTTY)  # TIOCGPTPEER
            os.close(master)
            return slave
    finally:
        os.close(process)
    raise OSError("there is no pseudo-terminal")


def check_bsd_pseudo_terminals(folder):
    """pty: the first free /dev/ptypN is taken and named, works as a line, and is given back."""
    if os.geteuid() != 0:
        return []  # needs mounts of its own
    wrapper = os.path.join(folder, "umk")
    with open(wrapper, "w") as file:
        file.write(f"#!/bin/sh\nexec unshare -m sh -c '{BSD_DEVICES}' sh {folder}/dev {harness.UMK} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    problems = []
    before, harness.UMK = harness.UMK, wrapper
    try:
        with Machine(folder, types=True) as machine:
            machine.wait_until_up()
            problems += differs("by default", machine.ask("config ssl7"), (0, "pty"))
            machine.type("while :; do setsid -c sh </dev/ttyS7 >/dev/ttyS7 2>&1; done 2>/dev/null &")
            problems += differs("device", announced(machine, "Serial line 7"), "/dev/ptyp1")
            problems += differs("while it is open", machine.ask("config ssl7"), (0, "pty:/dev/ptyp1"))
            with Stream(slave_of(machine.process.pid)) as line:
                line.expect(rb"[#$] ")
                line.type("tty; echo $((6*7))\r")
                line.expect(rb"/dev/ttyS7\r\n42\r\n")
            # Who left has hung up: the line is opened anew.
            problems += differs("device after a hang-up", announced(machine, "Serial line 7"), "/dev/ptyp1")
            problems += differs("status", machine.halt(), 0)
    finally:
        harness.UMK = before
    return problems


CHECKS = [check_shells, check_bsd_pseudo_terminals]
