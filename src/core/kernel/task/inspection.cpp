#include "core/kernel/task/inspection.h"

namespace umk {

Result<void> check_inspection(const Credentials& reader, const Task& target, InspectionIds ids) {
  const Task* current = Task::current_or_null();
  if (current && &current->process() == &target.process()) return {};
  if (reader.has(Capability::SysPtrace)) return {};
  const RefPtr<const Credentials> who = target.credentials_ref();
  const UserId uid = ids == InspectionIds::File ? reader.fsuid : reader.uid;
  const GroupId gid = ids == InspectionIds::File ? reader.fsgid : reader.gid;
  const bool same = who && uid == who->uid && uid == who->euid && uid == who->suid && gid == who->gid && gid == who->egid && gid == who->sgid;
  if (!same || !target.process().is_dumpable.load(std::memory_order_relaxed)) return error(EACCES);
  // Nobody looks at a process that can do more than himself.
  if ((who->permitted.bits & ~reader.permitted.bits) != 0) return error(EACCES);
  return {};
}

}  // namespace umk
