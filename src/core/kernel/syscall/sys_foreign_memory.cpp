// Memory of other processes: process_vm_readv, process_vm_writev.
#include <algorithm>
#include <iterator>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/io_vector.h"
#include "core/kernel/task/inspection.h"
#include "core/kernel/task/kernel.h"

namespace umk {

namespace {

/// Copied at once, by way of kernel memory.
constexpr size_t kPieceBytes = 64 * 1024;

/// The address space of a process that the caller may inspect. ESRCH, EPERM.
Result<RefPtr<mm::AddressSpace>> find_space(Task& task, int32_t pid) {
  RefPtr<Task> target;
  {
    MutexLock lock(task.kernel().tasks.mutex);
    target = task.kernel().tasks.find_task(pid);
  }
  if (!target) return error(ESRCH);
  if (!check_inspection(task.credentials(), *target, InspectionIds::Real).ok()) return error(EPERM);
  RefPtr<mm::AddressSpace> space = target->address_space_ref();
  if (!space) return error(ESRCH);
  return space;
}

/// The ranges of the other process; only their lengths can be wrong before they are used. EINVAL, EFAULT.
Result<Vector<BufferPiece>> read_ranges(uint64_t address, uint64_t count) {
  if (count > IoVector::kMaximumPieces) return error(EINVAL);
  Vector<BufferPiece> ranges;
  TRY(ranges.resize(count));
  if (copy_from_user(ranges.data(), address, count * sizeof(BufferPiece)).faulted) return error(EFAULT);
  for (const BufferPiece& range : ranges)
    if (static_cast<int64_t>(range.length) < 0) return error(EINVAL);
  return ranges;
}

// process_vm_readv(2): from the other's ranges to the caller's, as far as both go. What was copied before a bad address counts.
template <typename Buffer, typename Copy>
Result<size_t> transfer(Buffer& local, std::span<const BufferPiece> ranges, Copy&& copy) {
  Vector<std::byte> bytes;
  size_t total = 0;
  for (const BufferPiece& range : ranges) {
    for (uint64_t done = 0; done < range.length;) {
      const size_t wanted = std::min({size_t{range.length - done}, local.remaining(), kPieceBytes});
      if (wanted == 0) return total;
      if (bytes.size() < wanted) TRY(bytes.resize(wanted));
      const Result<size_t> copied = copy(range.address + done, std::span<std::byte>(bytes.data(), wanted));
      if (!copied.ok() && total == 0) return copied.failure();
      if (!copied.ok()) return total;
      total += copied.value();
      done += copied.value();
      if (copied.value() < wanted) return total;
    }
  }
  return total;
}

Result<size_t> sys_process_vm_readv(Task& task, int32_t pid, uint64_t local, uint64_t local_count, uint64_t remote, uint64_t remote_count, uint64_t flags) {
  if (flags != 0) return error(EINVAL);
  IoVector vector;
  TRY(vector.read(local, local_count));
  UserOutBuffer buffer(vector.pieces());
  if (buffer.remaining() == 0) return size_t{0};
  const Vector<BufferPiece> ranges = TRY(read_ranges(remote, remote_count));
  const RefPtr<mm::AddressSpace> space = TRY(find_space(task, pid));
  return transfer(buffer, ranges, [&](uint64_t address, std::span<std::byte> bytes) -> Result<size_t> {
    const size_t got = space->read_foreign(address, bytes, mm::AddressSpace::Rights::Guest);
    if (got == 0) return error(EFAULT);
    return buffer.put(bytes.first(got));
  });
}

Result<size_t> sys_process_vm_writev(Task& task, int32_t pid, uint64_t local, uint64_t local_count, uint64_t remote, uint64_t remote_count, uint64_t flags) {
  if (flags != 0) return error(EINVAL);
  IoVector vector;
  TRY(vector.read(local, local_count));
  UserInBuffer buffer(vector.pieces());
  if (buffer.remaining() == 0) return size_t{0};
  const Vector<BufferPiece> ranges = TRY(read_ranges(remote, remote_count));
  const RefPtr<mm::AddressSpace> space = TRY(find_space(task, pid));
  return transfer(buffer, ranges, [&](uint64_t address, std::span<std::byte> bytes) -> Result<size_t> {
    const size_t got = TRY(buffer.get(bytes));
    const size_t put = space->write_foreign(address, bytes.first(got), mm::AddressSpace::Rights::Guest);
    if (put == 0) return error(EFAULT);
    return put;
  });
}

}  // namespace

const SyscallRow kSysForeignMemoryRows[] = {
    full<sys_process_vm_readv>(310, "process_vm_readv"),
    full<sys_process_vm_writev>(311, "process_vm_writev"),
};
const size_t kSysForeignMemoryRowCount = std::size(kSysForeignMemoryRows);

}  // namespace umk
