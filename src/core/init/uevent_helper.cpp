#include "core/init/uevent_helper.h"

#include "core/base/log.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/clone.h"
#include "core/kernel/task/exec.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/vfs/path_walk.h"

namespace umk::init {

namespace {
// Events can be caused in a loop.
constinit LogLimit log_limit;
}  // namespace

namespace {

constinit UeventHelper* the_helper = nullptr;

/// The value of a string NAME=value of the message.
std::string_view value_of(std::string_view message, std::string_view name) {
  while (!message.empty()) {
    const std::string_view string = split_first(message, '\0');
    if (string.size() > name.size() && string.starts_with(name) && string[name.size()] == '=') return string.substr(name.size() + 1);
  }
  return {};
}

}  // namespace

Result<void> UeventHelper::attach() {
  the_helper = this;
  return uevents_.add_receiver(*this);
}

void UeventHelper::receive(RefPtr<device::UeventMessage> message) {
  {
    MutexLock lock(mutex_);
    if (waiting_.size() >= kMostWaiting || !waiting_.push_back(std::move(message)).ok()) return;
  }
  kernel_.timers->arm(*this, host::now_ns(host::Clock::Monotonic));
}

void UeventHelper::on_expired() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      if (waiting_.empty()) return;
      const Result<void> moved = starting_.push_back(waiting_[0]);
      waiting_.erase(0);
      if (!moved.ok()) continue;
    }
    if (const Result<void> started = start_one(); !started.ok()) {
      log_limited(log_limit, "uevent_helper", LogLevel::Warning, "umk: the program of uevent_helper cannot be started: errno {}", started.code());
      MutexLock lock(mutex_);
      // The last one made a place for itself that nobody will take.
      if (!starting_.empty()) starting_.erase(starting_.size() - 1);
    }
  }
}

Result<void> UeventHelper::start_one() {
  RefPtr<Task> first;
  {
    MutexLock lock(kernel_.tasks.mutex);
    if (kernel_.tasks.init) first = kernel_.tasks.init->leader;
  }
  const RefPtr<vfs::FsContext> fs = first ? first->fs_ref() : nullptr;
  if (!fs) return error(ESRCH);
  InitContext context;
  context.fds = TRY(make_ref<vfs::FdTable>());
  context.fs = TRY(fs->clone());
  context.address_space = TRY(mm::AddressSpace::create(kernel_.engine, *kernel_.cache_window));
  return start_helper_task(kernel_, std::move(context), "uevent_helper", become_program);
}

void UeventHelper::become_program(Task& task) {
  if (const Result<void> executed = the_helper->run(task); !executed.ok()) exit_group(task, exit_status_of_code(127));
}

Result<void> UeventHelper::run(Task& task) {
  RefPtr<device::UeventMessage> message;
  {
    MutexLock lock(mutex_);
    if (starting_.empty()) return error(ENOENT);
    message = starting_[0];
    starting_.erase(0);
  }
  const String path = TRY(uevents_.helper());
  if (path.view().empty()) return error(ENOENT);
  ExecRequest request;
  request.file = TRY(open_executable(task, nullptr, path, vfs::walk::kFollow));
  request.name = TRY(path.clone());
  TRY(request.arguments.add(path));
  TRY(request.arguments.add(value_of(message->text(), "SUBSYSTEM")));
  TRY(request.environment.add("HOME=/"));
  TRY(request.environment.add("PATH=/sbin:/bin:/usr/sbin:/usr/bin"));
  std::string_view rest = message->text();
  split_first(rest, '\0');  // "add@/devices/..."
  while (!rest.empty()) TRY(request.environment.add(split_first(rest, '\0')));
  message = nullptr;
  return exec(task, std::move(request));
}

}  // namespace umk::init
