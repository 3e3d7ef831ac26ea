// Starting and ending: fork, threads, vfork's borrowing, exec's emptying, exit.
#include <errno.h>

#include <cstring>

#include "core/base/log.h"
#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/log_limit.h"
#include "engine/gate/gate.h"
#include "engine/resident/resident_engine.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/identity.h"
#include "engine/vessel/wishes.h"

namespace umk::engine {

namespace {
// A program can start any number of such threads.
constinit LogLimit log_limit;
}  // namespace

namespace {

Bundle& bundle_of(Task& task) { return Bundle::of(task.stack()); }

/// Gives a new thread its identity before it can enter the guest. One that gets none, since the guest has mapped all memory below 4 GiB, ends its process:
/// clone(2) has answered already.
void identify_thread(HostThread& host, Task& task) {
  struct Attempt {
    uint32_t slot_index;
    bool succeeded;
  } attempt{host.slot_index, false};
  const Result<void> borrowed = task.address_space().with_low_page(
      [](void* page, void* argument) {
        auto& wanted = *static_cast<Attempt*>(argument);
        wanted.succeeded = take_identity(wanted.slot_index, page);
      },
      &attempt);
  if (borrowed.ok() && attempt.succeeded) return;
  log_limited(log_limit, "threads", LogLevel::Error, "{} ({}): no memory below 4 GiB is free to start a thread with: killed",
              task.process().pid(), task.name);
  (void)send_signal(task.process(), SignalInfo::from_kernel(signals::kKill));
}

/// First code of a forked child or a thread, on its own host thread.
void begin_on_new_thread(void* argument) {
  auto& bundle = *static_cast<Bundle*>(argument);
  if (machine().parameters.shield && !bundle.host->is_leader()) identify_thread(*bundle.host, *bundle.head.task);
  start_host_thread(*bundle.host);
  (void)tell_wishes(*bundle.host, 0, *bundle.head.task);
  write_fs_base(bundle.fs_base);
  bundle.head.in_kernel = false;
  gate().leave(&bundle.registers());
}

/// First code of a thread on a host thread that had another one before.
void begin_on_resting_thread(void* argument) {
  auto& bundle = *static_cast<Bundle*>(argument);
  write_fs_base(bundle.fs_base);
  write_gs_base(reinterpret_cast<uint64_t>(&bundle.host->slot()));  // the last one may have had one of its own
  umk_vectors_load(bundle.vectors, machine().parameters.vector_features);
  bundle.head.in_kernel = false;
  gate().leave(&bundle.registers());
}

/// First code of a vfork child, on its parent's host thread.
void begin_borrowed(void* argument) {
  auto& bundle = *static_cast<Bundle*>(argument);
  write_fs_base(bundle.fs_base);
  bundle.head.in_kernel = false;
  gate().leave(&bundle.registers());
}

/// First code of the first process.
void begin_with_entry(void* argument) {
  auto& bundle = *static_cast<Bundle*>(argument);
  bundle.entry(*bundle.head.task);
  bundle.head.in_kernel = false;
  gate().leave(&bundle.registers());
}

void empty_user_range() {
  MUST(host::munmap(layout::kUserStart, layout::kUserEnd - layout::kUserStart), "unmapping whole ranges needs no memory");
}

void inherit_segment_bases(Bundle& child) {
  const Bundle& parent = Bundle::of(current_stack());
  if (!child.fs_base_is_set) child.fs_base = read_fs_base();
  child.guest_gs = parent.guest_gs;
  child.guest_gs_in_use = parent.guest_gs_in_use;
}

/// Makes `bundle` the first context of a new host thread.
void attach(HostThread& host, Bundle& bundle) {
  bundle.host = &host;
  bundle.head.selector = &host.line->selector;
  bundle.head.host_clock = host.head.host_clock;
  host.current = &bundle;
  host.nice_told.store(current_host().nice_told.load());
  host.affinity_told.store(current_host().affinity_told.load());
  inherit_segment_bases(bundle);
  prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_on_new_thread, &bundle);
}

}  // namespace

namespace {

/// `vessel` carries `space` from now on, which no vessel did before.
void link_space(Vessel& vessel, mm::AddressSpace& space) {
  const uint64_t number = machine().last_carried.fetch_add(1) + 1;
  vessel.references.fetch_add(1);
  {
    MutexLock lock(vessel.calls.mutex);
    vessel.calls.carried = number;
  }
  space.carrier.number.store(number, std::memory_order_relaxed);
  space.carrier.process.store(&vessel, std::memory_order_release);
}

}  // namespace

void ResidentEngine::carry(mm::AddressSpace& space) { link_space(*current_host().vessel, space); }

void ResidentEngine::drop_carrier(void* carrier) { drop_vessel(*static_cast<Vessel*>(carrier)); }

Result<KernelStackHead*> ResidentEngine::allocate_stack() {
  Bundle* bundle = TRY(allocate_bundle<Bundle>());
  machine().kernel->counters.kernel_stacks.fetch_add(1);
  return &bundle->head;
}

void ResidentEngine::free_stack(KernelStackHead* stack) {
  machine().kernel->counters.kernel_stacks.fetch_sub(1);
  free_bundle(stack);
}

void* ResidentEngine::task_storage(KernelStackHead* stack) { return Bundle::of(*stack).task_storage; }
Registers& ResidentEngine::registers(Task& task) { return bundle_of(task).registers(); }

Result<void> ResidentEngine::start_forked(Task& child) {
  Machine& m = machine();
  // The process may be lost in any host call, and what goes on is in another.
  const auto is_lost = [] { return current_stack().task->address_space().is_lost.load(); };
  Bundle& bundle = bundle_of(child);
  auto vessel = TRY(make_vessel(current_host().slot_index));
  vessel->live_tasks.store(1);
  attach(*vessel->leader, bundle);
  add_vessel(*vessel);
  link_space(*vessel, child.address_space());
  m.vessels_live.fetch_add(1);
  m.kernel->counters.vessels.fetch_add(1);
  // The vessel may live and end before clone returns here: the child's own tid is its process number.
  Vessel* child_vessel = vessel.release();
  HostThread& leader = *child_vessel->leader;
  const int64_t pid =
      is_lost() ? -EAGAIN : umk_clone(kCloneFiles | kCloneParent | kCloneParentSettid | 17, bundle.switch_rsp, &leader.tid, nullptr, 0);
  if (pid < 0) {
    m.vessels_live.fetch_sub(1);
    m.kernel->counters.vessels.fetch_sub(1);
    remove_vessel(*child_vessel);
    end_remote_calls(*child_vessel);
    stop_carrying(*child_vessel);
    drop_vessel(*child_vessel);
    return error(static_cast<int>(-pid));
  }
  return {};
}

namespace {

/// Lets a thread that rests run `bundle`. If the process is lost meanwhile, this goes on in another and starts nothing.
Result<void> start_on_resting_thread(Vessel& vessel, HostThread& host, Bundle& bundle) {
  inherit_segment_bases(bundle);
  keep_vectors(bundle);
  prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_on_resting_thread, &bundle);
  // No host call from here to the hand-over.
  if (vessel.is_lost.load()) return error(EAGAIN);
  vessel.live_tasks.fetch_add(1);
  hand_to(host, bundle);
  return {};
}

}  // namespace

Result<void> ResidentEngine::start_thread(Task& child) {
  Bundle& bundle = bundle_of(child);
  Vessel& vessel = *current_host().vessel;
  if (current_stack().task->address_space().is_lost.load()) return error(EAGAIN);
  if (HostThread* const resting = take_resting_thread(vessel)) return start_on_resting_thread(vessel, *resting, bundle);
  uint32_t slot = kSlotCount;
  {
    MutexLock lock(vessel.mutex);
    reap_dead_threads_locked(vessel);
    for (uint32_t word = 0; word < kSlotCount / 64 && slot == kSlotCount; ++word)
      if (vessel.used_slots[word] != ~uint64_t{0}) {
        slot = word * 64 + static_cast<uint32_t>(__builtin_ctzll(~vessel.used_slots[word]));
        vessel.used_slots[slot / 64] |= uint64_t{1} << (slot % 64);
      }
  }
  if (slot == kSlotCount) return error(EAGAIN);
  Result<HostThread*> made = make_thread_of(vessel, slot);
  if (!made.ok()) {
    MutexLock lock(vessel.mutex);
    vessel.used_slots[slot / 64] &= ~(uint64_t{1} << (slot % 64));
    return made.failure();
  }
  HostThread& host = *made.take();
  vessel.is_single.store(false, std::memory_order_relaxed);
  if (machine().parameters.shield) note_further_thread(host);
  attach(host, bundle);
  vessel.live_tasks.fetch_add(1);
  {
    MutexLock lock(vessel.mutex);
    vessel.threads.push_back(host);
  }
  // The word is set before the thread runs, so that nobody takes a thread that has not begun for one that has ended.
  // If the process was lost meanwhile, this goes on in another.
  const bool is_lost = vessel.is_lost.load();
  if (!is_lost) {
    host.tid.store(-1);
    host.is_cloned.store(true);
  }
  constexpr uint64_t kFlags =
      kCloneVm | kCloneFs | kCloneFiles | kCloneSighand | kCloneThread | kCloneSysvsem | kCloneParentSettid | kCloneChildCleartid;
  const int64_t tid = is_lost ? -EAGAIN : umk_clone(kFlags, bundle.switch_rsp, &host.tid, &host.tid, 0);
  if (tid < 0) {
    vessel.live_tasks.fetch_sub(1);
    {
      MutexLock lock(vessel.mutex);
      vessel.used_slots[slot / 64] &= ~(uint64_t{1} << (slot % 64));
      host.unlink();
    }
    recycle_host_thread(&host);
    return error(static_cast<int>(-tid));
  }
  return {};
}

void ResidentEngine::run_borrowed(Task& child) {
  Bundle& parent = Bundle::of(current_stack());
  Bundle& bundle = bundle_of(child);
  Machine& m = machine();
  bundle.lender = &parent;
  inherit_segment_bases(bundle);
  parent.fs_base = read_fs_base();
  keep_vectors(parent);
  account_usage(parent);
  begin_usage(bundle, host_usage());
  prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_borrowed, &bundle);
  switch_to(bundle);
  // The child has left: by exec to a vessel of its own, or for good. What it left is done before any host call, after which this may be another host thread.
  finish_switch();
  begin_usage(parent, host_usage());
  (void)tell_wishes(current_host(), 0, *parent.head.task);
  write_fs_base(parent.fs_base);
  write_gs_base(reinterpret_cast<uint64_t>(&current_host().slot()));  // the child may have had one of its own
  umk_vectors_load(parent.vectors, m.parameters.vector_features);
}

Result<void> ResidentEngine::start_in_new_vessel(Task& task, void (*entry)(Task&)) {
  Bundle& bundle = bundle_of(task);
  Vessel* vessel = TRY(acquire_vessel());
  bundle.entry = entry;
  prepare_context(bundle, bundle.stack_top() - UMK_REGISTERS_BYTES, begin_with_entry, &bundle);
  vessel->live_tasks.store(1);
  hand_to(*vessel->leader, bundle);
  return {};
}

Result<void> ResidentEngine::prepare_empty_address_space(Task& task) {
  Bundle& bundle = bundle_of(task);
  if (bundle.lender) bundle.next_vessel = TRY(acquire_vessel());
  return {};
}

void ResidentEngine::enter_empty_address_space(Task& task) {
  Bundle& bundle = bundle_of(task);
  Vessel* const idle = std::exchange(bundle.next_vessel, nullptr);
  CHECK(!bundle.lender || idle, "who borrows has prepared");
  if (bundle.lender || !bundle.host->is_leader()) account_usage(bundle);
  // No host call from here to the switch, since it might end on another host thread.
  HostThread& host = *bundle.host;
  if (bundle.lender) {
    // vfork: move to an idle vessel and give the host thread back to the parent, on whose stack the move is finished.
    Bundle& lender = *std::exchange(bundle.lender, nullptr);
    host.left = HostThread::Left::HandedOver;
    host.left_bundle = &bundle;
    host.handed_to = idle->leader;
    idle->live_tasks.store(1);
    switch_to(lender);
  } else if (!host.is_leader()) {
    // The leader's task is gone; its host thread goes on with this context, and this host thread ends.
    host.left = HostThread::Left::HandedOver;
    host.left_bundle = &bundle;
    host.handed_to = host.vessel->leader;
    switch_to(host);
    stop_carrying(*bundle.host->vessel);
    empty_user_range();
  } else {
    stop_carrying(*host.vessel);
    empty_user_range();
  }
  write_fs_base(0);
  bundle.guest_gs_in_use = 0;
  forget_slots();
  bundle.host->enter_on(bundle);
  MUST(load_vectors(0), "the initial state is valid");
}

void ResidentEngine::exit_current(Task& task, void (*task_released)(Task&)) {
  Bundle& bundle = bundle_of(task);
  HostThread& host = *bundle.host;
  host.left = HostThread::Left::Ended;
  host.left_bundle = &bundle;
  host.task_released = task_released;
  // Who borrows gives the host thread back.
  switch_to(bundle.lender ? static_cast<Context&>(*bundle.lender) : host);
  __builtin_unreachable();
}

}  // namespace umk::engine
