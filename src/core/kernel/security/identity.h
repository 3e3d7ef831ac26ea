// Identity: how credentials may change: setuid(2) and its kin, capset(2), and what that does to capabilities (capabilities(7)).
//
// Pure functions: old credentials in, new ones out. kUnchangedId (-1) leaves an id as it is.
#pragma once

#include "core/kernel/security/credentials.h"

namespace umk::identity {

inline constexpr uint32_t kUnchangedId = UINT32_MAX;

/// securebits(7): what the superuser's id no longer does.
namespace securebits {
inline constexpr uint32_t kNoRoot = 1 << 0, kNoSetuidFixup = 1 << 2, kKeepCaps = 1 << 4, kNoAmbientRaise = 1 << 6;
/// Each bit's lock is the bit after it.
inline constexpr uint32_t kLocks = 0xaa, kAll = 0xff;
}  // namespace securebits

Result<RefPtr<Credentials>> set_uid(const Credentials& old, UserId uid);
Result<RefPtr<Credentials>> set_reuid(const Credentials& old, UserId real, UserId effective);
Result<RefPtr<Credentials>> set_resuid(const Credentials& old, UserId real, UserId effective, UserId saved);
/// Not permitted is no error: the result equals `old`.
Result<RefPtr<Credentials>> set_fsuid(const Credentials& old, UserId uid);
Result<RefPtr<Credentials>> set_gid(const Credentials& old, GroupId gid);
Result<RefPtr<Credentials>> set_regid(const Credentials& old, GroupId real, GroupId effective);
Result<RefPtr<Credentials>> set_resgid(const Credentials& old, GroupId real, GroupId effective, GroupId saved);
Result<RefPtr<Credentials>> set_fsgid(const Credentials& old, GroupId gid);
Result<RefPtr<Credentials>> set_groups(const Credentials& old, Vector<GroupId> groups);
Result<RefPtr<Credentials>> set_capabilities(const Credentials& old, CapabilitySet effective, CapabilitySet permitted, CapabilitySet inheritable);

/// What a program file gives: its owner and group when it has the set-id bits (else kUnchangedId). execve(2), capabilities(7).
Result<RefPtr<Credentials>> after_exec(const Credentials& old, UserId file_uid, GroupId file_gid);

/// May a process with `sender` send signals to one with `target`? kill(2).
bool may_signal(const Credentials& sender, const Credentials& target);
/// May it change priority, affinity or limits of one with `target` without a capability? sched_setaffinity(2), setpriority(2).
bool is_same_user(const Credentials& caller, const Credentials& target);

}  // namespace umk::identity
