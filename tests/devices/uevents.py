"""Devices that come and go, as programs hear of them: busybox's uevent and mdev on disks that the management console adds and removes, udev with its rules."""

import os
import shutil
import subprocess

import harness
from managed_machine import Machine

UDEV = os.path.join(harness.SOURCE, "build/udev")
MIB = 1 << 20


def differs(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, expected {wanted!r}"]


def make_disk(path, partitions):
    with open(path, "wb") as file:
        file.truncate(8 * MIB)
    if partitions:
        subprocess.run(["sfdisk", "-q", path], input="label: dos\n" + "size=2M\n" * partitions, text=True, check=True)


def check_events(folder):
    """The events of a disk with partitions, of one that is added and removed under the eyes of a reader, of a loop device, and those that are asked for."""
    problems = []
    image = os.path.join(folder, "disk.img")
    make_disk(image, 2)
    with Machine(folder, types=True) as machine:
        machine.wait_until_up()
        machine.command("""echo 'echo "$ACTION $DEVPATH $SUBSYSTEM $DEVTYPE $MAJOR:$MINOR $DEVNAME $PARTN" >> /tmp/events' > /tmp/note""")
        machine.command("uevent sh /tmp/note & sleep 0.3")
        problems += differs("config", machine.ask(f"config ubd1={image}"), (0, ""))
        problems += differs("remove", machine.ask("remove ubd1"), (0, ""))
        machine.command("echo add > /sys/class/mem/null/uevent")
        machine.command("truncate -s 1M /tmp/file; losetup /dev/loop2 /tmp/file; losetup -d /dev/loop2")
        wanted = []
        place = "/devices/virtual/block/ubdb"
        for action, order in (("add", (0, 1, 2)), ("remove", (1, 2, 0))):
            for number in order:
                if number == 0:
                    wanted.append(f"{action} {place} block disk 98:16 ubdb ")
                else:
                    wanted.append(f"{action} {place}/ubdb{number} block partition 98:{16 + number} ubdb{number} {number}")
        wanted += ["add /devices/virtual/mem/null mem  1:3 null "] + ["change /devices/virtual/block/loop2 block disk 7:2 loop2 "] * 2
        problems += differs("events", machine.command("sleep 0.3; cat /tmp/events").splitlines(), wanted)
        count = int(machine.command("cat /sys/kernel/uevent_seqnum"))
        machine.command("echo change > /sys/block/loop0/uevent")
        problems += differs("the number of the last", int(machine.command("cat /sys/kernel/uevent_seqnum")), count + 1)
        problems += differs("an order that is none", machine.command("echo bogus > /sys/block/loop0/uevent; echo $?").splitlines()[-1], "1")
        problems += differs("status", machine.halt(), 0)
    return problems


def nodes(machine, pattern):
    return machine.command(f"sleep 0.3; ls -d /dev/{pattern} 2> /dev/null").split()


def check_mdev(folder):
    """mdev fills an empty /dev, and follows disks as a daemon and as the kernel's helper."""
    problems = []
    image = os.path.join(folder, "disk.img")
    make_disk(image, 1)
    for start in ("mdev -d", "echo /sbin/mdev > /proc/sys/kernel/hotplug"):
        with Machine(folder, switches=[f"ubd1={image}"], types=True) as machine:
            machine.wait_until_up()
            machine.command("test -e /sbin/mdev || cp /bin/busybox /sbin/mdev; mount -t tmpfs none /dev && mdev -s")
            problems += differs("mdev -s", nodes(machine, "ubd*"), ["/dev/ubdb", "/dev/ubdb1"])
            problems += differs("its null", machine.command("ls -l /dev/null | cut -c1; grep -c . /dev/null"), "c\n0\n")
            machine.command(start)
            second = os.path.join(folder, "second.img")
            make_disk(second, 2)
            problems += differs("config", machine.ask(f"config ubd2={second}"), (0, ""))
            problems += differs(f"{start}: nodes", nodes(machine, "ubdc*"), ["/dev/ubdc", "/dev/ubdc1", "/dev/ubdc2"])
            problems += differs("remove", machine.ask("remove ubd2"), (0, ""))
            problems += differs(f"{start}: nodes of what is gone", nodes(machine, "ubdc*"), [])
            left = machine.command("ps -o stat,args > /tmp/ps; grep -c ^Z /tmp/ps")
            problems += differs("nothing is left of helpers", left.splitlines()[-1], "0")
            problems += differs("status", machine.halt(), 0)
    return problems


def check_under_load(folder):
    """Disks come and go while another one is written: it keeps its data and may not be removed, and no event is lost."""
    problems = []
    rounds = 25
    disk, other = os.path.join(folder, "disk.img"), os.path.join(folder, "other.img")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", disk, "64M"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    make_disk(other, 1)
    with Machine(folder, switches=[f"ubd1={disk}"], types=True) as machine:
        machine.wait_until_up()
        machine.command("mkdir -p /mnt; mount -t ext4 /dev/ubdb /mnt")
        machine.command("""echo 'echo "$ACTION $DEVNAME" >> /tmp/events' > /tmp/note; uevent sh /tmp/note & sleep 0.3""")
        machine.command("dd if=/dev/urandom of=/tmp/source bs=64k count=64 2> /dev/null")
        machine.command("(while test ! -e /tmp/stop; do for i in 1 2 3 4; do cp /tmp/source /mnt/copy$i; sync; cmp /tmp/source /mnt/copy$i || touch /tmp/bad; done; "
                        "echo x >> /tmp/rounds; done; touch /tmp/ended) & true")
        for _ in range(rounds):
            problems += differs("config", machine.ask(f"config ubd2={other}"), (0, ""))
            problems += differs("the disk in use", machine.ask("remove ubd1"), (-16, "Device is currently open"))
            problems += differs("remove", machine.ask("remove ubd2"), (0, ""))
        machine.command("touch /tmp/stop; while test ! -e /tmp/ended; do sleep 0.1; done", 60)
        problems += differs("copies", machine.command("ls /tmp/bad 2> /dev/null; test -s /tmp/rounds && echo written"), "written\n")
        events = machine.command("sleep 0.5; sort /tmp/events | uniq -c").split("\n")
        problems += differs("events", [" ".join(line.split()) for line in events if line],
                            [f"{rounds} add ubdc", f"{rounds} add ubdc1", f"{rounds} remove ubdc", f"{rounds} remove ubdc1"])
        # A partition that is open keeps its disk.
        machine.ask(f"config ubd2={other}")
        machine.command("exec 9< /dev/ubdc1")
        problems += differs("an open partition", machine.ask("remove ubd2"), (-16, "Device is currently open"))
        machine.command("exec 9<&-")
        problems += differs("closed", machine.ask("remove ubd2"), (0, ""))
        machine.command("umount /mnt")
        problems += differs("status", machine.halt(), 0)
    checked = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    return problems + ([] if checked.returncode == 0 else [checked.stdout])


FILTER_PROGRAM = r"""
import ctypes, os, socket, struct
def event(action):
    with open("/sys/class/mem/null/uevent", "w") as file:
        file.write(action)
heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
heard.bind((0, 1))
heard.settimeout(0.5)
# Only what begins with "chan", and the first twelve bytes of it: what systemd's monitors and `udevadm monitor --subsystem-match` ask for in their way.
code = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 0x6368616e, 6, 0, 0, 12, 6, 0, 0, 0)
program = ctypes.create_string_buffer(code, len(code))
def attach(count):
    try:
        heard.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", count, ctypes.addressof(program)))
        return 0
    except OSError as failure:
        return failure.errno
print(attach(0), attach(3), attach(4))
event("add"); event("change"); event("remove")
print(heard.recv(4096))
try:
    print(heard.recv(4096))
except TimeoutError:
    print("nothing more")
heard.setsockopt(socket.SOL_SOCKET, 27, 0)
event("add")
print(heard.recv(4096)[:10])
"""


def check_filters(folder):
    """A filter on the socket lets only those events in that it wants."""
    outcome = harness.run_guest(["python3", "-c", FILTER_PROGRAM])
    return differs("output", outcome.output.decode() + outcome.error.decode(), "22 22 0\nb'change@/devi'\nnothing more\nb'add@/devic'\n")


def fetch_udev():
    """Debian's udev, unpacked and not installed: an udevd of the host's own would not be what is tested. False when it cannot be had."""
    if os.path.exists(os.path.join(UDEV, "bin/udevadm")):
        return True
    work = UDEV + ".new"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    try:
        subprocess.run(["apt-get", "download", "-q", "udev", "libkmod2"], cwd=work, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        for name in os.listdir(work):
            subprocess.run(["dpkg", "-x", name, "root"], cwd=work, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    os.rename(os.path.join(work, "root"), UDEV)
    shutil.rmtree(work)
    return True


UDEV_SCRIPT = r"""
R=$1
mount -t tmpfs none /run
mkdir -p /run/udev/rules.d
cp $R/lib/udev/rules.d/* /run/udev/rules.d/
export LD_LIBRARY_PATH=$R/lib/x86_64-linux-gnu PATH=$R/bin:$PATH
cd /dev/shm
truncate -s 16M disk
mke2fs -q -U 12345678-aaaa-bbbb-cccc-1234567890ab -L hello disk
(exec -a systemd-udevd udevadm --daemon)
udevadm monitor --kernel --udev > monitor &
monitor=$!
udevadm monitor --udev --subsystem-match=block > blocks &
blocks=$!
while ! grep -q KERNEL monitor; do sleep 0.05; done
udevadm trigger -c add
udevadm settle -t 20; echo settled $?
losetup /dev/loop3 disk
udevadm settle -t 20; echo settled $?
readlink /dev/disk/by-uuid/* /dev/disk/by-label/*
udevadm info -q property /dev/loop3 | grep -e ID_FS_TYPE -e ID_FS_UUID=
losetup -d /dev/loop3
udevadm settle -t 20; echo settled $?
ls /dev/disk/by-uuid 2> /dev/null
udevadm trigger --settle -c change -s block; echo triggered $?
sleep 0.3
kill $monitor $blocks
test $(grep -c 'loop3 (block)' blocks) -ge 4 && ! grep '/mem/' blocks && echo who wanted blocks got blocks
for who in KERNEL UDEV; do grep "^$who.*\[" monitor | sed 's/\[[0-9.]*\]//' | awk '{print $2, $3}' | sort > $who; done
cmp KERNEL UDEV && echo udev told what the kernel did
grep -c 'add /devices/virtual/mem/null' UDEV
udevadm control --exit; echo ended $?
"""


def check_udev(folder):
    """udevd sorts out every event, makes its links for a filesystem that appears, and takes them away."""
    if not fetch_udev():
        return ["Debian's udev cannot be downloaded"]
    outcome = harness.run_guest(["bash", "-c", UDEV_SCRIPT, "udev", UDEV], workdir=folder, limit=120)
    wanted = """settled 0
settled 0
../../loop3
../../loop3
ID_FS_UUID=12345678-aaaa-bbbb-cccc-1234567890ab
ID_FS_TYPE=ext2
settled 0
triggered 0
who wanted blocks got blocks
udev told what the kernel did
1
ended 0
"""
    problems = differs("output", outcome.output.decode(errors="replace"), wanted)
    return problems + (harness.tail(outcome.error) if problems else [])


def run_all(report, wanted, everything):
    fetched = os.path.exists(os.path.join(UDEV, "bin/udevadm"))
    checks = [check_events, check_mdev, check_filters, check_under_load] + ([check_udev] if everything or fetched else [])
    harness.run_checks(report, wanted, "devices", checks)
