// Credentials: who a task is. Immutable and shared; a change makes a new object. credentials(7), capabilities(7).
#pragma once

#include <cstdint>
#include <span>

#include "core/base/make.h"
#include "core/base/vector.h"

namespace umk {

using UserId = uint32_t;
using GroupId = uint32_t;

/// Capability numbers of linux/capability.h.
enum class Capability : uint8_t {
  Chown = 0, DacOverride = 1, DacReadSearch = 2, Fowner = 3, Fsetid = 4, Kill = 5, Setgid = 6, Setuid = 7, Setpcap = 8,
  LinuxImmutable = 9, NetBindService = 10, NetBroadcast = 11, NetAdmin = 12, NetRaw = 13, IpcLock = 14, IpcOwner = 15,
  SysModule = 16, SysRawio = 17, SysChroot = 18, SysPtrace = 19, SysPacct = 20, SysAdmin = 21, SysBoot = 22, SysNice = 23,
  SysResource = 24, SysTime = 25, SysTtyConfig = 26, Mknod = 27, Lease = 28, AuditWrite = 29, AuditControl = 30, Setfcap = 31,
  MacOverride = 32, MacAdmin = 33, Syslog = 34, WakeAlarm = 35, BlockSuspend = 36, AuditRead = 37, Perfmon = 38, Bpf = 39,
  CheckpointRestore = 40,
};
inline constexpr unsigned kLastCapability = 40;

struct CapabilitySet {
  uint64_t bits = 0;
  static constexpr CapabilitySet all() { return {(uint64_t{1} << (kLastCapability + 1)) - 1}; }
  constexpr bool has(Capability capability) const { return (bits >> static_cast<unsigned>(capability)) & 1; }
};

class Credentials : public RefCounted {
 public:
  UserId uid = 0, euid = 0, suid = 0, fsuid = 0;
  GroupId gid = 0, egid = 0, sgid = 0, fsgid = 0;
  Vector<GroupId> groups;  // supplementary
  CapabilitySet effective = CapabilitySet::all();
  CapabilitySet permitted = CapabilitySet::all();
  CapabilitySet inheritable;
  CapabilitySet bounding = CapabilitySet::all();
  CapabilitySet ambient;
  uint32_t securebits = 0;

  bool has(Capability capability) const { return effective.has(capability); }
  bool in_group(GroupId group) const;
  /// A copy to be changed before it is shared.
  Result<RefPtr<Credentials>> clone() const;
  /// The superuser with everything: what init starts with.
  static Result<RefPtr<Credentials>> root();
};

}  // namespace umk
