#include "core/kernel/sysrq/sysrq.h"

#include "core/base/check.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/memory_claim.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/tty/tty.h"
#include "core/kernel/tty/tty_registry.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::sysrq {

namespace {

void set_log_level(Kernel& kernel, Printer& printer, char key) {
  kernel.kernel_log.levels.console.store(key - '0');
  printer.print("sysrq: Loglevel set to {}", key - '0');
}

void restart(Kernel& kernel, Printer&, char) { kernel.request_power_action(PowerAction::RestartNow); }

void crash(Kernel&, Printer&, char) { panic("sysrq triggered crash"); }

void power_off(Kernel& kernel, Printer&, char) { kernel.request_power_action(PowerAction::PowerOff); }

void signal_all(Kernel& kernel, int signal) {
  MutexLock lock(kernel.tasks.mutex);
  for (RefPtr<Process> process = kernel.tasks.next_process(1); process; process = kernel.tasks.next_process(process->pid() + 1))
    if (process.get() != kernel.tasks.init && !process->is_zombie) (void)send_signal(*process, SignalInfo::from_kernel(signal));
}

void terminate_all(Kernel& kernel, Printer&, char) { signal_all(kernel, signals::kTerminate); }

void kill_all(Kernel& kernel, Printer&, char) { signal_all(kernel, signals::kKill); }

/// The process to which most memory was promised, moved by its adjustment.
void kill_largest(Kernel& kernel, Printer& printer, char) {
  RefPtr<Process> victim;
  int64_t most = 0;
  uint64_t its_bytes = 0;
  const uint64_t all_bytes = kernel.cache_window ? kernel.cache_window->account().limit() : 0;
  for (ProcessId next = 1;;) {
    RefPtr<Process> process;
    RefPtr<mm::AddressSpace> space;
    {
      MutexLock lock(kernel.tasks.mutex);
      process = kernel.tasks.next_process(next);
      if (!process) break;
      next = process->pid() + 1;
      if (process.get() != kernel.tasks.init && process->leader && !process->is_zombie) space = process->leader->address_space_ref();
    }
    if (!space) continue;
    const std::optional<int64_t> claim = memory_claim(*process, space->committed_bytes(), all_bytes);
    if (!claim || (victim && *claim < most)) continue;
    most = *claim;
    its_bytes = space->committed_bytes();
    victim = std::move(process);
  }
  if (!victim) return printer.line("Out of memory and no killable processes...");
  printer.print("Out of memory: Killed process {} ({}) total-vm:{}kB", victim->pid(), victim->leader->name, its_bytes / 1024);
  (void)send_signal(*victim, SignalInfo::from_kernel(signals::kKill));
}

/// Secure attention: no program is left that could imitate a login on the console.
void kill_console_users(Kernel& kernel, Printer&, char) {
  const tty::Tty* const console = kernel.ttys ? kernel.ttys->console() : nullptr;
  if (!console) return;
  MutexLock lock(kernel.tasks.mutex);
  for (RefPtr<Process> process = kernel.tasks.next_process(1); process; process = kernel.tasks.next_process(process->pid() + 1)) {
    const bool uses_console =
        process->session && process->session->controlling_tty.get() == static_cast<const ControllingTerminal*>(console);
    if (uses_console && process.get() != kernel.tasks.init) (void)send_signal(*process, SignalInfo::from_kernel(signals::kKill));
  }
}

/// The console of somebody whose program left it raw.
void restore_console(Kernel& kernel, Printer&, char) {
  if (tty::Tty* const console = kernel.ttys ? kernel.ttys->console() : nullptr) console->restore_settings();
}

// Two orders that find nothing to do: no system call makes a task of this kernel real-time, and none freezes a filesystem.
void make_nice(Kernel&, Printer& printer, char) { printer.line("No task is real-time"); }
void thaw(Kernel&, Printer& printer, char) { printer.line("No filesystem is frozen"); }

void write_out(Kernel& kernel, Printer& printer, char) {
  if (kernel.vfs) (void)kernel.vfs->sync_all();
  Vector<RefPtr<block::BlockDevice>> devices;
  if (kernel.block_devices && kernel.block_devices->list(devices).ok())
    for (const RefPtr<block::BlockDevice>& device : devices)
      if (!device->disk() && !device->is_read_only()) (void)device->flush();
  printer.line("Emergency Sync complete");
}

/// Makes all filesystems on disks read-only, whether they are in use or not.
void remount_read_only(Kernel& kernel, Printer& printer, char) {
  Vector<RefPtr<vfs::Superblock>> superblocks;
  if (kernel.vfs && kernel.vfs->mounts().superblocks(superblocks).ok()) {
    for (const RefPtr<vfs::Superblock>& superblock : superblocks) {
      const bool is_on_disk = superblock->device().major != 0;
      if (is_on_disk && !superblock->is_read_only() && superblock->remount({}, true).ok()) superblock->set_read_only(true);
    }
  }
  printer.line("Emergency Remount complete");
}

void show_memory(Kernel& kernel, Printer& printer, char) { report_memory(kernel, printer); }
void show_registers(Kernel& kernel, Printer& printer, char) { report_registers(kernel, printer); }
void show_tasks(Kernel& kernel, Printer& printer, char) { report_tasks(kernel, printer, WhichTasks::All); }
void show_blocked_tasks(Kernel& kernel, Printer& printer, char) { report_tasks(kernel, printer, WhichTasks::Blocked); }
void show_timers(Kernel& kernel, Printer& printer, char) { report_timers(kernel, printer); }
void show_running_tasks(Kernel& kernel, Printer& printer, char) { report_tasks(kernel, printer, WhichTasks::Running); }

struct Order {
  std::string_view keys;
  int permission;          // the bit that allows it
  std::string_view help;   // in the list
  std::string_view title;  // said before
  void (*give)(Kernel&, Printer&, char key);
};

constexpr Order kOrders[] = {
    {"0123456789", keys::kLogLevels, "loglevel(0-9)", "Changing Loglevel", set_log_level},
    {"b", keys::kPower, "reboot(b)", "Resetting", restart},
    {"c", keys::kReports, "crash(c)", "Trigger a crash", crash},
    {"e", keys::kSignals, "terminate-all-tasks(e)", "Terminate All Tasks", terminate_all},
    {"f", keys::kSignals, "memory-full-oom-kill(f)", "Manual OOM execution", kill_largest},
    {"i", keys::kSignals, "kill-all-tasks(i)", "Kill All Tasks", kill_all},
    {"j", keys::kSignals, "thaw-filesystems(j)", "Emergency Thaw of all frozen filesystems", thaw},
    {"k", keys::kKeyboard, "sak(k)", "SAK", kill_console_users},
    {"l", keys::kReports, "show-backtrace-all-active-cpus(l)", "Show backtrace of all active CPUs", show_running_tasks},
    {"m", keys::kReports, "show-memory-usage(m)", "Show Memory", show_memory},
    {"n", keys::kNice, "nice-all-RT-tasks(n)", "Nice All RT Tasks", make_nice},
    {"o", keys::kPower, "poweroff(o)", "Power Off", power_off},
    {"p", keys::kReports, "show-registers(p)", "Show Regs", show_registers},
    {"q", keys::kReports, "show-all-timers(q)", "Show clockevent devices & pending hrtimers (no others)", show_timers},
    {"r", keys::kKeyboard, "unraw(r)", "Keyboard mode set to system default", restore_console},
    {"s", keys::kSync, "sync(s)", "Emergency Sync", write_out},
    {"t", keys::kReports, "show-task-states(t)", "Show State", show_tasks},
    {"u", keys::kRemount, "unmount(u)", "Emergency Remount R/O", remount_read_only},
    {"w", keys::kReports, "show-blocked-tasks(w)", "Show Blocked State", show_blocked_tasks},
};

void explain(Printer& printer) {
  char buffer[KernelLog::kMaximumLine];
  BufferSink sink(buffer);
  sink.put("sysrq: HELP : ");
  for (const Order& order : kOrders) format(sink, "{} ", order.help);
  printer.line(sink.view());
}

}  // namespace

void Printer::line(std::string_view text) {
  log_line(LogLevel::Info, text);
  if (!reply_) return;
  reply_->put(text);
  reply_->put("\n");
}

void Printer::lines(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void handle(Kernel& kernel, char key, Source source, TextSink* reply) {
  Printer printer(reply);
  const int allowed = source == Source::Key && kernel.ttys ? kernel.ttys->sysrq_keys.load() : keys::kAll;
  if (allowed == 0) return;
  for (const Order& order : kOrders) {
    if (order.keys.find(key) == std::string_view::npos) continue;
    if (allowed != keys::kAll && !(allowed & order.permission)) return printer.line("sysrq: This sysrq operation is disabled.");
    printer.print("sysrq: {}", order.title);
    return order.give(kernel, printer, key);
  }
  explain(printer);
}

}  // namespace umk::sysrq
