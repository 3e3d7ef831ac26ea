#include <errno.h>

#include <cstring>

#include "core/base/make.h"
#include "core/host/calls.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/log_limit.h"
#include "core/sync/wait_queue.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/lost_vessel.h"
#include "engine/vessel/identity.h"
#include "engine/vessel/machine.h"
#include "engine/vessel/wishes.h"

namespace umk::engine {

namespace {
// A fork that cannot be served can be tried in a loop.
constinit LogLimit log_limit;
}  // namespace

[[gnu::section(".umk.selectors"), gnu::aligned(4096)]] constinit SelectorLine umk_selector_lines[kSelectorCount];

namespace {

// The machine's state lies in the image's data, which is shared memory: one machine per kernel image.
alignas(Machine) constinit std::byte machine_storage[sizeof(Machine)] = {};

/// Idle vessels that are kept; beyond that an empty one ends.
constexpr uint32_t kPoolMaximum = 32;

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

/// Keeps a thread whose task is gone for another task, or dismisses it when there are enough.
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

/// The host threads of a vessel without tasks have nothing left to do but to leave: waits for that.
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
    while (const int32_t tid = vessel.is_lost.load() ? 0 : thread->tid.load(std::memory_order_acquire)) host::futex_wait(&thread->tid, static_cast<uint32_t>(tid));
  if (!vessel.is_lost.load()) reap_dead_threads_locked(vessel);
}

/// A task of the vessel was released. After the last one the leader cleans up; not before the task's host thread rests or is among the dead, as the end of
/// the process would take a thread along that has still to release its task.
void count_task_out(Vessel& vessel) {
  if (vessel.live_tasks.fetch_sub(1) != 1) return;
  vessel.cleanup_wanted.store(true);
  if (&current_host() != vessel.leader) sync::unpark(vessel.leader->head);
}

void empty_user_range(Vessel& vessel) {
  stop_carrying(vessel);
  MUST(host::munmap(layout::kUserStart, layout::kUserEnd - layout::kUserStart), "unmapping whole ranges needs no memory");
}

/// Returns when the process was lost before it could leave.
void leave_host_process(Vessel& vessel) {
  Machine& m = machine();
  stop_carrying(vessel);
  {
    MutexLock lock(m.pool_mutex);
    if (vessel.is_lost.load()) return;
    m.vessels_live.fetch_sub(1);
    m.kernel->counters.vessels.fetch_sub(1);
    vessel.ListHook<AllVesselsTag>::unlink();
    vessel.next_leaving = std::exchange(m.leaving, &vessel);
  }
  host::raw_call(host::Call::ExitGroup, 0);
  __builtin_unreachable();
}

/// The leader has no guest task and the vessel none either: empties it and offers it to the pool. A vessel that is lost in a host call here is offered no more.
void return_to_pool(Vessel& vessel) {
  Machine& m = machine();
  end_other_threads(vessel);
  if (vessel.is_lost.load()) return;
  bool leave;
  {
    MutexLock lock(m.pool_mutex);
    leave = m.pool_size >= kPoolMaximum || !is_impartial(*vessel.leader);
  }
  if (leave) return leave_host_process(vessel);
  empty_user_range(vessel);
  forget_slots();
  if (vessel.is_lost.load()) return;
  if (m.parameters.shield) note_only_thread(*vessel.leader);
  {
    MutexLock lock(m.pool_mutex);
    if (vessel.is_lost.load()) return;
    m.pool.push_front(vessel);
    ++m.pool_size;
  }
  // Counted are those in use: what waits in the pool is no leak.
  m.kernel->counters.vessels.fetch_sub(1);
  m.pool_queue.wake();
}

/// The end of the idle side of a thread whose process was lost: gives the host thread back on which it went on.
[[noreturn]] void leave_lost(HostThread& self) {
  HostThread& lent = current_host();
  CHECK(&lent != &self, "a lost thread goes on elsewhere");
  lent.left = HostThread::Left::LostThread;
  lent.left_thread = &self;
  switch_to(lent);
  __builtin_unreachable();
}

/// Runs `context`, which the thread was handed, until this idle side goes on. False when the process is lost before: another vessel takes the context.
bool go_on_with(HostThread& self, Context& context) {
  const Vessel& vessel = *self.vessel;
  const guest::Usage now = host_usage();
  if (vessel.is_lost.load()) return false;
  context.host = &self;
  if (context.head.task) {
    begin_usage(static_cast<Bundle&>(context), now);
    (void)tell_wishes(self, 0, *context.head.task);
    if (vessel.is_lost.load()) return false;
  }
  self.handed.store(nullptr);
  switch_to(context);
  return true;
}

void rest(HostThread& self) {
  self.is_at_rest.store(true);
  (void)sync::park(Sleep::Uninterruptible);
  self.is_at_rest.store(false);
}

/// The idle life of a vessel's leader.
[[noreturn]] void idle_loop(void*) {
  HostThread& self = current_host();
  Vessel& vessel = *self.vessel;
  for (;;) {
    if (finish_switch()) count_task_out(vessel);
    if (vessel.is_lost.load()) leave_lost(self);
    sync::prepare_to_park();
    if (vessel.cleanup_wanted.exchange(false)) {
      return_to_pool(vessel);
    } else if (Context* context = self.handed.load()) {
      (void)go_on_with(self, *context);
    } else {
      rest(self);
    }
  }
}

/// Runs the next context that the thread is handed. False when it is dismissed instead.
bool run_next(HostThread& self) {
  for (;;) {
    if (self.vessel->is_lost.load()) leave_lost(self);
    sync::prepare_to_park();
    if (Context* context = self.handed.load()) {
      if (go_on_with(self, *context)) return true;
    } else if (self.is_dismissed.load()) {
      return false;
    } else {
      rest(self);
    }
  }
}

/// The idle side of a host thread that is not a leader, reached when its task is gone: it waits for another task, or ends.
[[noreturn]] void follow(void*) {
  HostThread& self = current_host();
  do {
    const bool has_ended = finish_switch();
    let_rest(self);
    if (has_ended) count_task_out(*self.vessel);
  } while (run_next(self));
  self.is_at_rest.store(true);
  umk_exit_thread(&self.line->selector, 0);
}

[[noreturn]] void vessel_main(void*) {
  HostThread& self = current_host();
  start_host_thread(self);
  return_to_pool(*self.vessel);
  idle_loop(nullptr);
}

}  // namespace

Machine& machine() { return *reinterpret_cast<Machine*>(machine_storage); }

void make_machine(const BootParameters& parameters) {
  auto* made = new (machine_storage) Machine;
  made->parameters = parameters;
  MutexLock lock(made->selector_mutex);
  for (uint32_t i = kSelectorCount; i-- > 0;) made->free_selectors[made->free_selector_count++] = i;
}

void drop_vessel(Vessel& vessel) {
  if (vessel.references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    MutexLock lock(vessel.mutex);
    while (!vessel.threads.empty()) recycle_host_thread(&vessel.threads.front());
  }
  recycle_host_thread(vessel.leader);
  delete &vessel;
}

void forget_slots() {
  // The program may have had a GS base of its own when it was ended.
  write_gs_base(reinterpret_cast<uint64_t>(&current_host().slot()));
  // The first page is kept: every program uses it.
  std::memset(reinterpret_cast<void*>(layout::kSlots), 0, kPageSize);
  constexpr int kDontNeed = 4;
  MUST(host::madvise(layout::kSlots + kPageSize, layout::kSlotsBytes - kPageSize, kDontNeed), "private memory can always be given back");
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


template <typename T>
Result<T*> allocate_bundle() {
  void* memory = ::operator new(UMK_BUNDLE_BYTES, std::align_val_t{UMK_BUNDLE_BYTES}, std::nothrow);
  if (!memory) return error(ENOMEM);
  // The vector area and the stack are left as they are: only the fields are initialised.
  T* bundle = new (memory) T;
  return bundle;
}
template Result<Bundle*> allocate_bundle<Bundle>();
template Result<HostThread*> allocate_bundle<HostThread>();

void free_bundle(void* bundle) { ::operator delete(bundle, std::align_val_t{UMK_BUNDLE_BYTES}); }

void prepare_context(Context& context, uint64_t stack_top, void (*function)(void*), void* argument) {
  auto* stack = reinterpret_cast<uint64_t*>(stack_top & ~uint64_t{15});
  // As umk_switch_stack leaves it: r15 r14 r13 r12 rbx rbp, return address; 16-byte aligned at the call that umk_context_start makes.
  *--stack = 0;
  *--stack = 0;
  *--stack = reinterpret_cast<uint64_t>(&umk_context_start);
  *--stack = 0;                                          // rbp
  *--stack = 0;                                          // rbx
  *--stack = reinterpret_cast<uint64_t>(function);       // r12
  *--stack = reinterpret_cast<uint64_t>(argument);       // r13
  *--stack = 0;                                          // r14
  *--stack = 0;                                          // r15
  context.switch_rsp = reinterpret_cast<uint64_t>(stack);
}

void switch_to(Context& to) {
  auto& from = reinterpret_cast<Context&>(current_stack());
  HostThread& host = *from.host;
  to.host = &host;
  to.head.selector = &host.line->selector;
  to.head.host_clock = host.head.host_clock;
  host.current = &to;
  if (to.head.task) host.enter_on(static_cast<Bundle&>(to));
  umk_switch_stack(&from.switch_rsp, to.switch_rsp);
}

namespace {

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

}  // namespace

Result<HostThread*> make_thread_of(Vessel& vessel, uint32_t slot_index) { return make_host_thread(vessel, slot_index, follow); }

Result<std::unique_ptr<Vessel>> make_vessel(uint32_t slot_index) {
  auto vessel = TRY(make_unique<Vessel>());
  vessel->leader = TRY(make_host_thread(*vessel, slot_index, idle_loop));
  MutexLock lock(vessel->mutex);
  vessel->used_slots[slot_index / 64] = uint64_t{1} << (slot_index % 64);
  return vessel;
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
    const int64_t dispatched =
        host::raw_call(host::Call::Prctl, kPrSyscallUserDispatch, 1, 0, 0, reinterpret_cast<uint64_t>(const_cast<uint8_t*>(&host.line->selector)));
    CHECK(dispatched == 0, "the host offered Syscall User Dispatch at boot");
  }
  // Whoever set an interrupt before this did not kick: it is seen on the way to the guest.
  host.can_be_kicked.exchange(true, std::memory_order_seq_cst);
  if (host.is_leader()) serve_remote_call(host);
}

Result<Vessel*> acquire_vessel() {
  Machine& m = machine();
  // The host may allow no more processes until others have ended, of this machine or not: the nursery is asked again from time to time.
  const Deadline deadline = Deadline::after_ns(10'000'000'000);
  constexpr uint64_t kBetweenQuestions = 250'000'000;
  Deadline answer;
  MutexLock lock(m.pool_mutex);
  bool asked = false;
  for (;;) {
    if (!m.pool.empty()) {
      Vessel& vessel = m.pool.front();
      m.pool.pop_front();
      --m.pool_size;
      m.kernel->counters.vessels.fetch_add(1);
      return &vessel;
    }
    if (deadline.has_passed()) return error(EAGAIN);
    if (!asked) {
      asked = true;
      m.vessels_wanted.fetch_add(1);
      // Without the lock: a process that is lost in a host call must not hold it.
      m.pool_mutex.unlock();
      host::futex_wake(&m.vessels_wanted, 1);
      m.pool_mutex.lock();
      answer = Deadline::after_ns(kBetweenQuestions);
      continue;
    }
    const int outcome = m.pool_queue.wait(m.pool_mutex, Sleep::Killable, answer).code();
    if (outcome == ERESTARTSYS) return error(EAGAIN);
    asked = outcome != ETIMEDOUT;
  }
}

void hand_to(HostThread& host, Context& context) {
  host.handed.store(&context);
  sync::unpark(host.head);
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

bool finish_switch() {
  HostThread& host = current_host();
  const HostThread::Left left = std::exchange(host.left, HostThread::Left::Nothing);
  if (left == HostThread::Left::HandedOver) {
    hand_to(*host.handed_to, *host.left_bundle);
  } else if (left == HostThread::Left::Ended) {
    host.task_released(*host.left_bundle->head.task);
  } else if (left == HostThread::Left::LostThread) {
    drop_lost_vessel(*host.left_thread->vessel);
  }
  return left == HostThread::Left::Ended || left == HostThread::Left::LostThread;
}

[[noreturn]] void run_nursery() {
  Machine& m = machine();
  host::raw_call(host::Call::Prctl, kPrSetPdeathsig, 9);
  if (host::raw_call(host::Call::Getppid) != m.parameters.monitor_pid) host::raw_call(host::Call::ExitGroup, 1);
  for (;;) {
    const uint32_t wanted = m.vessels_wanted.load();
    if (wanted == 0) {
      host::futex_wait(&m.vessels_wanted, 0);
      continue;
    }
    m.vessels_wanted.fetch_sub(1);
    // The nursery's identity is the first: its children inherit it.
    Result<std::unique_ptr<Vessel>> made = make_vessel(0);
    if (!made.ok()) {
      log_limited(log_limit, "processes", LogLevel::Error, "umk: no memory for another process: errno {}", made.code());
      continue;
    }
    Vessel* vessel = made.take().release();
    HostThread& leader = *vessel->leader;
    prepare_context(leader, leader.stack_top(), vessel_main, nullptr);
    add_vessel(*vessel);
    // Counted before it can be in the pool, where it is not.
    m.vessels_live.fetch_add(1);
    m.kernel->counters.vessels.fetch_add(1);
    const int64_t pid = umk_clone(kCloneFiles | kCloneParent | kCloneParentSettid | 17, leader.switch_rsp, &leader.tid, nullptr, 0);
    if (pid < 0) {
      m.vessels_live.fetch_sub(1);
      m.kernel->counters.vessels.fetch_sub(1);
      log_limited(log_limit, "processes", LogLevel::Error, "umk: the host refuses another process (errno {}): raise its limit on processes (ulimit -u)", -pid);
      remove_vessel(*vessel);
      drop_vessel(*vessel);
      continue;
    }
  }
}

void add_vessel(Vessel& vessel) {
  MutexLock lock(machine().pool_mutex);
  machine().vessels.push_back(vessel);
}

void remove_vessel(Vessel& vessel) {
  MutexLock lock(machine().pool_mutex);
  vessel.ListHook<AllVesselsTag>::unlink();
}

namespace {

/// Takes a vessel whose process has ended on purpose out of the list of those.
Vessel* take_leaving_locked(int host_pid) REQUIRES(machine().pool_mutex) {
  for (Vessel** link = &machine().leaving; *link; link = &(*link)->next_leaving) {
    Vessel* const vessel = *link;
    if (vessel->leader->tid.load() != host_pid) continue;
    *link = vessel->next_leaving;
    return vessel;
  }
  return nullptr;
}

Vessel* take_lost_locked(int host_pid, bool& was_idle) REQUIRES(machine().pool_mutex) {
  Machine& m = machine();
  for (Vessel& vessel : m.vessels) {
    if (vessel.leader->tid.load() != host_pid) continue;
    vessel.ListHook<AllVesselsTag>::unlink();
    was_idle = vessel.ListHook<>::is_linked();
    if (was_idle) {
      vessel.ListHook<>::unlink();
      --m.pool_size;
    }
    return &vessel;
  }
  return nullptr;
}

}  // namespace

VesselEnd vessel_process_ended(int host_pid) {
  Machine& m = machine();
  // Who was killed with this lock held is gone for good.
  Vessel* lost = nullptr;
  bool was_idle = false;
  {
    MutexLock lock(m.pool_mutex);
    if (Vessel* left = take_leaving_locked(host_pid)) {
      m.pool_mutex.unlock();
      // Who waits for an answer gives up, and nobody comes any more.
      end_remote_calls(*left);
      stop_carrying(*left);
      drop_vessel(*left);
      m.pool_mutex.lock();
      return VesselEnd::Expected;
    }
    lost = take_lost_locked(host_pid, was_idle);
  }
  if (!lost) return VesselEnd::Fatal;
  const VesselEnd end = rescue_tasks(*lost, was_idle);
  if (end == VesselEnd::Survived) drop_lost_vessel(*lost);
  return end;
}

void drop_lost_vessel(Vessel& vessel) {
  if (vessel.rescued.fetch_sub(1) == 1) drop_vessel(vessel);
}

guest::Usage host_usage() {
  struct {
    int64_t user_seconds, user_microseconds, system_seconds, system_microseconds;
    int64_t maximum_resident, shared, data, stack, minor_faults, major_faults, swaps, blocks_in, blocks_out, sent, received, signals, voluntary, involuntary;
  } raw{};
  constexpr uint64_t kThread = 1;
  host::raw_call(host::Call::Getrusage, kThread, reinterpret_cast<uint64_t>(&raw));
  guest::Usage usage;
  usage.user_ns = static_cast<uint64_t>(raw.user_seconds) * 1'000'000'000 + static_cast<uint64_t>(raw.user_microseconds) * 1000;
  usage.system_ns = static_cast<uint64_t>(raw.system_seconds) * 1'000'000'000 + static_cast<uint64_t>(raw.system_microseconds) * 1000;
  usage.minor_faults = static_cast<uint64_t>(raw.minor_faults);
  usage.major_faults = static_cast<uint64_t>(raw.major_faults);
  usage.voluntary_switches = static_cast<uint64_t>(raw.voluntary);
  usage.involuntary_switches = static_cast<uint64_t>(raw.involuntary);
  return usage;
}

void begin_usage(Bundle& bundle, const guest::Usage& now) {
  bundle.usage_version.fetch_add(1);
  bundle.usage_at_arrival = now;
  bundle.usage_version.fetch_add(1);
}

void account_usage(Bundle& bundle) {
  const guest::Usage now = host_usage();
  bundle.usage_version.fetch_add(1);
  guest::Usage& before = bundle.usage_before;
  const guest::Usage& base = bundle.usage_at_arrival;
  before.user_ns += now.user_ns - base.user_ns;
  before.system_ns += now.system_ns - base.system_ns;
  before.minor_faults += now.minor_faults - base.minor_faults;
  before.major_faults += now.major_faults - base.major_faults;
  before.voluntary_switches += now.voluntary_switches - base.voluntary_switches;
  before.involuntary_switches += now.involuntary_switches - base.involuntary_switches;
  bundle.usage_at_arrival = now;
  bundle.usage_version.fetch_add(1);
}

}  // namespace umk::engine
