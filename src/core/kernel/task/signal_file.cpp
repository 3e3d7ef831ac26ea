#include "core/kernel/task/signal_file.h"

#include "core/abi/signalfd.h"
#include "core/kernel/task/signals.h"

namespace umk {

namespace {

namespace code {
constexpr int32_t kUser = 0, kTimer = -2, kSigIo = -5, kThread = -6, kKernel = 0x80;
}

void fill_sender(KernelSignalFdInfo& out, const SignalInfo& info) {
  out.pid = static_cast<uint32_t>(info.sender.pid);
  out.uid = info.sender.uid;
}

// Which members of siginfo_t count follows from number and code, see sigaction(2).
KernelSignalFdInfo spell(const SignalInfo& info) {
  KernelSignalFdInfo out{};
  out.signal = static_cast<uint32_t>(info.number);
  out.error = info.error;
  out.code = info.code;
  const bool is_plain = info.code == code::kUser || info.code == code::kThread || info.code == code::kKernel;
  if (is_plain) {
    fill_sender(out, info);
  } else if (info.code == code::kTimer) {
    out.timer_id = static_cast<uint32_t>(info.timer.timer_id);
    out.overrun = static_cast<uint32_t>(info.timer.overrun);
    out.value_pointer = info.timer.value;
    out.value_int = static_cast<int32_t>(info.timer.value);
  } else if (info.code == code::kSigIo || (info.number == signals::kIo && info.code > 0)) {
    out.band = static_cast<uint32_t>(info.io.band);
    out.fd = info.io.fd;
  } else if (info.code < 0) {
    fill_sender(out, info);
    out.value_pointer = info.sender.value;
    out.value_int = static_cast<int32_t>(info.sender.value);
  } else if (info.number == signals::kChild) {
    fill_sender(out, info);
    out.status = info.sender.child.status;
    out.user_time = static_cast<uint64_t>(info.sender.child.user_time);
    out.system_time = static_cast<uint64_t>(info.sender.child.system_time);
  } else if (info.number == signals::kBadCall) {
    out.call_address = info.bad_call.call_address;
    out.call_number = info.bad_call.call_number;
    out.architecture = info.bad_call.architecture;
  } else {
    out.address = info.fault.address;
  }
  return out;
}

constexpr uint64_t without_unstoppable(SignalSet set) {
  return (set & ~(SignalSet::of(signals::kKill) | SignalSet::of(signals::kStop))).bits;
}

}  // namespace

SignalFile::SignalFile(RefPtr<vfs::Inode> inode, SignalSet wanted, uint32_t flags)
    : OpenFile(std::move(inode), vfs::open_flags::kReadWrite | (flags & vfs::open_flags::kNonBlock)), wanted_(without_unstoppable(wanted)) {}

void SignalFile::set_wanted(SignalSet wanted) {
  wanted_.store(without_unstoppable(wanted), std::memory_order_relaxed);
  Task::current().process().signal_events.wake();
}

Result<SignalInfo> SignalFile::take(Task& task, bool nonblocking) {
  // sigtimedwait's wait, with this file's idea of an interruption: the call restarts.
  Process& process = task.process();
  for (;;) {
    sync::ContextWaiter waiter;
    sync::prepare_to_park();
    process.signal_events.add(waiter);
    std::optional<SignalInfo> info = take_signal(task, wanted());
    Result<void> woken;
    if (!info && !nonblocking) woken = sync::park(Sleep::Interruptible);
    process.signal_events.remove(waiter);
    if (info) return *info;
    if (nonblocking) return error(EAGAIN);
    TRY(std::move(woken));
  }
}

Result<size_t> SignalFile::read_at(uint64_t, UserOutBuffer& buffer) {
  if (buffer.remaining() < sizeof(KernelSignalFdInfo)) return error(EINVAL);
  Task& task = Task::current();
  size_t total = 0;
  while (buffer.remaining() >= sizeof(KernelSignalFdInfo)) {
    Result<SignalInfo> info = take(task, is_nonblocking() || total > 0);
    if (!info.ok()) {
      if (total > 0) break;
      return info.failure();
    }
    const KernelSignalFdInfo out = spell(info.value());
    Result<size_t> put = buffer.put(std::as_bytes(std::span(&out, 1)));
    if (!put.ok() || put.value() < sizeof(out)) {
      if (total > 0) break;
      return error(EFAULT);
    }
    total += sizeof(out);
  }
  return total;
}

uint32_t SignalFile::poll(vfs::PollTable* table) {
  Task* task = Task::current_or_null();
  if (!task) return 0;
  if (table) {
    Process& process = task->process();
    {
      MutexLock lock(mutex_);
      bool known = false;
      for (RefPtr<Process>& watched : watched_processes_) known = known || watched == &process;
      // Without memory to keep the process there is no watch: the poller learns nothing from this file.
      if (!known && !watched_processes_.push_back(RefPtr<Process>(process)).ok()) return 0;
    }
    table->watch(process.signal_events);
  }
  return (pending_signals(*task) & wanted()).empty() ? 0 : vfs::poll_bits::kIn;
}

void SignalFile::describe_details(TextSink& sink) { format(sink, "sigmask:\t{:016x}\n", wanted().bits); }

}  // namespace umk
