// The code before a call site, as far as it could become a window.
//
// x86 code can only be decoded forwards, from a place that is known to be a boundary. With a function range (from unwind
// tables) the whole function is decoded: this gives the boundaries before the site, and every place that a direct branch goes
// to. Without one, only a constant load that ends at the site is believed, and only if its constant is the call number that
// has just trapped.
//
// Short functions need the padding before them too: `xor %eax,%eax; syscall` at a function's start has two bytes of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "engine/patcher/address_range.h"
#include "engine/patcher/refusal.h"

namespace umk::patcher {

/// Bytes of code together with the address of the first one.
struct Text {
  std::span<const uint8_t> bytes;
  uint64_t address = 0;

  /// The bytes of `range`, or nothing when not all of them are here.
  std::optional<std::span<const uint8_t>> slice(AddressRange range) const;
};

/// An instruction that can run at another address once what it has that is relative is corrected.
struct MovableInstruction {
  uint64_t address = 0;
  uint8_t length = 0;
  /// Offset in the instruction of a 32-bit displacement from its end: a RIP-relative operand, or a conditional jump's; else 0.
  uint8_t displacement_offset = 0;
  /// Where a conditional jump goes that has a displacement of only 8 bits, its last byte; else 0.
  uint64_t short_jump_target = 0;
  /// Something jumps here, or may: a direct branch, the address taken, the function's start, an endbr64.
  bool is_entered = false;
  bool is_nop = false;

  uint64_t end() const { return address + length; }
};

/// A place that may be the window of a branch (patched_site.h).
struct BranchToRun {
  /// An unconditional jump and the nops behind it, five bytes or more; none of the nops is entered.
  std::vector<MovableInstruction> window;
  /// Where the jump goes: the address of an instruction of the run, and of the function.
  uint64_t target = 0;
};

struct CodeBefore {
  /// Instructions that end at the site, in order of address, kMaxWindow bytes at most. No direct branch goes inside one.
  std::vector<MovableInstruction> run;
  /// Branches to the run, kMaxBranches at most.
  std::vector<BranchToRun> branches;
  /// Why the run does not begin earlier.
  RefusalReason limit = RefusalReason::NotMovable;
  /// The constant that the `syscall` finds in rax, when it finds no other.
  std::optional<uint64_t> rax;
};

/// No window is longer than this. The shortest possible one has 19 bytes at most: 4, and an instruction of 15.
inline constexpr uint64_t kMaxWindow = 32;
/// No more branches to one site are looked at.
inline constexpr size_t kMaxBranches = 4;
/// Padding before a function is at most this long; code is aligned to 64 bytes, rarely more.
inline constexpr uint64_t kMaxPadding = 128;
/// 256 KiB of code take about 10 ms to decode.
inline constexpr uint64_t kMaxFunction = 256 * 1024;

/// Decodes `function`, all of which (with its padding) must be in `text`, and says what stands before the `syscall` at `site`.
std::variant<CodeBefore, Refusal> read_code_before(const Text& text, const FunctionRange& function, uint64_t site);

/// The load of `rax` that ends at `site`, judged by its bytes alone: `mov $imm32,%eax` or `mov $imm32,%rax`.
std::variant<CodeBefore, Refusal> read_constant_load_before(const Text& text, uint64_t site, uint64_t rax);

}  // namespace umk::patcher
