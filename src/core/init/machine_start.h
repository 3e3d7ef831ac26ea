// Start of the machine: what the monitor asks for, and what makes it so. Plain data: it crosses from the monitor into the kernel image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/abi/termios.h"

namespace umk {
class Kernel;
namespace ubd {
struct DiskImage;
class HostQueue;
}
namespace console {
class ConsoleDriver;
struct ConsoleBoard;
struct TtyLogBoard;
}  // namespace console
}  // namespace umk

namespace umk::init {

/// What the first task is, and what it finds. The texts need to live only until start() returns.
struct StartRequest {
  int cache_fd = -1;  // the page cache's file
  int monitor_event = -1;  // eventfd of the monitor's event loop

  /// Disks on files of the host, which are the machine's from now on.
  std::span<const ubd::DiskImage> disks;
  bool may_use_io_uring = true;

  /// A cpio archive (newc, uncompressed): the first root, when `root_type` and `root_device` are empty.
  std::span<const std::byte> root_archive;
  /// rootfstype= and rootflags=.
  std::string_view root_type, root_source, root_flags;
  /// root=, when that is a disk or a partition: "/dev/ubda1", "ubd0", "98:0". With an empty `root_type` all types are tried.
  std::string_view root_device;
  bool root_read_only = false;
  /// Mount proc, sysfs, devpts and /dev/shm: for commands without an init of their own (umk run).
  bool mounts_system_filesystems = false;

  /// What runs first; when empty: /init for the archive, else /sbin/init, /etc/init, /bin/init, /bin/sh in turn.
  std::string_view program;
  /// Look for `program` in the PATH of `environment`, and fail with a message and status 127 or 126 as a shell does (umk run).
  bool is_command = false;
  std::span<const std::string_view> arguments;    // without the program's own name
  std::span<const std::string_view> environment;  // NAME=value
  std::string_view working_directory;
  std::string_view host_name;

  /// Which of the standard streams are pipes of the host rather than the console.
  bool stream_is_pipe[3] = {};
  /// Standard output and error are one pipe (2>&1): they share one stream, so that their bytes keep their order.
  bool error_is_output = false;
  /// Of the terminal on the host that the console is.
  WindowSize window{};
  /// Which lines exist, by the bits: con1 and following (console 0 always does), and ssl0 and following.
  uint64_t consoles = 1;
  uint64_t serial_lines = 0;
  /// What lines of the log the console shows: those below this level, as console_loglevel of Linux.
  int console_level = 7;
  /// It shows all of them, whatever level they have.
  bool ignores_log_level = false;
  /// Lines begin with the seconds since boot.
  bool log_has_times = true;
  /// What becomes of what programs write to /dev/kmsg ("on", "off", "ratelimit"), for good; empty: limited, and to be changed in /proc.
  std::string_view program_lines;
  /// A descriptor of the host's that gets the lines too; -1: none.
  int log_copy_fd = -1;
  /// One that gets them until the console shows them, or always; -1: none.
  int early_log_fd = -1;
  bool keeps_early_log = false;
  /// Where the log is shown, as console= names it: "tty0", "ttyS1", "null". The last is /dev/console. Empty: tty0.
  std::span<const std::string_view> log_consoles;
  /// What happens on terminals, and which programs start, is recorded for the monitor.
  bool records_terminals = false;
  /// Lines of the monitor for the log.
  std::span<const std::string_view> notes;
  /// Somebody on the host is told what programs write to /proc/mconsole.
  bool has_notice_listener = false;
  /// Why the shield is off or incomplete, for the log; empty when there is nothing to say.
  std::string_view shield_state;
};

struct StartOutcome {
  const char* problem = nullptr;  // null: all is well
  int error = 0;                  // errno of the problem
  console::ConsoleBoard* board = nullptr;
  console::ConsoleDriver* console = nullptr;
  console::TtyLogBoard* tty_log = nullptr;  // null: nothing is recorded
  ubd::HostQueue* disk_queue = nullptr;  // null: there are no disks
};

/// Builds everything above the engine and starts the first task.
StartOutcome start(Kernel& kernel, const StartRequest& request);

/// Bodies of kernel threads of the monitor.
void run_timers(Kernel& kernel);
void run_write_back(Kernel& kernel);
void run_disk_queue(ubd::HostQueue& queue);
void run_console(console::ConsoleDriver& console);
/// Sleeps until the machine is to end; the action as PowerAction numbers it. Writes everything out before it returns.
uint32_t wait_for_end(Kernel& kernel, int* exit_code);
/// What the monitor does for /dev/watchdog (drivers/watchdog/watchdog.h): its orders, and what became of them.
int take_watchdog_order();
void note_watchdog_started(int fd);
void note_watchdog_stopped();
/// Sends a signal to process 1 and its group, as from the kernel: what umk itself was sent on the host.
void signal_first_process(Kernel& kernel, int signal);

}  // namespace umk::init
