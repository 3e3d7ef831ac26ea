"""Logs of terminals: what umk writes down by tty_log_fd= and tty_log_dir=, and what uml_tty_playback makes of logs, damaged ones too."""

import json
import os
import re
import sqlite3
import struct
import subprocess
import threading
import time

import harness

TOOL = os.path.join(os.path.dirname(harness.UMK), "uml_tty_playback")
if not os.access(TOOL, os.X_OK):
    TOOL = os.path.join(harness.SOURCE, "build/uml_tty_playback")
OPEN, CLOSE, WRITE, EXEC = 1, 2, 3, 4
READ, WROTE = 1, 2
TTY0, PTS3 = 0x400, 0x8803


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def contains(what, text, part):
    return [] if part in text else [f"{what}: no {part!r} in {text[-600:]!r}"]


def record(what, tty, data=b"", direction=0, at=0.0, form="=iIiiII"):
    return struct.pack(form, what, tty, len(data), direction, 1700000000 + int(at), int(at % 1 * 1000000)) + data


def parse(log):
    """The records: (what, tty, direction, seconds, data)."""
    records, at = [], 0
    while at < len(log):
        what, tty, length, direction, seconds, microseconds = struct.unpack_from("=iIiiII", log, at)
        if what not in (OPEN, CLOSE, WRITE, EXEC) or length > 1 << 20 or microseconds >= 1000000:
            raise OSError(f"no record at byte {at} of {len(log)}: {log[at:at + 24].hex()}")
        records.append((what, tty, direction, seconds + microseconds / 1e6, log[at + 24:at + 24 + length]))
        at += 24 + length
    return records


def session(form="=iIiiII", id_form="=I"):
    """A small log: a shell on tty0 runs ls; within it something opens pts/3."""
    parts = [(OPEN, TTY0, struct.pack(id_form, 0)), (WRITE, TTY0, b"# ", WROTE), (WRITE, TTY0, b"ls\n", READ, 0.4), (EXEC, TTY0, b"ls\0-l\0\0", 0, 0.4),
             (WRITE, TTY0, b"file\r\n\xff", WROTE, 0.5), (OPEN, PTS3, struct.pack(id_form, TTY0), 0, 0.5), (WRITE, PTS3, b"inner\n", WROTE, 0.5),
             (CLOSE, PTS3, b"", 0, 0.6), (EXEC, 0, b"cron\0", 0, 0.6), (CLOSE, TTY0, b"", 0, 0.7)]
    return b"".join(record(*part, form=form) for part in parts)


def play(*words, log=None, seconds=20):
    done = subprocess.run([TOOL, *words], input=log, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds)
    return done.returncode, done.stdout, done.stderr.decode()


def write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def check_playback(folder):
    """What is chosen is shown, at its pace; 32-bit and 64-bit logs."""
    problems = []
    for name, log in (("short.log", session()), ("long.log", session("@iLiiLL", "=Q"))):
        path = write(folder, name, log)
        for words, wanted in (([], b"# file\r\n\xff"), (["-a"], b"# ls\nfile\r\n\xff"), (["-i"], b"ls\n"), (["-v"], b"# \nfile\\r\\n\xff\n")):
            problems += differs(f"{name} {words}", play("-n", *words, path), (0, wanted, ""))
        problems += differs(f"{name} pts/3", play("-n", path, "pts/3"), (0, b"inner\n", ""))
        problems += differs(f"{name} 0x8803", play("-n", path, "0x8803"), (0, b"inner\n", ""))
        problems += differs(f"{name} all", play("-n", path, "all"), (0, b"# file\r\n\xffinner\n", ""))
        problems += differs(f"{name} from a pipe", play("-n", "-", "tty0", log=log), (0, b"# file\r\n\xff", ""))
    path = os.path.join(folder, "short.log")
    for words, least, most in (([], 0.5, 1.5), (["-s", "0.5"], 1.0, 2.5), (["-s", "100"], 0, 0.4), (["-w", "0.1"], 0.1, 0.45), (["-n"], 0, 0.4)):
        start = time.monotonic()
        play(*words, path)
        took = time.monotonic() - start
        if not least <= took <= most:
            problems.append(f"{words} took {took:.2f} s, expected {least} to {most}")
    status, out, _ = play("-l", path)
    problems += differs("--list", (status, [line.split()[0] for line in out.decode().splitlines()]), (0, ["TERMINAL", "tty0", "pts/3"]))
    status, out, _ = play("-x", path)
    problems += differs("--exec", (status, [line.split(" ", 2)[2] for line in out.decode().splitlines()]), (0, ["tty0 ls -l ''", "- cron"]))
    two = write(folder, "two.log", session() + record(OPEN, 0x440, struct.pack("=I", 0)) + record(WRITE, 0x440, b"serial", WROTE))
    problems += differs("two sessions", play("-n", two), (0, b"You have the following ttys to choose from:\ntty0 ttyS0 \n", ""))
    problems += differs("one of two", play("-n", two, "ttyS0"), (0, b"serial", ""))
    problems += differs("no such terminal", play("-n", path, "console9")[0], 1)
    return problems


def check_damaged_logs(folder):
    """Cut at every byte and damaged in many places: what was before is shown, and a message says where it ends."""
    problems = []
    log = session()
    ends = set()
    at = 0
    while at < len(log):
        ends.add(at)
        at += 24 + struct.unpack_from("=i", log, at + 8)[0]
    for size in range(1, len(log), 7):
        status, _, error = play("-n", write(folder, "cut.log", log[:size]), "all")
        begin = max(end for end in ends if end <= size)
        wanted = (0, "") if size in ends else (1, f"uml_tty_playback: {folder}/cut.log: the log ends within the record at byte {begin}, of which there are {size - begin} bytes\n")
        problems += differs(f"cut at {size}", (status, error), wanted)
    for place, value, reason in ((0, 9, "the kind is none of"), (8, 0x7fffffff, "the length is impossible"), (12, 7, "the direction is neither"), (20, 1000000, "999999")):
        damaged = bytearray(log)
        struct.pack_into("=I", damaged, 28 + place, value)  # of the second record
        status, _, error = play("-n", write(folder, "bad.log", bytes(damaged)), "all")
        problems += differs(f"status, damaged at {place}", status, 1)
        problems += contains(f"damaged at {place}", error, "no record at byte 28: ") + contains(f"damaged at {place}", error, reason)
    problems += differs("no log", play(os.path.join(folder, "none"))[0], 1)
    problems += differs("empty log", play(write(folder, "empty", b"")), (0, b"", ""))
    problems += differs("a directory", play("-n", folder, "all")[0], 1)
    return problems[:10]


def check_json_and_database(folder):
    problems = []
    path = write(folder, "a.log", session())
    status, out, error = play("-j", path)
    lines = [json.loads(line) for line in out.decode().splitlines()]
    problems += differs("status", (status, error), (0, ""))
    problems += differs("kinds", [line["kind"] for line in lines], ["open", "write", "read", "exec", "write", "open", "write", "close", "exec", "close"])
    problems += differs("data", (lines[2]["data"], lines[4]["data_base64"]), ("ls\n", "ZmlsZQ0K/w=="))
    problems += differs("arguments", lines[3]["arguments"], ["ls", "-l", ""])
    problems += differs("terminals", [lines[i]["tty"] for i in (0, 5, 8)], ["tty0", "pts/3", None])
    problems += differs("parents", (lines[0]["parent"], lines[5]["parent"]), (None, "tty0"))
    problems += differs("time", lines[2]["time"], 1700000000.4)
    name = os.path.join(folder, "a.db")
    problems += differs("database", play("--sqlite", name, path), (0, b"", ""))
    with sqlite3.connect(name) as database:
        rows = database.execute("SELECT kind, tty, parent, data FROM record ORDER BY number").fetchall()
        arguments = database.execute("SELECT text FROM argument ORDER BY record, place").fetchall()
    database.close()
    problems += differs("rows", rows[1:3] + rows[5:6], [("write", "tty0", None, b"# "), ("read", "tty0", None, b"ls\n"), ("open", "pts/3", "tty0", None)])
    problems += differs("arguments in the database", [text for text, in arguments], ["ls", "-l", "", "cron"])
    status, _, error = play("--sqlite", name, path)
    problems += differs("the same database again", (status, "already exists" in error), (1, True))
    cut = write(folder, "cut.log", session()[:-5])
    name = os.path.join(folder, "b.db")
    problems += differs("database of a cut log", play("--sqlite", name, cut)[0], 1)
    with sqlite3.connect(name) as database:
        problems += differs("what it has", database.execute("SELECT count(*) FROM record").fetchone()[0], 9)
    database.close()
    return problems


def check_follow(folder):
    """A log that grows, by parts of records: what comes is shown at once."""
    log = session()
    path = write(folder, "growing.log", log[:40])
    process = subprocess.Popen([TOOL, "-f", path, "tty0"], stdout=subprocess.PIPE)
    try:
        with open(path, "ab", buffering=0) as file:
            for at in range(40, len(log), 11):
                file.write(log[at:at + 11])
                time.sleep(0.005)
        out = b""
        while len(out) < 9:
            piece = os.read(process.stdout.fileno(), 100)
            if not piece:
                break
            out += piece
        return differs("followed", out, b"# file\r\n\xff")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Logged:
    """umk run with its log in a file or a pipe of the test's."""

    def __init__(self, log_fd, command, root="/", switches=()):
        self.process = subprocess.Popen([harness.UMK, "run", *(("--root", root, "--ro") if root else ()), f"tty_log_fd={log_fd}", *switches, "--", *command],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[log_fd])

    def end(self, seconds=60):
        out, error = self.process.communicate(timeout=seconds)
        return self.process.returncode, out.decode(errors="replace"), error.decode(errors="replace")


# A program on a terminal of its own that answers what it is asked; the pair's other end is driven as by a person.
CONVERSATION = """
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "read -r line; echo got $line; exec /bin/echo the end"])
os.write(fd, b"hello\\n")
try:
    while os.read(fd, 1000): pass
except OSError: pass
os.waitpid(pid, 0)
"""


def check_log_of_a_terminal(folder):
    """Openings, reads, writes, closings and programs, in order, with times; and the tool plays it."""
    problems = []
    path = os.path.join(folder, "tty.log")
    before = time.time()
    with open(path, "wb") as log:
        status, _, error = Logged(log.fileno(), ["python3", "-c", CONVERSATION]).end()
    after = time.time()
    problems += differs("status", (status, error), (0, ""))
    with open(path, "rb") as file:
        records = parse(file.read())
    times = [record[3] for record in records]
    problems += differs("times grow", times, sorted(times))
    if records and not before - 1 <= times[0] <= times[-1] <= after + 1:
        problems.append(f"times {times[0]} to {times[-1]} are not between {before} and {after}")
    programs = [(tty, data) for what, tty, _, _, data in records if what == EXEC]
    problems += differs("first program", programs[0], (0, b"python3\0-c\0" + CONVERSATION.encode() + b"\0"))
    pts0 = 0x8800
    problems += contains("programs", programs, (pts0, b"sh\0-c\0read -r line; echo got $line; exec /bin/echo the end\0"))
    problems += contains("programs", programs, (pts0, b"/bin/echo\0the\0end\0"))
    of_pts = [(what, direction, data) for what, tty, direction, _, data in records if tty == pts0 and what != EXEC]
    problems += differs("ends", (of_pts[0], of_pts[-1]), ((OPEN, 0, b"\0\0\0\0"), (CLOSE, 0, b"")))
    problems += differs("typed", b"".join(data for what, direction, data in of_pts if what == WRITE and direction == READ), b"hello\n")
    problems += differs("shown", b"".join(data for what, direction, data in of_pts if what == WRITE and direction == WROTE), b"got hello\nthe end\n")
    problems += differs("played", play("-n", path), (0, b"got hello\nthe end\n", ""))
    problems += differs("played, all", play("-n", "-a", path), (0, b"hello\ngot hello\nthe end\n", ""))
    return problems


def check_failed_exec(folder):
    """Scripts are noted as they were called; what is not there is not noted."""
    path = os.path.join(folder, "tty.log")
    with open(path, "wb") as log:
        status, out, error = Logged(log.fileno(), ["sh", "-c", "printf '#!/bin/sh\\necho script $1\\n' > /tmp/it; chmod +x /tmp/it; /tmp/it x; /no/such/program; true"],
                                    root=None).end()
    problems = differs("status", (status, out), (0, "script x\n"))
    with open(path, "rb") as file:
        programs = [data for what, _, _, _, data in parse(file.read()) if what == EXEC]
    problems += contains("programs " + error, programs, b"/tmp/it\0x\0")
    return problems + differs("interpreter", [data for data in programs if data.startswith(b"/bin/sh\0/tmp/it")], [])


# Writes numbered lines to a terminal whose other end takes them all.
FLOOD = """
import os, pty, sys, threading, tty
master, slave = pty.openpty()
tty.setraw(slave)
data = b"".join(b"%07d\\n" % i for i in range({lines}))
def write():
    at = 0
    while at < len(data): at += os.write(slave, data[at:at + 3000])
thread = threading.Thread(target=write); thread.start()
got = 0
while got < len(data): got += len(os.read(master, 65536))
thread.join()
print("all", got)
"""


def check_slow_reader(folder):
    """A log on a pipe that is read slowly: the guest waits, and nothing is lost."""
    lines = 100000
    read_end, write_end = os.pipe()
    pieces = []

    def take():
        while True:
            piece = os.read(read_end, 65536)
            if not piece:
                return
            pieces.append(piece)
            time.sleep(0.002)

    thread = threading.Thread(target=take)
    thread.start()
    machine = Logged(write_end, ["python3", "-c", FLOOD.format(lines=lines)])
    os.close(write_end)
    status, out, error = machine.end(120)
    thread.join()
    os.close(read_end)
    problems = differs("status", (status, out, error), (0, f"all {lines * 8}\n", ""))
    shown = b"".join(data for what, tty, direction, _, data in parse(b"".join(pieces)) if what == WRITE and direction == WROTE and tty != 0)
    wanted = b"".join(b"%07d\n" % i for i in range(lines))
    return problems + ([] if shown == wanted else [f"{len(shown)} of {len(wanted)} bytes are in the log"])


def check_stuck_reader(folder):
    """A log on a pipe that nobody reads: the guest goes on, and the log says how much is missing."""
    read_end, write_end = os.pipe()
    start = time.monotonic()
    machine = Logged(write_end, ["sh", "-c", 'python3 -c "$0"; dmesg | grep tty.log; read x < /tmp/none; sleep 3; /bin/true; /bin/true; dmesg | grep tty.log', FLOOD.format(lines=50000)])
    os.close(write_end)
    # Read only after the guest has waited in vain.
    time.sleep(8)
    pieces = []
    while True:
        piece = os.read(read_end, 65536)
        if not piece:
            break
        pieces.append(piece)
    os.close(read_end)
    status, out, error = machine.end(60)
    problems = differs("status", (status, error), (0, error))
    problems += contains("log", out, "tty log: the host takes no records") + contains("output", out, "all 400000")
    if time.monotonic() - start > 40:
        problems.append(f"the guest waited for {time.monotonic() - start:.0f} s")
    records = parse(b"".join(pieces))
    missing = [data for what, tty, _, _, data in records if what == WRITE and tty == 0]
    match = re.fullmatch(rb"\r\n\[(\d+) records are missing\]\r\n", missing[0]) if missing else None
    if not match:
        return problems + [f"no record says how many are missing: {missing}"]
    return problems + contains("log", out, f"tty log: {match.group(1).decode()} records are missing")


def check_directory(folder):
    """tty_log_dir=: a file for each opening, with what was read and written."""
    directory = os.path.join(folder, "logs")
    os.mkdir(directory)
    done = subprocess.run([harness.UMK, "run", "--root", "/", "--ro", f"tty_log_dir={directory}", "--", "python3", "-c", CONVERSATION * 2], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    problems = differs("status", (done.returncode, done.stderr), (0, b""))
    names = sorted(os.listdir(directory))
    problems += differs("names", [bool(re.fullmatch(r"\d{10}-\d{1,6}", name)) for name in names], [True, True])
    for name in names:
        with open(os.path.join(directory, name), "rb") as file:
            problems += differs(name, file.read(), b"hello\ngot hello\nthe end\n")
    return problems


def check_wrong_switches(folder):
    problems = []
    for switch, text in (("tty_log_fd=x", "set_tty_log_fd - strtoul failed on 'x'"), ("tty_log_fd=77", "umk inherits no such descriptor"),
                         (f"tty_log_dir={folder}/none", "No such file or directory"), ("tty_log_dir=/dev/null", "Not a directory")):
        done = subprocess.run([harness.UMK, "run", switch, "--", "true"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        problems += differs(f"status of {switch}", done.returncode != 0, True) + contains(switch, done.stderr.decode(), text)
    return problems


def check_full_disk(folder):
    """A log that cannot be written any more: people are told, and the machine goes on."""
    with open("/dev/full", "wb", buffering=0) as log:
        status, out, error = Logged(log.fileno(), ["sh", "-c", "/bin/true; sleep 0.3; dmesg | grep -c 'tty log: nothing more is written: No space left on device'"], root=None).end()
    return differs("status", (status, out), (0, "1\n")) + contains("error", error, "tty log: nothing more is written: No space left on device")


CHECKS = [check_playback, check_damaged_logs, check_json_and_database, check_follow, check_log_of_a_terminal, check_failed_exec, check_slow_reader,
          check_directory, check_wrong_switches, check_full_disk]


def run_all(report, wanted, everything):
    harness.run_checks(report, wanted, "consoles/tty_log", CHECKS + ([check_stuck_reader] if everything else []))
