// Scheduling: nice values, affinity, policies. sched(7). The host schedules: guests get the ordinary policy, and is told of nice values that make one less important.
#include "core/abi/time.h"
#include "core/kernel/security/identity.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/kernel.h"

namespace umk {

namespace {

enum Policy : int { kOther = 0, kFifo = 1, kRoundRobin = 2, kBatch = 3, kIdle = 5, kDeadline = 6 };

Result<void> sys_sched_yield(Task&) {
  host::sched_yield();
  return {};
}

/// ESRCH for numbers that no task can have, too.
Result<RefPtr<Task>> find_any(Task& task, int32_t pid) {
  if (pid == 0) return RefPtr<Task>(task);
  MutexLock lock(task.kernel().tasks.mutex);
  RefPtr<Task> other = task.kernel().tasks.find_task(pid);
  if (!other) return error(ESRCH);
  return other;
}

Result<RefPtr<Task>> find(Task& task, int32_t pid) {
  if (pid < 0) return error(EINVAL);
  return find_any(task, pid);
}

Result<void> check_may_change(const Task& task, const Task& other) {
  if (identity::is_same_user(task.credentials(), *other.credentials_ref()) || task.credentials().has(Capability::SysNice)) return {};
  return error(EPERM);
}

// --- getpriority(2), setpriority(2)

constexpr int kMinimumNice = -20, kMaximumNice = 19;
enum PriorityOf : int { kProcess = 0, kGroup = 1, kUser = 2 };

/// Calls `body` for each task that (which, who) names; ESRCH when there is none. TaskList lock held.
template <typename Body>
Result<void> for_each_named_locked(Task& task, int which, int who, Body&& body) NO_THREAD_SAFETY_ANALYSIS {
  TaskList& tasks = task.kernel().tasks;
  bool found = false;
  auto visit = [&](Task& one) {
    found = true;
    body(one);
  };
  switch (which) {
    case kProcess: {
      const RefPtr<Task> one = who == 0 ? RefPtr<Task>(task) : tasks.find_task(who);
      if (one) visit(*one);
      break;
    }
    case kGroup: {
      const RefPtr<ProcessGroup> group = who == 0 ? task.process().group : tasks.find_group(who);
      if (!group) break;
      for (Process& process : group->members)
        for (Task& one : process.tasks) visit(one);
      break;
    }
    case kUser: {
      const UserId user = who == 0 ? task.credentials().uid : static_cast<UserId>(who);
      for (RefPtr<Task> one = tasks.next_task(1); one; one = tasks.next_task(one->tid() + 1))
        if (one->credentials_ref()->uid == user) visit(*one);
      break;
    }
    default:
      return error(EINVAL);
  }
  if (!found) return error(ESRCH);
  return {};
}

Result<int64_t> sys_getpriority(Task& task, int which, int who) {
  if (which < kProcess || which > kUser) return error(EINVAL);
  int lowest = kMaximumNice;
  MutexLock lock(task.kernel().tasks.mutex);
  TRY(for_each_named_locked(task, which, who, [&](Task& one) { lowest = one.nice < lowest ? one.nice.load() : lowest; }));
  return 20 - lowest;  // never negative: libc turns it around again
}

Result<void> sys_setpriority(Task& task, int which, int who, int nice) {
  if (which < kProcess || which > kUser) return error(EINVAL);
  nice = nice < kMinimumNice ? kMinimumNice : nice > kMaximumNice ? kMaximumNice : nice;
  int code = 0;
  MutexLock lock(task.kernel().tasks.mutex);
  TRY(for_each_named_locked(task, which, who, [&](Task& one) {
    if (!check_may_change(task, one).ok()) {
      code = EPERM;
      return;
    }
    // setrlimit(2), RLIMIT_NICE: the ceiling is 20 - limit.
    const uint64_t limit = one.process().limits.soft(Resource::Nice);
    const bool is_allowed = nice >= one.nice || limit >= static_cast<uint64_t>(20 - nice) || task.credentials().has(Capability::SysNice);
    if (!is_allowed) {
      code = EACCES;
      return;
    }
    one.nice.store(nice);
    (void)task.kernel().engine.reschedule(one);
  }));
  if (code != 0) return error(code);
  return {};
}

// --- policies

struct SchedulerParameter {
  int32_t priority;
};

bool is_realtime(int policy) { return policy == kFifo || policy == kRoundRobin; }

/// Only the ordinary policies can be promised on a host that schedules by itself.
Result<void> check_policy(int policy, int priority) {
  constexpr int kMaximumRealtimePriority = 99;
  if (is_realtime(policy)) return error(priority < 1 || priority > kMaximumRealtimePriority ? EINVAL : EPERM);
  if (policy != kOther && policy != kBatch && policy != kIdle) return error(EINVAL);
  if (priority != 0) return error(EINVAL);
  return {};
}

constexpr int kResetOnFork = 0x40000000;

Result<void> sys_sched_setscheduler(Task& task, int32_t pid, int policy, UserPtr<SchedulerParameter> parameter) {
  if (policy < 0 || !parameter) return error(EINVAL);
  const SchedulerParameter value = TRY(parameter.read());
  const RefPtr<Task> other = TRY(find(task, pid));
  const int plain = policy & ~kResetOnFork;
  TRY(check_policy(plain, value.priority));
  TRY(check_may_change(task, *other));
  other->scheduling_policy.store(plain);
  return task.kernel().engine.reschedule(*other);
}

Result<int64_t> sys_sched_getscheduler(Task& task, int32_t pid) { return TRY(find(task, pid))->scheduling_policy.load(); }

Result<void> sys_sched_setparam(Task& task, int32_t pid, UserPtr<SchedulerParameter> parameter) {
  if (!parameter) return error(EINVAL);
  const SchedulerParameter value = TRY(parameter.read());
  const RefPtr<Task> other = TRY(find(task, pid));
  return check_policy(other->scheduling_policy.load(), value.priority);
}

Result<void> sys_sched_getparam(Task& task, int32_t pid, UserPtr<SchedulerParameter> parameter) {
  if (!parameter) return error(EINVAL);
  TRY(find(task, pid));
  return parameter.write({0});
}

Result<int64_t> sys_sched_get_priority_max(Task&, int policy) {
  if (is_realtime(policy)) return 99;
  if (policy == kOther || policy == kBatch || policy == kIdle || policy == kDeadline) return 0;
  return error(EINVAL);
}

Result<int64_t> sys_sched_get_priority_min(Task&, int policy) {
  if (is_realtime(policy)) return 1;
  if (policy == kOther || policy == kBatch || policy == kIdle || policy == kDeadline) return 0;
  return error(EINVAL);
}

Result<void> sys_sched_rr_get_interval(Task& task, int32_t pid, UserPtr<KernelTimespec> into) {
  TRY(find(task, pid));
  return into.write({0, 4'000'000});
}

/// struct sched_attr, first version.
struct SchedulerAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};
static_assert(sizeof(SchedulerAttributes) == 48);

Result<void> sys_sched_setattr(Task& task, int32_t pid, UserPtr<SchedulerAttributes> pointer, uint32_t flags) {
  if (!pointer || pid < 0 || flags != 0) return error(EINVAL);
  const uint32_t size = TRY(UserPtr<uint32_t>(pointer.address()).read());
  if (size != 0 && size < sizeof(SchedulerAttributes)) {
    TRY(UserPtr<uint32_t>(pointer.address()).write(sizeof(SchedulerAttributes)));
    return error(E2BIG);
  }
  const SchedulerAttributes attributes = TRY(pointer.read());
  const RefPtr<Task> other = TRY(find(task, pid));
  TRY(check_policy(static_cast<int>(attributes.policy), static_cast<int>(attributes.priority)));
  TRY(check_may_change(task, *other));
  if (attributes.nice < other->nice && !task.credentials().has(Capability::SysNice)) return error(EPERM);
  other->scheduling_policy.store(static_cast<int>(attributes.policy));
  other->nice.store(attributes.nice < kMinimumNice ? kMinimumNice : attributes.nice > kMaximumNice ? kMaximumNice : attributes.nice);
  return task.kernel().engine.reschedule(*other);
}

Result<void> sys_sched_getattr(Task& task, int32_t pid, UserPtr<SchedulerAttributes> pointer, uint32_t size, uint32_t flags) {
  if (!pointer || pid < 0 || flags != 0 || size < sizeof(SchedulerAttributes) || size > kPageSize) return error(EINVAL);
  const RefPtr<Task> other = TRY(find(task, pid));
  SchedulerAttributes attributes{};
  attributes.size = sizeof attributes;
  attributes.policy = static_cast<uint32_t>(other->scheduling_policy.load());
  attributes.nice = other->nice.load();
  return pointer.write(attributes);
}

// --- affinity

/// Bytes of a mask that holds every CPU of the machine, in whole words as the kernel copies them.
size_t mask_bytes(const Kernel& kernel) { return (kernel.options.cpus + 63) / 64 * 8; }

uint64_t all_cpus(const Kernel& kernel) { return kernel.options.cpus >= 64 ? UINT64_MAX : (uint64_t{1} << kernel.options.cpus) - 1; }

Result<void> sys_sched_setaffinity(Task& task, int32_t pid, size_t size, uint64_t mask) {
  uint64_t bits = 0;
  const size_t used = size < sizeof bits ? size : sizeof bits;
  if (copy_from_user(&bits, mask, used).faulted) return error(EFAULT);
  const RefPtr<Task> other = TRY(find_any(task, pid));
  TRY(check_may_change(task, *other));
  bits &= all_cpus(task.kernel());
  if (bits == 0) return error(EINVAL);
  const uint64_t before = other->affinity.exchange(bits);
  const Result<void> told = task.kernel().engine.reschedule(*other);
  if (!told.ok()) other->affinity.store(before);
  return told;
}

Result<int64_t> sys_sched_getaffinity(Task& task, int32_t pid, size_t size, uint64_t mask) {
  const Kernel& kernel = task.kernel();
  if (size * 8 < kernel.options.cpus || size % sizeof(uint64_t) != 0) return error(EINVAL);
  const RefPtr<Task> other = TRY(find_any(task, pid));
  const uint64_t bits = other->affinity.load() & all_cpus(kernel);
  const size_t bytes = size < mask_bytes(kernel) ? size : mask_bytes(kernel);
  if (copy_to_user(mask, &bits, bytes < sizeof bits ? bytes : sizeof bits).faulted) return error(EFAULT);
  if (bytes > sizeof bits && zero_user(mask + sizeof bits, bytes - sizeof bits).faulted) return error(EFAULT);
  return static_cast<int64_t>(bytes);
}

Result<void> sys_getcpu(Task& task, UserPtr<uint32_t> cpu, UserPtr<uint32_t> node) {
  uint32_t here = 0;
  host::raw_call(host::Call::Getcpu, reinterpret_cast<uint64_t>(&here));
  const unsigned cpus = task.kernel().options.cpus == 0 ? 1 : task.kernel().options.cpus;
  if (cpu) TRY(cpu.write(here % cpus));
  if (node) TRY(node.write(0));
  return {};
}

// --- ioprio_get(2), ioprio_set(2): kept and shown; there is no disk scheduler to heed it

Result<int64_t> sys_ioprio_get(Task& task, int which, int who) {
  if (which < 1 || which > 3) return error(EINVAL);
  if (which != 1) {
    int32_t best = 0;
    MutexLock lock(task.kernel().tasks.mutex);
    TRY(for_each_named_locked(task, which - 1, who, [&](Task& one) { best = one.io_priority.load(); }));
    return best;
  }
  return TRY(find(task, who))->io_priority.load();
}

Result<void> sys_ioprio_set(Task& task, int which, int who, int priority) {
  constexpr int kClassShift = 13, kRealtimeClass = 1, kIdleClass = 3, kLevels = 8;
  const int io_class = priority >> kClassShift;
  const int level = priority & (kLevels - 1);
  if (which < 1 || which > 3 || priority < 0 || io_class > kIdleClass) return error(EINVAL);
  if (io_class == 0 && level != 0) return error(EINVAL);
  if (io_class == kRealtimeClass && !task.credentials().has(Capability::SysNice) && !task.credentials().has(Capability::SysAdmin)) return error(EPERM);
  int code = 0;
  MutexLock lock(task.kernel().tasks.mutex);
  TRY(for_each_named_locked(task, which - 1, who, [&](Task& one) {
    if (check_may_change(task, one).ok()) one.io_priority.store(priority);
    else code = EPERM;
  }));
  if (code != 0) return error(code);
  return {};
}

}  // namespace

const SyscallRow kSysScheduleRows[] = {
    full<sys_sched_yield>(24, "sched_yield"),
    full<sys_getpriority>(140, "getpriority"),
    partial<sys_setpriority>(141, "setpriority", "values below 0 are not told to the host"),
    partial<sys_sched_setparam>(142, "sched_setparam", "no real-time policies"),
    partial<sys_sched_getparam>(143, "sched_getparam", "no real-time policies"),
    partial<sys_sched_setscheduler>(144, "sched_setscheduler", "no real-time policies: EPERM"),
    partial<sys_sched_getscheduler>(145, "sched_getscheduler", "no real-time policies"),
    full<sys_sched_get_priority_max>(146, "sched_get_priority_max"),
    full<sys_sched_get_priority_min>(147, "sched_get_priority_min"),
    full<sys_sched_rr_get_interval>(148, "sched_rr_get_interval"),
    partial<sys_sched_setaffinity>(203, "sched_setaffinity", "up to 64 CPUs"),
    partial<sys_sched_getaffinity>(204, "sched_getaffinity", "up to 64 CPUs"),
    partial<sys_ioprio_set>(251, "ioprio_set", "kept and shown only"),
    full<sys_ioprio_get>(252, "ioprio_get"),
    full<sys_getcpu>(309, "getcpu"),
    partial<sys_sched_setattr>(314, "sched_setattr", "no real-time and deadline policies"),
    full<sys_sched_getattr>(315, "sched_getattr"),
};
const size_t kSysScheduleRowCount = std::size(kSysScheduleRows);

}  // namespace umk
