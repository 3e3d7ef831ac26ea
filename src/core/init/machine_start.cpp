#include "core/init/machine_start.h"

#include <algorithm>

#include "core/drivers/block_files/block_files.h"
#include "core/drivers/console/console_driver.h"
#include "core/drivers/console/tty_log.h"
#include "core/drivers/kmsg/log_device.h"
#include "core/drivers/loop/loop_driver.h"
#include "core/drivers/ubd/ubd_disk.h"
#include "core/drivers/watchdog/watchdog.h"
#include "core/fs/devpts/devpts.h"
#include "core/fs/ext4/volume.h"
#include "core/fs/hostfs/hostfs.h"
#include "core/fs/iso9660/volume.h"
#include "core/fs/proc/proc.h"
#include "core/fs/squashfs/volume.h"
#include "core/fs/sysfs/sysfs.h"
#include "core/fs/tmpfs/devtmpfs.h"
#include "core/fs/tmpfs/tmpfs.h"
#include "core/init/first_program.h"
#include "core/init/initramfs.h"
#include "core/init/root_device.h"
#include "core/init/tty_devices.h"
#include "core/init/uevent_helper.h"
#include "core/kernel/device/memory_devices.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/socket/netlink_family.h"
#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/syscall/dispatch.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/vdso_source.h"
#include "core/kernel/task/version.h"
#include "core/kernel/tty/null_tty.h"
#include "core/kernel/tty/task_job_control.h"
#include "core/kernel/vfs/vfs.h"
#include "core/memory/kernel_heap.h"

namespace umk::init {

namespace {

/// Everything above the engine that lives as long as the machine, in the order of start.
struct Parts {
  Parts(Kernel& kernel, const StartRequest& request)
      : account(kernel.options.memory_bytes),
        window(reinterpret_cast<std::byte*>(layout::kCacheWindow), layout::kCacheWindowBytes, request.cache_fd, account),
        page_cache(window),
        disk_queue(request.may_use_io_uring ? ubd::HostQueue::Ring::Allowed : ubd::HostQueue::Ring::Forbidden),
        vdso(kernel.engine.vdso()),
        log_device(kernel.kernel_log),
        jobs(kernel),
        ttys(jobs),
        uevent_helper(kernel, devices.uevents()),
        watchdog(request.monitor_event),
        tmpfs(window, kernel.options.memory_bytes),
        rootfs(window, kernel.options.memory_bytes, "rootfs"),
        devpts(ttys),
        proc(kernel),
        sysfs(kernel),
        ext4("ext4", page_cache),
        ext3("ext3", page_cache),
        ext2("ext2", page_cache),
        squashfs(page_cache),
        iso9660(page_cache) {}

  MemoryAccount account;
  mm::CacheWindow window;
  mm::PageCache page_cache;
  ubd::HostQueue disk_queue;
  VdsoSource vdso;
  kmsg::LogDevice log_device;
  tty::TaskJobControl jobs;
  tty::TtyRegistry ttys;
  device::DeviceRegistry devices;
  UeventHelper uevent_helper;
  watchdog::Watchdog watchdog;
  device::MemoryDevices memory_devices;
  block::BlockDevices block_devices;
  block_files::BlockFiles block_files{block_devices, devices, page_cache};
  loop::LoopDriver loops{block_devices};
  std::unique_ptr<TtyDevices> tty_devices;
  std::unique_ptr<vfs::Vfs> vfs;
  socket::NetlinkFamily netlink;
  std::unique_ptr<socket::SocketLayer> sockets;
  std::unique_ptr<console::ConsoleDriver> console;
  std::unique_ptr<console::TtyLog> tty_log;  // null: nothing is recorded
  std::unique_ptr<fs::TmpfsMemoryFiles> memory_files;
  std::unique_ptr<fs::DevtmpfsType> devtmpfs;

  fs::TmpfsType tmpfs, rootfs;
  devpts::Type devpts;
  proc::Type proc;
  sysfs::Type sysfs;
  ext4::Type ext4, ext3, ext2;
  squashfs::Type squashfs;
  iso9660::Type iso9660;
  hostfs::Type hostfs;

  // What is to be started.
  RefPtr<vfs::FsContext> fs;
  RefPtr<const Credentials> root_credentials;
  vfs::Caller caller() const { return {*root_credentials, *fs}; }
};

/// Set once, at boot.
constinit watchdog::Watchdog* machine_watchdog = nullptr;
/// The console that kernel messages go to; set once, at boot.
constinit console::ConsoleDriver* message_console = nullptr;
constinit uint64_t boot_time_ns = 0;
constinit const KernelLog* shown_log = nullptr;
constinit int log_copy_fd = -1;
/// Gets the lines before the console does, or besides it: earlyprintk.
constinit std::atomic<int> early_log_fd = -1;
constinit std::atomic<bool> console_is_late = false;
/// Console 0 is among those of console=.
constinit bool shows_on_terminal = true;

void show_on_console(LogLevel level, std::string_view line) {
  const int early = early_log_fd.load(std::memory_order_relaxed);
  if ((!message_console && log_copy_fd < 0 && early < 0) || !shown_log->is_shown(level)) return;
  char text[KernelLog::kMaximumLine + 32];
  BufferSink sink(text);
  if (shown_log->shows_time.load(std::memory_order_relaxed)) {
    const uint64_t since_boot_us = (host::now_ns(host::Clock::Boottime) - boot_time_ns) / 1000;
    format(sink, "[{:5}.{:06}] ", since_boot_us / 1'000'000, since_boot_us % 1'000'000);
  }
  format(sink, "{}\n", line);
  if (message_console && shows_on_terminal && !console_is_late.load(std::memory_order_relaxed)) message_console->show_message(sink.view());
  if (message_console) message_console->notify_log();
  for (const int fd : {early, log_copy_fd})
    if (fd >= 0) (void)host::write(fd, std::as_bytes(std::span(sink.view())));
}

/// The log as the command line wants it, before anything can speak.
void start_log(Kernel& kernel, const StartRequest& request) {
  KernelLog& kernel_log = kernel.kernel_log;
  boot_time_ns = kernel.boot_time_ns;
  shown_log = &kernel_log;
  log_copy_fd = request.log_copy_fd;
  // With stderr=1 there would be two of each.
  early_log_fd = request.log_copy_fd >= 0 ? -1 : request.early_log_fd;
  console_is_late = early_log_fd >= 0 && !request.keeps_early_log;
  kernel_log.levels.console.store(request.console_level);
  kernel_log.ignores_level.store(request.ignores_log_level);
  kernel_log.shows_time.store(request.log_has_times);
  if (const auto lines = parse_program_lines(request.program_lines)) {
    kernel_log.program_lines.store(*lines);
    kernel_log.program_lines_are_fixed.store(true);
  }
  install_kernel_log(kernel_log, show_on_console);
}

Result<void> add_disks(Parts& parts, std::span<const ubd::DiskImage> images) {
  TRY(parts.block_files.add_major(ubd::kMajor, "ubd"));
  TRY(parts.block_files.add_major(loop::kMajor, "loop"));
  TRY(parts.block_files.add_major(block::kExtendedMajor, "blkext"));
  TRY(parts.block_files.attach());
  TRY(parts.loops.attach(parts.devices));
  for (const ubd::DiskImage& image : images) {
    RefPtr<ubd::UbdDisk> disk = TRY(ubd::UbdDisk::create(image, &parts.disk_queue));
    const std::string_view mode = image.is_read_only ? " (read-only)" : "";
    if (image.backing_fd >= 0) log(LogLevel::Info, "{}: {} bytes, {} over {}{}", disk->name(), image.bytes, image.file, image.backing_file, mode);
    else log(LogLevel::Info, "{}: {} bytes, {}{}", disk->name(), image.bytes, image.file, mode);
    TRY(parts.block_devices.add(std::move(disk)));
  }
  return {};
}

/// The line that console= names; kLines for "null".
unsigned line_named(std::string_view name) {
  const bool is_serial = name.starts_with("ttyS");
  const std::optional<uint64_t> number = name == "null" ? std::nullopt : parse_unsigned(name.substr(is_serial ? 4 : 3));
  if (!number) return console::kLines;
  return is_serial ? console::line_of_serial(static_cast<unsigned>(*number)) : console::line_of_console(static_cast<unsigned>(*number));
}

/// Where the log is shown, and what /dev/console is: the last of console= that there is.
Result<void> choose_consoles(Kernel& kernel, Parts& parts, const StartRequest& request) {
  KernelLog& kernel_log = kernel.kernel_log;
  static constexpr std::string_view kDefault[] = {"tty0"};
  std::span<const std::string_view> names = request.log_consoles.empty() ? std::span<const std::string_view>(kDefault) : request.log_consoles;
  shows_on_terminal = false;
  RefPtr<tty::Tty> system_console;
  for (int pass = 0; pass < 2; ++pass) {
    for (const std::string_view name : names) {
      const unsigned line = line_named(name);
      if (line != console::kLines && !parts.console->has_line(line)) continue;
      vfs::DeviceNumber device = tty::NullTty::kDevice;
      if (line == console::kLines) {
        system_console = RefPtr<tty::Tty>(TRY(make_ref<tty::NullTty>(parts.jobs)));
      } else {
        RefPtr<console::ConsoleTty> terminal = TRY(parts.console->terminal_of(line));
        device = console::device_of_line(line);
        if (line == console::line_of_console(0)) shows_on_terminal = true;
        else TRY(parts.console->show_log_on(line, kernel_log));
        system_console = RefPtr<tty::Tty>(std::move(terminal));
      }
      // The last comes first: it is the preferred one.
      if (kernel_log.console_count == KernelLog::kMostConsoles) --kernel_log.console_count;
      for (size_t i = kernel_log.console_count++; i > 0; --i) kernel_log.consoles[i] = kernel_log.consoles[i - 1];
      kernel_log.consoles[0] = {};
      BufferSink spelled(std::span(kernel_log.consoles[0].name).first<7>());
      spelled.put(line == console::kLines ? "ttynull" : name);
      kernel_log.consoles[0].device = device;
    }
    if (system_console) break;
    names = kDefault;
  }
  parts.ttys.set_console(std::move(system_console));
  return {};
}

/// Once the log is shown somewhere.
void tell_of_consoles(const KernelLog& log_of_kernel, const Parts& parts, const StartRequest& request) {
  for (size_t i = log_of_kernel.console_count; i-- > 0;) log(LogLevel::Info, "printk: console [{}] enabled", std::string_view(log_of_kernel.consoles[i].name));
  for (const std::string_view name : request.log_consoles)
    if (const unsigned line = line_named(name); line != console::kLines && !parts.console->has_line(line))
      log(LogLevel::Warning, "console={}: there is no such line", name);
}

Result<void> make_parts(Kernel& kernel, Parts& parts, const StartRequest& request) {
  build_syscall_table();
  kernel.cache_window = &parts.window;
  kernel.page_cache = &parts.page_cache;
  kernel.vdso = &parts.vdso;
  KernelHeap::global().pages().set_account(&parts.account);
  // A name with its inode takes up to 2 KiB; a quarter of the memory may be theirs.
  constexpr uint64_t kMostNames = 32768, kMemoryForName = 8192;
  parts.vfs = TRY(vfs::Vfs::create(std::min(kMostNames, parts.account.limit() / kMemoryForName)));
  vfs::Vfs& vfs = *parts.vfs;
  kernel.vfs = &vfs;
  parts.sockets = TRY(make_unique<socket::SocketLayer>(&vfs));
  parts.sockets->register_family(parts.netlink);
  kernel.sockets = parts.sockets.get();
  TRY(parts.devices.uevents().add_receiver(parts.netlink));
  TRY(parts.uevent_helper.attach());
  kernel.devices = &parts.devices;
  kernel.block_devices = &parts.block_devices;
  vfs.set_block_devices(parts.block_devices);
  kernel.ttys = &parts.ttys;
  vfs.set_device_opener(parts.devices);
  parts.memory_files = TRY(fs::TmpfsMemoryFiles::create(parts.window, vfs.next_anonymous_device()));
  vfs.set_memory_files(*parts.memory_files);
  parts.devtmpfs = TRY(fs::DevtmpfsType::create(parts.window, parts.devices, vfs.next_anonymous_device()));
  TRY(parts.memory_devices.attach(parts.devices));
  TRY(parts.log_device.attach(parts.devices));
  TRY(parts.watchdog.attach(parts.devices));
  machine_watchdog = &parts.watchdog;
  if (request.records_terminals) {
    parts.tty_log = TRY(make_unique<console::TtyLog>(request.monitor_event, console::TtyLog::kPatienceNs));
    parts.jobs.recorder = kernel.tty_recorder = parts.tty_log.get();
  }
  parts.console = TRY(console::ConsoleDriver::create(parts.jobs));
  parts.ttys.set_lines(*parts.console);
  for (unsigned number = 1; number < console::kConsoles; ++number)
    if (request.consoles >> number & 1) TRY(parts.console->add_line(console::line_of_console(number)));
  for (unsigned number = 0; number < console::kSerialLines; ++number)
    if (request.serial_lines >> number & 1) TRY(parts.console->add_line(console::line_of_serial(number)));
  parts.tty_devices = TRY(make_unique<TtyDevices>(parts.ttys, vfs));
  TRY(parts.tty_devices->attach(parts.devices));
  TRY(parts.console->attach(parts.devices));
  TRY(choose_consoles(kernel, parts, request));
  vfs::FilesystemType* types[] = {&parts.tmpfs,  parts.devtmpfs.get(), &parts.devpts, &parts.proc, &parts.sysfs,
                                  &parts.hostfs, &parts.ext4,          &parts.ext3,   &parts.ext2, &parts.squashfs,
                                  &parts.iso9660};
  for (vfs::FilesystemType* type : types) TRY(vfs.register_type(*type));
  return vfs.register_type(parts.rootfs);
}

/// Mounts `type` on a directory of the root that may not be there; then there is no such mount.
void mount_if_possible(Parts& parts, std::string_view type, std::string_view place, std::string_view options) {
  const vfs::Caller caller = parts.caller();
  Result<void> mounted = parts.vfs->mount(caller, type, {nullptr, place}, type, 0, options);
  if (!mounted.ok() && mounted.code() != ENOENT) log(LogLevel::Warning, "umk: cannot mount {} on {}: errno {}", type, place, mounted.code());
}

Result<void> make_root(Parts& parts, const StartRequest& request) {
  vfs::Vfs& vfs = *parts.vfs;
  const bool from_archive = request.root_type.empty() && request.root_device.empty();
  const uint64_t flags = request.root_read_only ? vfs::mount_flags::kReadOnly : 0;
  parts.root_credentials = TRY(Credentials::root());
  // As on Linux there is always a first root in memory. An archive is unpacked into it; any other root is mounted on it, and so can be pivoted away.
  const vfs::Path first_root = TRY(vfs.mount_root(*parts.root_credentials, "rootfs", "rootfs", 0, "mode=0755"));
  parts.fs = TRY(make_ref<vfs::FsContext>(first_root, first_root, 022u));
  if (from_archive) {
    TRY(unpack_archive(vfs, parts.caller(), request.root_archive));
    if (flags) TRY(vfs.mount(parts.caller(), "rootfs", {nullptr, "/"}, "", vfs::mount_flags::kRemount | vfs::mount_flags::kReadOnly, ""));
  } else {
    if (!request.root_device.empty()) TRY(mount_root_device(vfs, parts.block_devices, parts.caller(), request));
    else TRY(vfs.mount(parts.caller(), request.root_source, {nullptr, "/"}, request.root_type, flags, request.root_flags));
    RefPtr<vfs::Mount> mount = vfs.mounts().mounted_on(*first_root.mount, *first_root.dentry);
    RefPtr<vfs::Dentry> top = mount->root_ref();
    const vfs::Path root(std::move(mount), std::move(top));
    parts.fs = TRY(make_ref<vfs::FsContext>(root, root, 022u));
  }
  mount_if_possible(parts, "devtmpfs", "/dev", "mode=0755");
  (void)vfs.make_directory(parts.caller(), {nullptr, "/dev/pts"}, 0755);
  (void)vfs.make_directory(parts.caller(), {nullptr, "/dev/shm"}, 01777);
  (void)vfs.make_symlink(parts.caller(), "/proc/self/fd", {nullptr, "/dev/fd"});
  (void)vfs.make_symlink(parts.caller(), "/proc/self/fd/0", {nullptr, "/dev/stdin"});
  (void)vfs.make_symlink(parts.caller(), "/proc/self/fd/1", {nullptr, "/dev/stdout"});
  (void)vfs.make_symlink(parts.caller(), "/proc/self/fd/2", {nullptr, "/dev/stderr"});
  if (request.mounts_system_filesystems) {
    mount_if_possible(parts, "devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666");
    mount_if_possible(parts, "tmpfs", "/dev/shm", "mode=1777");
    mount_if_possible(parts, "proc", "/proc", "");
    mount_if_possible(parts, "sysfs", "/sys", "");
  }
  return {};
}

Result<void> open_standard_streams(Parts& parts, const StartRequest& request, vfs::FdTable& fds) {
  const vfs::Caller caller = parts.caller();
  constexpr uint64_t kNoLimit = vfs::FdTable::kMaximum;
  RefPtr<vfs::OpenFile> terminal;
  for (unsigned number = 0; number < 3; ++number) {
    RefPtr<vfs::OpenFile> file;
    if (number == 2 && request.error_is_output) {
      file = TRY(fds.get(Fd{1}));
    } else if (request.stream_is_pipe[number]) {
      RefPtr<vfs::Inode> inode = TRY(parts.console->make_stream_inode(number, parts.vfs->anonymous(vfs::AnonymousKind::Pipe)));
      file = TRY(parts.console->open_stream(number, std::move(inode)));
    } else {
      // A command works on an ordinary terminal, with job control; init gets the console, as from Linux.
      const std::string_view name = request.is_command ? "/dev/tty0" : "/dev/console";
      if (!terminal) terminal = TRY(parts.vfs->open(caller, {nullptr, name}, {.flags = vfs::open_flags::kReadWrite}));
      file = terminal;
    }
    TRY(fds.add(std::move(file), false, kNoLimit));
  }
  return {};
}

}  // namespace

StartOutcome start(Kernel& kernel, const StartRequest& request) {
  StartOutcome outcome;
  auto fail = [&](const char* what, int code) {
    outcome.problem = what;
    outcome.error = code;
    return outcome;
  };
  start_log(kernel, request);
  Parts* parts = new (std::nothrow) Parts(kernel, request);
  if (!parts) return fail("no memory for the kernel's parts", ENOMEM);
  if (Result<void> made = make_parts(kernel, *parts, request); !made.ok()) return fail("the kernel's parts cannot be made", made.code());
  outcome.console = parts->console.get();
  outcome.board = &parts->console->board();
  if (!request.disks.empty()) outcome.disk_queue = &parts->disk_queue;
  outcome.board->monitor_event.store(request.monitor_event);
  // Before the first program can ask for it; changes come through the board.
  parts->console->terminal().set_window_size(request.window);
  message_console = parts->console.get();
  if (request.records_terminals) outcome.tty_log = &parts->tty_log->board();
  if (request.has_notice_listener) kernel.user_notices.connect(request.monitor_event);
  log(LogLevel::Notice, "{} version {} {}: {} MiB of memory, {} CPUs", version::kSystem, version::kRelease, version::kVersion, kernel.options.memory_bytes >> 20, kernel.options.cpus);
  log(LogLevel::Notice, "Kernel command line: {}", kernel.options.command_line);
  for (const std::string_view note : request.notes) log_line(LogLevel::Notice, note);
  tell_of_consoles(kernel.kernel_log, *parts, request);
  if (request.shield_state.size() != 0) log(LogLevel::Warning, "shield: {}", request.shield_state);
  if (Result<void> added = add_disks(*parts, request.disks); !added.ok()) return fail("the disks cannot be added", added.code());
  if (Result<void> rooted = make_root(*parts, request); !rooted.ok()) return fail(problem_of_root(request, rooted.code()), rooted.code());

  InitContext context;
  Result<RefPtr<vfs::FdTable>> fds = make_ref<vfs::FdTable>();
  if (!fds.ok()) return fail("no memory", fds.code());
  if (Result<void> opened = open_standard_streams(*parts, request, *fds.value()); !opened.ok())
    return fail(opened.code() == ENOENT ? "there is no console, as the root filesystem has no directory /dev for it" : "the console cannot be opened", opened.code());
  if (!request.working_directory.empty()) {
    Result<vfs::Path> place = parts->vfs->lookup(parts->caller(), {nullptr, request.working_directory}, vfs::walk::kFollow | vfs::walk::kDirectory);
    if (!place.ok()) return fail("the working directory cannot be entered", place.code());
    parts->fs->set_working_directory(place.take());
  }
  if (!request.host_name.empty()) (void)kernel.host_name.set_host(request.host_name);
  if (early_log_fd >= 0 && !request.keeps_early_log) {
    log(LogLevel::Info, "printk: bootconsole [stderr0] disabled");
    early_log_fd = -1;
    console_is_late = false;
  }
  context.fds = fds.take();
  context.fs = parts->fs;
  if (Result<void> started = start_first_program(kernel, std::move(context), request); !started.ok()) return fail("the first program cannot be started", started.code());
  return outcome;
}

void run_timers(Kernel& kernel) { time::run_timer_thread(*kernel.timers); }

void run_write_back(Kernel& kernel) { kernel.page_cache->run_write_back(); }

void run_disk_queue(ubd::HostQueue& queue) { queue.run(); }

void run_console(console::ConsoleDriver& console) { console.run(); }

uint32_t wait_for_end(Kernel& kernel, int* exit_code) {
  uint32_t action;
  while ((action = static_cast<uint32_t>(kernel.power_action.load())) == 0) host::futex_wait(&kernel.power_action, 0);
  if (action != static_cast<uint32_t>(PowerAction::RestartNow)) {
    (void)kernel.vfs->sync_all();
    // After a command nobody is there to unmount them; a machine has its shutdown for that.
    if (kernel.options.ends_with_init) close_filesystems(*kernel.vfs);
    flush_disks(*kernel.block_devices);
  }
  *exit_code = kernel.exit_code.load();
  return action;
}

int take_watchdog_order() { return static_cast<int>(machine_watchdog->take_order()); }
void note_watchdog_started(int fd) { machine_watchdog->note_started(fd); }
void note_watchdog_stopped() { machine_watchdog->note_stopped(); }

void signal_first_process(Kernel& kernel, int signal) {
  MutexLock lock(kernel.tasks.mutex);
  if (kernel.tasks.init && kernel.tasks.init->group) send_signal_locked(*kernel.tasks.init->group, SignalInfo::from_kernel(signal));
}

}  // namespace umk::init
