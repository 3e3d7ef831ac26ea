// The tail of a trampoline for a `cpuid` instruction: the processor's answers as plain code.
//
// In a virtual machine `cpuid` leaves for the hypervisor, at the price of microseconds each time, and the C library's start executes
// it dozens of times in every process. Most answers never change while the machine runs. So a `cpuid` is patched like a `syscall`
// (patch_plan.h), and its trampoline ends in a chain of comparisons that loads the answer, or goes on to the instruction itself, which
// stays where it is, for any question that is not in the list.
//
// The code needs no memory and changes what the instruction changes, no flag among it: it compares by `lea` and `jrcxz`, and its only
// scratch registers are rcx, whose old value waits in rbx, and rbx. An instruction pointer inside it stands for no place of the original.
// A thread that is interrupted here goes on here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace umk::patcher {

/// What `cpuid` answers to one question, whenever and on whichever processor it is asked.
struct IdentityAnswer {
  uint32_t leaf = 0;
  /// Nothing where ecx does not matter.
  std::optional<uint32_t> subleaf;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// The code at `address` for the instruction at `site`: all answers, or those to `leaf` alone. Answers to one leaf must be together.
/// Empty when the two are too far apart. Its size does not depend on the addresses.
std::vector<uint8_t> identity_tail(std::span<const IdentityAnswer> answers, std::optional<uint64_t> leaf, uint64_t address, uint64_t site);

}  // namespace umk::patcher
