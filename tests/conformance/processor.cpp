// cpuid: what a program learns about the processor does not depend on how often it asks, or from where.
#include "check.h"

namespace {

struct Answer {
  uint64_t rax, rbx, rcx, rdx;
  bool operator==(const Answer& other) const { return rax == other.rax && rbx == other.rbx && rcx == other.rcx && rdx == other.rdx; }
};

// A call and two questions: one whose leaf is loaded right before it, one whose leaf is the caller's.
extern "C" long processor_call();
extern "C" void processor_caches(Answer* answer, uint64_t subleaf);
extern "C" void processor_any(Answer* answer, uint64_t leaf, uint64_t subleaf);
asm(R"(
  .text
  .globl processor_call, processor_caches, processor_any
  .type processor_call, @function
processor_call:
  .cfi_startproc
  mov $39,%eax
  syscall
  ret
  .cfi_endproc
  .size processor_call, .-processor_call
  .type processor_caches, @function
processor_caches:
  .cfi_startproc
  push %rbx
  mov %rsi,%rcx
  stc
  mov $4,%eax
  cpuid
  jnc 1f
  mov %rax,0(%rdi)
  mov %rbx,8(%rdi)
  mov %rcx,16(%rdi)
  mov %rdx,24(%rdi)
1:pop %rbx
  ret
  .cfi_endproc
  .size processor_caches, .-processor_caches
  .type processor_any, @function
processor_any:
  .cfi_startproc
  push %rbx
  mov %rdx,%rcx
  mov %rsi,%rax
  mov $-1,%rdx
  cpuid
  mov %rax,0(%rdi)
  mov %rbx,8(%rdi)
  mov %rcx,16(%rdi)
  mov %rdx,24(%rdi)
  pop %rbx
  ret
  .cfi_endproc
  .size processor_any, .-processor_any
)");

// Those whose answers are the same on every processor.
constexpr uint64_t kLeaves[] = {0,          2,          7,          0xd,        0x14,       0x19,      0x80000000,
                                0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000006, 0x80000008};

}  // namespace

CASE(answers_stay) {
  Answer caches[6] = {}, any[13][4] = {};
  long changed = 0;
  for (int round = 0; round < 6; round++) {
    processor_call();
    for (unsigned i = 0; i < 6; i++) {
      Answer answer{};
      processor_caches(&answer, i);
      if (round == 0) caches[i] = answer;
      changed += !(answer == caches[i]);
    }
    for (unsigned i = 0; i < 13; i++) {
      for (unsigned subleaf = 0; subleaf < 4; subleaf++) {
        Answer answer{};
        processor_any(&answer, kLeaves[i], subleaf);
        if (round == 0) any[i][subleaf] = answer;
        changed += !(answer == any[i][subleaf]);
      }
    }
    usleep(20000);
  }
  shown("changed", changed);
  for (const Answer& answer : caches)
    say("cache: %lx %lx %lx %lx", static_cast<long>(answer.rax), static_cast<long>(answer.rbx), static_cast<long>(answer.rcx),
        static_cast<long>(answer.rdx));
  for (unsigned i = 0; i < 13; i++)
    for (unsigned subleaf = 0; subleaf < 4; subleaf++)
      say("%lx/%u: %lx %lx %lx %lx", static_cast<long>(kLeaves[i]), subleaf, static_cast<long>(any[i][subleaf].rax),
          static_cast<long>(any[i][subleaf].rbx), static_cast<long>(any[i][subleaf].rcx), static_cast<long>(any[i][subleaf].rdx));
}

CASE(upper_halves) {
  processor_call();
  usleep(20000);
  Answer answer{}, plain{};
  processor_any(&answer, 0xabcd'0000'0000'0007, 0x1234'0000'0000'0000);
  processor_any(&plain, 7, 0);
  shown("same", answer == plain);
  shown("zero", static_cast<long>((answer.rax | answer.rbx | answer.rcx | answer.rdx) >> 32));
}
