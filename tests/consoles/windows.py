"""Consoles in windows: xterm(1) under an X server without a screen, with both kinds of port-helper, and what a picture of one shows."""

import os
import re
import shutil
import signal
import struct
import subprocess
import time

import harness
from host_lines import differs, run_shell
from managed_machine import Machine, require


class Picture:
    """Dots of a window, as xwd(1) writes them (XWDFile.h), cut into the cells of a terminal."""

    ROWS, COLUMNS = 24, 80

    def __init__(self, dump):
        fields = struct.unpack(">25I", dump[:100])
        head, version, _, _, self.width, self.height = fields[:6]
        bits, self.line_bytes, colors = fields[11], fields[12], fields[19]
        require(version == 7 and bits == 32, f"a picture of version {version} with {bits} bits a dot")
        self.dots = dump[head + 12 * colors:]
        self.background = self.dots[-4:]

    def cell(self, row, column):
        """Its dots that are not background: the picture of a character."""
        width, height = self.width // self.COLUMNS, self.height // self.ROWS
        lines = []
        for y in range(row * height, (row + 1) * height):
            start = y * self.line_bytes + column * width * 4
            dots = self.dots[start:start + width * 4]
            lines.append(bytes(dots[i:i + 4] != self.background for i in range(0, len(dots), 4)))
        return b"".join(lines)

    def read(self, characters):
        """The text of its lines, by what characters look like; a question mark for what is none of them, as the cursor is."""
        blank = bytes(len(self.cell(0, 0)))
        return ["".join(" " if cell == blank else characters.get(cell, "?") for cell in (self.cell(row, column) for column in range(self.COLUMNS))).rstrip()
                for row in range(self.ROWS)]


class Display:
    """An X server without a screen. It does not begin anew when its last client leaves, which would lock out who comes at that moment."""

    def __init__(self, folder):
        reader, writer = os.pipe()
        self.process = subprocess.Popen(["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x600x24", "-nolisten", "tcp", "-noreset"], pass_fds=[writer],
                                        stderr=subprocess.DEVNULL)
        os.close(writer)
        with os.fdopen(reader) as file:
            self.name = ":" + file.readline().strip()
        # CSI i prints the screen's text: xterm(1), "printerCommand".
        self.dump = os.path.join(folder, "screen")
        resources = os.path.join(folder, "resources")
        with open(resources, "w") as file:
            file.write(f"*printAttributes: 0\n*printerCommand: cat > {self.dump}.new && mv {self.dump}.new {self.dump}\n*printerAutoClose: true\n"
                       "*scrollBar: false\n*internalBorder: 0\n*background: white\n*foreground: black\n*cursorBlink: false\n")
        self.environment = {"DISPLAY": self.name, "XENVIRONMENT": resources}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def windows(self, title=None):
        """Window numbers by their title."""
        outcome = subprocess.run(["xdotool", "search", "--name", title or "Virtual Console"], env={**os.environ, **self.environment}, capture_output=True, text=True)
        return outcome.stdout.split()

    def wait_for_windows(self, count, title=None, seconds=20):
        deadline = time.monotonic() + seconds
        while len(self.windows(title)) != count:
            require(time.monotonic() < deadline, f"there are windows {self.windows(title)}, not {count}")
            time.sleep(0.05)
        return self.windows(title)

    def tool(self, *words):
        subprocess.run(["xdotool", *words], env={**os.environ, **self.environment}, check=True, stdout=subprocess.DEVNULL)

    def type(self, window, text):
        # Without a window manager the keyboard belongs to the window under the mouse.
        self.tool("mousemove", "--window", window, "50", "50")
        self.tool("type", "--delay", "5", text)
        self.tool("key", "Return")

    def picture(self, window):
        """What the window looks like."""
        return Picture(subprocess.run(["xwd", "-silent", "-nobdrs", "-id", window], env={**os.environ, **self.environment}, check=True, stdout=subprocess.PIPE).stdout)

    def text(self, machine, device, pattern, seconds=20):
        """What the window shows, as soon as it shows the pattern."""
        deadline = time.monotonic() + seconds
        while True:
            if os.path.exists(self.dump):
                os.remove(self.dump)
            machine.command(f"printf '\\033[i' >/dev/{device}")
            for _ in range(50):
                if os.path.exists(self.dump):
                    break
                time.sleep(0.02)
            text = ""
            if os.path.exists(self.dump):
                with open(self.dump, errors="replace") as file:
                    text = file.read()
            if re.search(pattern, text):
                return text
            require(time.monotonic() < deadline, f"waited for {pattern!r}, the window shows {text!r}")


def in_windows(helper):
    def check(folder):
        missing = [name for name in ("xterm", "Xvfb", "xdotool") if not shutil.which(name)]
        if missing:
            return ["missing: " + " ".join(missing)]
        problems = []
        name = f"box{os.getpid()}"
        with Display(folder) as display:
            os.environ.update(display.environment)
            if helper:
                os.environ["UML_PORT_HELPER"] = helper
            try:
                with Machine(folder, name, types=True, switches=["xterm=xterm,-T,-e"]) as machine:
                    machine.wait_until_up()
                    problems += differs("by default", machine.ask("config con3"), (0, "xterm"))
                    problems += differs("windows at boot", display.windows(), [])
                    machine.command("true")
                    run_shell(machine, "tty3")
                    window = display.wait_for_windows(1, rf"Virtual Console #3 \({name}\)")[0]
                    text = display.text(machine, "tty3", r"[#$] ")
                    problems += differs("prompt", re.search(r"(~|/root|/) [#$] |[#$] ", text) is not None, True)
                    display.type(window, "tty; stty size; echo answer $((6*7))")
                    text = display.text(machine, "tty3", r"answer 42")
                    if not re.search(r"/dev/tty3\s+24 80\s+answer 42", text):
                        problems.append(f"the window shows {text!r}")
                    display.tool("windowsize", "--usehints", window, "100", "30")
                    time.sleep(0.5)
                    display.type(window, "stty size")
                    display.text(machine, "tty3", r"30 100")
                    # A window that is closed is a line that is lost; whoever opens it again gets another.
                    def emulators():
                        return subprocess.run(["pgrep", "-f", rf"xterm -T Virtual Console #3 \({name}\)"], capture_output=True, text=True).stdout.split()

                    killed = emulators()
                    os.kill(int(killed[0]), signal.SIGKILL)
                    deadline = time.monotonic() + 20
                    while emulators() in ([], killed):
                        require(time.monotonic() < deadline, "there is no new window")
                        time.sleep(0.05)
                    window = display.wait_for_windows(1)[0]
                    display.text(machine, "tty3", r"[#$] ")
                    display.type(window, "echo again $((6*7))")
                    display.text(machine, "tty3", r"again 42")
                    problems += differs("status", machine.halt(), 0)
                display.wait_for_windows(0)
                # However umk ends.
                with Machine(folder, name, types=True) as machine:
                    machine.wait_until_up()
                    machine.command("exec 7<>/dev/tty1")
                    display.wait_for_windows(1)
                    machine.process.kill()
                    machine.process.wait()
                    display.wait_for_windows(0)
            finally:
                for name in (*display.environment, "UML_PORT_HELPER"):
                    os.environ.pop(name, None)
        left = subprocess.run(["pgrep", "-af", rf"Console.*\({name}\)"], capture_output=True, text=True).stdout
        return problems + differs("left behind", left, "") + differs("sockets", [name for name in os.listdir("/tmp") if name.startswith("xterm-pipe")], [])
    return check


def check_xterm(folder):
    """Windows under Xvfb, with the helper of uml-utilities: none at boot, a prompt in one, its size, its end, and that of umk."""
    return in_windows(None)(folder)


def check_xterm_with_our_helper(folder):
    """The same with port-helper of our own."""
    return in_windows(os.path.join(os.path.dirname(harness.UMK), "port-helper") if os.path.exists(os.path.join(os.path.dirname(harness.UMK), "port-helper"))
                      else os.path.join(harness.SOURCE, "build/port-helper"))(folder)


# From the first line on: the printable characters, without the cursor.
SHOW_CHARACTERS = r"printf '\033[?25l\033[H\033[2J%s\n%s'"
CHARACTERS = ["".join(map(chr, range(33, 80))), "".join(map(chr, range(80, 127)))]


def check_screenshot(folder):
    """A picture of an xterm, taken from the X server, shows the prompt of the embedded root: read from its dots by what the same window shows of each
    character."""
    missing = [name for name in ("xterm", "Xvfb", "xdotool", "xwd") if not shutil.which(name)]
    if missing:
        return ["missing: " + " ".join(missing)]
    problems = []
    name = f"box{os.getpid()}"
    with Display(folder) as display:
        os.environ.update(display.environment)
        try:
            with Machine(folder, name, types=True, shells=True, switches=["con1=xterm", "xterm=xterm,-T,-e"]) as machine:
                machine.wait_until_up()
                window = display.wait_for_windows(1, rf"Virtual Console #1 \({name}\)")[0]
                display.text(machine, "tty1", r"root@umk")
                taken = display.picture(window)
                # The table of characters, in their places.
                first, second = ("".join("\\" + c if c in "\"\\`$" else c for c in line) for line in CHARACTERS)
                machine.command(f'{SHOW_CHARACTERS} "{first}" "{second}" >/dev/tty1')
                display.text(machine, "tty1", "~")
                table = display.picture(window)
                characters = {table.cell(row, column): character for row, line in enumerate(CHARACTERS) for column, character in enumerate(line)}
                problems += differs("characters that look different", len(characters), sum(map(len, CHARACTERS)))
                shown = taken.read(characters)
                if not any(re.fullmatch(r"root@umk:~#( \?)?", line) for line in shown):
                    problems.append(f"the picture shows {[line for line in shown if line]}")
                display.type(window, "echo a picture of $((6*7)) dots")
                display.text(machine, "tty1", "picture of 42")
                shown = display.picture(window).read(characters)
                problems += differs("what was typed", "a picture of 42 dots" in shown, True)
                problems += differs("status", machine.halt(), 0)
            display.wait_for_windows(0)
        finally:
            for variable in display.environment:
                os.environ.pop(variable, None)
    return problems
