// Flags of the processor that a guest may set and that would change what the kernel's code does.
#include "jump.h"

using namespace attack;

namespace {

constexpr uint64_t kTrap = 0x100, kDirection = 0x400, kNested = 0x4000, kAlignment = 0x40000;

// write(2) and pread(2) with a flag set at the instruction, at a fresh `syscall` and at this one, which gets patched when it is met often.
long call_with(uint64_t flag, long number, long a, long b, long c, long d, uint64_t* flags_after) {
  long result;
  register long r10 asm("r10") = d;
  asm volatile(
      "subq $128, %%rsp\n\t"  // the red zone
      "pushfq\n\t"
      "orq %[flag], (%%rsp)\n\t"
      "popfq\n\t"
      "syscall\n\t"
      "pushfq\n\t"
      "popq %%rcx\n\t"
      "pushq $0x202\n\t"
      "popfq\n\t"
      "addq $128, %%rsp\n\t"
      "movq %%rcx, %[after]"
      : "=a"(result), [after] "=m"(*flags_after)
      : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), [flag] "r"(flag)
      : "rcx", "r11", "memory");
  return result;
}

void calls_work_with(uint64_t flag, bool is_kept) {
  const int file = static_cast<int>(must("open", open("flags", O_RDWR | O_CREAT | O_TRUNC, 0600)));
  unlink("flags");
  std::vector<unsigned char> given(100000), got(100001);
  for (size_t i = 0; i < given.size(); i++) given[i] = static_cast<unsigned char>(i * 7 + i / 251);
  must("write", write(file, given.data(), given.size()));
  for (int round = 0; round < 200; round++) {
    uint64_t after = 0;
    memset(got.data(), 0, got.size());
    // An odd address, for the alignment check.
    long n = call_with(flag, SYS_pread64, file, reinterpret_cast<long>(got.data() + 1), static_cast<long>(given.size()), 0, &after);
    if (n != static_cast<long>(given.size())) broken("pread = %ld in round %d", n, round);
    if (memcmp(got.data() + 1, given.data(), given.size()) != 0) broken("pread brought wrong bytes in round %d", round);
    if (is_kept && (after & flag) == 0) broken("the flag was lost in round %d", round);
    n = call_with(flag, SYS_pwrite64, file, reinterpret_cast<long>(given.data()), static_cast<long>(given.size()), 0, &after);
    if (n != static_cast<long>(given.size())) broken("pwrite = %ld in round %d", n, round);
    n = call_with(flag, SYS_getppid, 0, 0, 0, 0, &after);
    if (n != getppid()) broken("getppid = %ld in round %d", n, round);
  }
}

void on_signal(int) {}

// Signals and faults, whose frames the kernel writes, while the flag is set.
void signals_work_with(uint64_t flag) {
  signal(SIGUSR1, on_signal);
  for (int round = 0; round < 50; round++) {
    uint64_t after = 0;
    if (call_with(flag, SYS_kill, getpid(), SIGUSR1, 0, 0, &after) != 0) broken("kill failed in round %d", round);
    if ((after & flag) == 0 && flag != kTrap) broken("the flag was lost at a signal in round %d", round);
  }
}

volatile long steps = 0;
void on_step(int) { steps = steps + 1; }

// Jumps to every byte of the gates with the flag set.
void gate_with(uint64_t flag) {
  const std::vector<uint64_t> bytes = KernelFile::get().gate_bytes();
  for (size_t i = 0; i < bytes.size(); i += is_thorough() ? 1 : 5) {
    JumpRegisters registers = registers_for(i % 2 == 0 ? Profile::Buffer : Profile::Zero, bytes[i]);
    registers.eflags |= flag;
    try_jump("gate", registers);
  }
  print_jump_counts();
}

}  // namespace

ATTACK(flags_df, Needs::Nothing) {
  calls_work_with(kDirection, true);
  signals_work_with(kDirection);
}
ATTACK(flags_ac, Needs::Nothing) {
  calls_work_with(kAlignment, true);
  signals_work_with(kAlignment);
}
ATTACK(flags_tf, Needs::Nothing) {
  signal(SIGTRAP, on_step);
  calls_work_with(kTrap, false);
  signals_work_with(kTrap);
  if (steps < 1000) broken("only %ld steps were told", steps);
}
// With this flag set an iretq to 64-bit code faults.
ATTACK(flags_nt, Needs::Nothing) {
  calls_work_with(kNested, true);
  signals_work_with(kNested);
}
ATTACK(flags_df_gate, Needs::Keys) { gate_with(kDirection); }
ATTACK(flags_ac_gate, Needs::Keys) { gate_with(kAlignment); }
ATTACK(flags_tf_gate, Needs::Keys) { gate_with(kTrap); }
ATTACK(flags_nt_gate, Needs::Keys) { gate_with(kNested); }
