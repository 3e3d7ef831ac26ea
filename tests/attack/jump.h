#pragma once
// Jumping into the kernel's text with registers of the attacker's choice, and what an attacker can learn of the kernel's layout.

#include <functional>

#include "attack.h"

namespace attack {

/// All registers at the jump. Nothing is pushed: also the stack pointer may be any address.
struct JumpRegisters {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp, eflags, target;
};

/// Jumps. Every word of stack() is the address of code that checks what rights it has (check_rights) and then ends the process with 0.
[[noreturn]] void jump(const JumpRegisters& registers);

/// A stack and a buffer of the attacker. Each word of the buffer is the address of the buffer, so that pointers found in it lead back.
uint64_t stack();
uint64_t buffer();
inline constexpr uint64_t kStackBytes = 256 * 1024;

/// Kinds of register contents to arrive with.
enum class Profile { Zero, Buffer, Kernel, KernelStack, Count };
JumpRegisters registers_for(Profile profile, uint64_t target);
std::string to_text(Profile profile);

/// Jumps to `target` in a child process. Fails the test when the child got anything.
void try_jump(const char* what, const JumpRegisters& registers);
/// How the jumps so far ended.
struct JumpCounts {
  int killed = 0, came_back = 0, timed_out = 0;
};
extern JumpCounts jump_counts;
void print_jump_counts();

/// The kernel's file (environment variable UMK_KERNEL): what an attacker has who has the program.
class KernelFile {
 public:
  static const KernelFile& get();
  /// 0 when there is no such symbol.
  uint64_t symbol(const char* name) const;
  /// The address of `umk_NAME` of the gate behind the shield.
  uint64_t gate(const char* name) const;
  /// Every byte of the gates, the one behind the shield first.
  std::vector<uint64_t> gate_bytes() const;
  uint64_t text_start() const { return text_start_; }
  uint64_t text_end() const { return text_end_; }
  std::vector<uint64_t> functions() const;
  /// Addresses in the text, as it is mapped, where `matches` says so of the bytes from there on (at least 8).
  std::vector<uint64_t> find(const std::function<bool(const unsigned char*)>& matches) const;

 private:
  KernelFile();
  std::vector<unsigned char> file_;
  uint64_t text_start_ = 0, text_end_ = 0, symbols_ = 0, symbol_count_ = 0, names_ = 0;
};

/// Words that look like addresses of kernel memory in those kernel pages that can be read: kernel stacks, places of signal frames.
std::vector<uint64_t> readable_kernel_pointers();

}  // namespace attack
