// The head of a kernel stack: how running kernel code knows who it is without thread-locals.
//
// Every kernel context (a guest task, an idle vessel, a kernel thread of the monitor) runs on the stack of an aligned
// 64 KiB bundle in the kernel region. `current_stack()` finds its head by masking the stack pointer. Hosted tests have
// ordinary stacks, so there the head is a thread-local, created on first use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace umk {

class Task;

inline constexpr size_t kKernelStackBundleBytes = 64 * 1024;

struct KernelStackHead {
  static constexpr uint64_t kMagic = 0x6b6d752d6b636174;  // "tack-umk"

  uint64_t magic = kMagic;
  /// The Syscall User Dispatch selector of the host thread that runs on this stack now; the host-call stub opens it around
  /// each host call. Assembly knows this offset (8).
  volatile uint8_t* selector = nullptr;
  /// The futex word that the context sleeps on (sync/park.h): 1 awake, 2 about to sleep but still looking, 0 (or 3, when nothing but a wake-up ends it) asleep or nearly so.
  std::atomic<uint32_t> wake_word{1};
  /// Why an interruptible sleep must end: bits of sync::Interrupt.
  std::atomic<uint32_t> interrupts{0};
  /// How often looking before sleeping paid of late; how often trying again was in vain, and sleeps since then (sync.cpp).
  uint8_t spin_credit = 0;
  uint8_t spin_delay = 0;
  uint16_t spins_skipped = 0;
  /// The guest task whose stack this is; null for kernel threads.
  Task* task = nullptr;
  /// The host vDSO's clock_gettime where this process has it, else null: the host is called then.
  int (*host_clock)(int clock, void* timespec) = nullptr;
  /// Where the callee-saved registers of the host call that is being made lie, 0 when none is: another host thread can continue the context there. Assembly
  /// knows this offset (48).
  uint64_t call_rsp = 0;
  /// The context runs kernel code, not a guest's.
  bool in_kernel = true;
  /// How many locks are held, and their ranks, for the run-time order checker (sync/lock_rank.h).
  uint32_t held_locks = 0;
  uint8_t held_ranks[12] = {};
};
static_assert(offsetof(KernelStackHead, selector) == 8);
static_assert(offsetof(KernelStackHead, call_rsp) == 48);

#if defined(UMK_HOSTED)
KernelStackHead& current_stack();
/// Makes the calling thread run as the context of `head` from now on; null: as its own again. For tests whose tasks are threads.
void adopt_stack(KernelStackHead* head);
#else
inline KernelStackHead& current_stack() {
  return *reinterpret_cast<KernelStackHead*>(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) & ~(kKernelStackBundleBytes - 1));
}
#endif

}  // namespace umk
