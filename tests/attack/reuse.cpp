// What a process finds that starts where another one has been: nothing.
#include <immintrin.h>

#include "attack.h"

using namespace attack;

namespace {

/// Leaves the secret everywhere a process can: registers, vectors, the FS base, its slots, stack and heap.
[[noreturn]] void litter() {
  for (uint64_t at = umk::layout::kSlots + 256; at < umk::layout::kSlots + umk::layout::kSlotsBytes; at += 8)
    *reinterpret_cast<volatile uint64_t*>(at) = secret;
  std::vector<uint64_t> heap(1 << 16, secret);
  asm volatile("" ::"r"(heap.data()) : "memory");
  asm volatile(
      "movq %0, %%xmm0\n\tpunpcklqdq %%xmm0, %%xmm0\n\t"
      "movdqa %%xmm0, %%xmm1\n\tmovdqa %%xmm0, %%xmm2\n\tmovdqa %%xmm0, %%xmm3\n\tmovdqa %%xmm0, %%xmm4\n\tmovdqa %%xmm0, %%xmm5\n\t"
      "movdqa %%xmm0, %%xmm6\n\tmovdqa %%xmm0, %%xmm7\n\tmovdqa %%xmm0, %%xmm8\n\tmovdqa %%xmm0, %%xmm9\n\tmovdqa %%xmm0, %%xmm10\n\t"
      "movdqa %%xmm0, %%xmm11\n\tmovdqa %%xmm0, %%xmm12\n\tmovdqa %%xmm0, %%xmm13\n\tmovdqa %%xmm0, %%xmm14\n\tmovdqa %%xmm0, %%xmm15\n\t"
      "fildll %1\n\tfildll %1\n\tfildll %1\n\t"
      "movq %0, %%rbx\n\tmovq %0, %%rbp\n\tmovq %0, %%r8\n\tmovq %0, %%r9\n\tmovq %0, %%r10\n\tmovq %0, %%r12\n\tmovq %0, %%r13\n\tmovq "
      "%0, %%r14\n\tmovq %0, %%r15\n\t"
      "wrfsbase %%r15\n\t"
      "movl $231, %%eax\n\txorl %%edi, %%edi\n\tsyscall" ::"r"(secret),
      "m"(secret)
      : "memory");
  __builtin_unreachable();
}

}  // namespace

ATTACK(vessel_reuse_leak, Needs::Nothing) {
  const char* fresh = getenv("ATTACK_FRESH");
  if (fresh == nullptr) cannot("find the program fresh_state, $ATTACK_FRESH");
  const bool has_slots = in_guest();
  const int rounds = is_thorough() ? 200 : 30;
  for (int i = 0; i < rounds; i++) {
    const pid_t before = start(
        [](void* guest) {
          // Natively there are no slots.
          if (guest == nullptr) _exit(0);
          litter();
        },
        has_slots ? const_cast<char*>(fresh) : nullptr);
    const Ended littered = finish(before, 5000);
    if (!littered.exited_with(0)) broken("a process that filled its own memory: %s", to_text(littered).c_str());
    // vfork, so that the new program starts in a vessel of the pool.
    const pid_t child = vfork();
    if (child == 0) {
      execl(fresh, fresh, static_cast<char*>(nullptr));
      _exit(127);
    }
    const Ended ended = finish(child, 5000);
    if (!ended.exited_with(0)) broken("a new program found something, see fresh_state.S: %s", to_text(ended).c_str());
  }
}
