// Memory: mmap, munmap, mprotect, mremap, madvise, msync, mincore, mlock and its kin, brk, membarrier.
#include <iterator>

#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/process.h"
#include "core/kernel/vfs/mount.h"

namespace umk {

namespace {

using mm::MemoryLimits;
namespace map_flags = mm::map_flags;

MemoryLimits memory_limits(Task& task) {
  const ResourceLimits& limits = task.process().limits;
  MemoryLimits result;
  result.address_space = limits.soft(Resource::AddressSpace);
  result.data = limits.soft(Resource::Data);
  result.stack = limits.soft(Resource::Stack);
  if (!task.credentials().has(Capability::IpcLock)) result.locked = limits.soft(Resource::LockedMemory);
  return result;
}

// mmap(2)
Result<uint64_t> sys_mmap(Task& task, uint64_t hint, uint64_t length, uint32_t protection, uint32_t flags, Fd fd, uint64_t offset) {
  if (!is_aligned(offset, kPageSize)) return error(EINVAL);
  const MemoryLimits limits = memory_limits(task);
  if ((flags & map_flags::kLocked) && limits.locked == 0) return error(EPERM);
  RefPtr<vfs::OpenFile> file;
  if (!(flags & map_flags::kAnonymous)) {
    file = TRY(task.fds().usable(fd));
    if ((protection & guest::kProtExec) && file->path().mount && (file->path().mount->flags() & vfs::mount_flags::kNoExec)) return error(EPERM);
  }
  return task.address_space().map(hint, length, static_cast<int>(protection), flags, std::move(file), offset, limits);
}

// munmap(2)
Result<void> sys_munmap(Task& task, uint64_t address, uint64_t length) { return task.address_space().unmap(address, length); }

// mprotect(2)
Result<void> sys_mprotect(Task& task, uint64_t address, uint64_t length, uint32_t protection) {
  return task.address_space().protect(address, length, static_cast<int>(protection), memory_limits(task));
}

// mremap(2)
Result<uint64_t> sys_mremap(Task& task, uint64_t old_address, uint64_t old_length, uint64_t new_length, uint64_t flags, uint64_t new_address) {
  if (flags > UINT32_MAX) return error(EINVAL);
  return task.address_space().remap(old_address, old_length, new_length, static_cast<uint32_t>(flags), new_address, memory_limits(task));
}

// madvise(2)
Result<void> sys_madvise(Task& task, uint64_t address, uint64_t length, int32_t advice) { return task.address_space().advise(address, length, advice); }

// msync(2)
Result<void> sys_msync(Task& task, uint64_t address, uint64_t length, int32_t flags) { return task.address_space().sync(address, length, flags); }

// mincore(2)
Result<void> sys_mincore(Task& task, uint64_t address, uint64_t length, uint64_t vector) {
  return task.address_space().residency(address, length, vector);
}

// mlock(2)
Result<void> sys_mlock(Task& task, uint64_t address, uint64_t length) {
  return task.address_space().lock_pages(address, length, true, false, memory_limits(task));
}

// mlock2(2)
Result<void> sys_mlock2(Task& task, uint64_t address, uint64_t length, uint32_t flags) {
  constexpr uint32_t kOnFault = 1;
  if (flags & ~kOnFault) return error(EINVAL);
  return task.address_space().lock_pages(address, length, true, flags & kOnFault, memory_limits(task));
}

// munlock(2)
Result<void> sys_munlock(Task& task, uint64_t address, uint64_t length) { return task.address_space().lock_pages(address, length, false); }

// mlockall(2)
Result<void> sys_mlockall(Task& task, uint32_t flags) {
  constexpr uint32_t kCurrent = 1, kFuture = 2, kOnFault = 4;
  if (flags == 0 || (flags & ~(kCurrent | kFuture | kOnFault)) || flags == kOnFault) return error(EINVAL);
  return task.address_space().lock_all(flags, memory_limits(task));
}

// munlockall(2)
Result<void> sys_munlockall(Task& task) { return task.address_space().lock_all(0); }

// brk(2): the C library's view of failure, an unchanged break, is made from this.
Result<uint64_t> sys_brk(Task& task, uint64_t address) { return task.address_space().set_break(address, memory_limits(task)); }

// membarrier(2): guest threads are threads of the host, so the host's barrier is the guest's. Commands for restartable sequences do not exist here.
Result<int64_t> sys_membarrier(Task&, int32_t command, uint32_t flags, int32_t) {
  constexpr int64_t kRseqCommands = 128 | 256;
  if (flags != 0 || (command & kRseqCommands)) return error(EINVAL);
  const int64_t outcome = host::membarrier(command);
  if (outcome < 0) return error(static_cast<int>(-outcome));
  return command == 0 ? outcome & ~kRseqCommands : outcome;
}

}  // namespace

const SyscallRow kSysMemoryRows[] = {
    full<sys_mmap>(9, "mmap"),
    full<sys_mprotect>(10, "mprotect"),
    full<sys_munmap>(11, "munmap"),
    full<sys_brk>(12, "brk"),
    full<sys_mremap>(25, "mremap"),
    full<sys_msync>(26, "msync"),
    full<sys_mincore>(27, "mincore"),
    partial<sys_madvise>(28, "madvise", "merging of equal pages and collapsing to huge pages are not done"),
    partial<sys_mlock>(149, "mlock", "pages are brought in; the host may still swap them out"),
    full<sys_munlock>(150, "munlock"),
    partial<sys_mlockall>(151, "mlockall", "pages are brought in; the host may still swap them out"),
    full<sys_munlockall>(152, "munlockall"),
    partial<sys_membarrier>(324, "membarrier", "no commands for restartable sequences"),
    partial<sys_mlock2>(325, "mlock2", "pages are brought in; the host may still swap them out"),
};
const size_t kSysMemoryRowCount = std::size(kSysMemoryRows);

}  // namespace umk
