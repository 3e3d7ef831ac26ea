#include "core/kernel/mm/shared_memory.h"

namespace umk::mm {

namespace {
// Beyond this a table of all chunks costs more than the faults: most of such a mapping is never touched.
constexpr uint64_t kMaximumReserved = uint64_t{256} << 20;
}  // namespace

Result<RefPtr<SharedMemory>> SharedMemory::create(CacheWindow& window, uint64_t bytes, bool reserve) {
  RefPtr<SharedMemory> memory = TRY(make_ref<SharedMemory>(window, bytes));
  if (reserve && bytes <= kMaximumReserved) TRY(memory->store_.allocate_run(bytes));
  return memory;
}

Result<size_t> SharedMemory::read_for_text(uint64_t offset, std::span<std::byte> into) {
  if (offset >= bytes_) return size_t{0};
  UserOutBuffer buffer = UserOutBuffer::kernel(into.first(into.size() < bytes_ - offset ? into.size() : bytes_ - offset));
  return store_.read(offset, buffer);
}

}  // namespace umk::mm
