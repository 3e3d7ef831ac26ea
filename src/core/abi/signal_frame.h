// The signal frame of x86-64 Linux: what a handler finds on its stack and rt_sigreturn(2) takes back. sigaction(2), sigreturn(2).
//
// Names are our own: the usual ones are macros of <signal.h> and <sys/ucontext.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk::signal_frame {

struct Machine {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t error, vector, old_mask, fault_address;
  uint64_t vectors;  // address of the XSAVE image; 0: none
  uint64_t reserved[8];
};
static_assert(sizeof(Machine) == 256);

struct Stack {
  uint64_t base;
  int32_t flags;
  int32_t padding;
  uint64_t size;
};

struct Context {
  uint64_t flags;
  uint64_t link;
  Stack stack;
  Machine machine;
  uint64_t mask;
};
static_assert(sizeof(Context) == 304);

// Context::flags
inline constexpr uint64_t kHasXsave = 1, kHasSs = 2, kStrictSs = 4;

/// Written into bytes 464..511 of the XSAVE image, which the processor leaves to software.
struct SoftwareBytes {
  uint32_t magic1;
  uint32_t extended_size;  // with magic2
  uint64_t features;
  uint32_t xstate_size;
  uint32_t padding[7];
};
static_assert(sizeof(SoftwareBytes) == 48);
inline constexpr size_t kSoftwareBytesOffset = 464;
inline constexpr uint32_t kMagic1 = 0x46505853, kMagic2 = 0x46505845;

}  // namespace umk::signal_frame
