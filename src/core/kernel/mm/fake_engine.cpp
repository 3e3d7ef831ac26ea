#include "core/kernel/mm/fake_engine.h"

#include <errno.h>
#include <sys/mman.h>

namespace umk::mm::fake {

namespace {

Result<void> outcome(long raw) {
  if (raw == -1) return error(errno);
  return {};
}

void* at(uint64_t address) { return reinterpret_cast<void*>(address); }

Result<void> map(uint64_t address, uint64_t length, int protection, int flags, int fd, uint64_t offset) {
  return outcome(reinterpret_cast<long>(mmap(at(address), length, protection, flags | MAP_FIXED, fd, static_cast<off_t>(offset))));
}

}  // namespace

Result<void> MappingEngine::map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) {
  return map(address, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? 0 : MAP_NORESERVE), -1, 0);
}
Result<void> MappingEngine::map_cache(uint64_t address, uint64_t length, int protection, uint64_t offset, bool shared) {
  return map(address, length, protection, shared ? MAP_SHARED : MAP_PRIVATE, cache_fd_, offset);
}
Result<void> MappingEngine::map_host_file(uint64_t address, uint64_t length, int protection, int fd, uint64_t offset, bool shared) {
  return map(address, length, protection, shared ? MAP_SHARED : MAP_PRIVATE, fd, offset);
}
Result<void> MappingEngine::unmap(uint64_t address, uint64_t length) { return outcome(munmap(at(address), length)); }
Result<void> MappingEngine::protect(uint64_t address, uint64_t length, int protection) { return outcome(mprotect(at(address), length, protection)); }
Result<void> MappingEngine::advise(uint64_t address, uint64_t length, int advice) { return outcome(madvise(at(address), length, advice)); }
Result<void> MappingEngine::move(uint64_t from, uint64_t length, uint64_t to) {
  return outcome(reinterpret_cast<long>(mremap(at(from), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at(to))));
}
Result<void> MappingEngine::residency(uint64_t address, uint64_t length, uint8_t* resident) { return outcome(mincore(at(address), length, resident)); }

}  // namespace umk::mm::fake
