// Who a task is: user and group ids, capabilities. credentials(7), capabilities(7).
#include "core/kernel/security/identity.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/kernel.h"

namespace umk {

namespace {

Result<int64_t> sys_getuid(Task& task) { return task.credentials().uid; }
Result<int64_t> sys_getgid(Task& task) { return task.credentials().gid; }
Result<int64_t> sys_geteuid(Task& task) { return task.credentials().euid; }
Result<int64_t> sys_getegid(Task& task) { return task.credentials().egid; }

/// Takes over new credentials; whoever changes identity no longer dumps core for others to read.
Result<void> take_over(Task& task, Result<RefPtr<Credentials>> result) {
  RefPtr<Credentials> changed = TRY(std::move(result));
  const Credentials& old = task.credentials();
  const bool changes_identity = old.euid != changed->euid || old.egid != changed->egid || old.fsuid != changed->fsuid || old.fsgid != changed->fsgid;
  if (changes_identity) {
    task.process().is_dumpable.store(false);
    task.parent_death_signal = 0;
  }
  task.set_credentials(std::move(changed));
  return {};
}

Result<void> sys_setuid(Task& task, UserId uid) { return take_over(task, identity::set_uid(task.credentials(), uid)); }
Result<void> sys_setgid(Task& task, GroupId gid) { return take_over(task, identity::set_gid(task.credentials(), gid)); }
Result<void> sys_setreuid(Task& task, UserId real, UserId effective) {
  return take_over(task, identity::set_reuid(task.credentials(), real, effective));
}
Result<void> sys_setregid(Task& task, GroupId real, GroupId effective) {
  return take_over(task, identity::set_regid(task.credentials(), real, effective));
}
Result<void> sys_setresuid(Task& task, UserId real, UserId effective, UserId saved) {
  return take_over(task, identity::set_resuid(task.credentials(), real, effective, saved));
}
Result<void> sys_setresgid(Task& task, GroupId real, GroupId effective, GroupId saved) {
  return take_over(task, identity::set_resgid(task.credentials(), real, effective, saved));
}

Result<void> sys_getresuid(Task& task, UserPtr<UserId> real, UserPtr<UserId> effective, UserPtr<UserId> saved) {
  TRY(real.write(task.credentials().uid));
  TRY(effective.write(task.credentials().euid));
  return saved.write(task.credentials().suid);
}

Result<void> sys_getresgid(Task& task, UserPtr<GroupId> real, UserPtr<GroupId> effective, UserPtr<GroupId> saved) {
  TRY(real.write(task.credentials().gid));
  TRY(effective.write(task.credentials().egid));
  return saved.write(task.credentials().sgid);
}

/// These two answer the old id, changed or not.
Result<int64_t> sys_setfsuid(Task& task, UserId uid) {
  const UserId old = task.credentials().fsuid;
  TRY(take_over(task, identity::set_fsuid(task.credentials(), uid)));
  return old;
}

Result<int64_t> sys_setfsgid(Task& task, GroupId gid) {
  const GroupId old = task.credentials().fsgid;
  TRY(take_over(task, identity::set_fsgid(task.credentials(), gid)));
  return old;
}

constexpr int kMaximumGroups = 65536;

Result<int64_t> sys_getgroups(Task& task, int size, UserPtr<GroupId> list) {
  if (size < 0) return error(EINVAL);
  const Vector<GroupId>& groups = task.credentials().groups;
  const int64_t count = static_cast<int64_t>(groups.size());
  if (size == 0) return count;
  if (count > size) return error(EINVAL);
  TRY(list.write_array(std::span<const GroupId>(groups)));
  return count;
}

Result<void> sys_setgroups(Task& task, int size, UserPtr<GroupId> list) {
  if (!task.credentials().has(Capability::Setgid)) return error(EPERM);
  if (size < 0 || size > kMaximumGroups) return error(EINVAL);
  Vector<GroupId> groups;
  TRY(groups.resize(static_cast<size_t>(size)));
  if (size > 0) TRY(list.read_array(std::span<GroupId>(groups)));
  return take_over(task, identity::set_groups(task.credentials(), std::move(groups)));
}

// --- capget(2), capset(2)

struct CapabilityHeader {
  uint32_t version;
  int32_t pid;
};
struct CapabilityData {
  uint32_t effective, permitted, inheritable;
};
static_assert(sizeof(CapabilityData) == 12);
constexpr uint32_t kVersion1 = 0x19980330, kVersion2 = 0x20071026, kVersion3 = 0x20080522;

/// How many CapabilityData follow; an unknown version is answered with the one to use.
Result<size_t> data_words(UserPtr<CapabilityHeader> header, uint32_t version) {
  switch (version) {
    case kVersion1: return size_t{1};
    case kVersion2:
    case kVersion3: return size_t{2};
    default:
      TRY(UserPtr<uint32_t>(header.address()).write(kVersion3));
      return error(EINVAL);
  }
}

Result<void> sys_capget(Task& task, UserPtr<CapabilityHeader> header_pointer, UserPtr<CapabilityData> data) {
  const CapabilityHeader header = TRY(header_pointer.read());
  const Result<size_t> words = data_words(header_pointer, header.version);
  // Asking for the version alone is no error.
  if (!words.ok()) return !data && words.failure().code == EINVAL ? Result<void>{} : Result<void>{words.failure()};
  if (header.pid < 0) return error(EINVAL);
  RefPtr<const Credentials> credentials = task.credentials_ref();
  if (header.pid != 0 && header.pid != task.tid()) {
    MutexLock lock(task.kernel().tasks.mutex);
    const RefPtr<Task> other = task.kernel().tasks.find_task(header.pid);
    if (!other) return error(ESRCH);
    credentials = other->credentials_ref();
  }
  if (!data) return {};
  for (size_t word = 0; word < words.value(); ++word) {
    const unsigned shift = static_cast<unsigned>(word) * 32;
    TRY((data + word).write({static_cast<uint32_t>(credentials->effective.bits >> shift), static_cast<uint32_t>(credentials->permitted.bits >> shift),
                             static_cast<uint32_t>(credentials->inheritable.bits >> shift)}));
  }
  return {};
}

Result<void> sys_capset(Task& task, UserPtr<CapabilityHeader> header_pointer, UserPtr<CapabilityData> data) {
  const CapabilityHeader header = TRY(header_pointer.read());
  const size_t words = TRY(data_words(header_pointer, header.version));
  if (header.pid != 0 && header.pid != task.tid()) return error(EPERM);
  CapabilitySet effective, permitted, inheritable;
  for (size_t word = 0; word < words; ++word) {
    const CapabilityData part = TRY((data + word).read());
    const unsigned shift = static_cast<unsigned>(word) * 32;
    effective.bits |= uint64_t{part.effective} << shift;
    permitted.bits |= uint64_t{part.permitted} << shift;
    inheritable.bits |= uint64_t{part.inheritable} << shift;
  }
  const uint64_t known = CapabilitySet::all().bits;
  return take_over(task, identity::set_capabilities(task.credentials(), {effective.bits & known}, {permitted.bits & known}, {inheritable.bits & known}));
}

}  // namespace

const SyscallRow kSysIdentityRows[] = {
    full<sys_getuid>(102, "getuid"),
    full<sys_getgid>(104, "getgid"),
    full<sys_setuid>(105, "setuid"),
    full<sys_setgid>(106, "setgid"),
    full<sys_geteuid>(107, "geteuid"),
    full<sys_getegid>(108, "getegid"),
    full<sys_setreuid>(113, "setreuid"),
    full<sys_setregid>(114, "setregid"),
    full<sys_getgroups>(115, "getgroups"),
    full<sys_setgroups>(116, "setgroups"),
    full<sys_setresuid>(117, "setresuid"),
    full<sys_getresuid>(118, "getresuid"),
    full<sys_setresgid>(119, "setresgid"),
    full<sys_getresgid>(120, "getresgid"),
    full<sys_setfsuid>(122, "setfsuid"),
    full<sys_setfsgid>(123, "setfsgid"),
    full<sys_capget>(125, "capget"),
    full<sys_capset>(126, "capset"),
};
const size_t kSysIdentityRowCount = std::size(kSysIdentityRows);

}  // namespace umk
