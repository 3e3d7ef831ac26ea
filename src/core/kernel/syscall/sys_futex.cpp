// futex(2), futex_waitv(2), robust lists.
#include "core/abi/time.h"
#include "core/kernel/security/identity.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/futex.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

enum Command : int {
  kWait = 0, kWake = 1, kRequeue = 3, kCompareRequeue = 4, kWakeOp = 5, kLockPi = 6, kUnlockPi = 7, kTryLockPi = 8, kWaitBitset = 9,
  kWakeBitset = 10, kWaitRequeuePi = 11, kCompareRequeuePi = 12, kLockPi2 = 13,
};
constexpr int kPrivateFlag = 128, kRealtimeFlag = 256;

bool takes_timeout(int command) {
  return command == kWait || command == kLockPi || command == kLockPi2 || command == kWaitBitset || command == kWaitRequeuePi;
}

/// The timeout argument as a deadline: relative for FUTEX_WAIT, absolute for the others.
Result<Deadline> read_deadline(int command, bool is_realtime, uint64_t timeout) {
  if (!takes_timeout(command) || timeout == 0) return Deadline::never();
  const KernelTimespec value = TRY(UserPtr<KernelTimespec>(timeout).read());
  if (!value.is_valid()) return error(EINVAL);
  if (command == kWait) return Deadline::after_ns(value.to_ns());
  if (!is_realtime) return Deadline{value.to_ns()};
  return Deadline{TRY(time::to_monotonic(clock_ids::kRealtime, value.to_ns()))};
}

Result<int64_t> restart_wait(Task& task);

/// An interrupted wait goes on with the same end: with a timeout by restart_syscall(2).
Result<int64_t> wait_restartably(Task& task, uint64_t address, bool process_private, uint32_t expected, uint32_t bitset, Deadline deadline) {
  const Result<void> outcome = futex::wait(task, address, process_private, expected, bitset, deadline);
  if (outcome.ok()) return 0;
  if (outcome.failure().code != ERESTARTSYS || deadline.is_never()) return outcome.failure();
  task.restart_function = &restart_wait;
  task.restart_data[0] = address;
  task.restart_data[1] = expected | (process_private ? uint64_t{1} << 32 : 0);
  task.restart_data[2] = bitset;
  task.restart_data[3] = deadline.monotonic_ns;
  return error(ERESTART_RESTARTBLOCK);
}

Result<int64_t> restart_wait(Task& task) {
  const uint64_t packed = task.restart_data[1];
  return wait_restartably(task, task.restart_data[0], packed >> 32, static_cast<uint32_t>(packed), static_cast<uint32_t>(task.restart_data[2]),
                          Deadline{task.restart_data[3]});
}

Result<int64_t> done(Result<void> result) {
  TRY(std::move(result));
  return 0;
}

Result<int64_t> sys_futex(Task& task, uint64_t address, int operation, uint32_t value, uint64_t timeout, uint64_t second, uint32_t third) {
  const int command = operation & ~(kPrivateFlag | kRealtimeFlag);
  const bool is_private = operation & kPrivateFlag;
  bool is_realtime = operation & kRealtimeFlag;
  if (is_realtime && command != kWaitBitset && command != kWaitRequeuePi && command != kLockPi2) return error(ENOSYS);
  // The old FUTEX_LOCK_PI always counts on the clock of the day.
  if (command == kLockPi) is_realtime = true;
  const Deadline deadline = TRY(read_deadline(command, is_realtime, timeout));
  const int count = static_cast<int>(value);
  const int second_count = static_cast<int>(timeout);  // the fourth argument is a count for these
  switch (command) {
    case kWait:
      return wait_restartably(task, address, is_private, value, ~uint32_t{0}, deadline);
    case kWaitBitset:
      return wait_restartably(task, address, is_private, value, third, deadline);
    case kWake:
      return futex::wake(task, address, is_private, count);
    case kWakeBitset:
      return futex::wake(task, address, is_private, count, third);
    case kRequeue:
      return futex::requeue(task, address, second, is_private, count, second_count, nullptr);
    case kCompareRequeue:
      return futex::requeue(task, address, second, is_private, count, second_count, &third);
    case kWakeOp:
      return futex::wake_op(task, address, second, is_private, count, second_count, third);
    case kLockPi:
    case kLockPi2: {
      const Result<void> locked = futex::lock_pi(task, address, is_private, false, deadline);
      // An absolute end: the call simply starts again.
      if (!locked.ok() && locked.failure().code == ERESTARTSYS) return error(ERESTARTNOINTR);
      return done(locked.ok() ? Result<void>{} : Result<void>{locked.failure()});
    }
    case kTryLockPi:
      return done(futex::lock_pi(task, address, is_private, true, Deadline::never()));
    case kUnlockPi:
      return done(futex::unlock_pi(task, address, is_private));
    case kWaitRequeuePi: {
      const Result<void> outcome = futex::wait_requeue_pi(task, address, second, is_private, value, ~uint32_t{0}, deadline);
      // Whether it was requeued is not known any more after a signal: the caller looks at its condition again.
      if (!outcome.ok() && outcome.failure().code == ERESTARTSYS) return error(EAGAIN);
      return done(outcome.ok() ? Result<void>{} : Result<void>{outcome.failure()});
    }
    case kCompareRequeuePi:
      return futex::requeue_pi(task, address, second, is_private, count, second_count, &third);
    default:
      return error(ENOSYS);
  }
}

/// struct futex_waitv.
struct KernelWaitItem {
  uint64_t expected;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
};
static_assert(sizeof(KernelWaitItem) == 24);

Result<int64_t> sys_futex_waitv(Task& task, uint64_t items, uint32_t count, uint32_t flags, UserPtr<KernelTimespec> timeout, int clock_id) {
  constexpr uint32_t kSize32 = 2, kPrivate = 128;
  if (flags != 0 || count == 0 || count > futex::kMaximumWaitItems || items == 0) return error(EINVAL);
  Deadline deadline = Deadline::never();
  if (timeout) {
    if (clock_id != clock_ids::kMonotonic && clock_id != clock_ids::kRealtime) return error(EINVAL);
    const KernelTimespec value = TRY(timeout.read());
    if (!value.is_valid()) return error(EINVAL);
    deadline = Deadline{TRY(time::to_monotonic(clock_id, value.to_ns()))};
  }
  Vector<futex::WaitItem> wanted;
  TRY(wanted.reserve(count));
  for (uint32_t i = 0; i < count; ++i) {
    const KernelWaitItem item = TRY((UserPtr<KernelWaitItem>(items) + i).read());
    if ((item.flags & ~(kPrivate | kSize32)) || !(item.flags & kSize32) || item.reserved != 0 || item.expected > UINT32_MAX) return error(EINVAL);
    TRY(wanted.push_back({item.address, static_cast<uint32_t>(item.expected), (item.flags & kPrivate) != 0}));
  }
  return futex::wait_any(task, wanted, deadline);
}

constexpr size_t kRobustHeadSize = 24;

Result<void> sys_set_robust_list(Task& task, uint64_t head, size_t size) {
  if (size != kRobustHeadSize) return error(EINVAL);
  task.robust_list_head = head;
  return {};
}

Result<void> sys_get_robust_list(Task& task, int32_t tid, UserPtr<uint64_t> head, UserPtr<uint64_t> size) {
  uint64_t value = task.robust_list_head;
  if (tid != 0) {
    MutexLock lock(task.kernel().tasks.mutex);
    const RefPtr<Task> other = task.kernel().tasks.find_task(tid);
    if (!other) return error(ESRCH);
    if (&other->process() != &task.process() && !task.credentials().has(Capability::SysPtrace)) return error(EPERM);
    value = other->robust_list_head;
  }
  TRY(size.write(kRobustHeadSize));
  return head.write(value);
}

}  // namespace

const SyscallRow kSysFutexRows[] = {
    partial<sys_futex>(202, "futex", "priorities are not inherited; no FUTEX_FD"),
    full<sys_set_robust_list>(273, "set_robust_list"),
    full<sys_get_robust_list>(274, "get_robust_list"),
    full<sys_futex_waitv>(449, "futex_waitv"),
};
const size_t kSysFutexRowCount = std::size(kSysFutexRows);

}  // namespace umk
