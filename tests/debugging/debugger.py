"""gdb on a machine: kernel frames with names in the monitor and in vessels, without more; tasks, stacks, page cache and mounts by tools/gdb/umk.py."""

import os
import re
import resource
import shutil
import subprocess

import harness
from managed_machine import Machine

SCRIPT = os.path.join(harness.SOURCE, "tools/gdb/umk.py")


def vmumk():
    beside = os.path.join(os.path.dirname(os.path.realpath(harness.UMK)), "vmumk")
    return beside if os.path.exists(beside) else os.path.join(harness.SOURCE, "build/vmumk")


def gdb(arguments, commands, scripted=True, limit=120):
    """What gdb prints for the commands."""
    words = ["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"] + (["-x", SCRIPT] if scripted else [])
    for command in ["set pagination off", "set width 0", *commands]:
        words += ["-ex", command]
    words += arguments
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, UMK_VMUMK=vmumk(), LC_ALL="C"))
    return outcome.stdout + outcome.stderr


def contains(what, text, *patterns):
    problems = []
    place = 0
    for pattern in patterns:
        match = re.compile(pattern, re.MULTILINE).search(text, place)
        if match:
            place = match.end()
        else:
            problems.append(f"{what}: no {pattern!r} in\n{text[-3000:]}")
            break
    return problems


def vessel_of(machine, pid):
    """The host process that runs a task, as `umk tasks` tells."""
    text = gdb(["-p", str(machine.process.pid)], ["umk tasks"])
    match = re.search(rf"^ +{pid} +{pid} +\d+ S +(\d+) ", text, re.MULTILINE)
    return match.group(1) if match else None


def check_monitor(folder):
    """Attached to the monitor without any script, gdb names the kernel's functions from the first to the last frame."""
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        text = gdb(["-p", str(machine.process.pid)], ["thread apply all backtrace"], scripted=False)
        problems = contains("the timers' thread", text, r'Thread .*"umk-timers"', r"^#0 .*umk_raw_call", r"umk::sync::park", r"umk::time::run_timer_thread", r"umk_context_start")
        problems += contains("the event loop", text, r"umk::monitor::EventLoop::run_once .*event_loop.cpp:\d+")
        machine.halt()
    return problems


def check_tasks(folder):
    """Tasks, the stack of one that sleeps, a thread that looks like it, and the way back; the machine goes on as if nothing had been."""
    image = os.path.join(folder, "disk.img")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image, "16M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Machine(folder, switches=[f"ubd1={image}"], types=True) as machine:
        machine.wait_until_up()
        machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdb /mnt; mkdir /mnt/deep; mount -t tmpfs heap /mnt/deep; cp /bin/busybox /mnt/file")
        pid = machine.command("sleep 1000 & echo $!").split()[-1]
        monitor = ["-p", str(machine.process.pid)]
        text = gdb(monitor, ["umk tasks", f"umk stack {pid}", f"umk switch {pid}", "echo switched\\n", "backtrace 3", "up 2", "info frame", "umk back", "echo back\\n",
                             "backtrace 1", "umk mounts", "umk page-cache 3", "umk stack 99999"])
        problems = contains("tasks", text, r"^ +1 +1 +0 S +\d+ init +umk::wait_for_child$", rf"^ +{pid} +{pid} +\d+ S +\d+ sleep +umk::\S+$")
        problems += contains("stack", text, r"^#0 .*umk::host::raw_call .*raw_call.cpp:\d+", r"umk::sync::park", r"sys_clock_nanosleep|sys_nanosleep", r"umk::on_trap .*dispatch.cpp:\d+",
                             r"umk_enter_system_call", r"umk_gate_call")
        problems += contains("switch", text, r"^switched", r"^#0 .*raw_call", r"^#2 .*park", r"called by frame")
        problems += contains("back", text, r"^back", r"^#0 .*epoll_wait")
        problems += contains("mounts", text, r"^ +\d+ +0 +rootfs +rootfs +\d+  /$", r" ext4 +/dev/ubdb +\d+  /mnt$", r" tmpfs +heap +\d+  /mnt/deep$")
        problems += contains("page cache", text, r"^present +[1-9]\d* pages", r"^ +[1-9]\d* +\d+ +umk::ext4::FileNode \d+ at 0x")
        problems += contains("no such task", text, r"there is no task 99999")
        # Left without a word the thread has its own registers again.
        gdb(monitor, [f"umk switch {pid}"])
        problems += contains("the machine goes on", machine.command("echo alive; cmp /bin/busybox /mnt/file && echo equal"), "alive", "equal")
        machine.command(f"kill {pid}; umount /mnt/deep; umount /mnt")
        machine.halt()
    return problems


def check_vessel(folder):
    """Attached to the process that runs a program: its kernel frames down to the program's own, and the same commands as in the monitor."""
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        pid = machine.command("sleep 1000 & echo $!").split()[-1]
        vessel = vessel_of(machine, pid)
        if vessel is None:
            return ["`umk tasks` names no host thread"]
        text = gdb(["-p", vessel], ["umk tasks", "backtrace"])
        problems = contains("tasks", text, rf"^ +{pid} +{pid} .* sleep ")
        problems += contains("frames", text, r"^#0 +umk_raw_call \(\) at .*raw_call.S:\d+", r"umk::sync::park", r"umk::on_trap", r"umk_gate_call \(\) at .*gate.S:\d+", r"^#\d+ +0x[0-9a-f]+ in ")
        problems += contains("the machine goes on", machine.command(f"kill {pid}; echo alive"), "alive")
        machine.halt()
    return problems


def check_start(folder):
    """`gdb umk`: started by gdb, stopped in the monitor with the machine's tasks there, and run to its end."""
    text = gdb(["--args", harness.UMK, "run", "--", "sh", "-c", "echo from the guest; sleep 2; exit 3"],
               ["break umk::monitor::EventLoop::run", "run", "umk tasks", "delete", "continue"])
    return contains("gdb umk", text, r"hit Breakpoint 1, umk::monitor::EventLoop::run", r"^ +1 +1 +0 \S +\d+ ", r"exited with code 03") + contains("output", text, "from the guest")


def check_core(folder):
    """After a panic the monitor leaves a core where RLIMIT_CORE allows one, and says where; gdb shows the machine's tasks in it."""
    pattern = open("/proc/sys/kernel/core_pattern").read().strip()

    def allow_cores():
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def forbid_cores():
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    problems = []
    for setup, wanted in ((forbid_cores, 0), (allow_cores, 1)):
        with Machine(folder, types=True, setup=setup) as machine:
            machine.wait_until_up()
            machine.type("echo c > /proc/sysrq-trigger")
            status = machine.end()
            text = machine.text()
        if status != 134:
            problems.append(f"status {status}")
        found = re.findall(r"^umk: a core of the monitor, for gdb: (.*?)\r?$", text, re.MULTILINE)
        if len(found) != wanted:
            problems.append(f"{len(found)} lines about a core, expected {wanted}: {text[-600:]}")
        if not found or pattern.startswith("|") or "%" in pattern.replace("%p", "").replace("%%", ""):
            continue
        if not os.path.exists(found[0]):
            problems.append(f"there is no {found[0]}")
            continue
        if os.stat(found[0]).st_blocks * 512 > 200 << 20:
            problems.append(f"the core takes {os.stat(found[0]).st_blocks >> 11} MiB")
        shown = gdb([harness.UMK, found[0]], ["umk tasks", "umk mounts"])
        problems += contains("tasks of the core", shown, r"^ +1 +1 +0 \S +\d+ init ", r" devtmpfs +devtmpfs +\d+  /dev$")
        os.unlink(found[0])
    return problems


def run_all(report, wanted, _):
    checks = [check_monitor, check_tasks, check_vessel, check_start, check_core]
    if not shutil.which("gdb"):
        return report.add("debugging/gdb", ["gdb is missing: install it"])
    harness.run_checks(report, wanted, "debugging", checks)
    return None
