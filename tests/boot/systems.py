"""Images that boot: a small one of this machine's busybox and e2fsck, made on the spot, and Debian 12, made once by `./dev root` and kept under build/."""

import hashlib
import os
import re
import subprocess

import harness

IMAGES = os.path.join(harness.SOURCE, "build/images")
DEBIAN_PARTS = ("tools/dev_root.sh", "tools/prepare_root")

# What sysvinit and its scripts do, in little: the disk is checked before it is written, getty is started again and again, and busybox's halt, poweroff and reboot
# tell the first program by a signal.
SMALL_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
[ -c /dev/tty0 ] || mount -t devtmpfs devtmpfs /dev
hostname small
e2fsck -a /dev/ubda
case $? in
0 | 1) ;;
2 | 3) echo "the disk was mended, restarting"; reboot -f ;;
*) echo "the disk cannot be mended"; poweroff -f ;;
esac
mount -o remount,rw /
action=
trap 'action=halt' USR1
trap 'action=poweroff' USR2
trap 'action=reboot' TERM
while [ -z "$action" ]; do
  setsid getty 38400 tty0 linux &
  wait $!
done
echo "ending: $action"
kill -TERM -1
sleep 0.2
kill -KILL -1
mount -o remount,ro /
$action -f
"""


class System:
    """A kind of root file system: how to make a fresh image of it, and how one talks to it."""

    def __init__(self, name, restarts, patience):
        self.name = name
        self.restarts = restarts  # commands that restart the machine
        self.patience = patience  # seconds until a login, on a busy machine

    def fresh_image(self, path):
        raise NotImplementedError


class Small(System):
    def __init__(self):
        super().__init__("small", ["reboot"], 30)

    def fresh_image(self, path):
        tree = path + ".tree"
        for name in ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "root", "dev", "proc", "sys", "tmp", "lib64"):
            os.makedirs(os.path.join(tree, name))
        subprocess.run(["cp", "/bin/busybox", f"{tree}/bin/busybox"], check=True)
        for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                os.symlink("busybox", f"{tree}/bin/{applet}")
        for program in ("/sbin/e2fsck",):
            listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
            for file in [program] + re.findall(r"(/\S+) \(0x", listing):
                os.makedirs(tree + os.path.dirname(file), exist_ok=True)
                subprocess.run(["cp", "-L", file, tree + file], check=True)
        for name, text in (("sbin/init", SMALL_INIT), ("etc/passwd", "root::0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\ntty:x:5:\n"),
                           ("etc/fstab", "/dev/ubda / ext4 defaults 0 1\n"), ("etc/issue", "a small system\n"), ("etc/mtab", "")):
            with open(os.path.join(tree, name), "w") as file:
                file.write(text)
        os.unlink(f"{tree}/etc/mtab")
        os.symlink("/proc/mounts", f"{tree}/etc/mtab")
        os.chmod(f"{tree}/sbin/init", 0o755)
        with open(path, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "small", "-E", "root_owner=0:0", "-d", tree, path], check=True)
        harness.remove_tree(tree)


class Debian(System):
    def __init__(self):
        super().__init__("debian", ["reboot", "shutdown -r now"], 60)

    def cached(self, ending, *options):
        """An image or a directory as `./dev root debian` makes it; another one when what makes it has changed."""
        digest = hashlib.sha256()
        for name in DEBIAN_PARTS:
            with open(os.path.join(harness.SOURCE, name), "rb") as file:
                digest.update(file.read())
        name = f"debian-{digest.hexdigest()[:12]}"
        path = os.path.join(IMAGES, name + ending)
        if not os.path.exists(path):
            os.makedirs(IMAGES, exist_ok=True)
            made = subprocess.run([os.path.join(harness.SOURCE, "dev"), "root", "debian", path, *options], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, check=False, timeout=1800)
            if made.returncode != 0:
                raise OSError("./dev root debian made nothing (it needs a mirror of Debian, see --mirror there): " + made.stderr[-500:])
            for other in os.listdir(IMAGES):
                if other.startswith("debian-") and not other.startswith(name):
                    subprocess.run(["rm", "-rf", os.path.join(IMAGES, other)], check=True)
        return path

    def fresh_image(self, path):
        subprocess.run(["cp", "--sparse=always", self.cached(".img", "--size", "1G"), path], check=True)
