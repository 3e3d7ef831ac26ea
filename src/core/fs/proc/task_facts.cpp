#include "core/fs/proc/task_facts.h"

#include <algorithm>

#include "core/kernel/mm/cache_window.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/time/clocks.h"

namespace umk::proc {

bool is_own(const mm::AddressSpace& space) {
  const Task* current = Task::current_or_null();
  return current && current->address_space_.get() == &space;
}

namespace {

/// Of the address space that the engine works on.
uint64_t count_resident(mm::AddressSpace& space, uint64_t start, uint64_t end) {
  constexpr size_t kPagesAtOnce = 1024;
  // Asking page by page about a huge reservation would take longer than the answer is worth.
  constexpr uint64_t kTooLarge = uint64_t{4} << 30;
  if (end - start > kTooLarge) return 0;
  uint8_t states[kPagesAtOnce] = {};
  uint64_t count = 0;
  for (uint64_t address = start; address < end;) {
    const uint64_t bytes = std::min<uint64_t>(end - address, kPagesAtOnce * kPageSize);
    if (!space.engine().residency(address, bytes, states).ok()) return count;
    for (uint64_t page = 0; page < bytes / kPageSize; ++page) count += states[page] & 1;
    address += bytes;
  }
  return count;
}

}  // namespace

uint64_t resident_pages(mm::AddressSpace& space, uint64_t start, uint64_t end) {
  struct Question {
    mm::AddressSpace& space;
    uint64_t start, end, count;
  } question{space, start, end, 0};
  (void)space.engine().run_in(
      space,
      [](void* argument) {
        Question& asked = *static_cast<Question*>(argument);
        asked.count = count_resident(asked.space, asked.start, asked.end);
      },
      &question);
  return question.count;
}

MemorySizes memory_sizes(mm::AddressSpace& space, uint64_t faults) {
  MemorySizes sizes;
  const bool asks_host = is_own(space);
  const uint64_t code_start = space.code_start, code_end = space.code_end, stack = space.stack_start;
  uint64_t private_pages = 0;
  space.for_each_area([&](const mm::Area& area) {
    const uint64_t pages = area.length() / kPageSize;
    const bool is_writable_private = area.is_private() && (area.protection & guest::kProtWrite);
    if ((area.flags & mm::map_flags::kGrowsDown) || (stack >= area.start && stack < area.end)) sizes.stack += pages;
    else if (is_writable_private) sizes.data += pages;
    else if (area.protection & guest::kProtExec) (area.start < code_end && area.end > code_start ? sizes.text : sizes.library) += pages;
    if (is_writable_private) private_pages += pages;
    if (asks_host && area.protection != 0) (area.file ? sizes.resident_file : sizes.resident_anonymous) += count_resident(space, area.start, area.end);
  });
  sizes.total = space.total_bytes() / kPageSize;
  sizes.locked = space.locked_bytes() / kPageSize;
  if (!asks_host) {
    sizes.resident_anonymous = std::min(faults, private_pages);
    sizes.resident_file = std::min(faults - sizes.resident_anonymous, sizes.text + sizes.library);
  }
  return sizes;
}

Result<MachineTotals> machine_totals(Kernel& kernel) {
  MachineTotals totals;
  // Processes are taken one at a time, so that no address space is looked at under the list's lock.
  for (ProcessId next = 1;;) {
    RefPtr<mm::AddressSpace> space;
    guest::Usage usage;
    {
      MutexLock lock(kernel.tasks.mutex);
      const RefPtr<Process> process = kernel.tasks.next_process(next);
      if (!process) break;
      next = process->pid() + 1;
      totals.newest = std::max(totals.newest, process->pid());
      usage = process_usage_locked(*process);
      guest::Usage all = usage;
      add_usage(all, process->children_usage);
      totals.user_ns += all.user_ns;
      totals.system_ns += all.system_ns;
      totals.switches += all.voluntary_switches + all.involuntary_switches;
      totals.minor_faults += all.minor_faults;
      totals.major_faults += all.major_faults;
      for (const Task& task : process->tasks) {
        ++totals.tasks;
        if (state_of(task) == 'R') ++totals.running;
      }
      if (process->leader) space = process->leader->address_space_ref();
    }
    if (space) totals.private_pages += std::min(usage.minor_faults + usage.major_faults, space->committed_bytes() / kPageSize);
  }
  return totals;
}

uint64_t uptime_ns(const Kernel& kernel) { return time::boottime_ns() - kernel.boot_time_ns; }

uint64_t total_memory_bytes(const Kernel& kernel) {
  if (kernel.cache_window)
    if (const uint64_t limit = kernel.cache_window->account().limit(); limit != UINT64_MAX) return limit;
  return kernel.options.memory_bytes;
}

}  // namespace umk::proc
