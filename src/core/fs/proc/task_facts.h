// What several files of proc tell of tasks: state, times, memory. Nothing here is exact beyond what the comments promise.
#pragma once

#include "core/fs/proc/entry.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/task_state.h"

namespace umk::proc {

/// USER_HZ: clock ticks of 10 ms.
inline constexpr uint64_t kTickNs = 10'000'000;

inline std::string_view name_of(const Task& task) {
  size_t length = 0;
  while (length < sizeof task.name && task.name[length] != '\0') ++length;
  return {task.name, length};
}

/// Sizes of an address space in pages.
struct MemorySizes {
  uint64_t total = 0, text = 0, library = 0, data = 0, stack = 0, locked = 0;
  uint64_t resident_anonymous = 0, resident_file = 0;
  uint64_t resident() const { return resident_anonymous + resident_file; }
};
/// The host is asked what is resident, of another address space in its own process. No lock held that run_in() does not allow.
MemorySizes memory_sizes(mm::AddressSpace& space);
/// What is resident, for files that are read all the time: of another address space it is what page faults, as far as they are known, can have brought in.
uint64_t quick_resident_pages(mm::AddressSpace& space, const guest::Usage& usage);
/// Pages of [start, end) that the host has in memory.
uint64_t resident_pages(mm::AddressSpace& space, uint64_t start, uint64_t end);
/// True when the current task runs in `space`.
bool is_own(const mm::AddressSpace& space);

/// Private memory of all programs that the host has in memory, in pages: each process is asked for its own, unless that was just done. Locks as above.
uint64_t private_pages(Kernel& kernel);

/// Sums over all tasks of the machine.
struct MachineTotals {
  uint64_t user_ns = 0, system_ns = 0, switches = 0, minor_faults = 0, major_faults = 0;
  uint64_t tasks = 0, running = 0;
  ProcessId newest = 0;
};
Result<MachineTotals> machine_totals(Kernel& kernel);

uint64_t uptime_ns(const Kernel& kernel);
/// The machine's memory: mem=, or what the host has.
uint64_t total_memory_bytes(const Kernel& kernel);

}  // namespace umk::proc
