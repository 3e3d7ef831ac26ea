"""gdb commands for a running umk machine: its tasks, their kernel stacks, the page cache, mounts.

    gdb -x tools/gdb/umk.py build/umk -p PID

PID is the monitor's (the file `pid` of the machine's directory) or a vessel's, which is any other process of the machine: the kernel's memory is the same in all of
them. The script loads the kernel image's debug information, vmumk, from beside umk, from build/, or from $UMK_VMUMK.

    umk tasks             all tasks, with the host thread that runs each
    umk stack PID|all     the kernel stack of a task that sleeps or waits in the kernel
    umk switch PID        makes the selected thread look like that task: bt, up, info locals show its frames. The thread gets its own registers back by `umk back`,
                          and before it runs on
    umk back
    umk page-cache [N]    counts, and the N files (20) with most pages in the cache
    umk mounts            all mounts

Nothing in the machine is changed and no lock is taken: what changes while gdb looks stands still, as gdb has stopped the process that it is attached to; other
processes of the machine go on. To stop them all, ask the management console first: `uml_mconsole NAME stop`.
"""

import os

import gdb

SCRIPT = os.path.realpath((lambda: 0).__code__.co_filename)  # gdb sets no __file__
BUNDLE_BYTES = 64 * 1024
IMAGE, IMAGE_BYTES = 0x7DFF81000000, 0x01000000
SAVED = ("r15", "r14", "r13", "r12", "rbx", "rbp", "rip")  # what umk_switch_stack and umk_raw_call leave on the stack, from the stack pointer up


# --- values

def atomic(value):
    """What a std::atomic holds."""
    for field in ("_M_i", "_M_base", "_M_b", "_M_p"):
        try:
            return atomic(value[field])
        except gdb.error:
            pass
    return value


def number(value):
    return int(atomic(value))


def pointee(pointer):
    """What a RefPtr, a unique_ptr or a pointer leads to; None for null."""
    value = pointer
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_STRUCT:
        # A unique_ptr without state of its deleter is just the pointer.
        value = value["object_"] if "RefPtr" in str(kind) else value.address.cast(kind.template_argument(0).pointer().pointer()).dereference()
    return None if int(value) == 0 else value.dereference()


def text_of(view):
    """A std::string_view or a String."""
    try:
        size, data = int(view["_M_len"]), view["_M_str"]
    except gdb.error:
        size, data = int(view["bytes_"]["size_"]), view["bytes_"]["items_"]
    return data.string("utf-8", "replace", length=size).rstrip("\0") if size else ""  # a String keeps a NUL behind its text


def name_of(array):
    return array.string("utf-8", "replace")


def hook_offset(kind, tag):
    """Where in an object the list hook with a tag lies, in bytes."""
    for field in kind.strip_typedefs().fields():
        if not field.is_base_class:
            continue
        where = str(field.type)
        if "node_holder" in where:
            if tag in where:
                return field.bitpos // 8
            continue
        inner = hook_offset(field.type, tag)
        if inner is not None:
            return field.bitpos // 8 + inner
    return None


def each(list_value, kind_name, tag):
    """The objects of a Boost.Intrusive list."""
    kind = gdb.lookup_type(kind_name)
    offset = hook_offset(kind, tag)
    header = list_value["data_"]["root_plus_size_"]["m_header"]
    first = int(header.address)
    node = header["next_"]
    node_type = gdb.lookup_type("boost::intrusive::list_node<void*>").pointer()
    while int(node) not in (0, first):
        yield gdb.Value(int(node) - offset).cast(kind.pointer()).dereference()
        node = node.cast(node_type).dereference()["next_"]


def items(vector):
    for index in range(int(vector["size_"])):
        yield vector["items_"][index]


# --- the machine

def load_symbols():
    candidates = [os.environ.get("UMK_VMUMK")]
    program = gdb.current_progspace().filename
    if program:
        candidates.append(os.path.join(os.path.dirname(os.path.realpath(program)), "vmumk"))
    candidates.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(SCRIPT))), "build/vmumk"))
    for path in candidates:
        if path and os.path.exists(path):
            gdb.execute(f"add-symbol-file {path}", to_string=True)
            return path
    raise gdb.GdbError("umk: no vmumk found: build umk, or name the file in $UMK_VMUMK")


class Symbols:
    """vmumk, loaded with the first command that needs it, and compared with what runs."""
    path = None

    @classmethod
    def need(cls):
        if gdb.selected_inferior().pid == 0:
            raise gdb.GdbError("umk: there is no process: start umk, or attach to a process of the machine")
        if cls.path is None:
            confirm = gdb.parameter("confirm")
            gdb.execute("set confirm off")
            try:
                cls.path = load_symbols()
            finally:
                gdb.execute(f"set confirm {'on' if confirm else 'off'}")
        cls.compare()

    @classmethod
    def compare(cls):
        with open(cls.path, "rb") as file:
            # The text is the first segment, whole pages from the second on (kernel.ld).
            file.seek(4096)
            wanted = file.read(4096)
        try:
            there = bytes(gdb.selected_inferior().read_memory(IMAGE, len(wanted)))
        except gdb.MemoryError as failure:
            raise gdb.GdbError("umk: no machine runs in this process (yet): start it, or attach to one") from failure
        if there != wanted:
            raise gdb.GdbError(f"umk: {cls.path} is not of the build that runs: name its vmumk in $UMK_VMUMK")


def kernel():
    Symbols.need()
    storage = gdb.parse_and_eval("&'umk::engine::(anonymous namespace)::machine_storage'")
    found = pointee(storage.cast(gdb.lookup_type("umk::engine::Machine").pointer()).dereference()["kernel"])
    if found is None:
        raise gdb.GdbError("umk: the machine has not started yet")
    return found


def tasks():
    for entry in items(kernel()["tasks"]["entries_"]):
        task = pointee(entry["task"])
        if task is not None:
            yield task


def context_of(task):
    head = task["stack_"].referenced_value().address
    return head.cast(gdb.lookup_type("umk::engine::Context").pointer()).dereference()


def read_words(address, count):
    memory = bytes(gdb.selected_inferior().read_memory(address, 8 * count))
    return [int.from_bytes(memory[8 * i:8 * i + 8], "little") for i in range(count)]


def saved_registers(context):
    """Registers as they were where the context left the processor, and None for one that runs."""
    start = int(context.address)

    def on_stack(address):
        return address % 8 == 0 and start < address <= start + BUNDLE_BYTES - 8 * len(SAVED)

    place = int(context["head"]["call_rsp"])
    if not on_stack(place):
        host = pointee(context["host"])
        runs = host is not None and int(host["current"]) == start
        place = 0 if runs else int(context["switch_rsp"])
    if not on_stack(place):
        return None
    registers = dict(zip(SAVED, read_words(place, len(SAVED))))
    registers["rsp"] = place + 8 * len(SAVED)
    return registers if IMAGE <= registers["rip"] < IMAGE + IMAGE_BYTES else None


def find_task(argument):
    try:
        wanted = int(argument)
    except ValueError as failure:
        raise gdb.GdbError("umk: which task? Give its number, as `umk tasks` shows it") from failure
    for task in tasks():
        if int(task["tid_"]) == wanted:
            return task
    raise gdb.GdbError(f"umk: there is no task {wanted}")


# --- another's registers in the selected thread

class Borrowed:
    """What the selected thread's registers were before it was made to look like a task."""
    thread = None
    registers = {}

    @classmethod
    def take(cls, registers):
        cls.give_back()
        thread = gdb.selected_thread()
        if thread is None:
            raise gdb.GdbError("umk: there is no process: attach to one of the machine")
        gdb.execute("frame 0", to_string=True)
        cls.registers = {name: int(gdb.parse_and_eval(f"(unsigned long)${name}")) for name in registers}
        cls.thread = thread
        cls.put(registers)

    @classmethod
    def put(cls, registers):
        for name in ("rsp", *(name for name in registers if name != "rsp")):
            gdb.execute(f"set ${name} = (unsigned long){registers[name]}", to_string=True)

    @classmethod
    def give_back(cls):
        if cls.thread is None:
            return
        thread, cls.thread = cls.thread, None
        if not thread.is_valid():
            return
        before = gdb.selected_thread()
        thread.switch()
        gdb.execute("frame 0", to_string=True)
        cls.put(cls.registers)
        if before is not None and before.is_valid():
            before.switch()


def print_stack(registers):
    Borrowed.take(registers)
    try:
        print(gdb.execute("backtrace", to_string=True), end="")
    finally:
        Borrowed.give_back()


# --- commands

class Umk(gdb.Command):
    """What goes on in a umk machine: umk tasks, stack, switch, back, page-cache, mounts."""

    def __init__(self):
        super().__init__("umk", gdb.COMMAND_USER, prefix=True)


class Tasks(gdb.Command):
    """umk tasks: all tasks of the machine, and the host threads that run them."""

    def __init__(self):
        super().__init__("umk tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        found = list(tasks())
        print("  PID   TID  PPID S  HOST  NAME             WHERE")
        for task in found:
            process = pointee(task["process_"])
            context = context_of(task)
            host = pointee(context["host"])
            tid = number(host["tid"]) if host is not None else 0
            registers = saved_registers(context)
            where = symbol_of(registers) if registers else ("in the kernel" if context["head"]["in_kernel"] else "in its program")
            state = "Z" if process["is_zombie"] else chr(number(task["state"]))
            if state == "R" and number(context["head"]["wake_word"]) in (0, 3):
                state = "S"
            print(f"{int(process['pid_']):5} {int(task['tid_']):5} {number(process['parent_pid']):5} {state} {tid:6} {name_of(task['name']):16} {where}")


def symbol_of(registers):
    """The function that waits: the first that is not of what all waits go through."""
    address, frame = registers["rip"], registers["rbp"]
    name = "?"
    for _ in range(32):
        block = gdb.block_for_pc(address - 1)
        while block is not None and block.function is None:
            block = block.superblock
        name = block.function.name.replace("(anonymous namespace)::", "").split("(")[0] if block is not None else "?"
        if not name.startswith(("umk::host::", "umk::sync::", "umk_raw_call", "umk_switch_stack")):
            break
        try:
            frame, address = read_words(frame, 2)
        except gdb.MemoryError:
            break
    return name


class Stack(gdb.Command):
    """umk stack PID|all: the kernel stack of a task that sleeps."""

    def __init__(self):
        super().__init__("umk stack", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        chosen = list(tasks()) if argument == "all" else [find_task(argument)]
        for task in chosen:
            if argument == "all":
                print(f"{int(task['tid_'])} {name_of(task['name'])}")
            registers = saved_registers(context_of(task))
            if registers is None:
                print("It runs: attach to its host thread, see `umk tasks`.")
            else:
                print_stack(registers)


class Switch(gdb.Command):
    """umk switch PID: lets the selected thread look like a sleeping task, until `umk back` or until it runs on."""

    def __init__(self):
        super().__init__("umk switch", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        registers = saved_registers(context_of(find_task(argument)))
        if registers is None:
            raise gdb.GdbError("umk: the task runs: attach to its host thread, see `umk tasks`")
        Borrowed.take(registers)
        gdb.execute("frame 0")


class Back(gdb.Command):
    """umk back: the selected thread's own registers again."""

    def __init__(self):
        super().__init__("umk back", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        Borrowed.give_back()


def count_of(argument, otherwise):
    return int(argument) if argument.strip().isdigit() else otherwise


def owner_of(file):
    """The object that the pages belong to: its class, and the inode's number where it is one."""
    backing = file["backing_"].referenced_value()
    kind = backing.dynamic_type
    label = kind.name or str(kind)
    try:
        owner = backing.cast(kind)
        label += f" {int(owner['number_'])}"
    except gdb.error:
        pass
    return label


class PageCache(gdb.Command):
    """umk page-cache [N]: what the page cache holds, and its N largest files."""

    def __init__(self):
        super().__init__("umk page-cache", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        cache = pointee(kernel()["page_cache"])
        counters = cache["counters"]
        for name in ("present", "dirty", "written_back", "pages_dirtied", "pages_written", "pages_read", "pages_scanned", "pages_reclaimed"):
            print(f"{name:16} {number(counters[name]):10} pages")
        files = []
        for file in each(cache["files_"], "umk::mm::CachedFile", "CachedFileTag"):
            files.append((number(file["store_"]["present_pages_"]), number(file["dirty_pages_"]), owner_of(file), int(file.address)))
        print(f"{len(files)} files")
        print("  pages  dirty  owner")
        for present, dirty, owner, address in sorted(files, reverse=True)[:count_of(argument, 20)]:
            print(f"{present:7} {dirty:6}  {owner} at {address:#x}")


def path_in(dentry):
    parts = []
    while dentry is not None and not dentry["is_root_"]:
        parts.append(dentry["name_"].string("utf-8", "replace", length=int(dentry["name_size_"])))
        dentry = pointee(dentry["parent_"])
    return "".join("/" + part for part in reversed(parts))


def place_of(mount):
    path = ""
    while True:
        parent = pointee(mount["parent_"])
        if parent is None:
            return path or "/"
        path = path_in(pointee(mount["mountpoint_"])) + path
        mount = parent


class Mounts(gdb.Command):
    """umk mounts: all mounts of the machine."""

    def __init__(self):
        super().__init__("umk mounts", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        tree = pointee(pointee(kernel()["vfs"])["mounts_"])
        print("  ID  UP  TYPE       SOURCE               USERS  PLACE")
        for mount in each(tree["list_"], "umk::vfs::Mount", "MountListTag"):
            parent = pointee(mount["parent_"])
            superblock = pointee(mount["superblock_"])
            print(f"{int(mount['id_']):4} {int(parent['id_']) if parent is not None else 0:3}  {text_of(superblock['type_name_']):10} "
                  f"{text_of(mount['source_']):20} {number(mount['references_']):5}  {place_of(mount)}")


for command in (Umk, Tasks, Stack, Switch, Back, PageCache, Mounts):
    command()

# A thread that runs on, or is let go, does so as itself.
for verb in ("continue", "step", "stepi", "next", "nexti", "finish", "until", "advance", "jump", "call", "detach", "kill", "quit", "signal"):
    gdb.execute(f"define hook-{verb}\numk back\nend", to_string=True)
gdb.events.gdb_exiting.connect(lambda event: Borrowed.give_back())
