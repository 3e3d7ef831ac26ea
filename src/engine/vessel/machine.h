// The engine's state of a machine: boot parameters, the pool of idle vessels, the nursery's mailbox, selectors.
#pragma once

#include <memory>

#include "core/base/list.h"
#include "core/kernel/task/kernel.h"
#include "core/sync/wait_queue.h"
#include "engine/image/boot_protocol.h"
#include "engine/vessel/context.h"

namespace umk::engine {

inline constexpr uint32_t kSelectorCount = 8192;

struct Machine {
  BootParameters parameters;
  MachineStatus status;
  Kernel* kernel = nullptr;

  Mutex pool_mutex{LockRank::None};
  List<Vessel> pool GUARDED_BY(pool_mutex);
  /// Those that did not leave on purpose.
  List<Vessel, AllVesselsTag> vessels GUARDED_BY(pool_mutex);
  uint32_t pool_size GUARDED_BY(pool_mutex) = 0;
  /// Contexts that wait for an idle vessel sleep here.
  WaitQueue pool_queue;
  /// Vessels wanted and not yet made; the nursery sleeps on this word.
  std::atomic<uint32_t> vessels_wanted{0};
  std::atomic<uint32_t> vessels_live{0};
  /// The number of the last address space that a vessel was given to carry.
  std::atomic<uint64_t> last_carried{0};
  /// Vessels whose process ends on purpose; the monitor's wait for the process frees them.
  Vessel* leaving GUARDED_BY(pool_mutex) = nullptr;

  Mutex selector_mutex{LockRank::None};
  uint32_t free_selectors GUARDED_BY(selector_mutex)[kSelectorCount];
  uint32_t free_selector_count GUARDED_BY(selector_mutex) = 0;
};

/// Lies on pages of its own (kernel.ld), the first of the kernel's data.
extern "C" SelectorLine umk_selector_lines[kSelectorCount];

Machine& machine();
/// Makes it, once, at boot.
void make_machine(const BootParameters& parameters);

// --- contexts (context.cpp)
/// A fresh 64 KiB bundle as T, or ENOMEM.
template <typename T>
Result<T*> allocate_bundle();
void free_bundle(void* bundle);
/// Makes a context begin with `function(argument)` when it is first switched to.
void prepare_context(Context& context, uint64_t stack_top, void (*function)(void*), void* argument);
/// Leaves the current context for `to` on this host thread; returns when somebody switches back.
void switch_to(Context& to);
/// Lets an idle thread continue `context`.
void hand_to(HostThread& host, Context& context);
/// Does what the context that was left wants done. Called right after each switch. True when a task ended, or a lost thread.
bool finish_switch();
/// The host thread that runs the caller.
inline HostThread& current_host() { return *reinterpret_cast<Context&>(current_stack()).host; }

// --- host threads (host_thread.cpp)
/// A host thread that does not run yet, whose idle side is `body`. ENOMEM, or EAGAIN when all selectors are in use.
Result<HostThread*> make_host_thread(Vessel& vessel, uint32_t slot_index, void (*body)(void*));
/// First thing a new host thread does: death signal, alternate stack, dispatch, GS base.
void start_host_thread(HostThread& host);
/// Frees a host thread that never ran or has left its stacks for good.
void recycle_host_thread(HostThread* host);
/// Frees the host threads of a vessel that have left their stacks for good, and their slots.
void reap_dead_threads_locked(Vessel& vessel) REQUIRES(vessel.mutex);
/// Keeps a thread whose task is gone for another task, or dismisses it when there are enough.
void let_rest(HostThread& self);
/// A thread whose task has ended and that can run another one of the same wishes as the caller's; null when there is none.
HostThread* take_resting_thread(Vessel& vessel);
/// The host threads of a vessel without tasks have nothing left to do but to leave: waits for that.
void end_other_threads(Vessel& vessel);
/// Leaves nothing of the last program in the save areas, all of which it could write to, for the next one. Its other threads are gone, or rest.
void forget_slots();

// --- their idle sides (idle.cpp)
/// The idle life of a vessel's leader.
[[noreturn]] void idle_loop(void*);
/// The idle side of a host thread that is not a leader, reached when its task is gone: it waits for another task, or ends.
[[noreturn]] void follow(void*);

// --- vessels (vessel.cpp)
/// A vessel and its leader, not yet running: the nursery or a fork gives it a process. The leader takes the slot of the thread that forks, since it
/// inherits that thread's identity.
Result<std::unique_ptr<Vessel>> make_vessel(uint32_t slot_index);
/// Another thread of a vessel, not yet running; the caller took the slot for it.
Result<HostThread*> make_thread_of(Vessel& vessel, uint32_t slot_index);
void add_vessel(Vessel& vessel);
void remove_vessel(Vessel& vessel);
/// The monitor waited for a host process.
VesselEnd vessel_process_ended(int host_pid);
/// One user of a lost vessel less; with the last it is freed.
void drop_lost_vessel(Vessel& vessel);

// --- the pool (pool.cpp)
/// An idle vessel, from the pool or from the nursery. EAGAIN when none can be had for some seconds, or the caller is killed meanwhile.
Result<Vessel*> acquire_vessel();
/// The leader has no guest task and the vessel none either: empties it and offers it to the pool. A vessel that is lost in a host call here is offered no more.
void return_to_pool(Vessel& vessel);
[[noreturn]] void run_nursery();

// --- usage (usage.cpp)
/// The host's counters of the calling host thread.
guest::Usage host_usage();
/// A task comes to a host thread whose counters are `now`.
void begin_usage(Bundle& bundle, const guest::Usage& now);
/// Pulls the usage counters of the current host thread into the bundle's account; at borrow, hand-over and exit.
void account_usage(Bundle& bundle);

/// Saves the live vector registers in the bundle, as an image that can be loaded again.
void keep_vectors(Bundle& bundle);

}  // namespace umk::engine

extern "C" {
void umk_switch_stack(uint64_t* save_rsp, uint64_t load_rsp);
void umk_context_start();
int64_t umk_clone(uint64_t flags, uint64_t child_rsp, void* parent_tid, void* child_tid, uint64_t tls);
[[noreturn]] void umk_exit_thread(volatile uint8_t* selector, int status);
void umk_vectors_save(void* image, uint64_t mask);
void umk_vectors_load(const void* image, uint64_t mask);
}
