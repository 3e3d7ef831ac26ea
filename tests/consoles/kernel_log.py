"""The kernel's log: where it is shown (console=, earlyprintk, loglevel and so on), and how often one may speak."""

import os
import re
import subprocess

import harness


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def has(what, text, part, wanted=True):
    return [] if (part in text) == wanted else [f"{what}: {part!r} is {'missing' if wanted else 'there'}: {text[-700:]!r}"]


def boot(switches, script, line=None):
    """A machine that runs a script as init on console 0 and powers off: (console, standard error, what came to the descriptor `line`)."""
    read_end, write_end = os.pipe()
    words = [harness.UMK, "con0=null,fd:1", *[word.replace("LINE", str(write_end)) for word in switches], "init=/bin/sh", "--", "-c", script + "\npoweroff -f"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[write_end])
    os.close(write_end)
    try:
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    os.set_blocking(read_end, False)
    with open(read_end, "rb") as file:
        other = file.read() or b""
    if process.returncode != 0:
        raise OSError(f"umk {' '.join(switches)} ends with {process.returncode}: {out[-500:]!r} {error[-500:]!r}")
    return [text.decode(errors="replace").replace("\r", "") for text in (out, error, other)]


VERSION = "Linux version"
MOUNTS = "mkdir -p /proc /dev; mount -t proc none /proc 2>/dev/null; mount -t devtmpfs none /dev 2>/dev/null\n"
SHOW = MOUNTS + "cat /proc/consoles > /dev/tty0; echo hello > /dev/console\n"


def check_shown(folder):
    """Which lines the console shows, with or without times, and what goes to standard error before it does."""
    problems = []
    out, error, _ = boot([], "echo hello")
    problems += has("usual", out, "hello") + differs("error", error, "")
    for line in ("Kernel command line: con0=null,fd:1", "Initialized stdio console driver", "Console initialized on /dev/tty0", "Initializing software serial port version 1",
                 "printk: console [tty0] enabled", "Run /bin/sh as init process", "reboot: Power down"):
        problems += differs(f"times of {line!r}", len(re.findall(re.escape("] " + line), out)), 1)
    problems += differs("with its time", bool(re.search(r"^\[ *\d+\.\d{6}\] Linux version", out, re.M)), True)
    out, error, _ = boot(["printk.time=0"], MOUNTS + "dmesg | head -1; echo '<4>from here' > /dev/kmsg")
    problems += differs("without time", bool(re.search(r"^Linux version", out, re.M)), True)
    problems += differs("of a program", bool(re.search(r"^from here$", out, re.M)), True)
    out, _, _ = boot(["quiet"], "echo hello")
    problems += has("quiet", out, VERSION, False) + has("quiet", out, "hello")
    out, _, _ = boot(["quiet", "ignore_loglevel"], "echo hello")
    problems += has("ignore_loglevel", out, VERSION)
    out, error, _ = boot(["earlyprintk"], MOUNTS + "echo '<4>later' > /dev/kmsg")
    problems += has("early", error, VERSION) + has("early", error, "bootconsole [stderr0] disabled") + has("early", error, "later", False)
    problems += has("early, console", out, VERSION, False) + has("early, console", out, "later")
    out, error, _ = boot(["earlyprintk=stderr,keep"], MOUNTS + "echo '<4>later' > /dev/kmsg")
    for text in (out, error):
        problems += has("keep", text, VERSION) + has("keep", text, "later")
    _, error, _ = boot(["earlyprintk=vga"], "true")
    problems += has("unknown device", error, "there is no ‘vga’")
    return problems


def check_consoles(folder):
    """console=: nowhere, and what there is not; /dev/console and /proc/consoles."""
    problems = []
    out, _, _ = boot([], SHOW)
    problems += has("default", out, "tty0                 -WU (EC p  )    4:0\n") + has("default", out, "hello")
    out, _, _ = boot(["console=null"], SHOW)
    problems += has("null", out, VERSION, False) + has("null", out, "hello", False) + has("null", out, "ttynull              -WU (EC p  )  240:0\n")
    out, error, _ = boot(["console=hvc0"], SHOW)
    problems += has("unknown", error + out, "console=hvc0 has no effect") + has("unknown", out, "hello")
    return problems


def check_serial_consoles(folder):
    """Serial lines as consoles, alone and beside console 0; one that is not there."""
    problems = []
    out, _, line = boot(["console=ttyS0,115200", "ssl0=null,fd:LINE"], SHOW + "sleep 0.2")
    problems += has("ttyS0, console 0", out, VERSION, False) + has("ttyS0, console 0", out, "hello", False)
    problems += has("ttyS0", line, VERSION) + has("ttyS0", line, "hello") + has("ttyS0", out, "ttyS0                -W- (EC p  )    4:64\n")
    out, _, line = boot(["console=ttyS0", "console=tty0", "ssl0=null,fd:LINE"], SHOW + "sleep 0.2")
    problems += has("both", out, VERSION) + has("both", line, VERSION) + has("both", out, "hello") + has("both", line, "hello", False)
    problems += has("both", out, "tty0                 -WU (EC p  )    4:0\nttyS0                -W- (E  p  )    4:64\n")
    out, _, _ = boot(["console=ttyS7", "ssl7=none"], SHOW)
    problems += has("no line", out, "console=ttyS7: there is no such line") + has("no line", out, "hello")
    return problems


def check_limits(folder):
    """A guest that causes lines in a loop, and one that writes to /dev/kmsg in one."""
    problems = []
    mount = MOUNTS + "dd if=/dev/zero of=/disk bs=1k count=100 2>/dev/null; losetup /dev/loop0 /disk; mkdir -p /m\n"
    loop = "i=0; while [ $i -lt 30 ]; do mount -t ext4 /dev/loop0 /m 2>/dev/null; i=$((i+1)); done; dmesg | grep -c 'ext4: loop0'\n"
    out, _, _ = boot(["quiet"], mount + loop)
    problems += differs("lines of 30", out.split()[-1:], ["10"])
    # On a busy host a mount takes its time, and the limit's turn may end in the middle of them.
    settings = "echo 2 > /proc/sys/kernel/printk_ratelimit; echo 5 > /proc/sys/kernel/printk_ratelimit_burst; "
    out, _, _ = boot(["quiet"], mount + settings + loop + "sleep 2.1; mount -t ext4 /dev/loop0 /m 2>/dev/null; echo in the log; dmesg | grep 'ext4:'")
    out = out[out.find("in the log"):]  # the console has shown them, too
    told = len(re.findall("ext4: loop0", out)) - 1  # without that of the last mount
    missing = [int(number) for number in re.findall(r"ext4: (\d+) callbacks suppressed\n", out)]
    problems += differs("lines, and those that are missing", (told + sum(missing), min(missing, default=0) > 0), (30, True))
    out, _, _ = boot(["quiet"], mount + "echo 0 > /proc/sys/kernel/printk_ratelimit; " + loop)
    problems += differs("without limit", out.split()[-1:], ["30"])
    write = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done > /dev/kmsg; dmesg | grep -c '] line'; dmesg | tail -1\n"
    out, _, _ = boot(["quiet"], MOUNTS + write)
    problems += has("a program's lines", out, "10\n") + has("a program's lines", out, "sh: 20 output lines suppressed due to ratelimiting\n")
    out, _, _ = boot(["quiet", "printk.devkmsg=on"], MOUNTS + write + "echo off > /proc/sys/kernel/printk_devkmsg || cat /proc/sys/kernel/printk_devkmsg")
    problems += has("printk.devkmsg=on", out, "30\n") + differs("stays", out.split()[-1:], ["on"])
    out, _, _ = boot(["quiet", "printk.devkmsg=off"], MOUNTS + "echo x > /dev/kmsg || echo refused")
    problems += has("printk.devkmsg=off", out, "refused\n")
    return problems


CHECKS = [check_shown, check_consoles, check_serial_consoles, check_limits]


def run_all(report, wanted, everything):  # pylint: disable=unused-argument
    harness.run_checks(report, wanted, "consoles/kernel_log", CHECKS)
