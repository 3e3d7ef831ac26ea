// The plan of one patch: how a `syscall` instruction that trapped becomes a jump to the kernel's gate.
//
// The life of a patch. A `syscall` in a file mapping traps; the kernel queues the site; the monitor makes a plan from the
// file's original bytes, writes the trampoline into the companion extent of the mapping and then the window into the
// shared copy of the page (write_order.h). From then on every process that maps the text calls the gate by two jumps.
// Text and companion lie at the same distance from each other in every process, whatever the load bias, so all of a patch
// is relative; only the literal, a slot in the companion, holds an absolute address: the gate's.
//
// The `syscall` itself is never touched. So a jump to it still traps and works, a restarted call (rip - 2) is right, and the
// saved instruction pointer of a call is the true one. What is replaced is the *window*: whole instructions, five bytes or
// more, that end where the `syscall` begins. See patched_site.h for a picture.
//
// Where no such window can be had, but an unconditional branch goes to the instructions before the `syscall`, the window is that
// branch, with as many of the nops behind it as make five bytes. `_exit` of glibc is such a place. Only the way by this branch is
// patched then; who arrives by another one traps.
//
// What makes a window safe:
//   - its boundaries are certain (function_code.h), and it does not reach beyond the function's start;
//   - where a direct branch goes inside it, the way to the trampoline is laid as well (below);
//   - its instructions do the same elsewhere;
//   - every original boundary inside it holds bytes that trap at once (trap_bytes.h), so a thread that stood there when the
//     window was written, or that gets there by an indirect jump, is caught and sent on to its place in the trampoline.
//     Past the fifth byte that is an int3. Within the jump it is a byte of its displacement, so the trampoline's
//     address is chosen to make it so: that is why the planner is given room and not an address.
//     A place behind nops that a branch goes to, such as the start of a function whose padding holds the jump, gets
//     a short jump back to the window's start. Any other traps each time, which costs what the `syscall` cost
//     before: it is accepted where nothing better is found, for the sake of loops around `exit`.
//   - no byte that is written makes, alone or with its neighbours, an instruction that opens the kernel's memory.
//
// The trampoline changes nothing but rcx, as the `syscall` would; r11 and the flags are the gate's affair.
// A `cpuid` can be planned as well: its trampoline answers it, and no kernel is entered (identity_tail.h).
// A plan is plain data; making one has no side effect and keeps no state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "engine/patcher/address_range.h"
#include "engine/patcher/function_code.h"
#include "engine/patcher/identity_tail.h"
#include "engine/patcher/patched_site.h"
#include "engine/patcher/refusal.h"

namespace umk::patcher {

inline constexpr uint64_t kCacheLine = 64;

/// All addresses count as the ELF file does; what lies in the companion extent has the address it has at load bias 0.
struct SiteRequest {
  /// The file's own bytes, never patched ones: the whole function, or 16 bytes before the site if none is known.
  Text text;
  /// The `syscall` instruction, or a `cpuid` where there are answers.
  uint64_t site = 0;
  /// rax at the trap. Only surveys of a whole file do without.
  std::optional<uint64_t> trapped_rax;
  /// What eh_frame.h found for the site.
  std::optional<FunctionRange> function;
  /// An aligned slot of 8 bytes in the companion extent that holds the gate's address.
  uint64_t literal = 0;
  /// The free parts of the companion extent, the preferred ones first.
  std::span<const AddressRange> room;
  /// The windows of the file's sites that are patched already.
  std::span<const AddressRange> taken;
  std::span<const IdentityAnswer> answers = {};
};

struct PatchPlan {
  PatchedSite place{};
  /// What to write over [place.window_start, place.window_end).
  std::vector<uint8_t> window;
  /// What to write at place.trampoline first. It occupies exactly these bytes.
  std::vector<uint8_t> trampoline;
  /// The original instructions of the window: their addresses, the first being place.window_start.
  std::vector<uint64_t> boundaries;

  AddressRange window_range() const { return {place.window_start, place.window_end}; }
  AddressRange trampoline_range() const { return {place.trampoline, place.trampoline + trampoline.size()}; }
  /// What the code before the site loads into rax, when that is certain but for computed jumps.
  std::optional<uint64_t> rax;
  /// A direct branch goes to a boundary that traps. It works, at the price of a trap.
  bool is_entered = false;
  /// The window does not lie in one cache line: processors may see its halves at different times.
  bool crosses_cache_line() const { return place.window_start / kCacheLine != (place.window_end - 1) / kCacheLine; }
  /// The window lies in one aligned word of 8 bytes: one store replaces it.
  bool fits_in_word() const { return place.window_start / 8 == (place.window_end - 1) / 8; }
};

/// Plans the patch of one site, or says why it is left alone.
///
/// Prefers windows that no branch enters, then those without boundaries inside the jump, then shorter ones; those of branches come last.
/// `request.text` may be hostile: the work is bounded by kMaxFunction and by a fixed number of places that are tried.
std::variant<PatchPlan, Refusal> plan_patch(const SiteRequest& request);

}  // namespace umk::patcher
