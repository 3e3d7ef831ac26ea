// Kernel: the object that everything hangs from. One per machine; hosted tests make several. It lives in the kernel region.
#pragma once

#include <atomic>

#include "core/host/calls.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/task/async_signals.h"
#include "core/kernel/task/freezer.h"
#include "core/kernel/task/futex_table.h"
#include "core/kernel/task/host_name.h"
#include "core/kernel/task/kernel_log.h"
#include "core/kernel/task/power_action.h"
#include "core/kernel/task/task_list.h"
#include "core/kernel/task/user_notices.h"
#include "core/kernel/time/timer_queue.h"

namespace umk {

namespace vfs {
class Vfs;  // filesystem types, mounts, dentry cache (vfs/vfs.h)
}
namespace block {
class BlockDevices;
}
namespace device {
class DeviceRegistry;
}
namespace tty {
class TtyRegistry;
}
namespace socket {
class SocketLayer;
}
namespace mm {
class CacheWindow;
class PageCache;
}

class TtyRecorder;
class VdsoSource;

/// What the command line decided, as the core needs it.
struct BootOptions {
  uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  bool quiet = false;
  /// The end of the first process powers the machine off with its exit status instead of being a panic (umk run).
  bool ends_with_init = false;
  /// /proc/cmdline, without a newline; storage that outlives the kernel.
  std::string_view command_line;
};

/// Counters shown in /proc/umk; leak tests compare them before and after. Those of files and of memory are kept where these are made (vfs::ObjectCounts,
/// vfs::MountTree, vfs::DentryCache, mm::CacheWindow).
struct Counters {
  /// `calls` is of tasks that have ended: Task::calls has those of the others.
  std::atomic<uint64_t> calls{0}, trapped_calls{0}, patched_sites{0}, refused_sites{0};
  std::atomic<uint64_t> unimplemented[512] = {};
  std::atomic<int64_t> tasks{0}, processes{0}, kernel_stacks{0}, vessels{0};
};

/// What /proc last heard of the private memory of all programs, when, and how long that took. Several may write it at once: each of their answers will do.
struct PrivateMemory {
  std::atomic<uint64_t> pages{0}, asked_at_ns{0}, question_ns{0};
};

class Kernel {
 public:
  Kernel(guest::Engine& engine, const BootOptions& options) : engine(engine), options(options) {}

  guest::Engine& engine;
  const BootOptions options;
  Counters counters;
  PrivateMemory private_memory;
  TaskList tasks;
  futex::Table futexes;
  HostName host_name;
  KernelLog kernel_log;
  Freezer freezer{tasks};
  UserNotices user_notices;
  AsyncSignals async_signals{*this};
  const uint64_t boot_time_ns = host::now_ns(host::Clock::Boottime);

  // Parts of layers above, made by init/ in this order.
  mm::CacheWindow* cache_window = nullptr;
  mm::PageCache* page_cache = nullptr;
  VdsoSource* vdso = nullptr;
  time::TimerQueue* timers = &timer_queue_;
  vfs::Vfs* vfs = nullptr;
  device::DeviceRegistry* devices = nullptr;
  block::BlockDevices* block_devices = nullptr;
  tty::TtyRegistry* ttys = nullptr;
  socket::SocketLayer* sockets = nullptr;
  /// Null: nobody records what happens on terminals.
  TtyRecorder* tty_recorder = nullptr;

  std::atomic<PowerAction> power_action{PowerAction::None};
  std::atomic<int> exit_code{0};  // /proc/exitcode
  /// What reboot(2) set: ctrl-alt-del restarts at once instead of telling init by SIGINT.
  std::atomic<bool> ctrl_alt_del_restarts{true};

  /// Control-Alt-Delete: a signal for init, or a restart at once.
  void press_ctrl_alt_del();
  /// Asks for the end of the machine; the first request counts. The monitor sleeps on the futex word `power_action`.
  void request_power_action(PowerAction action);

 private:
  time::TimerQueue timer_queue_;
};

}  // namespace umk
