"""The management console: names on the host, every command as Debian's uml_mconsole and ours ask it, packets of all kinds, the ways to the end."""

import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import harness
from managed_machine import DEBIANS_TOOL, MAGIC, TOOL, VERSION, Client, Machine


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def matches(what, got, pattern):
    return [] if re.fullmatch(pattern, got, re.DOTALL) else [f"{what}: got {got!r}, expected {pattern!r}"]


def is_left(machine):
    return [f"left behind: {machine.directory}/{name}" for name in os.listdir(machine.directory)]


def check_umid(folder):
    """A directory with pid and socket; a name that is taken, one that was left behind, and none at all."""
    problems = []
    with Machine(folder) as first:
        first.wait_until_up()
        with open(os.path.join(first.directory, "box", "pid")) as file:
            problems += differs("pid file", file.read(), f"{first.process.pid}\n")
        problems += differs("its mode", oct(os.stat(os.path.join(first.directory, "box", "pid")).st_mode & 0o777), "0o644")
        problems += differs("mode of the socket", oct(os.stat(first.socket).st_mode & 0o777), "0o700")
        with Machine(folder, log=os.path.join(folder, "second.log")) as second:
            second.expect(rf'umid "box" is already in use by pid {first.process.pid}\r?\n')
            second.expect(r'Failed to initialize umid "box", trying with a random umid\r?\n')
            second.socket = second.expect(r"mconsole \(version 2\) initialized on (\S+)").group(1)
            problems += matches("random name", second.socket, re.escape(first.directory) + r"/[A-Za-z0-9]{6}/mconsole")
            second.wait_until_up()
            problems += differs("status of the second", second.halt(), 0)
        problems += differs("directory of the first", sorted(os.listdir(first.directory)), ["box"])
        first.process.kill()
        first.process.wait()
        problems += differs("after a kill", sorted(os.listdir(os.path.join(first.directory, "box"))), ["mconsole", "pid"])
    with Machine(folder) as third:
        third.wait_until_up()
        problems += differs("name is free again", "already in use" in third.text()[third.text().rfind("version"):], False)
        problems += differs("status", third.halt(), 0)
    return problems + is_left(third)


def check_killed_on_a_terminal(folder):
    """The guardian that puts the terminal back removes the directory too."""
    directory = os.path.join(folder, "uml")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(harness.UMK, [harness.UMK, "umid=box", f"uml_dir={directory}"])
    deadline = time.monotonic() + 20
    while not os.path.exists(os.path.join(directory, "box", "mconsole")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with Client(os.path.join(directory, "box", "mconsole")) as client:
        problems = matches("version", client.ask("version")[1], r"Linux .*")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while os.listdir(directory) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.close(terminal)
    return problems + differs("left behind", os.listdir(directory), [])


# (request, error, text). A text between slashes is a pattern.
ANSWERS = [
    ("version", 0, r"/Linux \S+ \S+ #1 .* x86_64/"),
    ("version x", 0, r"/Linux .*/"),
    ("versionxyz", 0, r"/Linux .*/"),
    ("VERSION", 1, "Unknown command"),
    (" version", 1, "Unknown command"),
    ("bogus", 1, "Unknown command"),
    ("", 1, "Unknown command"),
    ("int", 1, "Unknown command"),
    ("config", 1, "Bad configuration option"),
    ("config nonsense", 1, "Bad configuration option"),
    ("config nonsense=1", 1, "Bad configuration option"),
    ("remove", 1, "Bad remove option"),
    ("remove nonsense", 1, "Bad remove option"),
    ("config mem", 0, r"/\d+/"),
    ("config mem=16M", 1, "Expected increment to start with '-' or '+'"),
    ("config mem=-x", 1, "Failed to parse memory increment"),
    ("remove mem", -16, "Memory doesn't support the remove operation"),
    ("config con0", 0, "null,fd:1"),
    ("config con1", 0, "none"),
    ("config con", 1, "line_get_config failed to parse device number"),
    ("config con99", 1, "device number out of range"),
    ("config con=null", -22, "Can't configure all devices from mconsole"),
    ("config con4=bogus", -1, "failed to parse channel pair"),
    ("config con1=null", 0, ""),
    ("config con1", 0, "null"),
    ("remove con1", 0, ""),
    ("config con1", 0, "none"),
    ("remove con0", -16, "Device is already open"),
    ("config ssl0", 0, "pty"),
    ("config ssl0=none", 0, ""),
    ("config ssl0", 0, "none"),
    ("config ubd1", 0, ""),
    ("config ubd999", 1, "ubd_get_config : device number out of range"),
    ("config ubd1=/nonexistent", -2, "Couldn't determine size of device's file"),
    ("config ubd1x=/y", -22, "Expected '=' or flag letter (r, s, c, t or d)"),
    ("remove ubd1", -19, "Device doesn't exist"),
    ("remove ubd", 1, "Couldn't parse device number"),
    ("remove ubd999", 1, "Invalid device number - must be between 0 and 255"),
    ("log hello from the host", 0, ""),
    ("log", 0, ""),
    ("go", 1, "Not stopped"),
    ("stop", 0, "stopped"),
    ("stop", 1, "Already stopped"),
    ("version", 0, r"/Linux .*/"),
    ("proc uptime", 0, r"/\n\d+\.\d\d \d+\.\d\d\n/"),
    ("sysrq m", 0, r"/sysrq: Show Memory\nMem-Info:\n.*\d+ pages RAM\n/"),
    ("go", 0, ""),
    ("proc version", 0, r"/\nLinux version .*\n/"),
    ("proc sys/kernel/hostname", 0, r"/\n\w+\n/"),
    ("proc 1/status", 0, r"/\nName:\tinit\n.*/"),
    ("proc nonexistent", 1, "Failed to open file"),
    ("proc ../etc/passwd", 1, "Failed to open file"),
    ("proc self/status", 1, "Failed to open file"),
    ("proc sys", 1, "Read of file failed"),
    ("proc", 1, "Failed to open file"),
    ("stack 99999", 1, "Couldn't find that pid"),
    ("stack 0", 1, "Couldn't find that pid"),
    ("stack", 1, "Please specify a pid"),
    ("stack x", 1, "Please specify a pid"),
    ("sysrq h", 0, r"/sysrq: HELP : loglevel\(0-9\) reboot\(b\) crash\(c\) .*\n/"),
    ("sysrq", 0, r"/sysrq: HELP : .*\n/"),
    ("sysrq 9", 0, "sysrq: Changing Loglevel\nsysrq: Loglevel set to 9\n"),
    ("sysrq s", 0, "sysrq: Emergency Sync\nEmergency Sync complete\n"),
    ("sysrq !", 0, r"/sysrq: HELP : .*\n/"),
    ("sysrq n", 0, "sysrq: Nice All RT Tasks\nNo task is real-time\n"),
    ("sysrq j", 0, "sysrq: Emergency Thaw of all frozen filesystems\nNo filesystem is frozen\n"),
]


def check_commands(folder):
    """Every command and its errors, packet by packet."""
    problems = []
    with Machine(folder) as machine:
        machine.wait_until_up()
        # The shell of the embedded root sleeps in its first read by then.
        time.sleep(0.3)
        for request, error, text in ANSWERS:
            got = machine.ask(request)
            problems += differs(f"error of {request!r}", got[0], error)
            if text.startswith("/") and text.endswith("/"):
                problems += matches(repr(request), got[1], text[1:-1])
            else:
                problems += differs(repr(request), got[1], text)
        with Client(machine.socket) as client:
            client.send("help")
            packets = client.packets()
            problems += differs("packets of help", [(p[0], p[1], len(p[2]) + 13) for p in packets], [(0, 1, 524), (0, 0, 224)])
            client.send("sysrq h")
            packets = client.packets()
            problems += differs("the last packet of sysrq", packets[-1], (0, 0, ""))
            problems += differs("the others have more", {p[1] for p in packets[:-1]}, {1})
            client.send("proc uptime")
            problems += differs("the first packet of proc", client.packets()[0], (0, 1, "\n"))
        error, stack = machine.ask("stack 1")
        problems += matches("stack", stack, r"Stack:\n( [0-9a-f]{16}){4}\n.*Call Trace:\n( \[<[0-9a-f]+>\] \S.*\n)+")
        problems += matches("symbols", stack, r".*umk::sync::park\+0x[0-9a-f]+/0x[0-9a-f]+\n.*umk_enter_system_call.*")
        error, tasks = machine.ask("sysrq t")
        problems += matches("tasks", tasks, r"sysrq: Show State\ntask:init +state:S .*Call Trace:\n.*")
        problems += differs("status", machine.halt(), 0)
    return problems + is_left(machine)


def tool_output(tool, socket_path, words, folder):
    outcome = subprocess.run([tool, socket_path, *words], capture_output=True, text=True, timeout=30, cwd=folder, check=False)
    return outcome.stdout, outcome.returncode


# What two tools print alike, whatever the moment.
ALIKE = ["version", "help", "bogus", "config mem", "config con0", "config con=null", "config con", "proc version", "proc nonexistent", "remove ubd7", "stop",
         "stop", "go", "go", "sysrq h", "sysrq 7", "stack", "stack 99999", "mconsole-version", "config ubd3=disk.img", "config ubd3", "proc partitions",
         "remove ubd3", "log some text"]


def check_tools(folder):
    """Our uml_mconsole prints and returns what Debian's does, on this machine."""
    if not os.access(DEBIANS_TOOL, os.X_OK):
        return [f"{DEBIANS_TOOL} is missing: install uml-utilities"]
    problems = []
    with open(os.path.join(folder, "disk.img"), "wb") as file:
        file.truncate(1 << 20)
    with Machine(folder) as machine:
        machine.wait_until_up()
        machine.expect("root@")  # init has given the machine its name by then
        theirs = {}
        for tool in (DEBIANS_TOOL, TOOL):
            for place, command in enumerate(ALIKE):
                got = tool_output(tool, machine.socket, command.split(), folder)
                if tool == DEBIANS_TOOL:
                    theirs[place] = got
                elif command.startswith("log "):
                    # Debian's sends the end of the line by itself, and prints twice.
                    problems += differs(command, (got[0], theirs[place][0]), ("OK \n", "OK \nOK \n"))
                else:
                    problems += differs(command, got, theirs[place])
        problems += differs("an absolute name is made of ours", theirs[ALIKE.index("config ubd3")][0], f"OK {folder}/disk.img\n")
        # By name, as the user's machines are found; and the pid for `int`.
        home = os.path.join(folder, "home")
        os.makedirs(os.path.join(home, ".uml"))
        os.symlink(os.path.join(machine.directory, "box"), os.path.join(home, ".uml", "box"))
        environment = dict(os.environ, HOME=home)
        outcome = subprocess.run([TOOL, "-j", "box", "config", "con0"], capture_output=True, text=True, env=environment, timeout=30, check=False)
        problems += differs("JSON", outcome.stdout, '{"machine":"box","command":"config con0","ok":true,"error":0,"text":"null,fd:1"}\n')
        with open(os.path.join(folder, "lines"), "w") as file:
            file.write("".join(f"line {number} of a long log\n" for number in range(100)))
        problems += differs("log -f", tool_output(TOOL, machine.socket, ["log", "-f", "lines"], folder), ("OK \n", 0))
        machine.expect("line 0 of a long log")
        machine.expect("line 99 of a long log")
        outcome = subprocess.run([TOOL, "nobody"], capture_output=True, text=True, env=environment, timeout=30, check=False)
        problems += differs("no such machine", outcome.returncode, 1)
        # A machine that does not answer, until its queue takes no more, and then does.
        os.kill(machine.process.pid, signal.SIGSTOP)
        for _ in range(14):
            outcome = subprocess.run([TOOL, "-t", "0.1", machine.socket, "version"], capture_output=True, text=True, timeout=30, check=False)
            silent = "the machine has said nothing for 0.1 s" in outcome.stderr
            problems += differs("a machine that is silent", (outcome.stdout, silent, outcome.returncode), ("", True, 1))
        os.kill(machine.process.pid, signal.SIGCONT)
        outcome = subprocess.run([TOOL, "--timeout=20", machine.socket, "config", "con0"], capture_output=True, text=True, timeout=30, check=False)
        problems += differs("and one that answers again", (outcome.stdout, outcome.returncode), ("OK null,fd:1\n", 0))
        outcome = subprocess.run([TOOL, "box", "int"], capture_output=True, text=True, env=environment, timeout=30, check=False)
        problems += differs("int", (outcome.stdout, outcome.returncode), ("OK \n", 0))
        problems += differs("status after int", machine.end(), 1)
    return problems + is_left(machine)


def check_prompt(folder):
    """The prompt of our tool on a terminal: completion, history, several commands, end of file."""
    problems = []
    with Machine(folder) as machine:
        machine.wait_until_up()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(TOOL, [TOOL, machine.socket], dict(os.environ, TERM="dumb", HOME=folder))
        seen = b""

        def expect(pattern):
            nonlocal seen
            deadline = time.monotonic() + 10
            while not re.search(pattern, seen):
                ready, _, _ = select.select([terminal], [], [], max(0.01, deadline - time.monotonic()))
                if not ready:
                    raise OSError(f"waited for {pattern!r}, saw {seen[-300:]!r}")
                seen += os.read(terminal, 4096)
            seen = seen[re.search(pattern, seen).end():]

        expect(rb"\(\S+\) ")
        os.write(terminal, b"vers\t\n")
        expect(rb"OK Linux ")
        os.write(terminal, b"config co\t0\n")
        expect(rb"OK null,fd:1")
        os.write(terminal, b"\x10\n")  # control-P: the line before
        expect(rb"OK null,fd:1")
        os.write(terminal, b"switch nobody\n")
        expect(rb"no machine nobody")
        os.write(terminal, b"quit\n")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        problems += differs("status of the prompt", os.waitstatus_to_exitcode(status), 0)
        with open(os.path.join(folder, ".uml_mconsole_history")) as file:
            problems += differs("history", file.read().split("\n")[:2], ["version ", "config con0"])
        outcome = subprocess.run([TOOL, machine.socket], input="version\nbogus\n", capture_output=True, text=True, timeout=30, check=False)
        problems += matches("commands from a pipe", outcome.stdout, r"OK Linux .*\nERR Unknown command\n")
        problems += differs("status of the last", outcome.returncode, 1)
        machine.halt()
    return problems


def check_packets(folder):
    """Packets that are cut, too large, of another kind: each has its answer, and none does harm."""
    problems = []
    with Machine(folder) as machine:
        machine.wait_until_up()
        with Client(machine.socket) as client:
            client.send_bytes(b"version")
            problems += differs("bare text", client.receive(), b"ERR Version 0 mconsole clients are not supported by this driver")
            client.send("halt", magic=0x20525245)
            problems += differs("wrong magic", client.receive(), b"ERR Version 0 mconsole clients are not supported by this driver")
            for version in (0, 1, 3, 0xFFFFFFFF):
                client.send("config con0", version=version)
                problems += differs(f"version {version}", client.packets(), [(1, 0, "This driver only supports version 2 clients")])
                problems += differs("and done all the same", client.packets(), [(0, 0, "null,fd:1")])
            for length in (512, 600, 0xFFFFFFFF):
                client.send("version", length=length)
                problems += differs(f"length {length}", client.packets(), [(1, 0, "Request too large")])
            client.send("config con0", length=500, padded=False)
            problems += differs("length beyond the packet", client.packets(), [(0, 0, "null,fd:1")])
            client.send("config con0999", length=11, padded=False)
            problems += differs("length within the text", client.packets(), [(0, 0, "null,fd:1")])
            client.send_bytes(struct.pack("<III", MAGIC, VERSION, 11) + b"config con0" + b"x" * 5000)
            problems += differs("oversized", client.packets(), [(0, 0, "null,fd:1")])
            client.send("x" * 511)
            problems += differs("a full text", client.packets(), [(1, 0, "Unknown command")])
            client.send("log " + "y" * 507)
            problems += differs("a full line", client.packets(), [(0, 0, "")])
            client.send(b"log a\xff\x01b")
            problems += differs("odd bytes", client.packets(), [(0, 0, "")])
            for cut in range(0, 12):
                client.send_bytes((struct.pack("<III", MAGIC, VERSION, 4) + b"halt")[:cut])
                client.receive()
            # Files that are sent along are closed.
            own, other = os.pipe()
            client.socket.sendmsg([struct.pack("<III", MAGIC, VERSION, 2) + b"go"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", other))], 0,
                                  machine.socket)
            problems += differs("with a file", client.packets(), [(1, 0, "Not stopped")])
            os.close(other)
            ready, _, _ = select.select([own], [], [], 5)
            problems += differs("the file is closed", bool(ready) and os.read(own, 1), b"")
            os.close(own)
        # Nobody to answer.
        nameless = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        nameless.sendto(struct.pack("<III", MAGIC, VERSION, 12) + b"log nameless", machine.socket)
        nameless.close()
        machine.expect("nameless")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_users(folder):
    """Other users of the host are not served, even where the file's permissions let them in."""
    problems = []
    # The sources may lie where another user cannot read them.
    modules = os.path.join(folder, "modules")
    os.mkdir(modules)
    for module in ("harness.py", "mconsole/managed_machine.py"):
        shutil.copy(os.path.join(harness.SOURCE, "tests", module), modules)
    another = harness.as_another_user()
    with Machine(folder) as machine:
        machine.wait_until_up()
        for path in (folder, machine.directory, os.path.dirname(machine.socket)):
            os.chmod(path, 0o755)
        ask = (f"import sys; sys.path[:0] = [{modules!r}]\n"
               f"from managed_machine import Client\nprint(Client({machine.socket!r}).ask('version'))")
        outcome = subprocess.run([*another, "python3", "-c", ask], capture_output=True, text=True, timeout=30, check=False)
        problems += differs("by permission", "PermissionError" in outcome.stderr, True)
        os.chmod(machine.socket, 0o777)
        outcome = subprocess.run([*another, "python3", "-c", ask], capture_output=True, text=True, timeout=30, check=False)
        problems += differs("by who asks", outcome.stdout, "(-1, 'Permission denied')\n")
        machine.halt()
    return problems


def check_floods(folder):
    """Many clients at once, some that never read, and some that send rubbish: all answers come, whole, and the machine goes on."""
    problems = []
    with Machine(folder) as machine:
        machine.wait_until_up()
        time.sleep(0.3)
        deaf = [Client(machine.socket) for _ in range(8)]
        for client in deaf:
            client.send("sysrq t")
        failures = []

        def ask_often(number):
            try:
                with Client(machine.socket, 60) as client:
                    for round_number in range(30):
                        request, wanted = [("version", "Linux "), ("help", "Commands: \n"), ("config con0", "null,fd:1"), ("sysrq t", "sysrq: Show State\n"),
                                           ("proc meminfo", "\nMemTotal:")][(number + round_number) % 5]
                        error, text = client.ask(request)
                        if error != 0 or not text.startswith(wanted):
                            failures.append(f"{request}: {error} {text[:60]!r}")
            except (OSError, AssertionError) as problem:
                failures.append(f"client {number}: {problem}")

        def send_rubbish(number):
            chance = random.Random(number)
            for round_number in range(300):
                client = deaf[round_number % len(deaf)] if number % 2 else None
                size = chance.choice((0, 3, 11, 12, 40, 524, 4000))
                packet = bytearray(chance.randbytes(size))
                if chance.random() < 0.5:
                    # What follows a right head is a request that does no harm.
                    packet[:12] = struct.pack("<III", MAGIC, chance.choice((0, VERSION, 3)), chance.choice((0, 4, 511, 512, 1 << 31)))
                    packet[12:] = b"go" + bytes(max(0, size - 14))
                try:
                    if client:
                        client.send_bytes(bytes(packet))
                    else:
                        with Client(machine.socket) as short:
                            short.send_bytes(bytes(packet))
                except OSError as problem:
                    failures.append(f"rubbish of client {number}: {problem}")
                    return

        clients = [threading.Thread(target=ask_often, args=(number,)) for number in range(12)]
        clients += [threading.Thread(target=send_rubbish, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        problems += failures[:5]
        problems += matches("after all that", machine.ask("version")[1], r"Linux .*")
        for client in deaf:
            client.socket.close()
        problems += differs("status", machine.halt(), 0)
    return problems


def digest_of(path):
    return subprocess.run(["md5sum", path], capture_output=True, text=True, check=True).stdout


def check_stop_and_go(folder):
    """Under load: nothing of the machine moves between stop and go, the image on the host is whole, and timers go on afterwards."""
    problems = []
    image, copy = os.path.join(folder, "disk.img"), os.path.join(folder, "copy.img")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image, "64M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Machine(folder, switches=[f"ubd1={image}"], types=True) as machine:
        machine.wait_until_up()
        machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdb /mnt && echo mounted")
        # Writers of files, one that forks all the time, one that only computes, one that sleeps.
        machine.command("for w in 1 2; do (n=0; while :; do n=$((n+1)); echo $n > /mnt/f$w; cat /mnt/f$w > /mnt/g$w; done) & done")
        machine.command("(n=0; while :; do n=$((n+1)); done) & (while :; do /bin/true; done) & true")
        machine.command("(while :; do sleep 0.05; cut -d' ' -f1 /proc/uptime > /mnt/t.new; mv /mnt/t.new /mnt/t; done) & true")
        for round_number in range(5):
            time.sleep(0.3)
            problems += differs("stop", machine.ask("stop", 60), (0, "stopped"))
            problems += differs("sync", machine.ask("sysrq s", 60), (0, "sysrq: Emergency Sync\nEmergency Sync complete\n"))
            if "still at work" in machine.text():
                problems.append("tasks could not be held")
            before = digest_of(image)
            busy = machine.ask("proc stat")[1].split("\n")[1]
            time.sleep(0.5)
            problems += differs("the image stays", digest_of(image), before)
            again = machine.ask("proc stat")[1].split("\n")[1]
            problems += differs("no task runs (user and system time)", [again.split()[1], again.split()[3]], [busy.split()[1], busy.split()[3]])
            if round_number == 0:
                subprocess.run(["cp", image, copy], check=True)
            problems += differs("go", machine.ask("go"), (0, ""))
        checked = subprocess.run(["e2fsck", "-fp", copy], capture_output=True, text=True, check=False)
        if checked.returncode > 1:
            problems.append(f"a copy of the image is damaged: {checked.stdout}{checked.stderr}")
        checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True, check=False)
        problems += differs("e2fsck of the copy", checked.returncode, 0)
        first = machine.command("cat /mnt/t").strip()
        time.sleep(0.3)
        later = machine.command("cat /mnt/t").strip()
        if not first or not later or float(later) <= float(first):
            problems.append(f"the sleeper does not go on: {first!r} {later!r}")
        # A sleep that ends during a stop is over with go; one that does not lasts as long as it should.
        machine.type("sleep 1; echo slept-$((1)); sleep 2; echo slept-$((2))")
        machine.ask("stop", 60)
        time.sleep(1.5)
        started = time.monotonic()
        machine.ask("go")
        machine.expect("slept-1", 5)
        machine.expect("slept-2", 10)
        if not 1.5 < time.monotonic() - started < 5:
            problems.append(f"two seconds of sleep took {time.monotonic() - started:.1f} s")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_disks(folder):
    """Disks come and go: the guest sees them, and one in use stays."""
    problems = []
    image, cow = os.path.join(folder, "disk.img"), os.path.join(folder, "private.cow")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "plugged", image, "8M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        problems += differs("attach", machine.ask(f"config ubd2={cow},{image}"), (0, ""))
        problems += differs("query", machine.ask("config ubd2"), (0, f"{cow},{image}"))
        problems += differs("twice", machine.ask(f"config ubd2={image}"), (-16, "Device is already configured"))
        problems += differs("node", machine.command("ls -l /dev/ubdc | cut -c1; cat /sys/block/ubdc/size"), "b\n16384\n")
        problems += differs("mount", machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdc /mnt && echo kept > /mnt/file; sync; echo $?"), "0\n")
        problems += differs("in use", machine.ask("remove ubd2"), (-16, "Device is currently open"))
        with Machine(folder, "other") as other:
            other.wait_until_up()
            error, text = other.ask(f"config ubd0={cow}")
            problems += differs("locked", (error, "already locked by pid" in text), (-22, True))
            other.halt()
        machine.command("umount /mnt")
        problems += differs("remove", machine.ask("remove ubd2"), (0, ""))
        problems += differs("gone", machine.command("ls /dev/ubdc 2> /dev/null; cat /proc/partitions | grep -c ubdc"), "0\n")
        problems += differs("query of what is gone", machine.ask("config ubd2"), (0, ""))
        problems += differs("again, read-only, by its letter", machine.ask(f"config ubdcr={cow}"), (0, ""))
        problems += differs("what was written", machine.command("mount -t ext4 -o ro /dev/ubdc /mnt; cat /mnt/file; umount /mnt"), "kept\n")
        problems += differs("remove", machine.ask("remove ubdc"), (0, ""))
        memory = int(machine.ask("config mem")[1])
        problems += differs("take memory", machine.ask("config mem=-64M"), (0, ""))
        problems += differs("less", int(machine.ask("config mem")[1]), memory - (64 << 20))
        problems += matches("and the guest knows", machine.command("grep MemTotal /proc/meminfo"), rf"MemTotal: +{(memory - (64 << 20)) // 1024} kB\n")
        problems += differs("put back", machine.ask("config mem=+1G"), (0, ""))
        problems += differs("no more than was taken", int(machine.ask("config mem")[1]), memory)
        machine.halt()
    return problems


def check_memory(folder):
    """Memory that is taken out of the machine goes back to the host, and comes again when it is put back; what programs use stays theirs."""
    problems = []
    image = os.path.join(folder, "disk.img")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image, "160M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Machine(folder, switches=[f"ubd1={image}", "mem=256M"], types=True) as machine:
        def on_host():
            """Bytes of the kernel's memory files that the host has backed."""
            total = 0
            for name in os.listdir(f"/proc/{machine.process.pid}/fd"):
                path = f"/proc/{machine.process.pid}/fd/{name}"
                if "/memfd:" in os.readlink(path):
                    total += os.stat(path).st_blocks * 512
            return total

        machine.wait_until_up()
        machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdb /mnt; dd if=/dev/urandom of=/mnt/file bs=1M count=128 2> /dev/null; sync; md5sum /mnt/file > /tmp/sum", 180)
        full = on_host()
        problems += differs("take memory", machine.ask("config mem=-192M"), (0, ""))
        taken = on_host()
        if not full - taken > 64 << 20:
            problems.append(f"the host got back {(full - taken) >> 20} MiB of {full >> 20}")
        problems += differs("files are read all the same", machine.command("md5sum -c /tmp/sum", 180), "/mnt/file: OK\n")
        if not on_host() < full - (64 << 20):
            problems.append(f"the page cache grew to {on_host() >> 20} MiB again")
        problems += differs("more than there is", machine.ask("config mem=-1G")[0] in (0, 1), True)
        problems += matches("the machine lives", machine.command("echo alive"), "alive\n")
        problems += differs("put back", machine.ask("config mem=+1G"), (0, ""))
        problems += differs("all is there", machine.command("md5sum -c /tmp/sum; md5sum -c /tmp/sum", 180), "/mnt/file: OK\n" * 2)
        if not on_host() > taken + (64 << 20):
            problems.append(f"the page cache has only {on_host() >> 20} MiB after all was put back")
        problems += differs("status", machine.halt(), 0)
    return problems


def check_notices(folder):
    """Socket, words of programs, panic: what a listener on the host is told."""
    problems = []
    path = os.path.join(folder, "notices")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    listener.settimeout(20)

    def notice():
        data = listener.recv(2000)
        magic, version, kind, length = struct.unpack("<IIII", data[:16])
        problems.extend(differs("head", (magic, version, length), (MAGIC, VERSION, len(data) - 16)))
        return kind, data[16:]

    with Machine(folder, switches=[f"mconsole=notify:{path}"], types=True) as machine:
        problems += differs("socket", notice(), (0, machine.socket.encode() + b"\0"))
        machine.wait_until_up()
        problems += differs("the file", machine.command("ls -l /proc/mconsole | cut -c1-10; ls /proc | grep -c mconsole"), "--w-------\n1\n")
        machine.command("printf 'I am up' > /proc/mconsole")
        problems += differs("words", notice(), (3, b"I am up"))
        machine.command("head -c 4000 /dev/zero | tr '\\0' x > /proc/mconsole")
        problems += differs("many words", notice(), (3, b"x" * 512))
        machine.type("echo c > /proc/sysrq-trigger")
        problems += differs("panic", notice(), (1, b"sysrq triggered crash\0"))
        problems += differs("status of a panic", machine.end(), 134)
    listener.close()
    with Machine(folder, switches=[f"mconsole=notify:{path}"], types=True) as machine:
        machine.expect("mconsole_notify - sendto failed, errno = 111")
        machine.wait_until_up()
        problems += differs("status", machine.halt(), 0)
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        problems += differs("without a listener", machine.command("ls /proc | grep -c mconsole; grep -c x /proc/mconsole 2> /dev/null"), "0\n")
        machine.halt()
    return problems + is_left(machine)


def check_sysrq(folder):
    """What the keys do to the machine."""
    problems = []
    image = os.path.join(folder, "disk.img")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image, "8M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Machine(folder, switches=[f"ubd1={image}"], types=True) as machine:
        machine.wait_until_up()
        machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdb /mnt; exec 9> /mnt/open")
        problems += differs("u", machine.ask("sysrq u"), (0, "sysrq: Emergency Remount R/O\nEmergency Remount complete\n"))
        problems += matches("read-only now", machine.command("echo x > /mnt/new"), r".*Read-only file system\n")
        machine.command("sleep 1000 & (trap '' TERM; while :; do sleep 1; done) & sleep 0.3")
        problems += matches("w", machine.ask("sysrq w")[1], r"sysrq: Show Blocked State\n.*")
        problems += matches("t", machine.ask("sysrq t")[1], r".*task:sleep +state:S .*")
        machine.command("(while :; do :; done) & sleep 0.2")
        problems += matches("p", machine.ask("sysrq p")[1], r"sysrq: Show Regs\nCPU: - PID: \d+ Comm: \S+\nRIP: .*")
        problems += matches("l", machine.ask("sysrq l")[1], r"sysrq: Show backtrace of all active CPUs\ntask:\S+ +state:R .*")
        # Timers, by what they are for; and a console that somebody's program has left raw.
        machine.command("timeout 1000 sleep 1000 & sleep 0.1")
        problems += matches("q", machine.ask("sysrq q")[1], r"sysrq: Show clockevent devices [^\n]*\nnow at \d+ nsecs\nactive timers: \d+\n.*")
        # What the guest allows, which /proc/sysrq-trigger does not ask about.
        problems += differs("all is allowed", machine.command("cat /proc/sys/kernel/sysrq; ls -l /proc/sys/kernel/sysrq | cut -c1-10"), "1\n-rw-r--r--\n")
        machine.command("echo 438 > /proc/sys/kernel/sysrq")
        problems += differs("t is forbidden", machine.ask("sysrq t"), (0, "sysrq: This sysrq operation is disabled.\n"))
        problems += differs("s is allowed", machine.ask("sysrq s"), (0, "sysrq: Emergency Sync\nEmergency Sync complete\n"))
        problems += matches("t in the guest", machine.command("dmesg -c > /dev/null; echo t > /proc/sysrq-trigger; dmesg | head -1"), r".*sysrq: Show State\n")
        machine.command("echo 0 > /proc/sys/kernel/sysrq")
        problems += differs("nothing is allowed", machine.ask("sysrq h"), (0, ""))
        problems += differs("no number", machine.command("echo x > /proc/sys/kernel/sysrq; cat /proc/sys/kernel/sysrq")[-2:], "0\n")
        machine.command("echo 1 > /proc/sys/kernel/sysrq")
        # A shell changes the settings itself whenever it reads a line.
        machine.type("stty raw -echo; stty -a | tr -d '\\n'; echo is-$((1)); sleep 2; stty -a; echo was-$((1))")
        machine.expect(r" -icanon[^\n]*is-1")
        problems += differs("r", machine.ask("sysrq r"), (0, "sysrq: Keyboard mode set to system default\n"))
        machine.expect(r" icanon(.|\n)* echo (.|\n)*was-1")
        problems += matches("h in the guest", machine.command("echo h > /proc/sysrq-trigger; dmesg | tail -1"), r".*sysrq: HELP : .*\n")
        pid = machine.process.pid
        problems += differs("b", machine.ask("sysrq b"), (0, ""))
        machine.seen = len(machine.text())
        machine.expect("mconsole \\(version 2\\) initialized", 20)
        machine.wait_until_up()
        with open(os.path.join(machine.directory, "box", "pid")) as file:
            problems += differs("the same process", file.read(), f"{pid}\n")
        problems += differs("o", machine.ask("sysrq o"), (0, "sysrq: Power Off\n"))
        problems += differs("status of o", machine.end(), 0)
    # An init that outlives all others.
    with Machine(folder, switches=["init=/bin/sh", "--", "-c", "sleep 1000 & echo child-$! ; while :; do sleep 1; done"]) as machine:
        machine.wait_until_up()
        child = machine.expect(r"child-(\d+)").group(1)
        problems += differs("its child", machine.ask(f"proc {child}/comm"), (0, "\nsleep\n"))
        for letter, title in (("e", "Terminate All Tasks"), ("i", "Kill All Tasks")):
            problems += differs(letter, machine.ask(f"sysrq {letter}"), (0, f"sysrq: {title}\n"))
        deadline = time.monotonic() + 10
        while "State:\tZ" not in machine.ask(f"proc {child}/status")[1] and machine.ask(f"proc {child}/comm")[0] == 0:
            if time.monotonic() > deadline:
                problems.append("a process outlived sysrq i")
                break
            time.sleep(0.02)
        problems += matches("init lives", machine.ask("proc 1/comm")[1], r"\nsh\n")
        machine.halt()
    return problems + is_left(machine)


def check_ends(folder):
    """halt, reboot, cad, signals: what becomes of the machine and of its exit status."""
    problems = []
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        machine.command("echo 7 > /proc/exitcode")
        problems += differs("status of halt is /proc/exitcode", machine.halt(), 7)
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        for command in ("reboot", "cad"):
            machine.seen = len(machine.text())
            problems += differs(command, machine.ask(command), (0, ""))
            if command == "cad":
                machine.expect("reboot: Restarting system")
            machine.expect("mconsole \\(version 2\\) initialized", 20)
            machine.expect(r"printk: console \[mc-1\] enabled")
            machine.wait_until_up()
        os.kill(machine.process.pid, signal.SIGHUP)
        problems += differs("after SIGHUP", machine.command("echo alive"), "alive\n")
        os.kill(machine.process.pid, signal.SIGTERM)
        problems += differs("SIGTERM ends and does not restart", machine.end(), 0)
    problems += is_left(machine)
    # An init that will not hear of the end: a second SIGTERM does not ask it.
    inittab = "::sysinit:/bin/echo deaf\\n::ctrlaltdel:/bin/echo I was asked\\n"
    with Machine(folder, switches=["init=/bin/sh", "--", "-c", f"printf '{inittab}' > /etc/inittab; exec busybox init"]) as machine:
        machine.expect("deaf")
        os.kill(machine.process.pid, signal.SIGTERM)
        machine.expect("asked to end by SIGTERM; a second one halts at once")
        machine.expect("I was asked")
        time.sleep(0.3)
        problems += differs("still there", machine.process.poll(), None)
        os.kill(machine.process.pid, signal.SIGTERM)
        problems += differs("status after the second SIGTERM", machine.end(5), 1)
    problems += is_left(machine)
    for number in (signal.SIGINT, signal.SIGQUIT):
        with Machine(folder) as machine:
            machine.wait_until_up()
            os.kill(machine.process.pid, number)
            problems += differs(f"status after {number.name}", machine.end(), 1)
    with Machine(folder, switches=["init=/bin/sh", "--", "-c", "sleep 0.3; exit 3"]) as machine:
        problems += differs("status of a panic", machine.end(), 134)
        machine.expect(r"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300")
    with Machine(folder, switches=["noreboot"]) as machine:
        machine.wait_until_up()
        machine.ask("reboot")
        problems += differs("noreboot", machine.end(), 0)
    return problems + is_left(machine)


def check_daemon(folder):
    """Started without any standard streams and without a terminal, as by cron, at or a service manager."""
    def close_streams():
        for fd in (0, 1, 2):
            os.close(fd)

    problems = []
    with Machine(folder, setup=close_streams) as machine:
        machine.wait_until_up()
        problems += matches("runs", machine.ask("proc 1/status")[1], r"\nName:\tinit\n.*")
        # Who logs out hangs up what he started.
        os.kill(machine.process.pid, signal.SIGHUP)
        problems += matches("runs after SIGHUP", machine.ask("proc 1/comm")[1], r"\n(init|sh)\n")
        problems += differs("no terminal on the host", [name for name in os.listdir(f"/proc/{machine.process.pid}/fd")
                                                         if "/dev/pts" in os.readlink(f"/proc/{machine.process.pid}/fd/{name}")], [])
        os.kill(machine.process.pid, signal.SIGTERM)
        problems += differs("status", machine.end(), 0)
    problems += is_left(machine)
    # `umk run` has a name only if it is given one.
    directory = os.path.join(folder, "run")
    outcome = harness.run([harness.UMK, "run", f"uml_dir={directory}", "--", "true"], limit=30)
    problems += differs("umk run without a name", (outcome.status, os.path.exists(directory)), (0, False))
    outcome = harness.run([harness.UMK, "run", "umid=named", f"uml_dir={directory}", "--", "cat", "/proc/cmdline"], limit=30)
    problems += differs("umk run with a name", (outcome.status, os.listdir(directory)), (0, []))
    return problems


def check_log_levels(folder):
    """loglevel=, quiet, debug and dmesg -n decide what the console shows; dmesg has it all."""
    problems = []
    for switches, shown in (([], ["7", True, True]), (["quiet"], ["4", False, False]), (["loglevel=5"], ["5", True, False]), (["debug"], ["10", True, True])):
        with Machine(folder, switches=switches, types=True) as machine:
            machine.wait_until_up()
            problems += differs(f"{switches}: level", machine.command("cut -f1 /proc/sys/kernel/printk").strip(), shown[0])
            machine.ask("log a warning")  # level 4
            machine.command("echo '<5>a notice' > /dev/kmsg")
            time.sleep(0.2)
            text = re.sub(r".*echo.*\n", "", machine.text())
            problems += differs(f"{switches}: a warning", "] a warning" in text, shown[1])
            problems += differs(f"{switches}: a notice", "] a notice" in text, shown[2])
            problems += differs("all in dmesg", machine.command("dmesg | grep -c -e 'a warning' -e 'a notice'"), "2\n")
            machine.command("dmesg -n 3")
            problems += differs("dmesg -n", machine.command("cut -f1 /proc/sys/kernel/printk"), "3\n")
            machine.halt()
    with Machine(folder, "copied", switches=["stderr=1"], log=os.path.join(folder, "copied.log")) as machine:
        machine.wait_until_up()
        machine.ask("log twice")
        time.sleep(0.2)
        problems += differs("stderr=1", machine.text().count("] twice"), 2)
        machine.halt()
    return problems


def check_many(folder, count=12):
    """Machines at once on one directory: each started, asked, halted, nothing left behind."""
    problems = []
    directory = os.path.join(folder, "uml")
    os.makedirs(directory)
    machines = [Machine(folder, f"box{number}", ["mem=64M"], directory=directory) for number in range(count)]
    try:
        for machine in machines:
            machine.wait_until_up(120)
        for machine in machines:
            error, text = machine.ask("config con0", 60)
            problems += differs("console", (error, text), (0, "null,fd:1"))
        for machine in machines:
            problems += differs("halt", machine.ask("halt", 60), (0, ""))
        for machine in machines:
            problems += differs("status", machine.end(60), 0)
    finally:
        for machine in machines:
            machine.__exit__()
    return problems + is_left(machines[0])


def check_fifty(folder):
    return check_many(folder, 50)


CHECKS = [check_umid, check_killed_on_a_terminal, check_commands, check_tools, check_prompt, check_packets, check_users, check_floods,
          check_stop_and_go, check_disks, check_memory, check_notices, check_sysrq, check_ends, check_daemon, check_log_levels, check_many]


def run_all(report, wanted, everything):
    harness.run_checks(report, wanted, "mconsole", CHECKS + ([check_fifty] if everything else []))
