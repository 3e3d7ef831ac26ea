// 32-bit code: any 64-bit program can enter it by a far return, and what faults or calls there must not lead the kernel astray.
#include "jump.h"

using namespace attack;

namespace {

constexpr uint64_t kCode = 0x10000000, kMark = 0x10010000, kLowStack = 0x10020000;

// Where the kernel's text would be for code that has only 32 bits of its address: guest memory full of instructions that leave a mark.
constexpr uint64_t kTruncated = umk::layout::kImage & 0xffffffff;
constexpr uint64_t kTruncatedBytes = 0x200000;

void map_low(uint64_t at, uint64_t bytes) {
  void* got = mmap(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == MAP_FAILED) cannot("map low memory");
}

void prepare(std::initializer_list<unsigned char> code) {
  map_low(kCode, 0x1000);
  map_low(kMark, 0x1000);
  map_low(kLowStack, 0x10000);
  memset(reinterpret_cast<void*>(kCode), 0xf4, 0x1000);
  memcpy(reinterpret_cast<void*>(kCode), code.begin(), code.size());
  must("mprotect", mprotect(reinterpret_cast<void*>(kCode), 0x1000, PROT_READ | PROT_EXEC));
  map_low(kTruncated, kTruncatedBytes);
  memset(reinterpret_cast<void*>(kTruncated), 0x90, kTruncatedBytes);
  // incl %ss:kMark; hlt (the other segments of a 64-bit program are empty): at the end, and every 4 KiB, so that a slide of nops soon ends in it.
  const unsigned char trap[] = {0x36, 0xff, 0x05, kMark & 0xff, kMark >> 8 & 0xff, kMark >> 16 & 0xff, kMark >> 24, 0xf4};
  for (uint64_t at = 4096 - sizeof trap; at < kTruncatedBytes; at += 4096)
    memcpy(reinterpret_cast<void*>(kTruncated + at), trap, sizeof trap);
  must("mprotect", mprotect(reinterpret_cast<void*>(kTruncated), kTruncatedBytes, PROT_READ | PROT_EXEC));
}

[[noreturn]] void enter_32_bit() {
  asm volatile(
      "movq %0, %%rsp\n\t"
      "pushq $0x23\n\t"
      "pushq %1\n\t"
      "xorl %%eax, %%eax\n\t"
      "xorl %%ebx, %%ebx\n\t"
      "xorl %%ecx, %%ecx\n\t"
      "xorl %%edx, %%edx\n\t"
      "lretq" ::"r"(kLowStack + 0xff00),
      "r"(kCode)
      : "memory");
  __builtin_unreachable();
}

bool is_marked() { return *reinterpret_cast<volatile uint32_t*>(kMark) != 0; }

volatile sig_atomic_t caught = 0;
char signal_stack[65536] __attribute__((aligned(64)));

// The guest's handler runs as 64-bit code, whatever the fault came from: it could not load these otherwise.
void on_fault_in_32_bit(int) {
  uint64_t wide;
  asm volatile("movabsq $0x123456789abcdef0, %0" : "=r"(wide));
  uint16_t cs;
  asm volatile("mov %%cs, %0" : "=r"(cs));
  if (is_marked()) _exit(kGotWrongResult);
  _exit(wide == 0x123456789abcdef0 && cs == 0x33 ? 42 : 43);
}

void with_handler(std::initializer_list<int> signals) {
  const stack_t alternate = {.ss_sp = signal_stack, .ss_flags = 0, .ss_size = sizeof signal_stack};
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_fault_in_32_bit;
  action.sa_flags = SA_ONSTACK;
  for (const int signal : signals) sigaction(signal, &action, nullptr);
}

void run_32_bit(const char* what, std::initializer_list<unsigned char> code) {
  for (const bool handled : {false, true}) {
    const Ended ended = attempt([&] {
      prepare(code);
      if (handled) with_handler({SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS});
      enter_32_bit();
    });
    printf("%s%s: %s\n", what, handled ? ", with a handler" : "", to_text(ended).c_str());
    if (const char* loot = loot_of(ended)) broken("%s: %s", what, loot);
    if (handled ? !ended.exited_with(42) && !ended.was_killed() : !ended.was_killed()) broken("%s: %s", what, to_text(ended).c_str());
  }
}

}  // namespace

ATTACK(compat_fault, Needs::Nothing) {
  run_32_bit("ud2", {0x0f, 0x0b});
  run_32_bit("load of address 0", {0x36, 0xa1, 0, 0, 0, 0});
  run_32_bit("int3", {0xcc});
  run_32_bit("divide by 0", {0xf7, 0xf1});
  run_32_bit("hlt", {0xf4});
  run_32_bit("jump to unmapped memory", {0xb8, 0, 0, 0, 0x30, 0xff, 0xe0});
  // A single step: pushf; orb $1,1(%esp); popf; nop
  run_32_bit("single step", {0x9c, 0x80, 0x4c, 0x24, 0x01, 0x01, 0x9d, 0x90, 0x90, 0xf4});
}

ATTACK(compat_int80, Needs::Nothing) {
  if (!in_guest()) {
    printf("not in a guest: Linux serves such calls\n");
    return;
  }
  // getpid, and exit with a code that nothing else has: neither may be served.
  run_32_bit("int $0x80 in 32-bit code", {0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0xbb, 0x4d, 0, 0, 0, 0xcd, 0x80, 0xf4});
  for (const long number : {1, 4, 11, 20, 37, 90, 125, 173, 192, 243, 377}) {
    const Ended ended = attempt([=] {
      long result = number;
      asm volatile("int $0x80" : "+a"(result) : "b"(0L), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
      _exit(result == -38 ? 0 : 5);
    });
    if (!ended.was_killed()) broken("int $0x80, call %ld: %s", number, to_text(ended).c_str());
  }
}

ATTACK(compat_calls, Needs::Nothing) {
  if (!in_guest()) return;
  run_32_bit("sysenter in 32-bit code", {0xb8, 20, 0, 0, 0, 0x0f, 0x34, 0xf4});
  run_32_bit("syscall in 32-bit code", {0xb8, 20, 0, 0, 0, 0x0f, 0x05, 0xf4});
  const Ended ended = attempt([] {
    prepare({0xf4});
    with_handler({SIGSEGV, SIGILL, SIGBUS, SIGSYS});
    asm volatile("movl $20, %%eax\n\tmovq %0, %%rbp\n\t.byte 0x0f, 0x34" ::"r"(kLowStack + 0x8000) : "rax", "memory");
    _exit(44);
  });
  printf("sysenter in 64-bit code: %s\n", to_text(ended).c_str());
  if (loot_of(ended) != nullptr || ended.exited_with(44)) broken("sysenter in 64-bit code: %s", to_text(ended).c_str());
}
