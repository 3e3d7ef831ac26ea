// Making tasks: clone(2), clone3(2), fork(2), vfork(2), and the first process.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk {

namespace clone_flags {
inline constexpr uint64_t kSignalMask = 0xff, kVm = 0x100, kFs = 0x200, kFiles = 0x400, kSigHand = 0x800, kPidFd = 0x1000, kPtrace = 0x2000,
                          kVfork = 0x4000, kParent = 0x8000, kThread = 0x10000, kNewNs = 0x20000, kSysVSem = 0x40000, kSetTls = 0x80000,
                          kParentSetTid = 0x100000, kChildClearTid = 0x200000, kDetached = 0x400000, kUntraced = 0x800000, kChildSetTid = 0x1000000,
                          kNewCgroup = 0x2000000, kNewUts = 0x4000000, kNewIpc = 0x8000000, kNewUser = 0x10000000, kNewPid = 0x20000000,
                          kNewNet = 0x40000000, kIo = 0x80000000, kClearSigHand = 0x100000000, kIntoCgroup = 0x200000000, kNewTime = 0x80;
inline constexpr uint64_t kNamespaces = kNewNs | kNewCgroup | kNewUts | kNewIpc | kNewUser | kNewPid | kNewNet;
}  // namespace clone_flags

struct CloneRequest {
  uint64_t flags = 0;       // without the signal
  int exit_signal = 0;
  uint64_t stack_top = 0;   // 0: the parent's stack pointer
  uint64_t tls = 0;
  uint64_t parent_tid = 0;  // guest addresses
  uint64_t child_tid = 0;
  uint64_t pidfd = 0;
};

/// Makes the child and starts it; returns its number, after the child has exec'd or exited for CLONE_VFORK. EINVAL for combinations that clone(2)
/// forbids, EAGAIN, ENOMEM, EPERM for namespaces without CAP_SYS_ADMIN.
Result<int64_t> clone_task(Task& parent, const CloneRequest& request);

/// What a process without a parent starts with.
struct InitContext {
  RefPtr<vfs::FdTable> fds;
  RefPtr<vfs::FsContext> fs;
  RefPtr<mm::AddressSpace> address_space;
};
/// Makes process 1, leader of session and group 1, without starting it: Engine::start_in_new_vessel does.
Result<RefPtr<Task>> create_init_task(Kernel& kernel, InitContext context);

/// Starts a process of the kernel's own, with the superuser's credentials, that runs `entry` in an empty address space (and execs there). It has no parent, and
/// its end is nobody's business.
Result<void> start_helper_task(Kernel& kernel, InitContext context, std::string_view name, void (*entry)(Task&));

/// A child by CLONE_VFORK no longer uses its parent's memory: exec and exit call it.
void end_vfork(Task& task);

}  // namespace umk
