// The stack that a program starts with: argc, argv, envp, the auxiliary vector, and what they point to.
//
//   low    sp -> argc | argv... | 0 | envp... | 0 | auxiliary vector... | 0 0
//                padding | 16 random bytes | platform | argv strings | envp strings | name of the program | 8 zero bytes
//   high   stack top
//
// System V ABI AMD64 section 3.4.1, and execve(2) "Limits on size of arguments and environment".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/abi/elf.h"
#include "core/base/result.h"
#include "core/base/vector.h"

namespace umk::elf {

/// The longest argument, with its zero; longer ones are E2BIG.
inline constexpr size_t kMaximumArgumentBytes = 128 * 1024;

/// How many bytes arguments, environment and the pointers to them may take together under a stack limit (RLIMIT_STACK): a
/// quarter of it, at least 128 KiB and at most 6 MiB.
constexpr uint64_t argument_space(uint64_t stack_limit) {
  constexpr uint64_t kLeast = 128 * 1024, kMost = 6 * 1024 * 1024;
  const uint64_t quarter = stack_limit / 4;
  return quarter < kLeast ? kLeast : quarter > kMost ? kMost : quarter;
}

/// What the stack is made of. No string contains a zero.
struct StackContents {
  std::span<const std::string_view> arguments;  // none counts as one empty argument, as in Linux since 5.18
  std::span<const std::string_view> environment;
  std::string_view executable_name;  // AT_EXECFN: as execve was given it
  std::string_view platform;         // AT_PLATFORM
  std::array<std::byte, 16> random;  // AT_RANDOM
  /// All other entries; AT_RANDOM, AT_EXECFN, AT_PLATFORM and the end are added.
  std::span<const AuxiliaryEntry> auxiliary;
};

struct AddressRange {
  uint64_t start;
  uint64_t end;
};

struct InitialStack {
  /// Lies at `stack_pointer`, and ends at the stack's top.
  Vector<std::byte> bytes;
  uint64_t stack_pointer;  // a multiple of 16
  // For /proc/PID/cmdline, environ and auxv.
  AddressRange argument_strings;
  AddressRange environment_strings;
  AddressRange auxiliary_vector;
};

/// Builds the stack that ends at `stack_top` (a multiple of 16). Fails with E2BIG when a string or, by `limit` in bytes, all
/// together are too long, or when they do not fit below `stack_top`.
Result<InitialStack> build_initial_stack(const StackContents& contents, uint64_t stack_top, uint64_t limit);

}  // namespace umk::elf
