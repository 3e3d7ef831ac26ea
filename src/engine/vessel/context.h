// Contexts, host threads and vessels: who runs what.
//
// A *context* is a flow of control inside the kernel with a 64 KiB bundle of its own: a guest task (Bundle), or the idle side of a host
// thread (HostThread). A *host thread* runs one context at a time and can switch to another; a context can be continued by another host thread,
// also of another process, since all bundles lie in shared memory. A *vessel* is a host process that carries one guest address space; its
// first host thread, the leader, lives as long as the vessel and is idle when no guest task needs it. Of the others a few rest when their task has ended, and
// take the next ones.
//
//   vessel:   made by the nursery (idle) or by a guest's fork (running)  ->  runs  ->  emptied, in the pool  ->  runs ...
//   fork:     a host clone; the child's bundle is its stack
//   vfork:    the child's context borrows the parent's host thread; at exec it moves to an idle vessel
//   exec:     in place: the same context, the vessel's user range emptied
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/base/bits.h"
#include "core/base/list.h"
#include "core/host/kernel_stack.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/guest/registers.h"
#include "core/kernel/mm/layout.h"
#include "core/sync/mutex.h"
#include "engine/gate/offsets.h"
#include "engine/vessel/remote_calls.h"

namespace umk::engine {

struct HostThread;
struct Vessel;

/// What every context has at the start of its bundle. Assembly knows `guest_gs` and `guest_gs_in_use`.
struct Context {
  KernelStackHead head;
  std::byte reserved[UMK_BUNDLE_GUEST_GS - sizeof(KernelStackHead)] = {};
  /// The GS base of a guest that sets its own; its calls come by traps.
  uint64_t guest_gs = 0;
  uint8_t guest_gs_in_use = 0;
  /// The host thread that runs this context now.
  HostThread* host = nullptr;
  /// The saved stack pointer of a context that is switched out.
  uint64_t switch_rsp = 0;
  /// Mappings are changed in this vessel instead of the current one (ResidentEngine::run_in).
  Vessel* works_in = nullptr;
};
static_assert(offsetof(Context, guest_gs) == UMK_BUNDLE_GUEST_GS);
static_assert(offsetof(Context, guest_gs_in_use) == UMK_BUNDLE_GUEST_GS_FLAG);
static_assert(offsetof(Context, head.selector) == UMK_HEAD_SELECTOR);
static_assert(offsetof(Context, head.interrupts) == UMK_HEAD_INTERRUPTS);

inline constexpr size_t kVectorAreaBytes = 3072;

/// The bundle of a guest task: context, vector save area, the Task object, the kernel stack, the guest's registers at its top.
struct alignas(64) Bundle : Context {
  uint64_t fs_base = 0;
  /// fs_base was set before the task first ran (CLONE_SETTLS).
  bool fs_base_is_set = false;
  /// The syscall instruction that trapped to get here, 0 when the call came through a patched site.
  uint64_t trapped_site = 0;
  /// The guest was found to have set its GS base by an instruction: its call sites are to lose their patches.
  bool gs_was_found = false;
  /// The guest single-stepped into the gate: its trap flag comes back at the exit.
  bool trap_flag_was_set = false;
  /// vfork: the parent whose host thread this context borrows.
  Bundle* lender = nullptr;
  /// exec of one who borrows: the idle vessel to move to.
  Vessel* next_vessel = nullptr;
  /// The fault that the signal handler left for umk_enter_interrupt.
  Trap trap{TrapKind::Kick};
  /// First function of a context that was started by start_in_new_vessel.
  void (*entry)(Task&) = nullptr;
  /// The host's usage counters of the host thread when this context came to it, and what it had used before.
  guest::Usage usage_at_arrival;
  guest::Usage usage_before;
  /// Odd while the two are being written; others read them without a lock.
  std::atomic<uint32_t> usage_version{0};
  /// The most CPU time that the task itself was told: its clock does not go back.
  std::atomic<uint64_t> usage_told_ns{0};

  alignas(64) std::byte vectors[kVectorAreaBytes];
  /// The Task lives here (guest::Engine::task_storage).
  alignas(64) std::byte task_storage[12 * 1024];

  static Bundle& of(KernelStackHead& head) { return *reinterpret_cast<Bundle*>(&head); }
  Registers& registers() { return *reinterpret_cast<Registers*>(reinterpret_cast<std::byte*>(this) + UMK_REGISTERS_OFFSET); }
  uint64_t stack_top() { return reinterpret_cast<uint64_t>(this) + UMK_BUNDLE_BYTES - 8; }
};
static_assert(sizeof(Bundle) < 20 * 1024, "most of a bundle is kernel stack");
static_assert(UMK_BUNDLE_BYTES == kKernelStackBundleBytes);

/// A register save area of one guest thread, at the GS base; on a private page that the guest may write. Nothing in it is trusted: behind the shield
/// the gate looks only for the guest's own registers here, and finds everything else by the thread's identity.
struct Slot {
  uint64_t kernel_rsp;
  uint64_t user_rsp;
  uint64_t rax, rcx, rdx;
  uint64_t arrived;
  uint64_t reserved0[2];
  uint64_t frame[5];
  uint64_t reserved1[19];
};
static_assert(sizeof(Slot) == UMK_SLOT_BYTES);
static_assert(offsetof(Slot, kernel_rsp) == UMK_SLOT_KERNEL_RSP && offsetof(Slot, user_rsp) == UMK_SLOT_USER_RSP);
static_assert(offsetof(Slot, rax) == UMK_SLOT_RAX && offsetof(Slot, rcx) == UMK_SLOT_RCX && offsetof(Slot, rdx) == UMK_SLOT_RDX);
static_assert(offsetof(Slot, arrived) == UMK_SLOT_ARRIVED && offsetof(Slot, frame) == UMK_SLOT_FRAME);
inline constexpr uint32_t kSlotCount = layout::kSlotsBytes / sizeof(Slot);
static_assert(kSlotCount == UMK_IDENTITY_MAXIMUM);

/// What the gate knows of one host thread, on a cache line of its own. Lines lie on pages of their own: with the shield these carry the key that guests
/// may only read, for the host reads the selector with the guest's rights.
struct alignas(64) SelectorLine {
  /// Syscall User Dispatch: 0 lets host calls of the thread through, 1 makes signals of them.
  volatile uint8_t selector = 0;
  /// Behind the shield: the thread runs kernel code, whatever its instruction pointer says.
  volatile uint8_t in_kernel = 0;
  /// A signal handler sent the thread to the gate's interrupt entry, which takes this back.
  volatile uint8_t redirected = 0;
  /// Where the kernel stack of the running context begins.
  uint64_t kernel_rsp = 0;
  uint64_t slot = 0;
  /// Where the host puts its signal frames: a handler that runs anywhere else was jumped to.
  uint64_t signal_frame = 0;
};
static_assert(offsetof(SelectorLine, selector) == UMK_LINE_SELECTOR && offsetof(SelectorLine, in_kernel) == UMK_LINE_IN_KERNEL);
static_assert(offsetof(SelectorLine, redirected) == UMK_LINE_REDIRECTED && offsetof(SelectorLine, kernel_rsp) == UMK_LINE_KERNEL_RSP);
static_assert(offsetof(SelectorLine, slot) == UMK_LINE_SLOT && offsetof(SelectorLine, signal_frame) == UMK_LINE_SIGNAL_FRAME);

/// One host thread of a vessel. Its bundle holds the alternate stack for the host's signals and the stack of its idle context.
struct alignas(64) HostThread : Context, ListHook<> {
  /// Written and cleared by the host (CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID): 0 once the thread has left its stacks.
  std::atomic<int32_t> tid{0};
  /// What the host was told (wishes.h). A thread inherits it from the one that makes it.
  std::atomic<int> nice_told{0};
  std::atomic<uint64_t> affinity_told{~uint64_t{0}};
  /// Of a thread that is not a leader: the host was asked for it.
  std::atomic<bool> is_cloned{false};
  /// Set when the thread has an alternate stack of its own. Until then it must not be kicked: a forked process still has its parent's, and the
  /// handler would take itself for the parent's.
  std::atomic<bool> can_be_kicked{false};
  Vessel* vessel = nullptr;
  /// Its slot, and less one its identity (identity.h).
  uint32_t slot_index = 0;
  SelectorLine* line = nullptr;
  /// The context that runs on this thread now (this itself while idle).
  Context* current = nullptr;
  /// Work for the context that is switched to, about the one that was left.
  enum class Left : uint8_t { Nothing, HandedOver, Ended, LostThread } left = Left::Nothing;
  Bundle* left_bundle = nullptr;
  HostThread* left_thread = nullptr;
  HostThread* handed_to = nullptr;
  void (*task_released)(Task&) = nullptr;
  /// A context that it shall continue: of a task, or the idle side of a thread whose process was lost.
  std::atomic<Context*> handed{nullptr};
  HostThread* next_dead = nullptr;
  HostThread* next_resting = nullptr;
  /// It has no more work to wait for.
  std::atomic<bool> is_dismissed{false};
  /// The idle side has nothing to do but to wait for work or to end: no loss if it does not go on.
  std::atomic<bool> is_at_rest{false};
  /// The next of those that go on when their process is lost.
  HostThread* next_rescued = nullptr;

  static constexpr size_t kAlternateStackOffset = 4096;
  static constexpr size_t kAlternateStackBytes = 32 * 1024;
  uint64_t alternate_stack() { return reinterpret_cast<uint64_t>(this) + kAlternateStackOffset; }
  uint64_t stack_top() { return reinterpret_cast<uint64_t>(this) + UMK_BUNDLE_BYTES - 16; }
  Slot& slot() { return *reinterpret_cast<Slot*>(layout::kSlots + slot_index * sizeof(Slot)); }
  /// Guest code that runs on this thread enters the kernel on the bundle's stack.
  void enter_on(Bundle& bundle) {
    line->kernel_rsp = bundle.stack_top();
    slot().kernel_rsp = bundle.stack_top();
  }
  bool is_leader() const;
};
static_assert(sizeof(HostThread) <= HostThread::kAlternateStackOffset);

struct AllVesselsTag;

struct Vessel : ListHook<>, ListHook<AllVesselsTag> {
  HostThread* leader = nullptr;
  /// Guest tasks that live in this vessel.
  std::atomic<int> live_tasks{0};
  /// The last task is gone: the leader empties the vessel and returns it to the pool.
  std::atomic<bool> cleanup_wanted{false};
  Mutex mutex{LockRank::None};
  HostThread* dead_threads GUARDED_BY(mutex) = nullptr;
  /// Threads whose task has ended, kept for the next ones: the last that came first.
  HostThread* resting_threads GUARDED_BY(mutex) = nullptr;
  uint32_t resting_count GUARDED_BY(mutex) = 0;
  /// All but the leader.
  List<HostThread> threads GUARDED_BY(mutex);
  Vessel* next_leaving = nullptr;
  uint64_t used_slots[kSlotCount / 64] GUARDED_BY(mutex) = {};
  /// It never had another thread than the leader, so that the host's clock of the process is that of the leader.
  std::atomic<bool> is_single{true};
  /// The process's own and one of each address space that it carries or carried.
  /// Its host threads are freed with the last: whoever kicks a task may still look at the one that the task was just rescued from.
  std::atomic<uint32_t> references{1};
  RemoteCalls calls;
  /// Its process ended by surprise (lost_vessel.h). Those of its own threads that go on elsewhere see it when they do.
  std::atomic<bool> is_lost{false};
  /// Who still uses a lost vessel: its rescuer, and the idle sides of threads that go on.
  std::atomic<uint32_t> rescued{1};
};

void drop_vessel(Vessel& vessel);

inline bool HostThread::is_leader() const { return vessel->leader == this; }

}  // namespace umk::engine
