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

/// Whether `nice` is one that RLIMIT_NICE allows: setrlimit(2), the ceiling is 20 - limit.
bool may_have_nice(const Task& task, int nice) { return task.process().limits.soft(Resource::Nice) >= static_cast<uint64_t>(20 - nice); }

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
    if (nice < one.nice && !may_have_nice(one, nice) && !task.credentials().has(Capability::SysNice)) {
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

/// A policy with its parameters, as sched_setattr(2) has them; the other calls change a part.
struct Scheduling {
  int policy;
  uint32_t priority;
  int nice;
  bool resets_on_fork;
};

Scheduling scheduling_of(const Task& task) {
  return {task.scheduling_policy.load(), 0, task.nice.load(), task.resets_scheduling_on_fork.load()};
}

/// What a caller without CAP_SYS_NICE may do: sched(7), "Privileges and resource limits".
Result<void> check_may_schedule(const Task& task, const Task& other, const Scheduling& wanted) {
  if (task.credentials().has(Capability::SysNice)) return {};
  const Scheduling now = scheduling_of(other);
  const bool leaves_idle = now.policy == kIdle && wanted.policy != kIdle;
  if (wanted.nice < now.nice && !may_have_nice(other, wanted.nice)) return error(EPERM);
  if (leaves_idle && !may_have_nice(other, now.nice)) return error(EPERM);
  if (now.resets_on_fork && !wanted.resets_on_fork) return error(EPERM);
  return check_may_change(task, other);
}

/// The host schedules by itself, so that no time can be promised: real-time policies are refused, as they are to a control group without a real-time share.
Result<void> schedule(Task& task, Task& other, const Scheduling& wanted) {
  constexpr uint32_t kMaximumRealtimePriority = 99;
  if (wanted.policy != kOther && wanted.policy != kBatch && wanted.policy != kIdle && !is_realtime(wanted.policy)) return error(EINVAL);
  if (wanted.priority > kMaximumRealtimePriority || is_realtime(wanted.policy) != (wanted.priority != 0)) return error(EINVAL);
  TRY(check_may_schedule(task, other, wanted));
  if (is_realtime(wanted.policy)) return error(EPERM);
  other.scheduling_policy.store(wanted.policy);
  other.nice.store(wanted.nice);
  other.resets_scheduling_on_fork.store(wanted.resets_on_fork);
  return task.kernel().engine.reschedule(other);
}

constexpr int kResetOnFork = 0x40000000;

Result<void> sys_sched_setscheduler(Task& task, int32_t pid, int policy, UserPtr<SchedulerParameter> parameter) {
  if (policy < 0 || !parameter || pid < 0) return error(EINVAL);
  const SchedulerParameter value = TRY(parameter.read());
  const RefPtr<Task> other = TRY(find(task, pid));
  return schedule(task, *other, {policy & ~kResetOnFork, static_cast<uint32_t>(value.priority), other->nice.load(), (policy & kResetOnFork) != 0});
}

Result<int64_t> sys_sched_getscheduler(Task& task, int32_t pid) {
  const Scheduling now = scheduling_of(*TRY(find(task, pid)));
  return now.policy | (now.resets_on_fork ? kResetOnFork : 0);
}

Result<void> sys_sched_setparam(Task& task, int32_t pid, UserPtr<SchedulerParameter> parameter) {
  if (!parameter || pid < 0) return error(EINVAL);
  const SchedulerParameter value = TRY(parameter.read());
  const RefPtr<Task> other = TRY(find(task, pid));
  Scheduling wanted = scheduling_of(*other);
  wanted.priority = static_cast<uint32_t>(value.priority);
  return schedule(task, *other, wanted);
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

/// struct sched_attr: its first version ends before the limits of utilization.
struct SchedulerAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t utilization_minimum, utilization_maximum;
};
static_assert(sizeof(SchedulerAttributes) == 56);
constexpr uint32_t kFirstVersionBytes = 48;

/// SCHED_FLAG_*. Those between are for deadlines.
enum AttributeFlags : uint64_t { kReset = 1, kKeepPolicy = 8, kKeepParameters = 0x10, kUtilization = 0x60, kAllFlags = 0x7f };

/// E2BIG, with the size that we know, for what is too small or says more than we know.
Result<SchedulerAttributes> read_attributes(UserPtr<SchedulerAttributes> pointer) {
  uint32_t size = TRY(UserPtr<uint32_t>(pointer.address()).read());
  if (size == 0) size = kFirstVersionBytes;
  bool fits = size >= kFirstVersionBytes && size <= kPageSize;
  for (uint64_t at = sizeof(SchedulerAttributes); fits && at < size; ++at) fits = TRY(UserPtr<char>(pointer.address() + at).read()) == 0;
  if (!fits) {
    TRY(UserPtr<uint32_t>(pointer.address()).write(sizeof(SchedulerAttributes)));
    return error(E2BIG);
  }
  SchedulerAttributes attributes{};
  if (copy_from_user(&attributes, pointer.address(), size < sizeof attributes ? size : sizeof attributes).faulted) return error(EFAULT);
  if ((attributes.flags & kUtilization) && size < sizeof attributes) return error(EINVAL);
  attributes.nice = attributes.nice < kMinimumNice ? kMinimumNice : attributes.nice > kMaximumNice ? kMaximumNice : attributes.nice;
  return attributes;
}

/// The three times of SCHED_DEADLINE, sched(7): 1024 ns at the least, each within the next.
bool is_deadline(const SchedulerAttributes& attributes) {
  constexpr uint64_t kShortest = 1024;
  const uint64_t period = attributes.period ? attributes.period : attributes.deadline;
  return attributes.runtime >= kShortest && attributes.runtime <= attributes.deadline && attributes.deadline <= period && period <= INT64_MAX;
}

Result<void> sys_sched_setattr(Task& task, int32_t pid, UserPtr<SchedulerAttributes> pointer, uint32_t flags) {
  if (!pointer || pid < 0 || flags != 0) return error(EINVAL);
  const SchedulerAttributes attributes = TRY(read_attributes(pointer));
  if (static_cast<int32_t>(attributes.policy) < 0) return error(EINVAL);
  const RefPtr<Task> other = TRY(find(task, pid));
  Scheduling wanted{static_cast<int>(attributes.policy), attributes.priority, attributes.nice, (attributes.flags & kReset) != 0};
  const Scheduling now = scheduling_of(*other);
  if (attributes.flags & kKeepPolicy) {
    wanted.policy = now.policy;
    wanted.resets_on_fork = now.resets_on_fork;
  }
  if (attributes.flags & kKeepParameters) wanted.nice = now.nice;
  if (attributes.flags & ~kAllFlags) return error(EINVAL);
  // As on a kernel without such limits.
  if (attributes.flags & kUtilization) return error(EOPNOTSUPP);
  if (wanted.policy == kDeadline) {
    if (wanted.priority != 0 || !is_deadline(attributes)) return error(EINVAL);
    // There is no time left that could be promised.
    return error(task.credentials().has(Capability::SysNice) ? EBUSY : EPERM);
  }
  // Who keeps the parameters keeps the policy that they belong to.
  if (attributes.flags & kKeepParameters) wanted.policy = now.policy;
  return schedule(task, *other, wanted);
}

Result<void> sys_sched_getattr(Task& task, int32_t pid, UserPtr<SchedulerAttributes> pointer, uint32_t size, uint32_t flags) {
  if (!pointer || pid < 0 || flags != 0 || size < kFirstVersionBytes || size > kPageSize) return error(EINVAL);
  const Scheduling now = scheduling_of(*TRY(find(task, pid)));
  SchedulerAttributes attributes{};
  attributes.size = size < sizeof attributes ? size : sizeof attributes;
  attributes.policy = static_cast<uint32_t>(now.policy);
  if (now.resets_on_fork) attributes.flags = kReset;
  attributes.nice = now.nice;
  if (copy_to_user(pointer.address(), &attributes, attributes.size).faulted) return error(EFAULT);
  return {};
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
    partial<sys_sched_setattr>(314, "sched_setattr", "no real-time policies: EPERM; no deadlines: EBUSY"),
    full<sys_sched_getattr>(315, "sched_getattr"),
};
const size_t kSysScheduleRowCount = std::size(kSysScheduleRows);

}  // namespace umk
