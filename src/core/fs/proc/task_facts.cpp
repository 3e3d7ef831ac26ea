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

constexpr size_t kPagesAtOnce = 1024;
/// Asking page by page about a huge reservation would take longer than the answer is worth.
constexpr uint64_t kTooLarge = uint64_t{4} << 30;

/// Of the address space that the engine works on.
uint64_t count_resident(mm::AddressSpace& space, uint64_t start, uint64_t end) {
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

namespace {

/// Neighbouring pages that may be resident; who begins a run does not follow the one before.
struct Span {
  uint64_t start, end;
  bool is_file, begins_run;
};

/// Asks the host once for a whole run, so far as a buffer reaches: each question may have to go to another process.
void count_resident(mm::AddressSpace& space, std::span<const Span> run, MemorySizes& sizes) {
  uint8_t states[kPagesAtOnce] = {};
  size_t at = 0;
  for (uint64_t address = run.front().start; address < run.back().end;) {
    const uint64_t bytes = std::min<uint64_t>(run.back().end - address, kPagesAtOnce * kPageSize);
    if (!space.engine().residency(address, bytes, states).ok()) return;
    for (uint64_t page = 0; page < bytes / kPageSize; ++page) {
      while (address + page * kPageSize >= run[at].end) ++at;
      (run[at].is_file ? sizes.resident_file : sizes.resident_anonymous) += states[page] & 1;
    }
    address += bytes;
  }
}

/// Of the address space that the engine works on.
void count_resident_runs(mm::AddressSpace& space, std::span<const Span> spans, MemorySizes& sizes) {
  // A process with more than that is a curiosity, and has to wait for nobody.
  constexpr size_t kRunsAsked = 256;
  size_t runs = 0;
  for (size_t begin = 0; begin < spans.size() && runs < kRunsAsked; ++runs) {
    size_t end = begin + 1;
    while (end < spans.size() && !spans[end].begins_run) ++end;
    count_resident(space, spans.subspan(begin, end - begin), sizes);
    begin = end;
  }
}

}  // namespace

namespace {

/// Only what is resident of `spans`. ESRCH and the like: nothing.
MemorySizes ask_for_resident(mm::AddressSpace& space, std::span<const Span> spans) {
  MemorySizes sizes;
  if (is_own(space)) {
    count_resident_runs(space, spans, sizes);
    return sizes;
  }
  struct Question {
    mm::AddressSpace& space;
    std::span<const Span> spans;
    MemorySizes& sizes;
  } question{space, spans, sizes};
  (void)space.engine().run_in(
      space,
      [](void* argument) {
        Question& asked = *static_cast<Question*>(argument);
        count_resident_runs(asked.space, asked.spans, asked.sizes);
      },
      &question);
  return sizes;
}

/// What does not fit into memory is not counted.
void add_span(Vector<Span>& spans, const mm::Area& area) {
  if (area.protection == 0 || area.length() > kTooLarge) return;
  (void)spans.push_back({area.start, area.end, static_cast<bool>(area.file), spans.empty() || spans.back().end != area.start});
}

}  // namespace

MemorySizes memory_sizes(mm::AddressSpace& space) {
  MemorySizes sizes;
  const uint64_t code_start = space.code_start, code_end = space.code_end, stack = space.stack_start;
  Vector<Span> spans;
  space.for_each_area([&](const mm::Area& area) {
    const uint64_t pages = area.length() / kPageSize;
    const bool is_writable_private = area.is_private() && (area.protection & guest::kProtWrite);
    if ((area.flags & mm::map_flags::kGrowsDown) || (stack >= area.start && stack < area.end)) sizes.stack += pages;
    else if (is_writable_private) sizes.data += pages;
    else if (area.protection & guest::kProtExec) (area.start < code_end && area.end > code_start ? sizes.text : sizes.library) += pages;
    add_span(spans, area);
  });
  const MemorySizes resident = ask_for_resident(space, spans);
  sizes.resident_anonymous = resident.resident_anonymous;
  sizes.resident_file = resident.resident_file;
  sizes.total = space.total_bytes() / kPageSize;
  sizes.locked = space.locked_bytes() / kPageSize;
  return sizes;
}

uint64_t quick_resident_pages(mm::AddressSpace& space, const guest::Usage& usage) {
  if (is_own(space)) return memory_sizes(space).resident();
  return std::min(usage.minor_faults + usage.major_faults, space.total_bytes() / kPageSize);
}

namespace {

uint64_t ask_for_private_pages(Kernel& kernel) {
  uint64_t pages = 0;
  for (ProcessId next = 1;;) {
    RefPtr<mm::AddressSpace> space;
    {
      MutexLock lock(kernel.tasks.mutex);
      const RefPtr<Process> process = kernel.tasks.next_process(next);
      if (!process) return pages;
      next = process->pid() + 1;
      // The child of a vfork has its parent's.
      if (!process->leader) continue;
      space = process->leader->address_space_ref();
      if (process->parent && process->parent->leader && process->parent->leader->address_space_ref() == space) continue;
    }
    if (!space) continue;
    Vector<Span> spans;
    space->for_each_area([&](const mm::Area& area) {
      if (area.is_private() && !area.file) add_span(spans, area);
    });
    pages += ask_for_resident(*space, spans).resident_anonymous;
  }
}

}  // namespace

uint64_t private_pages(Kernel& kernel) {
  // Each question goes to another process of the host. Scripts read /proc/meminfo by the dozen: a hundredth of the time goes into asking, at most.
  constexpr uint64_t kShare = 100, kOldestNs = 1'000'000'000;
  PrivateMemory& known = kernel.private_memory;
  const uint64_t now = host::now_ns(host::Clock::Monotonic);
  if (const uint64_t asked_at = known.asked_at_ns.load(); asked_at != 0 && now - asked_at < std::min(known.question_ns.load() * kShare, kOldestNs)) return known.pages.load();
  const uint64_t pages = ask_for_private_pages(kernel);
  known.pages.store(pages);
  known.question_ns.store(host::now_ns(host::Clock::Monotonic) - now);
  known.asked_at_ns.store(now);
  return pages;
}

Result<MachineTotals> machine_totals(Kernel& kernel) {
  MachineTotals totals;
  // Processes are taken one at a time, so that nobody waits for the list's lock for long.
  for (ProcessId next = 1;;) {
    MutexLock lock(kernel.tasks.mutex);
    const RefPtr<Process> process = kernel.tasks.next_process(next);
    if (!process) return totals;
    next = process->pid() + 1;
    totals.newest = std::max(totals.newest, process->pid());
    guest::Usage all = process_usage_locked(*process);
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
  }
}

uint64_t uptime_ns(const Kernel& kernel) { return time::boottime_ns() - kernel.boot_time_ns; }

uint64_t total_memory_bytes(const Kernel& kernel) {
  if (kernel.cache_window)
    if (const uint64_t limit = kernel.cache_window->account().limit(); limit != UINT64_MAX) return limit;
  return kernel.options.memory_bytes;
}

}  // namespace umk::proc
