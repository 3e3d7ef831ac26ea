"""Machines that boot from a disk image to a login: what they write stays, however they end, and `e2fsck -fn` finds nothing."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time

import harness
import systems
from boot import PROMPT, Terminal, equal

AS_NOBODY = [*harness.as_ordinary_user(), "env", "HOME=/nonexistent"]


class Machine(Terminal):
    """A machine on its terminal, from the start to a login and further."""

    def __init__(self, system, *switches, program=(harness.UMK,), cwd=None):
        command = [*program, "mem=256M", *switches]
        if cwd is not None:
            command = ["env", "-C", cwd, *command]
        self.system = system
        super().__init__(command)

    def log_in(self):
        """Waits for the login, and returns what was shown until then."""
        shown = self.expect("login: ", self.system.patience)
        self.type("root\n")
        self.expect(PROMPT, 20)
        return shown

    def ask(self, script, seconds=20):
        """What a script prints."""
        self.type(f"printf '%s=%s=\\n' got \"$({script})\"\n")
        answer = self.expect(r"got=.*?=\r?\n", seconds)
        self.expect(PROMPT, 20)
        return re.search(r"got=(.*?)=\r?\n", answer, re.DOTALL).group(1).replace("\r", "")

    def leave(self, command):
        self.type(command + "\n")
        equal(self.end(60), 0, f"status after {command}")


def is_clean(image):
    checked = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"e2fsck: {checked.stdout[-500:]}{checked.stderr[-200:]}"


def debugfs(image, request, writing=False):
    words = ["debugfs"] + (["-w"] if writing else []) + ["-R", request, image]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def fresh(system, folder, name="disk"):
    path = os.path.join(folder, name)
    system.fresh_image(path)
    return path


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def needs_recovery(image):
    shown = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True).stdout
    return "needs_recovery" in shown


def keeps_what_is_written(system, folder):
    """root_fs of the working directory is the disk; restarts boot it again in place; halt and poweroff end umk; all leave it clean."""
    image = fresh(system, folder, "root_fs")
    with Machine(system, cwd=folder) as machine:
        machine.log_in()
        equal(machine.ask("grep ' / ' /proc/mounts | cut -d' ' -f1,3,4 | cut -d, -f1"), "/dev/root ext4 rw", "the root's mount")
        count = 0
        machine.ask("echo 0 > /root/kept; ln -s kept /root/link; head -c 300000 /bin/busybox > /root/data || head -c 300000 /bin/bash > /root/data")
        for command in system.restarts:
            count += 1
            machine.ask(f"echo {count} >> /root/kept")
            machine.type(command + "\n")
            machine.expect("Linux version", 60)
            shown = machine.log_in()
            assert "clean" in shown, f"no file system check in the restart by {command}: {shown[-400:]!r}"
            equal(machine.ask("cat /root/link"), "\n".join(str(i) for i in range(count + 1)), f"a file after {command}")
        machine.leave("halt")
    is_clean(image)
    assert not needs_recovery(image), "the journal is not empty after halt"
    equal(debugfs(image, "cat /root/kept"), "".join(f"{i}\n" for i in range(count + 1)), "what debugfs reads")
    with Machine(system, f"ubd0={image}") as machine:
        machine.log_in()
        machine.ask("rm /root/link; mkdir /root/dir; mv /root/data /root/dir/moved")
        machine.leave("poweroff")
    is_clean(image)
    assert "moved" in debugfs(image, "ls /root/dir"), "a file that was moved is not there"
    assert "link" not in debugfs(image, "ls /root"), "a file that was removed is there"


def survives_a_kill(system, folder):
    """After a kill the journal is replayed by the next boot, and what was synced is there."""
    image = fresh(system, folder)
    with Machine(system, f"ubd0={image}") as machine:
        machine.log_in()
        machine.ask("for i in 1 2 3 4 5 6 7 8 9; do mkdir /root/d$i; echo $i > /root/d$i/file; done; sync; echo late > /root/late")
    assert needs_recovery(image), "a machine that was killed left a disk that calls itself clean"
    with Machine(system, f"ubd0={image}") as machine:
        machine.log_in()
        equal(machine.ask("cat /root/d*/file"), "\n".join("123456789"), "what was synced before a kill")
        machine.leave("poweroff")
    is_clean(image)
    assert not needs_recovery(image), "the journal was not replayed"


def checks_the_disk(system, folder):
    """A file system that is marked as not clean is checked before it is written; one with errors is mended, and the machine restarts to look at it anew."""
    image = fresh(system, folder)
    debugfs(image, "set_super_value state 0", True)
    with Machine(system, f"ubd0={image}") as machine:
        shown = machine.log_in()
        assert "check forced" in shown, f"no check of what was not clean: {shown[-600:]!r}"
        machine.leave("poweroff")
    is_clean(image)
    debugfs(image, "set_super_value free_blocks_count 5", True)
    debugfs(image, "set_super_value state 0", True)
    with Machine(system, f"ubd0={image}") as machine:
        machine.expect("Linux version.*Linux version", system.patience)
        machine.log_in()
        machine.leave("poweroff")
    is_clean(image)


def works_for_an_ordinary_user(system, folder):
    image = fresh(system, folder)
    program = os.path.join(folder, "umk")
    shutil.copy(harness.UMK, program)
    os.chmod(folder, 0o755)
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(image, user, -1)
    with Machine(system, f"ubd0={image}", program=[*AS_NOBODY, program], cwd="/") as machine:
        machine.log_in()
        equal(machine.ask("id -u; echo mine > /root/mine; chown 12:34 /root/mine; stat -c %u:%g /root/mine"), "0\n12:34", "root in the machine of an ordinary user")
        machine.leave("poweroff")
    is_clean(image)
    equal(os.stat(image).st_uid, user, "owner of the image")


def boots_from_a_directory(system, folder):  # pylint: disable=unused-argument
    """What `./dev root` makes of a directory boots as an image does, and keeps owners that this user may not set."""
    flags = f"rootflags={system.cached('')}"
    with Machine(system, "rootfstype=hostfs", flags, "rw") as machine:
        shown = machine.log_in()
        assert "fail" not in shown, f"something failed: {shown!r}"
        machine.ask("echo mine > /root/mine; chown 12:34 /root/mine; ln -sf mine /root/link; chown -h 5:6 /root/link")
        machine.leave("poweroff")
    with Machine(system, "rootfstype=hostfs", flags) as machine:
        machine.log_in()
        equal(machine.ask("stat -c %u:%g /root/mine /root/link | paste -sd ' '; rm /root/mine /root/link"), "12:34 5:6", "owners")
        machine.leave("poweroff")


def shares_an_image(system, folder):
    """Two machines run at once on one image, each with a copy-on-write file; the image does not change."""
    image = fresh(system, folder)
    os.utime(image, (1700000000, 1700000000))
    before = file_digest(image)
    cows = [os.path.join(folder, name) for name in ("one.cow", "two.cow")]
    with Machine(system, f"ubd0={cows[0]},{image}") as one, Machine(system, f"ubd0={cows[1]},{image}") as two:
        one.before.add(two.pid)  # no leftover of the first
        for name, machine in (("one", one), ("two", two)):
            machine.log_in()
            machine.ask(f"echo {name} > /root/name; head -c 200000 /dev/urandom > /root/noise")
        for name, machine in (("one", one), ("two", two)):
            equal(machine.ask("cat /root/name"), name, "a file of one's own")
            machine.leave("poweroff")
    equal(file_digest(image), before, "the shared image's contents")
    for name, cow in zip(("one", "two"), cows):
        merged = os.path.join(folder, "merged")
        done = subprocess.run([os.path.join(os.environ.get("UMK_TOOLS", os.path.join(harness.SOURCE, "build")), "uml_moo"), cow, merged],
                              capture_output=True, text=True, check=False)
        equal(done.returncode, 0, f"uml_moo: {done.stderr}")
        is_clean(merged)
        equal(debugfs(merged, "cat /root/name"), name + "\n", "what is in the merged image")
        os.unlink(merged)
    with Machine(system, f"ubd0={cows[0]}") as machine:  # the header knows the backing file
        machine.log_in()
        equal(machine.ask("cat /root/name"), "one", "a file in a copy-on-write file that is opened again")
        machine.leave("poweroff")


def refuses_a_second_machine(system, folder):
    image = fresh(system, folder)
    with Machine(system, f"ubd0={image}") as machine:
        machine.log_in()
        second = harness.run([harness.UMK, f"ubd0={image}"], limit=20)
        assert second.status == 1, f"a second machine on the image: status {second.status}"
        assert f"already locked by pid {machine.pid}".encode() in second.error, f"the other process is not named: {second.error!r}"
        machine.ask("touch /root/x")
        machine.leave("poweroff")
    is_clean(image)


TESTS = [keeps_what_is_written, survives_a_kill, checks_the_disk, works_for_an_ordinary_user, shares_an_image, refuses_a_second_machine]


def run_all(report, wanted, filters, long):
    """Debian takes a mirror and minutes when its image is not there yet: with --all, or for a filter that names it."""
    kinds = [systems.Small()]
    if long or any("boot/debian" in text for text in filters):
        kinds.append(systems.Debian())
    for system in kinds:
        for test in TESTS + ([boots_from_a_directory] if system.name == "debian" else []):
            title = f"boot/{system.name}/{test.__name__}"
            if not wanted(title):
                continue
            start = time.monotonic()
            marks = harness.traces()
            problems = []
            with tempfile.TemporaryDirectory(prefix="umk-test-") as folder:
                try:
                    test(system, folder)
                except (AssertionError, OSError, subprocess.SubprocessError) as problem:
                    problems.append(f"{type(problem).__name__}: {problem}")
            problems += [f"left behind: {trace}" for trace in sorted(harness.traces() - marks)]
            report.add(title, problems, seconds=time.monotonic() - start)
