// prctl(2): small settings of tasks and processes.
#include "core/kernel/security/identity.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/signals.h"

namespace umk {

namespace {

enum Option : int {
  kSetParentDeathSignal = 1, kGetParentDeathSignal = 2, kGetDumpable = 3, kSetDumpable = 4, kGetKeepCaps = 7, kSetKeepCaps = 8, kGetTiming = 13,
  kSetTiming = 14, kSetName = 15, kGetName = 16, kBoundingRead = 23, kBoundingDrop = 24, kGetTsc = 25, kGetSecurebits = 27, kSetSecurebits = 28,
  kSetTimerSlack = 29, kGetTimerSlack = 30, kSetChildSubreaper = 36, kGetChildSubreaper = 37, kSetNoNewPrivs = 38, kGetNoNewPrivs = 39,
  kGetTidAddress = 40, kSetThpDisable = 41, kGetThpDisable = 42, kAmbient = 47,
};

Result<int64_t> set_keep_caps(Task& task, uint64_t value) {
  using namespace identity::securebits;
  constexpr uint32_t kKeepCapsLocked = kKeepCaps << 1;
  if (value > 1) return error(EINVAL);
  if (task.credentials().securebits & kKeepCapsLocked) return error(EPERM);
  RefPtr<Credentials> changed = TRY(task.credentials().clone());
  changed->securebits = value ? changed->securebits | kKeepCaps : changed->securebits & ~kKeepCaps;
  task.set_credentials(std::move(changed));
  return 0;
}

Result<int64_t> set_securebits(Task& task, uint64_t value) {
  using namespace identity::securebits;
  const uint32_t old = task.credentials().securebits;
  const uint32_t locked = old & kLocks;
  // A locked bit keeps its value, and locks are never taken off.
  if (((locked >> 1) & (old ^ value)) || (locked & ~value) || (value & ~uint64_t{kAll})) return error(EPERM);
  if (!task.credentials().has(Capability::Setpcap)) return error(EPERM);
  RefPtr<Credentials> changed = TRY(task.credentials().clone());
  changed->securebits = static_cast<uint32_t>(value);
  task.set_credentials(std::move(changed));
  return 0;
}

Result<int64_t> drop_bounding(Task& task, uint64_t capability) {
  if (!task.credentials().has(Capability::Setpcap)) return error(EPERM);
  if (capability > kLastCapability) return error(EINVAL);
  RefPtr<Credentials> changed = TRY(task.credentials().clone());
  changed->bounding.bits &= ~(uint64_t{1} << capability);
  task.set_credentials(std::move(changed));
  return 0;
}

Result<int64_t> change_ambient(Task& task, uint64_t action, uint64_t capability, uint64_t d, uint64_t e) {
  enum { kIsSet = 1, kRaise = 2, kLower = 3, kClearAll = 4 };
  if (d | e) return error(EINVAL);
  if (action == kClearAll) {
    if (capability) return error(EINVAL);
    RefPtr<Credentials> changed = TRY(task.credentials().clone());
    changed->ambient = {};
    task.set_credentials(std::move(changed));
    return 0;
  }
  if ((action != kIsSet && action != kRaise && action != kLower) || capability > kLastCapability) return error(EINVAL);
  const uint64_t bit = uint64_t{1} << capability;
  const Credentials& now = task.credentials();
  if (action == kIsSet) return (now.ambient.bits & bit) != 0;
  if (action == kRaise) {
    if (!(now.permitted.bits & bit) || !(now.inheritable.bits & bit) || (now.securebits & identity::securebits::kNoAmbientRaise)) return error(EPERM);
  }
  RefPtr<Credentials> changed = TRY(now.clone());
  changed->ambient.bits = action == kRaise ? changed->ambient.bits | bit : changed->ambient.bits & ~bit;
  task.set_credentials(std::move(changed));
  return 0;
}

Result<int64_t> set_name(Task& task, uint64_t address) {
  char name[16] = {};
  // Byte by byte up to the NUL: the string may end at the end of a mapping.
  for (size_t i = 0; i + 1 < sizeof name; ++i) {
    name[i] = TRY(UserPtr<char>(address + i).read());
    if (name[i] == 0) break;
  }
  for (size_t i = 0; i < sizeof name; ++i) task.name[i] = name[i];
  return 0;
}

}  // namespace

Result<int64_t> sys_prctl(Task& task, int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  Process& process = task.process();
  switch (option) {
    case kSetParentDeathSignal:
      if (a > static_cast<uint64_t>(signals::kLast)) return error(EINVAL);
      task.parent_death_signal = static_cast<int>(a);
      return 0;
    case kGetParentDeathSignal:
      TRY(UserPtr<int32_t>(a).write(task.parent_death_signal));
      return 0;
    case kGetDumpable:
      return process.is_dumpable.load();
    case kSetDumpable:
      if (a > 1) return error(EINVAL);
      process.is_dumpable.store(a == 1);
      return 0;
    case kGetKeepCaps:
      return (task.credentials().securebits & identity::securebits::kKeepCaps) != 0;
    case kSetKeepCaps:
      return set_keep_caps(task, a);
    case kGetTiming:
      return 0;  // PR_TIMING_STATISTICAL
    case kSetTiming:
      if (a != 0) return error(EINVAL);
      return 0;
    case kSetName:
      return set_name(task, a);
    case kGetName:
      TRY(UserPtr<char>(a).write_array(std::span<const char>(task.name)));
      return 0;
    case kBoundingRead:
      if (a > kLastCapability) return error(EINVAL);
      return static_cast<int64_t>((task.credentials().bounding.bits >> a) & 1);
    case kBoundingDrop:
      return drop_bounding(task, a);
    case kGetTsc:
      TRY(UserPtr<int32_t>(a).write(1));  // PR_TSC_ENABLE
      return 0;
    case kGetSecurebits:
      return task.credentials().securebits;
    case kSetSecurebits:
      return set_securebits(task, a);
    case kSetTimerSlack:
      task.timer_slack_ns = static_cast<int64_t>(a) <= 0 ? 50'000 : a;
      return 0;
    case kGetTimerSlack:
      return static_cast<int64_t>(task.timer_slack_ns);
    case kSetChildSubreaper: {
      MutexLock lock(task.kernel().tasks.mutex);
      process.is_child_subreaper = a != 0;
      return 0;
    }
    case kGetChildSubreaper: {
      bool value;
      {
        MutexLock lock(task.kernel().tasks.mutex);
        value = process.is_child_subreaper;
      }
      TRY(UserPtr<int32_t>(a).write(value));
      return 0;
    }
    case kSetNoNewPrivs:
      if (a != 1 || b || c || d) return error(EINVAL);
      task.no_new_privileges = true;
      return 0;
    case kGetNoNewPrivs:
      if (a || b || c || d) return error(EINVAL);
      return task.no_new_privileges;
    case kSetThpDisable:
      if (b || c || d) return error(EINVAL);
      process.refuses_huge_pages.store(a != 0);
      return 0;
    case kGetThpDisable:
      if (a || b || c || d) return error(EINVAL);
      return process.refuses_huge_pages.load();
    case kGetTidAddress:
      TRY(UserPtr<uint64_t>(a).write(task.clear_child_tid));
      return 0;
    case kAmbient:
      return change_ambient(task, a, b, c, d);
    default:
      return error(EINVAL);
  }
}

}  // namespace umk
