// PatchedSite: where a thread stands when it was stopped in or around a patched call site.
//
// The `syscall` at `site` is untouched. The instructions before it, [window_start, site), now begin with a jump to the
// trampoline, which holds the same instructions in the same order and with the same lengths: offset k of the window is
// offset k of the trampoline. Behind them the trampoline's tail loads rcx and jumps to the gate.
//
//   original                        patched                          trampoline
//   window_start  mov %rdi,%rsi     window_start  jmp trampoline     trampoline + 0   mov %rdi,%rsi
//   +3            mov $39,%eax      +5            int3 ...           trampoline + 3   mov $39,%eax
//   site          syscall           site          syscall            trampoline + 8   lea site+2(%rip),%rcx
//                                                                    trampoline + 15  jmp *literal(%rip)
//                                                                    trampoline + 21  int3
//
// A short conditional jump in the window cannot reach its target from the trampoline: it goes to a jump behind the tail.
//
// Where a branch goes to the instructions before the `syscall` and leaves them no room for a jump, the window is that of the *branch*, with the
// nops behind it, and the trampoline begins with a copy of that:
//
//   original                        patched                          trampoline
//   window_start  jmp moved_start   window_start  jmp trampoline     trampoline + 0   jmp trampoline + 13
//   +2            nop               +5            int3 ...           trampoline + 2   nop
//   window_end    ...               window_end    ...                trampoline + 7   jmp window_end; int3
//   moved_start   mov %esi,%eax     moved_start   mov %esi,%eax      trampoline + 13  mov %esi,%eax
//   site          syscall           site          syscall            trampoline + 15  lea site+2(%rip),%rcx ...
//
// Who comes to moved_start by another way finds the original there, whose `syscall` traps.
//
// A `cpuid` is patched in the same way, with a tail of its own that answers it (identity_tail.h).
//
// Guests must not notice. Hence two translations, for whoever shows or takes an instruction pointer (signal frames, ptrace,
// core dumps, faults):
//   original_address()  trampoline -> where the thread would stand without the patch. In the tail only rcx differs from the
//                       original, and `syscall` is about to overwrite that, so the answer is the site.
//   resume_address()    window -> where a thread with this instruction pointer must run. Every boundary of the window's
//                       original instructions traps when it is executed (see patch_plan.h), so a thread that was stopped
//                       there before the patch was written, or is sent there by sigreturn, a computed jump or a debugger,
//                       arrives as SIGTRAP (whose rip is one further), SIGILL or SIGSEGV with its registers as they were,
//                       and goes on here.
// Pure functions of plain numbers, all relative to one load bias; for the resident kernel too.
#pragma once

#include <cstdint>
#include <optional>

namespace umk::patcher {

/// lea disp32(%rip),%rcx; jmp *disp32(%rip); int3, which keeps the processor from guessing beyond the jump.
inline constexpr uint64_t kTrampolineTail = 7 + 6 + 1;
/// jmp rel32; int3: what a short conditional jump of the window is led to, and what a copied branch's nops lead to.
inline constexpr uint64_t kTrampolineBranch = 5 + 1;

struct PatchedSite {
  uint64_t window_start;
  /// The site, or where the window of a branch ends.
  uint64_t window_end;
  /// The first of the instructions that the trampoline executes before the call: window_start, or where the window's branch goes.
  uint64_t moved_start;
  uint64_t site;
  uint64_t trampoline;
  /// Where the window's short conditional jump goes; 0 when it has none.
  uint64_t branch_target;
  /// The bytes of the tail where the instruction at `site` is a `cpuid`; 0 where it is a `syscall`.
  uint64_t identity_tail = 0;

  constexpr uint64_t window_size() const { return window_end - window_start; }
  constexpr uint64_t moved_size() const { return site - moved_start; }
  constexpr bool is_of_branch() const { return moved_start != window_start; }
  /// What stands in the trampoline before the moved instructions.
  constexpr uint64_t lead_size() const { return is_of_branch() ? window_size() + kTrampolineBranch : 0; }
  constexpr uint64_t trampoline_size() const {
    return lead_size() + moved_size() + (identity_tail != 0 ? identity_tail : kTrampolineTail + (branch_target != 0 ? kTrampolineBranch : 0));
  }

  constexpr bool in_window(uint64_t address) const { return address - window_start < window_size(); }
  constexpr bool in_trampoline(uint64_t address) const { return address - trampoline < trampoline_size(); }

  /// What an instruction pointer inside the trampoline stands for in the original code; nothing when it is not inside, or in the tail of a
  /// `cpuid`, where a thread can only go on.
  constexpr std::optional<uint64_t> original_address(uint64_t address) const {
    if (!in_trampoline(address)) return std::nullopt;
    uint64_t offset = address - trampoline;
    if (offset < lead_size()) return offset < window_size() ? window_start + offset : window_end;
    offset -= lead_size();
    if (offset < moved_size()) return moved_start + offset;
    if (identity_tail != 0) return std::nullopt;
    return offset < moved_size() + kTrampolineTail ? site : branch_target;
  }

  /// Where a thread goes on whose instruction pointer lies in the window; nothing when it does not.
  constexpr std::optional<uint64_t> resume_address(uint64_t address) const {
    if (!in_window(address)) return std::nullopt;
    return trampoline + (address - window_start);
  }
};

}  // namespace umk::patcher
