// The machine as a whole: its name, memory, limits, log, end.
#include <algorithm>

#include "core/abi/resource.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/security/identity.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/usage.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/log_reader.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/version.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

// --- uname(2), sethostname(2), setdomainname(2)

/// struct new_utsname.
struct KernelName {
  char system[65], node[65], release[65], version[65], machine[65], domain[65];
};
static_assert(sizeof(KernelName) == 390);

void put(char (&field)[65], std::string_view text) {
  for (size_t i = 0; i < text.size() && i + 1 < sizeof field; ++i) field[i] = text[i];
}

Result<void> sys_uname(Task& task, UserPtr<KernelName> into) {
  KernelName name{};
  put(name.system, version::kSystem);
  put(name.node, task.kernel().host_name.host().data());
  put(name.release, version::kRelease);
  put(name.version, version::kVersion);
  put(name.machine, version::kMachine);
  put(name.domain, task.kernel().host_name.domain().data());
  return into.write(name);
}

Result<size_t> read_name(Task& task, uint64_t address, int length, std::span<char> into) {
  if (!task.credentials().has(Capability::SysAdmin)) return error(EPERM);
  if (length < 0 || static_cast<size_t>(length) > into.size()) return error(EINVAL);
  if (copy_from_user(into.data(), address, static_cast<size_t>(length)).faulted) return error(EFAULT);
  return static_cast<size_t>(length);
}

Result<void> sys_sethostname(Task& task, uint64_t address, int length) {
  char text[HostName::kMaximumLength];
  const size_t size = TRY(read_name(task, address, length, text));
  return task.kernel().host_name.set_host({text, size});
}

Result<void> sys_setdomainname(Task& task, uint64_t address, int length) {
  char text[HostName::kMaximumLength];
  const size_t size = TRY(read_name(task, address, length, text));
  return task.kernel().host_name.set_domain({text, size});
}

// --- getrlimit(2), setrlimit(2), prlimit(2), getrusage(2)

Result<void> check_limit(Task& task, Process& target, Resource resource, KernelLimit wanted) {
  if (wanted.soft > wanted.hard) return error(EINVAL);
  constexpr uint64_t kMostOpenFiles = 1 << 20;  // /proc/sys/fs/nr_open
  if (resource == Resource::OpenFiles && wanted.hard > kMostOpenFiles) return error(EPERM);
  if (wanted.hard > target.limits.get(resource).hard && !task.credentials().has(Capability::SysResource)) return error(EPERM);
  return {};
}

Result<void> set_limit(Task& task, Process& target, Resource resource, KernelLimit wanted) {
  TRY(check_limit(task, target, resource, wanted));
  target.limits.set(resource, {wanted.soft, wanted.hard});
  if (resource == Resource::Cpu) TRY(ProcessTimers::of(target)).watch_cpu_limit();
  return {};
}

Result<void> sys_getrlimit(Task& task, uint32_t resource, UserPtr<KernelLimit> into) {
  if (resource >= kResourceCount) return error(EINVAL);
  const Limit limit = task.process().limits.get(static_cast<Resource>(resource));
  return into.write({limit.soft, limit.hard});
}

Result<void> sys_setrlimit(Task& task, uint32_t resource, UserPtr<KernelLimit> from) {
  const KernelLimit wanted = TRY(from.read());
  if (resource >= kResourceCount) return error(EINVAL);
  return set_limit(task, task.process(), static_cast<Resource>(resource), wanted);
}

Result<void> sys_prlimit64(Task& task, int32_t pid, uint32_t resource, UserPtr<KernelLimit> from, UserPtr<KernelLimit> into) {
  if (resource >= kResourceCount) return error(EINVAL);
  KernelLimit wanted{};
  if (from) wanted = TRY(from.read());
  RefPtr<Process> target = &task.process();
  if (pid != 0 && pid != target->pid()) {
    MutexLock lock(task.kernel().tasks.mutex);
    const RefPtr<Task> other = pid > 0 ? task.kernel().tasks.find_task(pid) : nullptr;
    if (!other) return error(ESRCH);
    const Credentials& mine = task.credentials();
    const RefPtr<const Credentials> theirs = other->credentials_ref();
    const bool same = mine.uid == theirs->euid && mine.uid == theirs->suid && mine.uid == theirs->uid && mine.gid == theirs->egid &&
                      mine.gid == theirs->sgid && mine.gid == theirs->gid;
    if (!same && !mine.has(Capability::SysResource)) return error(EPERM);
    target = &other->process();
  }
  const Limit old = target->limits.get(static_cast<Resource>(resource));
  if (from) TRY(set_limit(task, *target, static_cast<Resource>(resource), wanted));
  if (into) TRY(into.write({old.soft, old.hard}));
  return {};
}

Result<void> sys_getrusage(Task& task, int who, UserPtr<KernelUsage> into) {
  enum { kSelf = 0, kChildren = -1, kThread = 1 };
  guest::Usage usage;
  switch (who) {
    case kSelf: {
      MutexLock lock(task.kernel().tasks.mutex);
      usage = process_usage_locked(task.process());
      break;
    }
    case kChildren: {
      MutexLock lock(task.kernel().tasks.mutex);
      usage = task.process().children_usage;
      break;
    }
    case kThread:
      usage = task.kernel().engine.usage(task);
      break;
    default:
      return error(EINVAL);
  }
  return into.write(to_kernel_usage(usage));
}

// --- sysinfo(2)

struct KernelSystemInfo {
  int64_t uptime;
  uint64_t loads[3];
  uint64_t total_memory, free_memory, shared_memory, buffer_memory, total_swap, free_swap;
  uint16_t processes;
  uint16_t padding;
  uint32_t padding2;
  uint64_t total_high, free_high;
  uint32_t unit;
  uint32_t padding3;
};
static_assert(sizeof(KernelSystemInfo) == 112);

Result<void> sys_sysinfo(Task& task, UserPtr<KernelSystemInfo> into) {
  Kernel& kernel = task.kernel();
  KernelSystemInfo info{};
  info.uptime = static_cast<int64_t>((time::boottime_ns() - kernel.boot_time_ns) / kNanosecondsPerSecond);
  info.total_memory = kernel.options.memory_bytes;
  const uint64_t charged = kernel.cache_window ? kernel.cache_window->account().charged() : 0;
  info.free_memory = info.total_memory > charged ? info.total_memory - charged : 0;
  info.unit = 1;
  MutexLock lock(kernel.tasks.mutex);
  info.processes = static_cast<uint16_t>(kernel.tasks.task_count());
  return into.write(info);
}

// --- getrandom(2)

Result<int64_t> sys_getrandom(Task&, uint64_t address, size_t size, uint32_t flags) {
  constexpr uint32_t kNonBlock = 1, kRandom = 2, kInsecure = 4;
  constexpr size_t kMost = 0x7ffff000 / 64;  // 32 MiB - 1 pages: bounded work for one call
  if ((flags & ~(kNonBlock | kRandom | kInsecure)) || (flags & (kRandom | kInsecure)) == (kRandom | kInsecure)) return error(EINVAL);
  if (size > kMost) size = kMost;
  std::byte chunk[256];
  size_t done = 0;
  while (done < size) {
    const size_t part = size - done < sizeof chunk ? size - done : sizeof chunk;
    host::get_random(std::span(chunk, part));
    const CopyOutcome copied = copy_to_user(address + done, chunk, part);
    done += copied.copied;
    if (copied.faulted) break;
  }
  if (done == 0 && size != 0) return error(EFAULT);
  return static_cast<int64_t>(done);
}

// --- syslog(2)

/// "Console on" brings back what "console off" took away.
void switch_console(KernelLog::Levels& levels, bool on) {
  if (on) {
    const int before = levels.console_before_off.exchange(-1);
    if (before >= 0) levels.console.store(before);
  } else {
    int none = -1;
    levels.console_before_off.compare_exchange_strong(none, levels.console.load());
    levels.console.store(levels.lowest_console.load());
  }
}

Result<int64_t> sys_syslog(Task& task, int action, uint64_t buffer, int size) {
  enum { kClose = 0, kOpen = 1, kRead = 2, kReadAll = 3, kReadClear = 4, kClear = 5, kConsoleOff = 6, kConsoleOn = 7, kConsoleLevel = 8, kUnread = 9,
         kBufferSize = 10 };
  const bool is_privileged = task.credentials().has(Capability::Syslog) || task.credentials().has(Capability::SysAdmin);
  if (!is_privileged && action != kReadAll && action != kBufferSize) return error(EPERM);
  KernelLog& log = task.kernel().kernel_log;
  if (action == kRead || action == kReadAll || action == kReadClear) {
    if (buffer == 0 || size < 0) return error(EINVAL);
    if (size == 0) return 0;
    if (!is_user_range(buffer, static_cast<uint64_t>(size))) return error(EFAULT);
  }
  UserOutBuffer out(buffer, static_cast<size_t>(size < 0 ? 0 : size));
  switch (action) {
    case kClose:
    case kOpen:
      return 0;
    case kRead:
      return static_cast<int64_t>(TRY(log_reader::read_next(log, out, false)));
    case kReadAll:
      return static_cast<int64_t>(TRY(log_reader::read_last(log, out)));
    case kReadClear: {
      const size_t done = TRY(log_reader::read_last(log, out));
      log.clear();
      return static_cast<int64_t>(done);
    }
    case kClear:
      log.clear();
      return 0;
    case kConsoleOff:
    case kConsoleOn:
      switch_console(log.levels, action == kConsoleOn);
      return 0;
    case kConsoleLevel:
      if (size < 1 || size > 8) return error(EINVAL);
      log.levels.console.store(std::max(size, log.levels.lowest_console.load()));
      log.levels.console_before_off.store(-1);
      return 0;
    case kUnread:
      return static_cast<int64_t>(log_reader::unread_bytes(log));
    case kBufferSize:
      return static_cast<int64_t>(KernelLog::kBytes);
    default:
      return error(EINVAL);
  }
}

// --- reboot(2)

Result<int64_t> sys_reboot(Task& task, uint32_t magic1, uint32_t magic2, uint32_t command) {
  constexpr uint32_t kMagic1 = 0xfee1dead, kMagic2[] = {672274793, 85072278, 369367448, 537993216};
  constexpr uint32_t kRestart = 0x01234567, kHalt = 0xcdef0123, kPowerOff = 0x4321fedc, kRestartWithText = 0xa1b2c3d4, kCtrlAltDelOn = 0x89abcdef,
                     kCtrlAltDelOff = 0;
  if (!task.credentials().has(Capability::SysBoot)) return error(EPERM);
  bool is_known = false;
  for (const uint32_t magic : kMagic2) is_known = is_known || magic == magic2;
  if (magic1 != kMagic1 || !is_known) return error(EINVAL);
  switch (command) {
    case kRestart:
    case kRestartWithText:
      task.kernel().request_power_action(PowerAction::Restart);
      break;
    case kHalt:
      task.kernel().request_power_action(PowerAction::Halt);
      break;
    case kPowerOff:
      task.kernel().request_power_action(PowerAction::PowerOff);
      break;
    case kCtrlAltDelOn:
      task.kernel().ctrl_alt_del_restarts.store(true);
      return 0;
    case kCtrlAltDelOff:
      task.kernel().ctrl_alt_del_restarts.store(false);
      return 0;
    default:
      return error(EINVAL);
  }
  // The caller does not go on: the machine ends around it.
  exit_task(task, 0);
}

}  // namespace

const SyscallRow kSysSystemRows[] = {
    full<sys_uname>(63, "uname"),
    full<sys_getrlimit>(97, "getrlimit"),
    full<sys_getrusage>(98, "getrusage"),
    partial<sys_sysinfo>(99, "sysinfo", "no load averages"),
    full<sys_syslog>(103, "syslog"),
    full<sys_setrlimit>(160, "setrlimit"),
    partial<sys_reboot>(169, "reboot", "no kexec, no suspend"),
    full<sys_sethostname>(170, "sethostname"),
    full<sys_setdomainname>(171, "setdomainname"),
    full<sys_prlimit64>(302, "prlimit64"),
    full<sys_getrandom>(318, "getrandom"),
};
const size_t kSysSystemRowCount = std::size(kSysSystemRows);

}  // namespace umk
