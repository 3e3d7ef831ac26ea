// The general registers of a guest thread, as saved when it enters the kernel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

/// In the order of the gate's pushes; assembly knows these offsets (engine/gate/offsets.h checks them).
struct Registers {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
  /// The call number while a system call is being served, else -1 (no restart).
  uint64_t orig_rax;
  uint64_t rip, cs, eflags, rsp, ss;

  uint64_t argument(unsigned index) const {
    const uint64_t values[] = {rdi, rsi, rdx, r10, r8, r9};
    return values[index];
  }
};
static_assert(sizeof(Registers) == 21 * 8);

/// Why a guest entered the kernel.
/// Violation: the guest jumped into the kernel where it has no business, and was stopped by the shield.
enum class TrapKind : uint8_t { SystemCall, Fault, Kick, Violation };

struct Trap {
  TrapKind kind;
  uint8_t vector = 0;           // x86 exception number for faults: 0 #DE, 1 #DB, 3 #BP, 4 #OF, 6 #UD, 13 #GP, 14 #PF, 16/19 FP, 17 #AC
  uint64_t address = 0;         // CR2 for #PF
  uint64_t error_code = 0;      // #PF: x86 bits 1 protection, 2 write, 4 user, 16 instruction fetch; 16/19: the si_code of SIGFPE
};

}  // namespace umk
