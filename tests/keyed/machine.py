"""A machine with memory protection keys, whatever the processor here: Linux 6.12 under qemu's own x86 (TCG), which has them.

The machine's root is this machine's `/` (9p, read-only) under a layer in its memory, so every program, the build tree and the tests are there
under their own names, and nothing that runs in it can change anything here. It runs one command and ends. Kernel and initial file
system are made once and kept in build/keyed:

  *.deb                   from Debian's bookworm-backports, fetched with a list of sources of our own: the system's lists stay as they are
  vmlinuz, modules/       out of the package of Linux; nothing is installed
  qemu/                   a newer qemu, where the installed one is too old; it uses the installed one's libraries
  initramfs-*.cpio        busybox, the modules for 9p and overlayfs, and `init` from this folder

Output and standard error come back over two virtio serial ports as they are written, the exit status over a third.
"""

import ctypes
import fcntl
import glob
import hashlib
import lzma
import os
import re
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(SOURCE, "build/keyed")
MODULES = ["9p", "9pnet_virtio", "overlay", "loop", "crc32c_generic", "ext4"]
SOURCES = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main\n"
PACKAGE = r"linux-image-6\.12\.[0-9]+\+deb12-amd64"
PROCESSOR = "max,la57=off"
# Before that, iretq and lretq in user code popped with the kernel's rights: a fault of theirs was one of Linux itself.
QEMU_WANTED = (9, 1)
QEMU_PACKAGES = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"]
# i386 calls are wanted, as the shield's thread identity needs one; no mitigations, which only cost time under an emulator; no clock chip, as
# alarm clocks exist only where there is one, and a guest of umk has none. On a busy machine the emulator is late with ticks, which is no sign of a broken timer
# or time stamp counter.
WORDS = ("console=ttyS0 quiet loglevel=4 panic=-1 ia32_emulation=1 mitigations=off audit=0 initcall_blacklist=cmos_init "
         "no_timer_check tsc=nowatchdog")


class CannotRun(Exception):
    """Why there can be no such machine here."""


def apt(*words):
    """apt-get or apt-cache with lists, cache and sources of our own."""
    folder = os.path.join(CACHE, "apt")
    for name in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    with open(os.path.join(folder, "sources.list"), "w") as file:
        file.write(SOURCES)
    settings = {
        "Dir::Etc::sourcelist": os.path.join(folder, "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": os.path.join(folder, "lists"),
        "Dir::Cache": os.path.join(folder, "cache"),
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }
    command = [words[0]] + [word for name, value in settings.items() for word in ("-o", f"{name}={value}")] + list(words[1:])
    done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(words)} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def need_tools():
    for tool, package in {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "dpkg-deb": "dpkg", "apt-get": "apt"}.items():
        if shutil.which(tool) is None:
            raise CannotRun(f"{tool} is missing: apt-get install {package}")
    with open(shutil.which("busybox"), "rb") as file:
        if b"/lib64/ld-linux" in file.read(4096):
            raise CannotRun("busybox is not the static one: apt-get install busybox-static")


def qemu():
    """The command of a qemu that is new enough."""
    text = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version ([0-9]+)\.([0-9]+)", text)
    if found and (int(found.group(1)), int(found.group(2))) >= QEMU_WANTED:
        return ["qemu-system-x86_64"]
    folder = os.path.join(CACHE, "qemu")
    program = os.path.join(folder, "usr/bin/qemu-system-x86_64")
    if not os.path.exists(program):
        print("fetching a qemu from bookworm-backports (once)", file=sys.stderr)
        apt("apt-get", "-q", "update")
        apt("apt-get", "-q", "download", *QEMU_PACKAGES)
        with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
            for name in QEMU_PACKAGES:
                subprocess.run(["dpkg-deb", "-x", newest(name + "_*.deb"), fresh], check=True)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(fresh, folder, symlinks=True)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"the fetched qemu does not run here: {done.stderr.strip()[-300:]}")
    return [program] + [word for name in ("qemu", "seabios") for word in ("-L", os.path.join(folder, "usr/share", name))]


def newest(pattern):
    packages = glob.glob(os.path.join(CACHE, pattern))
    return max(packages, key=os.path.getmtime) if packages else None


def kernel():
    """The kernel's file and the folder of its modules, fetched when they are not here."""
    image, modules = os.path.join(CACHE, "vmlinuz"), os.path.join(CACHE, "modules")
    if os.path.exists(image) and all(os.path.exists(os.path.join(modules, name + ".ko")) for name in MODULES):
        return image, modules
    package = newest("linux-image-6.12*.deb")
    if package is None:
        print("fetching a kernel from bookworm-backports (once)", file=sys.stderr)
        apt("apt-get", "-q", "update")
        names = re.findall(rf"^Package: ({PACKAGE})$", apt("apt-cache", "dumpavail"), re.MULTILINE)
        if not names:
            raise CannotRun("bookworm-backports has no linux-image-6.12 any more")
        names.sort(key=lambda name: int(re.search(r"6\.12\.([0-9]+)", name).group(1)))
        apt("apt-get", "-q", "download", names[-1])
        package = newest("linux-image-6.12*.deb")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        by_name = {}
        for place, _, files in os.walk(os.path.join(folder, "lib/modules")):
            for name in files:
                by_name[name.split(".ko")[0].replace("-", "_")] = os.path.join(place, name)
        shutil.rmtree(modules, ignore_errors=True)
        os.makedirs(modules)
        for name in MODULES:
            unpack_module(name, by_name, modules)
        os.replace(glob.glob(os.path.join(folder, "boot/vmlinuz-*"))[0], image)
    return image, modules


def unpack_module(name, by_name, to):
    """One module and those it needs, and a list of their order."""
    with open(by_name[name], "rb") as file:
        content = file.read()
    if by_name[name].endswith(".xz"):
        content = lzma.decompress(content)
    needed = re.search(rb"\0depends=([^\0]*)\0", content).group(1).decode()
    for other in filter(None, needed.split(",")):
        if not os.path.exists(os.path.join(to, other + ".ko")):
            unpack_module(other, by_name, to)
    with open(os.path.join(to, name + ".ko"), "wb") as file:
        file.write(content)
    with open(os.path.join(to, "order"), "a") as file:
        file.write(name + "\n")


def archive(members):
    """A cpio archive in the "newc" form of [(name, mode, content)]."""
    out = bytearray()
    for number, (name, mode, content) in enumerate(members + [("TRAILER!!!", 0, b"")], 1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(modules):
    members = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules", "proc", "sys", "dev", "host", "memory", "root", "job")]
    with open(shutil.which("busybox"), "rb") as file:
        members.append(("bin/busybox", stat.S_IFREG | 0o755, file.read()))
    with open(os.path.join(HERE, "init"), "rb") as file:
        members.append(("init", stat.S_IFREG | 0o755, file.read()))
    for name in sorted(os.listdir(modules)):
        with open(os.path.join(modules, name), "rb") as file:
            members.append(("modules/" + name, stat.S_IFREG | 0o644, file.read()))
    content = archive(members)
    path = os.path.join(CACHE, f"initramfs-{hashlib.sha256(content).hexdigest()[:12]}.cpio")
    if not os.path.exists(path):
        for old in glob.glob(os.path.join(CACHE, "initramfs-*.cpio")):
            os.unlink(old)
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.replace(path + ".new", path)
    return path


def prepare(each_instruction=False):
    """Makes what is missing, and gives qemu's command line without the job."""
    need_tools()
    try:
        os.makedirs(CACHE, exist_ok=True)
        lock = open(os.path.join(CACHE, "lock"), "w")
    except OSError as problem:
        raise CannotRun(f"build/keyed cannot be written: {problem}") from problem
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image, modules = kernel()
        initial = initramfs(modules)
        program = qemu()
    # TCG looks for interrupts between blocks of instructions, which end at jumps.
    accelerator = "tcg,thread=multi,tb-size=256" + (",one-insn-per-tb=on" if each_instruction else "")
    return program + ["-M", "q35", "-accel", accelerator, "-cpu", PROCESSOR, "-smp", "2", "-m", "3G",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel", image, "-initrd", initial]


def share(tag, path, read_only):
    how = ",readonly=on" if read_only else ""
    return ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{how}",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def quoted(word):
    return "'" + word.replace("'", "'\\''") + "'"


class Result:
    def __init__(self, status, timed_out, console, seconds, boot_seconds):
        self.status = status              # as a shell tells it; None when the machine ended without one
        self.timed_out = timed_out
        self.console = console            # what the machine's kernel said
        self.seconds = seconds
        self.boot_seconds = boot_seconds  # until the command began


def run(command, user="root", cwd=None, env=None, limit=300, empty_tmp=False, output=None, error=None, verbose=False, each_instruction=False):
    """Runs a command in a new machine. `output` and `error` are functions that take bytes as they come; with `empty_tmp` its /tmp does not
    show what others leave in ours in the meantime."""
    output = output or (lambda data: (sys.stdout.buffer.write(data), sys.stdout.flush()))
    error = error or (lambda data: (sys.stderr.buffer.write(data), sys.stderr.flush()))
    words = prepare(each_instruction)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="umk-test-keyed-") as folder:
        with open(os.path.join(folder, "user"), "w") as file:
            file.write(user + "\n")
        with open(os.path.join(folder, "command"), "w") as file:
            for name, value in (env or {}).items():
                file.write(f"export {name}={quoted(value)}\n")
            file.write(f"cd {quoted(cwd or os.getcwd())} || exit 126\n")
            file.write("exec " + " ".join(quoted(word) for word in command) + "\n")
        if empty_tmp:
            open(os.path.join(folder, "empty_tmp"), "w").close()
        os.chmod(folder, 0o755)
        ports, ends, chardevs = {}, [], []
        for name in ("output", "error", "status"):
            ours, theirs = socket.socketpair()
            ports[name] = ours
            ends.append(theirs)
            chardevs += ["-chardev", f"socket,id={name},fd={theirs.fileno()}", "-device", f"virtserialport,chardev={name},name={name}"]
        console = tempfile.TemporaryFile()
        kernel_words = WORDS.replace("quiet loglevel=4", "loglevel=6") if verbose else WORDS
        words += share("host", "/", True) + share("job", folder, True) + ["-device", "virtio-serial-pci"] + chardevs
        words += ["-serial", "stdio", "-append", kernel_words]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=None if verbose else console, stderr=subprocess.STDOUT,
                                 pass_fds=[end.fileno() for end in ends], start_new_session=True, preexec_fn=die_with_parent)
        for end in ends:
            end.close()
        try:
            told, timed_out, began = collect(ports, {"output": output, "error": error}, start + limit)
            if not timed_out:
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            for port in ports.values():
                port.close()
        console.seek(0)
        text = console.read().decode(errors="replace")
        number = re.search(rb"^end ([0-9]+)$", told, re.MULTILINE)
        return Result(int(number.group(1)) if number else None, timed_out, text, time.monotonic() - start, (began or start) - start)


def collect(ports, sinks, deadline):
    """Hands on what the ports bring until all have ended: (text of the status port, out of time?, when the command began)."""
    told, began = b"", None
    with selectors.DefaultSelector() as selector:
        for name, port in ports.items():
            selector.register(port, selectors.EVENT_READ, name)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return told, True, began
            for key, _ in selector.select(left):
                try:
                    data = key.fileobj.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data == "status":
                    told += data
                    if began is None and b"begin\n" in told:
                        began = time.monotonic()
                else:
                    sinks[key.data](data)
    return told, False, began


def die_with_parent():
    """No qemu outlives us."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
