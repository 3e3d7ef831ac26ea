// Making, ending and waiting for processes; their numbers, groups and sessions.
#include "core/abi/clone.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/usage.h"
#include "core/kernel/task/clone.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/futex.h"
#include "core/kernel/task/job_control.h"
#include "core/kernel/task/pidfd.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/wait.h"

namespace umk {

namespace {

// --- clone(2), clone3(2), fork(2), vfork(2)

Result<int64_t> sys_clone(Task& task, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid, uint64_t tls) {
  flags &= 0xffffffff;
  CloneRequest request;
  request.flags = flags & ~clone_flags::kSignalMask;
  const int signal = static_cast<int>(flags & clone_flags::kSignalMask);
  request.exit_signal = signal > signals::kLast ? 0 : signal;
  request.stack_top = stack;
  request.tls = tls;
  request.parent_tid = parent_tid;
  request.child_tid = child_tid;
  request.pidfd = parent_tid;
  // The old call has one argument for both.
  if ((flags & clone_flags::kPidFd) && (flags & clone_flags::kParentSetTid)) return error(EINVAL);
  return clone_task(task, request);
}

Result<int64_t> sys_fork(Task& task) { return clone_task(task, {.exit_signal = signals::kChild}); }

Result<int64_t> sys_vfork(Task& task) {
  return clone_task(task, {.flags = clone_flags::kVfork | clone_flags::kVm, .exit_signal = signals::kChild});
}

/// A struct that has grown over time: what the caller does not know of must be zero, what the kernel does not know of too.
template <typename T>
Result<T> read_extensible(uint64_t address, size_t size, size_t first_size) {
  if (size > kPageSize) return error(E2BIG);
  if (size < first_size) return error(EINVAL);
  T value{};
  const size_t known = size < sizeof(T) ? size : sizeof(T);
  if (copy_from_user(&value, address, known).faulted) return error(EFAULT);
  for (size_t offset = known; offset < size; ++offset)
    if (TRY(UserPtr<uint8_t>(address + offset).read()) != 0) return error(E2BIG);
  return value;
}

Result<int64_t> sys_clone3(Task& task, uint64_t address, size_t size) {
  using namespace clone_flags;
  const KernelCloneArguments arguments = TRY(read_extensible<KernelCloneArguments>(address, size, kCloneArgumentsFirstSize));
  constexpr uint64_t kKnown = 0xffffffff | kClearSigHand | kIntoCgroup;
  if (arguments.flags & ~kKnown) return error(EINVAL);
  if (arguments.flags & (kDetached | (kSignalMask & ~kNewTime))) return error(EINVAL);
  if (arguments.exit_signal > static_cast<uint64_t>(signals::kLast)) return error(EINVAL);
  if ((arguments.flags & (kThread | kParent)) && arguments.exit_signal != 0) return error(EINVAL);
  if ((arguments.stack == 0) != (arguments.stack_size == 0)) return error(EINVAL);
  if (arguments.stack != 0 && !is_user_range(arguments.stack, arguments.stack_size)) return error(EINVAL);
  if ((arguments.set_tid == 0) != (arguments.set_tid_size == 0)) return error(EINVAL);
  // Choosing numbers is for checkpoint and restore, which needs more than this.
  if (arguments.set_tid_size != 0) return error(EPERM);
  if (arguments.flags & kNewTime) return error(task.credentials().has(Capability::SysAdmin) ? EINVAL : EPERM);
  CloneRequest request;
  request.flags = arguments.flags;
  request.exit_signal = static_cast<int>(arguments.exit_signal);
  request.stack_top = arguments.stack == 0 ? 0 : arguments.stack + arguments.stack_size;
  request.tls = arguments.tls;
  request.parent_tid = arguments.parent_tid;
  request.child_tid = arguments.child_tid;
  request.pidfd = arguments.pidfd;
  return clone_task(task, request);
}

// --- exit(2), exit_group(2)

Result<void> sys_exit(Task& task, int code) { exit_task(task, exit_status_of_code(code)); }
Result<void> sys_exit_group(Task& task, int code) { exit_group(task, exit_status_of_code(code)); }

// --- wait4(2), waitid(2)

Result<int64_t> sys_wait4(Task& task, int32_t pid, UserPtr<int32_t> status, uint32_t options, UserPtr<KernelUsage> usage) {
  using namespace wait_options;
  if (options & ~(kNoHang | kStopped | kContinued | kNoThread | kClone | kAll)) return error(EINVAL);
  if (pid == INT32_MIN) return error(ESRCH);
  WaitRequest request{.options = options | kExited};
  if (pid > 0) {
    request.who = WaitRequest::Who::Process;
    request.id = pid;
  } else if (pid < -1 || pid == 0) {
    request.who = WaitRequest::Who::Group;
    MutexLock lock(task.kernel().tasks.mutex);
    request.id = pid == 0 ? task.process().group->id() : -pid;
  }
  const WaitOutcome outcome = TRY(wait_for_child(task, request));
  if (outcome.pid == 0) return 0;
  if (status) TRY(status.write(outcome.wait_status));
  if (usage) TRY(usage.write(to_kernel_usage(outcome.usage)));
  return outcome.pid;
}

Result<void> sys_waitid(Task& task, int which, int32_t id, UserPtr<SignalInfo> info, uint32_t options, UserPtr<KernelUsage> usage) {
  using namespace wait_options;
  enum { kAnyChild = 0, kPid = 1, kGroup = 2, kPidFd = 3 };
  if (options & ~(kNoHang | kNoWait | kExited | kStopped | kContinued | kNoThread | kClone | kAll)) return error(EINVAL);
  if (!(options & (kExited | kStopped | kContinued))) return error(EINVAL);
  WaitRequest request{.options = options};
  bool fails_when_busy = false;
  switch (which) {
    case kAnyChild:
      break;
    case kPid:
      if (id <= 0) return error(EINVAL);
      request.who = WaitRequest::Who::Process;
      request.id = id;
      break;
    case kGroup: {
      if (id < 0) return error(EINVAL);
      request.who = WaitRequest::Who::Group;
      MutexLock lock(task.kernel().tasks.mutex);
      request.id = id == 0 ? task.process().group->id() : id;
      break;
    }
    case kPidFd: {
      if (id < 0) return error(EINVAL);
      const RefPtr<vfs::OpenFile> file = TRY(task.fds().get(Fd{id}));
      const RefPtr<Process> process = TRY(process_of_pidfd(*file));
      request.who = WaitRequest::Who::Process;
      request.id = process->pid();
      fails_when_busy = file->is_nonblocking() && !(options & kNoHang);
      if (fails_when_busy) request.options |= kNoHang;
      break;
    }
    default:
      return error(EINVAL);
  }
  const WaitOutcome outcome = TRY(wait_for_child(task, request));
  if (outcome.pid == 0 && fails_when_busy) return error(EAGAIN);
  if (usage && outcome.pid != 0) TRY(usage.write(to_kernel_usage(outcome.usage)));
  if (!info) return {};
  // Linux writes these six members and leaves the rest of the caller's struct alone.
  const int32_t head[4] = {outcome.pid != 0 ? signals::kChild : 0, 0, outcome.code, 0};
  TRY(UserPtr<int32_t>(info.address()).write_array(std::span(head, 3)));
  const int32_t tail[3] = {outcome.pid, static_cast<int32_t>(outcome.uid), outcome.status};
  TRY(UserPtr<int32_t>(info.address() + 16).write_array(tail));
  return {};
}

// --- numbers

Result<int64_t> sys_getpid(Task& task) { return task.process().pid(); }
Result<int64_t> sys_gettid(Task& task) { return task.tid(); }
Result<int64_t> sys_getppid(Task& task) { return task.process().parent_pid.load(std::memory_order_relaxed); }

Result<int64_t> sys_set_tid_address(Task& task, uint64_t address) {
  task.clear_child_tid = address;
  return task.tid();
}

Result<void> sys_setpgid(Task& task, int32_t pid, int32_t group) {
  if (pid < 0) return error(ESRCH);
  return set_process_group(task, pid, group);
}

Result<int64_t> sys_getpgid(Task& task, int32_t pid) {
  MutexLock lock(task.kernel().tasks.mutex);
  if (pid == 0) return task.process().group->id();
  const RefPtr<Task> other = pid > 0 ? task.kernel().tasks.find_task(pid) : nullptr;
  if (!other || !other->process().group) return error(ESRCH);
  return other->process().group->id();
}

Result<int64_t> sys_getpgrp(Task& task) { return sys_getpgid(task, 0); }
Result<int64_t> sys_setsid(Task& task) { return TRY(create_session(task)); }

/// vhangup(2): whoever still has the terminal from before has it no more.
Result<void> sys_vhangup(Task& task) {
  if (!task.credentials().has(Capability::SysTtyConfig)) return error(EPERM);
  RefPtr<ControllingTerminal> terminal;
  {
    MutexLock lock(task.kernel().tasks.mutex);
    terminal = task.process().session->controlling_tty;
  }
  if (terminal) terminal->hang_up();
  return {};
}

Result<int64_t> sys_getsid(Task& task, int32_t pid) {
  MutexLock lock(task.kernel().tasks.mutex);
  if (pid == 0) return task.process().session->id();
  const RefPtr<Task> other = pid > 0 ? task.kernel().tasks.find_task(pid) : nullptr;
  if (!other || !other->process().session) return error(ESRCH);
  return other->process().session->id();
}

// --- arch_prctl(2), personality(2)

Result<int64_t> sys_arch_prctl(Task& task, int code, uint64_t address) {
  enum { kSetGs = 0x1001, kSetFs = 0x1002, kGetFs = 0x1003, kGetGs = 0x1004, kGetCpuid = 0x1011, kSetCpuid = 0x1012 };
  constexpr uint64_t kUserAddressLimit = (uint64_t{1} << 47) - kPageSize;
  guest::Engine& engine = task.kernel().engine;
  switch (code) {
    case kSetFs:
      if (address >= kUserAddressLimit) return error(EPERM);
      engine.set_fs_base(task, address);
      return 0;
    case kSetGs:
      if (address >= kUserAddressLimit) return error(EPERM);
      TRY(engine.set_gs_base(task, address));
      return 0;
    case kGetFs:
      TRY(UserPtr<uint64_t>(address).write(engine.fs_base(task)));
      return 0;
    case kGetGs:
      TRY(UserPtr<uint64_t>(address).write(engine.gs_base(task)));
      return 0;
    case kGetCpuid:
      return 1;
    case kSetCpuid:
      return error(ENODEV);
    default:
      return error(EINVAL);
  }
}

Result<int64_t> sys_personality(Task& task, uint32_t persona) {
  constexpr uint32_t kAsk = 0xffffffff, kNoRandomization = 0x0040000;
  const uint32_t old = task.process().personality.load();
  if (persona == kAsk) return old;
  // Other execution domains and their quirks are not there.
  if (persona & ~kNoRandomization) return error(EINVAL);
  task.process().personality.store(persona);
  return old;
}

// --- pidfds

Result<Fd> sys_pidfd_open(Task& task, int32_t pid, uint32_t flags) {
  if (flags & ~vfs::open_flags::kNonBlock) return error(EINVAL);
  if (pid <= 0) return error(EINVAL);
  RefPtr<Process> process;
  {
    MutexLock lock(task.kernel().tasks.mutex);
    const RefPtr<Task> other = task.kernel().tasks.find_task(pid);
    if (!other) return error(ESRCH);
    if (!other->is_leader()) return error(EINVAL);
    process = &other->process();
  }
  RefPtr<vfs::OpenFile> file = TRY(make_pidfd(task, std::move(process), flags & vfs::open_flags::kNonBlock));
  return task.fds().add(std::move(file), true, task.process().limits.soft(Resource::OpenFiles));
}

/// Whom a signal reaches, pidfd_send_signal(2): the flags PIDFD_SIGNAL_*.
enum SignalScope : uint32_t { kFirstThread = 1, kThreadGroup = 2, kWholeGroup = 4 };

Result<void> send_to_process_locked(Task& task, Process& process, const SignalInfo& info, int signal, bool first_thread) {
  TRY(check_signal_permission(task, process, signal));
  if (signal == 0) return {};
  return first_thread ? send_signal(*process.leader, info) : send_signal(process, info);
}

/// As kill(2) to a group: one that could be signalled is enough.
Result<void> send_to_group_locked(Task& task, ProcessGroup* group, const SignalInfo& info, int signal) {
  if (!group || group->members.empty()) return error(ESRCH);
  bool reached = false;
  Result<void> last;
  for (Process& member : group->members) {
    last = send_to_process_locked(task, member, info, signal, false);
    reached = reached || last.ok();
  }
  return reached ? Result<void>{} : last;
}

Result<void> sys_pidfd_send_signal(Task& task, Fd fd, int signal, UserPtr<SignalInfo> info_pointer, uint32_t flags) {
  if (flags != 0 && flags != kFirstThread && flags != kThreadGroup && flags != kWholeGroup) return error(EINVAL);
  const RefPtr<vfs::OpenFile> file = TRY(task.fds().usable(fd));
  const RefPtr<Process> process = TRY(process_to_signal(*file));
  if (signal < 0 || signal > signals::kLast) return error(EINVAL);
  const int code = flags == kFirstThread ? signal_codes::kThread : signal_codes::kUser;
  SignalInfo info = SignalInfo::from_user(signal, code, task.process().pid(), task.credentials().uid);
  if (info_pointer) {
    info = TRY(info_pointer.read());
    if (info.number != signal) return error(EINVAL);
    const bool to_itself = process == &task.process() && flags != kWholeGroup;
    if (!to_itself && (info.code >= 0 || info.code == signal_codes::kThread)) return error(EPERM);
  }
  MutexLock lock(task.kernel().tasks.mutex);
  if (flags == kWholeGroup) return send_to_group_locked(task, task.kernel().tasks.find_group(process->pid()).get(), info, signal);
  if (process->is_zombie && !process->leader) return error(ESRCH);
  return send_to_process_locked(task, *process, info, signal, flags == kFirstThread);
}

/// ptrace(2), "Ptrace access mode checking": the same ids throughout, or CAP_SYS_PTRACE.
Result<void> check_trace_access(const Task& task, const Task& target) {
  if (&task.process() == &target.process()) return {};
  const Credentials& mine = task.credentials();
  const RefPtr<const Credentials> theirs = target.credentials_ref();
  const bool same_user = mine.fsuid == theirs->uid && mine.fsuid == theirs->euid && mine.fsuid == theirs->suid;
  const bool same_group = mine.fsgid == theirs->gid && mine.fsgid == theirs->egid && mine.fsgid == theirs->sgid;
  if ((same_user && same_group && target.process().is_dumpable) || mine.has(Capability::SysPtrace)) return {};
  return error(EPERM);
}

Result<Fd> sys_pidfd_getfd(Task& task, Fd fd, int target_fd, uint32_t flags) {
  if (flags != 0) return error(EINVAL);
  const RefPtr<vfs::OpenFile> file = TRY(task.fds().get(fd));
  const RefPtr<Process> process = TRY(process_of_pidfd(*file));
  RefPtr<vfs::FdTable> fds;
  {
    MutexLock lock(task.kernel().tasks.mutex);
    if (process->tasks.empty()) return error(ESRCH);
    Task& target = process->tasks.front();
    TRY(check_trace_access(task, target));
    fds = target.fds_ref();
  }
  if (!fds) return error(ESRCH);
  RefPtr<vfs::OpenFile> wanted = TRY(fds->get(Fd{target_fd}));
  return task.fds().add(std::move(wanted), true, task.process().limits.soft(Resource::OpenFiles));
}

// --- kcmp(2)

Result<int64_t> sys_kcmp(Task& task, int32_t first, int32_t second, int type, uint64_t first_index, uint64_t second_index) {
  enum { kFile = 0, kVm = 1, kFiles = 2, kFs = 3, kSigHand = 4 };
  RefPtr<Task> a, b;
  {
    MutexLock lock(task.kernel().tasks.mutex);
    a = task.kernel().tasks.find_task(first);
    b = task.kernel().tasks.find_task(second);
  }
  if (!a || !b) return error(ESRCH);
  TRY(check_trace_access(task, *a));
  TRY(check_trace_access(task, *b));
  auto compare = [](const void* left, const void* right) -> int64_t {
    if (left == right) return 0;
    // An order that tells nothing about addresses: multiplied by an odd number, as the manual page suggests.
    constexpr uint64_t kMix = 0x9e3779b97f4a7c15;
    return reinterpret_cast<uint64_t>(left) * kMix < reinterpret_cast<uint64_t>(right) * kMix ? 1 : 2;
  };
  switch (type) {
    case kFile: {
      const RefPtr<vfs::FdTable> left_table = a->fds_ref(), right_table = b->fds_ref();
      if (!left_table || !right_table) return error(EBADF);
      const RefPtr<vfs::OpenFile> left = TRY(left_table->get(Fd{static_cast<int>(first_index)}));
      const RefPtr<vfs::OpenFile> right = TRY(right_table->get(Fd{static_cast<int>(second_index)}));
      return compare(left.get(), right.get());
    }
    case kVm:
      return compare(a->address_space_ref().get(), b->address_space_ref().get());
    case kFiles:
      return compare(a->fds_ref().get(), b->fds_ref().get());
    case kFs:
      return compare(a->fs_ref().get(), b->fs_ref().get());
    case kSigHand:
      return compare(a->process().handlers.get(), b->process().handlers.get());
    default:
      return error(EINVAL);
  }
}

}  // namespace

Result<int64_t> sys_prctl(Task& task, int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d);  // sys_prctl.cpp

const SyscallRow kSysProcessRows[] = {
    full<sys_getpid>(39, "getpid"),
    partial<sys_clone>(56, "clone", "no namespaces, no ptrace"),
    full<sys_fork>(57, "fork"),
    full<sys_vfork>(58, "vfork"),
    full<sys_exit>(60, "exit"),
    partial<sys_wait4>(61, "wait4", "__WNOTHREAD waits for all threads' children"),
    full<sys_setpgid>(109, "setpgid"),
    full<sys_getppid>(110, "getppid"),
    full<sys_getpgrp>(111, "getpgrp"),
    full<sys_setsid>(112, "setsid"),
    full<sys_getpgid>(121, "getpgid"),
    full<sys_getsid>(124, "getsid"),
    partial<sys_personality>(135, "personality", "only ADDR_NO_RANDOMIZE"),
    full<sys_vhangup>(153, "vhangup"),
    partial<sys_prctl>(157, "prctl", "no seccomp, no PR_SET_MM, no speculation control"),
    partial<sys_arch_prctl>(158, "arch_prctl", "no CPUID faulting"),
    full<sys_gettid>(186, "gettid"),
    full<sys_set_tid_address>(218, "set_tid_address"),
    full<sys_exit_group>(231, "exit_group"),
    partial<sys_waitid>(247, "waitid", "__WNOTHREAD waits for all threads' children"),
    partial<sys_kcmp>(312, "kcmp", "no KCMP_IO, KCMP_SYSVSEM, KCMP_EPOLL_TFD"),
    full<sys_pidfd_send_signal>(424, "pidfd_send_signal"),
    full<sys_pidfd_open>(434, "pidfd_open"),
    partial<sys_clone3>(435, "clone3", "no namespaces, no set_tid, no cgroups"),
    full<sys_pidfd_getfd>(438, "pidfd_getfd"),
};
const size_t kSysProcessRowCount = std::size(kSysProcessRows);

}  // namespace umk
