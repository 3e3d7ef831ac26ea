// The guest's mappings, made on the host by the process that owns them: the current one, or that of the address space which run_in works on.
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

/// The mappings went with their host process, and what works on them is on its way out (engine/vessel/lost_vessel.h).
bool are_lost() {
  Task* const task = current_stack().task;
  if (!task) return false;
  const RefPtr<mm::AddressSpace> space = task->address_space_ref();
  return space && space->is_lost.load(std::memory_order_relaxed);
}

/// A host call in the process whose mappings are worked on.
Result<uint64_t> call(host::Call which, uint64_t a, uint64_t b, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  Vessel* const elsewhere = reinterpret_cast<Context&>(current_stack()).works_in;
  if (elsewhere) [[unlikely]] return host::checked(call_in(*elsewhere, which, a, b, c, d, e, f));
  const int64_t result = host::raw_call(which, a, b, c, d, e, f);
  // Mappings that are not there are as good as changed.
  if (result < 0 && are_lost()) [[unlikely]] return uint64_t{0};
  return host::checked(result);
}

Result<void> map(uint64_t address, uint64_t length, int protection, int flags, int fd, uint64_t offset) {
  TRY(call(host::Call::Mmap, address, length, static_cast<uint64_t>(protection), static_cast<uint64_t>(flags | MAP_FIXED), static_cast<uint64_t>(int64_t{fd}), offset));
  return {};
}

}  // namespace

Result<void> ResidentEngine::map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) {
  check_range(address, length);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? 0 : MAP_NORESERVE);
  return map(address, length, host_protection(protection), flags, -1, 0);
}

Result<void> ResidentEngine::map_cache(uint64_t address, uint64_t length, int protection, uint64_t cache_offset, bool shared) {
  check_range(address, length);
  CHECK(cache_offset <= layout::kCacheWindowBytes && length <= layout::kCacheWindowBytes - cache_offset, "cache mappings lie in the window");
  return map(address, length, host_protection(protection), shared ? MAP_SHARED : MAP_PRIVATE, machine().parameters.cache_fd, cache_offset);
}

Result<void> ResidentEngine::map_host_file(uint64_t address, uint64_t length, int protection, int host_fd, uint64_t offset, bool shared) {
  check_range(address, length);
  CHECK((protection & PROT_EXEC) == 0, "host files are never mapped executable: the kernel's copy is");
  return map(address, length, host_protection(protection), shared ? MAP_SHARED : MAP_PRIVATE, host_fd, offset);
}

// Behind a shield every executable page is a copy that was scanned and that nobody can write; without one there is nothing that such a page could undo.
bool ResidentEngine::shows_shared_code() const { return !machine().parameters.shield; }

Result<void> ResidentEngine::unmap(uint64_t address, uint64_t length) {
  check_range(address, length);
  TRY(call(host::Call::Munmap, address, length));
  return {};
}

Result<void> ResidentEngine::protect(uint64_t address, uint64_t length, int protection) {
  check_range(address, length);
  TRY(call(host::Call::Mprotect, address, length, static_cast<uint64_t>(host_protection(protection))));
  return {};
}

Result<void> ResidentEngine::advise(uint64_t address, uint64_t length, int advice) {
  check_range(address, length);
  TRY(call(host::Call::Madvise, address, length, static_cast<uint64_t>(advice)));
  return {};
}

Result<void> ResidentEngine::move(uint64_t from, uint64_t length, uint64_t to) {
  check_range(from, length);
  check_range(to, length);
  TRY(call(host::Call::Mremap, from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to));
  return {};
}

Result<void> ResidentEngine::residency(uint64_t address, uint64_t length, uint8_t* resident) {
  check_range(address, length);
  TRY(call(host::Call::Mincore, address, length, reinterpret_cast<uint64_t>(resident)));
  return {};
}

size_t ResidentEngine::copy_memory(uint64_t address, std::byte* bytes, size_t length, bool to_guest) {
  if (address >= layout::kUserEnd || length > layout::kUserEnd - address) return 0;
  // The host copies, as far as the mappings allow, without a fault that anybody would have to handle. A process may always read and write itself.
  struct Piece {
    uint64_t start, length;
  } local{reinterpret_cast<uint64_t>(bytes), length}, remote{address, length};
  Vessel* const elsewhere = reinterpret_cast<Context&>(current_stack()).works_in;
  const Vessel& vessel = elsewhere ? *elsewhere : *current_host().vessel;
  const Result<uint64_t> copied = call(to_guest ? host::Call::ProcessVmWritev : host::Call::ProcessVmReadv, static_cast<uint64_t>(vessel.leader->tid.load()),
                                       reinterpret_cast<uint64_t>(&local), 1, reinterpret_cast<uint64_t>(&remote), 1, 0);
  return copied.ok() ? copied.value() : 0;
}

Result<void> ResidentEngine::run_in(mm::AddressSpace& space, void (*work)(void*), void* argument) {
  auto* const vessel = static_cast<Vessel*>(space.carrier.process.load(std::memory_order_acquire));
  if (!vessel) return error(ESRCH);
  auto& self = reinterpret_cast<Context&>(current_stack());
  const uint64_t number = space.carrier.number.load(std::memory_order_relaxed);
  const bool is_own = current_host().vessel == vessel;
  {
    MutexLock lock(vessel->calls.mutex);
    if (vessel->calls.carried != number) return error(ESRCH);
    if (!is_own) {
      if (vessel->calls.has_ended.load()) return error(ESRCH);
      Vessel* const before = std::exchange(self.works_in, vessel);
      work(argument);
      self.works_in = before;
      return {};
    }
  }
  // A process does not lose its address space while one of its threads is here.
  Vessel* const before = std::exchange(self.works_in, nullptr);
  work(argument);
  self.works_in = before;
  return {};
}

}  // namespace umk::engine
