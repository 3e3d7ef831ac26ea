#include "core/kernel/task/task.h"

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task_bundle.h"

namespace umk {

Task::Task(Kernel& kernel, KernelStackHead& stack, TaskBundle& bundle, ThreadId tid, RefPtr<Process> process)
    : process_(std::move(process)), kernel_(kernel), stack_(stack), bundle_(bundle), tid_(tid) {
  kernel_.counters.tasks.fetch_add(1, std::memory_order_relaxed);
}

Task::~Task() { kernel_.counters.tasks.fetch_sub(1, std::memory_order_relaxed); }

void Task::last_reference_dropped() {
  TaskBundle& bundle = bundle_;
  this->~Task();
  bundle.release();
}

Registers& Task::registers() const { return kernel_.engine.registers(const_cast<Task&>(*this)); }

RefPtr<const Credentials> Task::credentials_ref() const {
  MutexLock lock(shared_mutex_);
  return credentials_;
}

void Task::set_credentials(RefPtr<const Credentials> credentials) {
  MutexLock lock(shared_mutex_);
  std::swap(credentials_, credentials);
}

RefPtr<vfs::FdTable> Task::fds_ref() const {
  MutexLock lock(shared_mutex_);
  return fds_;
}

RefPtr<vfs::FsContext> Task::fs_ref() const {
  MutexLock lock(shared_mutex_);
  return fs_;
}

RefPtr<mm::AddressSpace> Task::address_space_ref() const {
  MutexLock lock(shared_mutex_);
  return address_space_;
}

RefPtr<vfs::FdTable> Task::exchange_fds(RefPtr<vfs::FdTable> fds) {
  MutexLock lock(shared_mutex_);
  std::swap(fds_, fds);
  return fds;
}

RefPtr<vfs::FsContext> Task::exchange_fs(RefPtr<vfs::FsContext> fs) {
  MutexLock lock(shared_mutex_);
  std::swap(fs_, fs);
  return fs;
}

RefPtr<mm::AddressSpace> Task::exchange_address_space(RefPtr<mm::AddressSpace> space) {
  MutexLock lock(shared_mutex_);
  std::swap(address_space_, space);
  return space;
}

vfs::Caller Task::caller() const {
  return vfs::Caller{.credentials = *credentials_, .fs = *fs_, .file_size_limit = process_->limits.soft(Resource::FileSize)};
}

Process::Process(Kernel& kernel, ProcessId pid, TaskBundle* bundle) : bundle_(bundle), kernel_(kernel), pid_(pid) {
  kernel_.counters.processes.fetch_add(1, std::memory_order_relaxed);
}

Process::~Process() {
  delete timers.load();
  kernel_.counters.processes.fetch_sub(1, std::memory_order_relaxed);
}

void Process::last_reference_dropped() {
  TaskBundle* const bundle = bundle_;
  this->~Process();
  bundle->release();
}

void Kernel::press_ctrl_alt_del() {
  if (ctrl_alt_del_restarts.load()) return request_power_action(PowerAction::Restart);
  MutexLock lock(tasks.mutex);
  if (tasks.init) (void)send_signal(*tasks.init, SignalInfo::from_kernel(signals::kInterrupt));
}

void Kernel::request_power_action(PowerAction action) {
  PowerAction none = PowerAction::None;
  if (!power_action.compare_exchange_strong(none, action)) return;
  // In the words that scripts look for. Who runs one command did not ask for a machine's end.
  if (!options.ends_with_init && action != PowerAction::RestartNow)
    log(LogLevel::Info, "reboot: {}", action == PowerAction::Halt ? "System halted" : action == PowerAction::Restart ? "Restarting system" : "Power down");
  host::futex_wake(&power_action, INT32_MAX);
}

}  // namespace umk
