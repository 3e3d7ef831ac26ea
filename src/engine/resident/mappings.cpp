// The guest's mappings, made on the host by the process that owns them.
#include <errno.h>
#include <sys/mman.h>

#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/task.h"
#include "engine/resident/resident_engine.h"
#include "engine/vessel/host_numbers.h"

namespace umk::engine {

namespace {

/// The kernel chose these addresses: one outside the guest's part is a bug that would unmap the kernel.
void check_range(uint64_t address, uint64_t length) {
  CHECK(address >= layout::kUserStart && address < layout::kUserEnd && length <= layout::kUserEnd - address, "a guest mapping lies in the guest's part");
  CHECK(is_aligned(address, kPageSize), "mappings begin at pages");
}

/// Executable pages are readable too: an execute-only mapping would make the host allocate a protection key.
int host_protection(int protection) {
  CHECK((protection & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC), "a page is writable or executable on the host, never both");
  return (protection & PROT_EXEC) ? protection | PROT_READ : protection;
}

}  // namespace

Result<void> ResidentEngine::map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) {
  check_range(address, length);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (reserve ? 0 : MAP_NORESERVE);
  TRY(host::mmap(address, length, host_protection(protection), flags, -1, 0));
  return {};
}

Result<void> ResidentEngine::map_cache(uint64_t address, uint64_t length, int protection, uint64_t cache_offset, bool shared) {
  check_range(address, length);
  CHECK(cache_offset <= layout::kCacheWindowBytes && length <= layout::kCacheWindowBytes - cache_offset, "cache mappings lie in the window");
  TRY(host::mmap(address, length, host_protection(protection), MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), machine().parameters.cache_fd, cache_offset));
  return {};
}

Result<void> ResidentEngine::map_host_file(uint64_t address, uint64_t length, int protection, int host_fd, uint64_t offset, bool shared) {
  check_range(address, length);
  CHECK((protection & PROT_EXEC) == 0, "host files are never mapped executable: the kernel's copy is");
  TRY(host::mmap(address, length, host_protection(protection), MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), host_fd, offset));
  return {};
}

// Behind a shield every executable page is a copy that was scanned and that nobody can write; without one there is nothing that such a page could undo.
bool ResidentEngine::shows_shared_code() const { return !machine().parameters.shield; }

Result<void> ResidentEngine::unmap(uint64_t address, uint64_t length) {
  check_range(address, length);
  return host::munmap(address, length);
}

Result<void> ResidentEngine::protect(uint64_t address, uint64_t length, int protection) {
  check_range(address, length);
  return host::mprotect(address, length, host_protection(protection));
}

Result<void> ResidentEngine::advise(uint64_t address, uint64_t length, int advice) {
  check_range(address, length);
  return host::madvise(address, length, advice);
}

Result<void> ResidentEngine::move(uint64_t from, uint64_t length, uint64_t to) {
  check_range(from, length);
  check_range(to, length);
  TRY(host::checked(host::raw_call(kHostMremap, from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to)));
  return {};
}

Result<void> ResidentEngine::residency(uint64_t address, uint64_t length, uint8_t* resident) {
  check_range(address, length);
  TRY(host::checked(host::raw_call(kHostMincore, address, length, reinterpret_cast<uint64_t>(resident))));
  return {};
}

Result<void> ResidentEngine::run_in(mm::AddressSpace& space, void (*work)(void*), void* argument) {
  Task* task = Task::current_or_null();
  if (!task || &task->address_space() != &space) return error(ESRCH);
  work(argument);
  return {};
}

}  // namespace umk::engine
