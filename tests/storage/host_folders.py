"""Folders of the host as file systems of the guest: mount -t hostfs, and where owners, rights and devices are kept that the host does not give."""

import os
import stat

import harness

# Twice the same, with a mount between: what is shown is what was kept. In the embedded root.
MAPPED = r"""
set -e
mkdir -p /tmp/m
mount -t hostfs none /tmp/m -o "$1,owners=map"
cd /tmp/m
echo text >file; chown 1000:100 file; chmod 4755 file
mkdir folder; chown 7:8 folder; chmod 1700 folder
ln -s file link; chown -h 5:6 link
mknod null c 1 3; chmod 666 null; mkfifo pipe
show() { stat -c '%n %u:%g %a %t:%T %F' file folder link null pipe; }
show
cd /; umount /tmp/m
mount -t hostfs none /tmp/m -o "$1,owners=map"
cd /tmp/m
show
echo gone >null; cat null
ls -A
cd /; umount /tmp/m
mount -r -t hostfs none /tmp/m -o "$1"
touch /tmp/m/new 2>/dev/null || echo read-only
rm -f /tmp/m/file 2>/dev/null || echo read-only
umount /tmp/m
mount -t hostfs none /tmp/m -o "$1,owners=me" 2>/dev/null || echo refused
mount -t hostfs none /tmp/m -o "$1/missing" 2>/dev/null || echo refused
"""
SHOWN = """file 1000:100 4755 0:0 regular file
folder 7:8 1700 0:0 directory
link 5:6 777 0:0 symbolic link
null 0:0 666 1:3 character special file
pipe 0:0 644 0:0 fifo
"""
MAPPED_OUTPUT = SHOWN + SHOWN + "file\nfolder\nlink\nnull\npipe\nread-only\nread-only\nrefused\nrefused\n"

HOSTS = r"""
mkdir -p /tmp/m
mount -t hostfs none /tmp/m -o "$1,owners=host" && cd /tmp/m || exit 1
echo text >file
stat -c '%u:%g' file
chown 1000:100 file 2>/dev/null; echo $?
stat -c '%u:%g' file
"""


def attribute(path, name):
    try:
        return os.getxattr(path, name).decode()
    except OSError:
        return ""


def mapped(folder):
    host = os.path.join(folder, "host")
    os.mkdir(host)
    outcome = harness.run_guest(["sh", "-c", MAPPED, "sh", host], root=None)
    problems = []
    if outcome.status != 0 or outcome.output.decode() != MAPPED_OUTPUT:
        problems.append(f"status {outcome.status}, {outcome.error[-200:]!r}\n" + harness.differences(MAPPED_OUTPUT.splitlines(), outcome.output.decode().splitlines()))
    # On the host they are its user's, without a right that could harm there.
    status = os.stat(os.path.join(host, "file"))
    if (status.st_uid, stat.S_IMODE(status.st_mode)) != (os.geteuid(), 0o755):
        problems.append(f"the file is {status.st_uid}'s on the host, with mode {status.st_mode:o}")
    for name, value in (("user.umk.owner", "1000:100"), ("user.umk.mode", "4755")):
        if attribute(os.path.join(host, "file"), name) != value:
            problems.append(f"{name} of the file is {attribute(os.path.join(host, 'file'), name)!r}")
    if stat.S_ISCHR(os.lstat(os.path.join(host, "null")).st_mode):
        problems.append("there is a device on the host")
    return problems


def hosts(folder):
    host = os.path.join(folder, "host")
    os.mkdir(host)
    outcome = harness.run_guest(["sh", "-c", HOSTS, "sh", host], root=None)
    own = f"{os.geteuid()}:{os.getegid()}"
    expected = f"{own}\n" + ("0\n1000:100\n" if os.geteuid() == 0 else f"1\n{own}\n")
    problems = [] if outcome.output.decode() == expected else [f"{outcome.output!r} instead of {expected!r}, {outcome.error[-200:]!r}"]
    if attribute(os.path.join(host, "file"), "user.umk.owner"):
        problems.append("an owner is kept that the host was to keep")
    return problems


def run_all(report, wanted):
    for name, check in (("mapped_owners", mapped), ("owners_of_the_host", hosts)):
        title = "storage/host_folders/" + name
        if wanted(title):
            harness.run_check(report, title, check)
