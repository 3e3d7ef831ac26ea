#include "core/kernel/security/identity.h"

#include <algorithm>

namespace umk::identity {

namespace {

/// What a change of user ids does to capability sets: capabilities(7), "Effect of user ID changes on capabilities".
void fix_capabilities(const Credentials& old, Credentials& changed) {
  if (changed.securebits & securebits::kNoSetuidFixup) return;
  const bool had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
  const bool has_root = changed.uid == 0 || changed.euid == 0 || changed.suid == 0;
  if (had_root && !has_root) {
    if (!(changed.securebits & securebits::kKeepCaps)) {
      changed.permitted = {};
      changed.effective = {};
    }
    changed.ambient = {};
  }
  if (old.euid == 0 && changed.euid != 0) changed.effective = {};
  if (old.euid != 0 && changed.euid == 0) changed.effective = changed.permitted;
}

constexpr uint64_t bit(Capability capability) { return uint64_t{1} << static_cast<unsigned>(capability); }

/// The capabilities that belong to file accesses and follow the filesystem user id.
constexpr uint64_t kFileCapabilities = bit(Capability::Chown) | bit(Capability::DacOverride) | bit(Capability::DacReadSearch) | bit(Capability::Fowner) |
                                       bit(Capability::Fsetid) | bit(Capability::LinuxImmutable) | bit(Capability::Mknod) | bit(Capability::MacOverride);

Result<RefPtr<Credentials>> with_user_ids(const Credentials& old, UserId real, UserId effective, UserId saved) {
  RefPtr<Credentials> changed = TRY(old.clone());
  changed->uid = real;
  changed->euid = effective;
  changed->suid = saved;
  changed->fsuid = effective;
  fix_capabilities(old, *changed);
  return changed;
}

Result<RefPtr<Credentials>> with_group_ids(const Credentials& old, GroupId real, GroupId effective, GroupId saved) {
  RefPtr<Credentials> changed = TRY(old.clone());
  changed->gid = real;
  changed->egid = effective;
  changed->sgid = saved;
  changed->fsgid = effective;
  return changed;
}

}  // namespace

Result<RefPtr<Credentials>> set_uid(const Credentials& old, UserId uid) {
  if (uid == kUnchangedId) return error(EINVAL);
  if (old.has(Capability::Setuid)) return with_user_ids(old, uid, uid, uid);
  if (uid != old.uid && uid != old.suid) return error(EPERM);
  return with_user_ids(old, old.uid, uid, old.suid);
}

Result<RefPtr<Credentials>> set_reuid(const Credentials& old, UserId real, UserId effective) {
  const bool privileged = old.has(Capability::Setuid);
  const UserId new_real = real == kUnchangedId ? old.uid : real;
  const UserId new_effective = effective == kUnchangedId ? old.euid : effective;
  if (!privileged && real != kUnchangedId && real != old.uid && real != old.euid) return error(EPERM);
  if (!privileged && effective != kUnchangedId && effective != old.uid && effective != old.euid && effective != old.suid) return error(EPERM);
  const bool saves = real != kUnchangedId || (effective != kUnchangedId && effective != old.uid);
  return with_user_ids(old, new_real, new_effective, saves ? new_effective : old.suid);
}

Result<RefPtr<Credentials>> set_resuid(const Credentials& old, UserId real, UserId effective, UserId saved) {
  auto may_take = [&](UserId id) { return id == kUnchangedId || id == old.uid || id == old.euid || id == old.suid; };
  if (!old.has(Capability::Setuid) && (!may_take(real) || !may_take(effective) || !may_take(saved))) return error(EPERM);
  return with_user_ids(old, real == kUnchangedId ? old.uid : real, effective == kUnchangedId ? old.euid : effective,
                       saved == kUnchangedId ? old.suid : saved);
}

Result<RefPtr<Credentials>> set_fsuid(const Credentials& old, UserId uid) {
  RefPtr<Credentials> changed = TRY(old.clone());
  const bool permitted = uid == old.uid || uid == old.euid || uid == old.suid || uid == old.fsuid || old.has(Capability::Setuid);
  if (uid == kUnchangedId || !permitted) return changed;
  changed->fsuid = uid;
  if (!(old.securebits & securebits::kNoSetuidFixup)) {
    if (old.fsuid == 0 && uid != 0) changed->effective.bits &= ~kFileCapabilities;
    if (old.fsuid != 0 && uid == 0) changed->effective.bits |= changed->permitted.bits & kFileCapabilities;
  }
  return changed;
}

Result<RefPtr<Credentials>> set_gid(const Credentials& old, GroupId gid) {
  if (gid == kUnchangedId) return error(EINVAL);
  if (old.has(Capability::Setgid)) return with_group_ids(old, gid, gid, gid);
  if (gid != old.gid && gid != old.sgid) return error(EPERM);
  return with_group_ids(old, old.gid, gid, old.sgid);
}

Result<RefPtr<Credentials>> set_regid(const Credentials& old, GroupId real, GroupId effective) {
  const bool privileged = old.has(Capability::Setgid);
  const GroupId new_real = real == kUnchangedId ? old.gid : real;
  const GroupId new_effective = effective == kUnchangedId ? old.egid : effective;
  if (!privileged && real != kUnchangedId && real != old.gid && real != old.egid) return error(EPERM);
  if (!privileged && effective != kUnchangedId && effective != old.gid && effective != old.egid && effective != old.sgid) return error(EPERM);
  const bool saves = real != kUnchangedId || (effective != kUnchangedId && effective != old.gid);
  return with_group_ids(old, new_real, new_effective, saves ? new_effective : old.sgid);
}

Result<RefPtr<Credentials>> set_resgid(const Credentials& old, GroupId real, GroupId effective, GroupId saved) {
  auto may_take = [&](GroupId id) { return id == kUnchangedId || id == old.gid || id == old.egid || id == old.sgid; };
  if (!old.has(Capability::Setgid) && (!may_take(real) || !may_take(effective) || !may_take(saved))) return error(EPERM);
  return with_group_ids(old, real == kUnchangedId ? old.gid : real, effective == kUnchangedId ? old.egid : effective,
                        saved == kUnchangedId ? old.sgid : saved);
}

Result<RefPtr<Credentials>> set_fsgid(const Credentials& old, GroupId gid) {
  RefPtr<Credentials> changed = TRY(old.clone());
  const bool permitted = gid == old.gid || gid == old.egid || gid == old.sgid || gid == old.fsgid || old.has(Capability::Setgid);
  if (gid != kUnchangedId && permitted) changed->fsgid = gid;
  return changed;
}

Result<RefPtr<Credentials>> set_groups(const Credentials& old, Vector<GroupId> groups) {
  if (!old.has(Capability::Setgid)) return error(EPERM);
  RefPtr<Credentials> changed = TRY(old.clone());
  std::sort(groups.begin(), groups.end());
  changed->groups = std::move(groups);
  return changed;
}

Result<RefPtr<Credentials>> set_capabilities(const Credentials& old, CapabilitySet effective, CapabilitySet permitted, CapabilitySet inheritable) {
  const uint64_t may_inherit = old.has(Capability::Setpcap) ? UINT64_MAX : old.inheritable.bits | old.permitted.bits;
  if (inheritable.bits & ~may_inherit) return error(EPERM);
  if (inheritable.bits & ~(old.inheritable.bits | old.bounding.bits)) return error(EPERM);
  if (permitted.bits & ~old.permitted.bits) return error(EPERM);
  if (effective.bits & ~permitted.bits) return error(EPERM);
  RefPtr<Credentials> changed = TRY(old.clone());
  changed->effective = effective;
  changed->permitted = permitted;
  changed->inheritable = inheritable;
  changed->ambient.bits &= permitted.bits & inheritable.bits;
  return changed;
}

Result<RefPtr<Credentials>> after_exec(const Credentials& old, UserId file_uid, GroupId file_gid) {
  RefPtr<Credentials> changed = TRY(old.clone());
  const bool set_user = file_uid != kUnchangedId, set_group = file_gid != kUnchangedId;
  if (set_user) changed->euid = file_uid;
  if (set_group) changed->egid = file_gid;
  changed->suid = changed->fsuid = changed->euid;
  changed->sgid = changed->fsgid = changed->egid;
  // capabilities(7), "Transformation of capabilities during execve()"; files have no capabilities of their own here.
  const bool changes_id = (set_user && file_uid != old.euid) || (set_group && file_gid != old.egid);
  if (changes_id) changed->ambient = {};
  uint64_t permitted = changed->ambient.bits;
  uint64_t effective = changed->ambient.bits;
  if (!(old.securebits & securebits::kNoRoot)) {
    if (changed->uid == 0 || changed->euid == 0) permitted |= changed->inheritable.bits | changed->bounding.bits;
    if (changed->euid == 0) effective = permitted;
  }
  changed->permitted.bits = permitted;
  changed->effective.bits = effective & permitted;
  changed->securebits &= ~securebits::kKeepCaps;
  return changed;
}

bool may_signal(const Credentials& sender, const Credentials& target) {
  return sender.has(Capability::Kill) || sender.euid == target.suid || sender.euid == target.uid || sender.uid == target.suid || sender.uid == target.uid;
}

bool is_same_user(const Credentials& caller, const Credentials& target) { return caller.euid == target.euid || caller.euid == target.uid; }

}  // namespace umk::identity
