// Host threads: made, started in their process, kept for another task, and gone. Each has a line of the selector.
#include <errno.h>

#include <cstring>

#include "core/host/calls.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/identity.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

[[gnu::section(".umk.selectors"), gnu::aligned(4096)]] constinit SelectorLine umk_selector_lines[kSelectorCount];

namespace {

/// Threads without a task that a vessel keeps: a program that ends a thread often starts one, and a new one costs the host's clone, start and end.
constexpr uint32_t kRestingMaximum = 4;

/// A line for a host thread that starts in the kernel; null when all are in use.
SelectorLine* allocate_line() {
  Machine& m = machine();
  MutexLock lock(m.selector_mutex);
  if (m.free_selector_count == 0) return nullptr;
  SelectorLine* line = &umk_selector_lines[m.free_selectors[--m.free_selector_count]];
  line->selector = 1;
  line->in_kernel = 1;
  line->redirected = 0;
  return line;
}

void free_line(SelectorLine* line) {
  Machine& m = machine();
  MutexLock lock(m.selector_mutex);
  m.free_selectors[m.free_selector_count++] = static_cast<uint32_t>(line - umk_selector_lines);
}

}  // namespace

Result<HostThread*> make_host_thread(Vessel& vessel, uint32_t slot_index, void (*body)(void*)) {
  HostThread* host = TRY(allocate_bundle<HostThread>());
  host->line = allocate_line();
  if (!host->line) {
    free_bundle(host);
    return error(EAGAIN);
  }
  host->host = host;
  host->current = host;
  host->vessel = &vessel;
  host->slot_index = slot_index;
  host->line->slot = reinterpret_cast<uint64_t>(&host->slot());
  host->line->signal_frame = host->alternate_stack() + HostThread::kAlternateStackBytes - machine().parameters.signal_frame_bytes;
  host->head.selector = &host->line->selector;
  host->head.host_clock = reinterpret_cast<int (*)(int, void*)>(machine().parameters.vdso_clock_gettime);
  prepare_context(*host, host->stack_top(), body, nullptr);
  return host;
}

void start_host_thread(HostThread& host) {
  const BootParameters& parameters = machine().parameters;
  if (host.is_leader()) {
    host::raw_call(host::Call::Prctl, kPrSetPdeathsig, 9);
    if (host::raw_call(host::Call::Getppid) != parameters.monitor_pid) host::raw_call(host::Call::ExitGroup, 1);
  }
  // A frame lies at the end of the stack always, also when a guest's own stack pointer lies in it: SS_AUTODISARM of sigaltstack(2).
  constexpr int32_t kAutoDisarm = INT32_MIN;
  struct {
    uint64_t base;
    int32_t flags;
    int32_t padding;
    uint64_t size;
  } stack{host.alternate_stack(), kAutoDisarm, 0, HostThread::kAlternateStackBytes};
  host::raw_call(host::Call::Sigaltstack, reinterpret_cast<uint64_t>(&stack), 0);
  write_gs_base(reinterpret_cast<uint64_t>(&host.slot()));
  if (host.current != &host) host.enter_on(*static_cast<Bundle*>(host.current));
  if (host.is_leader() && parameters.shield) note_only_thread(host);
  if (!parameters.filters_calls) {
    const int64_t dispatched = host::raw_call(host::Call::Prctl, kPrSyscallUserDispatch, 1, 0, 0,
                                              reinterpret_cast<uint64_t>(const_cast<uint8_t*>(&host.line->selector)));
    CHECK(dispatched == 0, "the host offered Syscall User Dispatch at boot");
  }
  // Whoever set an interrupt before this did not kick: it is seen on the way to the guest.
  host.can_be_kicked.exchange(true, std::memory_order_seq_cst);
  if (host.is_leader()) serve_remote_call(host);
}

void recycle_host_thread(HostThread* host) {
  free_line(host->line);
  host->~HostThread();
  free_bundle(host);
}

void reap_dead_threads_locked(Vessel& vessel) {
  HostThread** link = &vessel.dead_threads;
  while (HostThread* host = *link) {
    if (host->tid.load(std::memory_order_acquire) != 0) {
      link = &host->next_dead;
      continue;
    }
    *link = host->next_dead;
    vessel.used_slots[host->slot_index / 64] &= ~(uint64_t{1} << (host->slot_index % 64));
    recycle_host_thread(host);
  }
}

void let_rest(HostThread& self) {
  Vessel& vessel = *self.vessel;
  MutexLock lock(vessel.mutex);
  if (vessel.resting_count == kRestingMaximum) {
    self.next_dead = vessel.dead_threads;
    vessel.dead_threads = &self;
    self.is_dismissed.store(true);
    return;
  }
  self.next_resting = vessel.resting_threads;
  vessel.resting_threads = &self;
  ++vessel.resting_count;
}

HostThread* take_resting_thread(Vessel& vessel) {
  MutexLock lock(vessel.mutex);
  for (HostThread** link = &vessel.resting_threads; HostThread* thread = *link; link = &thread->next_resting) {
    // The host may not let it be more important again than it was for another task (wishes.h).
    if (thread->nice_told.load() != current_host().nice_told.load()) continue;
    *link = thread->next_resting;
    --vessel.resting_count;
    return thread;
  }
  return nullptr;
}

void end_other_threads(Vessel& vessel) {
  MutexLock lock(vessel.mutex);
  while (HostThread* thread = vessel.resting_threads) {
    vessel.resting_threads = thread->next_resting;
    thread->next_dead = vessel.dead_threads;
    vessel.dead_threads = thread;
    thread->is_dismissed.store(true);
    sync::unpark(thread->head);
  }
  vessel.resting_count = 0;
  for (HostThread* thread = vessel.dead_threads; thread; thread = thread->next_dead)
    while (const int32_t tid = vessel.is_lost.load() ? 0 : thread->tid.load(std::memory_order_acquire))
      host::futex_wait(&thread->tid, static_cast<uint32_t>(tid));
  if (!vessel.is_lost.load()) reap_dead_threads_locked(vessel);
}

void forget_slots() {
  // The program may have had a GS base of its own when it was ended.
  write_gs_base(reinterpret_cast<uint64_t>(&current_host().slot()));
  // The first page is kept: every program uses it.
  std::memset(reinterpret_cast<void*>(layout::kSlots), 0, kPageSize);
  constexpr int kDontNeed = 4;
  MUST(host::madvise(layout::kSlots + kPageSize, layout::kSlotsBytes - kPageSize, kDontNeed), "private memory can always be given back");
}

}  // namespace umk::engine
