// Faults: signal, si_code and si_addr; restart of calls; registers over signals; single step; vector state.
#include "check.h"

#include <cpuid.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

namespace {

sigjmp_buf place;
uintptr_t expected = 0;
const char* name = "";

void fault(int number, siginfo_t* info, void* raw) {
  const auto* context = static_cast<ucontext_t*>(raw);
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  const uintptr_t rip = static_cast<uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
  say("%s: %s code %d address %s trap %lld error %llx", name, sigabbrev_np(number), info->si_code,
      address == expected ? "right" : address == 0 ? "0" : address == rip ? "rip" : "other", context->uc_mcontext.gregs[REG_TRAPNO],
      context->uc_mcontext.gregs[REG_ERR]);
  siglongjmp(place, 1);
}

template <typename Body>
void faults(const char* what, const volatile void* address, Body body) {
  name = what;
  expected = reinterpret_cast<uintptr_t>(address);
  if (sigsetjmp(place, 1) == 0) {
    body();
    say("%s: no fault", what);
  }
}

void catch_all() {
  struct sigaction action{};
  action.sa_sigaction = fault;
  action.sa_flags = SA_SIGINFO;
  for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) sigaction(number, &action, nullptr);
}

char* map(int protection, size_t size = 4096) {
  return static_cast<char*>(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

}  // namespace

CASE(memory_faults) {
  catch_all();
  volatile char* none = map(PROT_NONE);
  volatile char* read_only = map(PROT_READ);
  volatile char* data = map(PROT_READ | PROT_WRITE);
  volatile char* gone = map(PROT_READ);
  munmap(const_cast<char*>(gone), 4096);
  faults("null", nullptr, [] { *null<volatile char>() = 1; });
  faults("low", bad(), [] { *bad<volatile char>() = 1; });
  faults("unmapped read", gone + 5, [&] { (void)gone[5]; });
  faults("unmapped write", gone + 5, [&] { gone[5] = 1; });
  faults("PROT_NONE read", none + 7, [&] { (void)none[7]; });
  faults("read-only write", read_only + 9, [&] { read_only[9] = 1; });
  faults("not canonical", nullptr, [] { *reinterpret_cast<volatile char*>(0x8000000000000000 + 0x1234) = 1; });
  faults("kernel address", reinterpret_cast<void*>(0xffffffff81000000), [] { *reinterpret_cast<volatile char*>(0xffffffff81000000) = 1; });
  faults("execute data", data, [&] { reinterpret_cast<void (*)()>(const_cast<char*>(data))(); });
  faults("execute null", nullptr, [] { reinterpret_cast<void (*)()>(null())(); });
  data[0] = 1;
  mprotect(const_cast<char*>(data), 4096, PROT_READ);
  faults("after mprotect", data, [&] { data[0] = 2; });
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  ftruncate(fd, 100);
  volatile char* file = static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  faults("beyond the end of the file", file + 4096, [&] { (void)file[4096]; });
  faults("write beyond the end", file + 5000, [&] { file[5000] = 1; });
  faults("within the last page", file + 200, [&] { file[200] = 1; });
  volatile char* own = static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  faults("private beyond the end", own + 4096, [&] { own[4096] = 1; });
  ftruncate(fd, 8192);
  faults("after growing", file + 4096, [&] { file[4096] = 1; });
  ftruncate(fd, 0);
  faults("after cutting", file, [&] { (void)file[0]; });
}

CASE(instruction_faults) {
  catch_all();
  faults("ud2", nullptr, [] { asm volatile("ud2"); });
  faults("int3", nullptr, [] { asm volatile("int3"); });
  faults("hlt", nullptr, [] { asm volatile("hlt"); });
  faults("cli", nullptr, [] { asm volatile("cli"); });
  faults("in", nullptr, [] { asm volatile("inb $0x80, %%al" ::: "eax"); });
  faults("int 0x21", nullptr, [] { asm volatile("int $0x21"); });
  faults("division", nullptr, [] { asm volatile("xorl %%ecx, %%ecx\n movl $1, %%eax\n cltd\n idivl %%ecx" ::: "eax", "ecx", "edx"); });
  faults("overflow of a division", nullptr, [] {
    asm volatile("movl $-1, %%ecx\n movl $0x80000000, %%eax\n cltd\n idivl %%ecx" ::: "eax", "ecx", "edx");
  });
  faults("x87", nullptr, [] {
    const unsigned short control = 0x37b;  // divide by zero unmasked
    asm volatile("fldcw %0\n fld1\n fldz\n fdivrp\n fwait" ::"m"(control));
  });
  asm volatile("fninit");
  faults("sse", nullptr, [] {
    unsigned control = 0x1d80;
    float one = 1;
    float zero = 0;
    asm volatile("ldmxcsr %0\n movss %1, %%xmm0\n divss %2, %%xmm0" ::"m"(control), "m"(one), "m"(zero) : "xmm0");
  });
  unsigned control = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(control));
  faults("alignment of movaps", nullptr, [] {
    alignas(16) static char data[32];
    asm volatile("movaps %0, %%xmm0" ::"m"(data[1]) : "xmm0");
  });
  say("done");
}

CASE(fixed_by_the_handler) {
  static char* page;
  page = map(PROT_NONE);
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void*) { mprotect(page, 4096, PROT_READ | PROT_WRITE); };
  sigaction(SIGSEGV, &action, nullptr);
  page[10] = 5;
  shown("repeated", page[10]);
  action.sa_sigaction = [](int, siginfo_t*, void* raw) {
    auto* context = static_cast<ucontext_t*>(raw);
    context->uc_mcontext.gregs[REG_RIP] += 2;
    context->uc_mcontext.gregs[REG_RAX] = 1234;
  };
  sigaction(SIGILL, &action, nullptr);
  long result = 0;
  asm volatile("ud2" : "=a"(result) : "a"(0));
  shown("skipped, with a register set", result);
}

CASE(registers_over_signals) {
  // A timer interrupts a loop that keeps all its state in registers.
  static volatile int ticks = 0;
  struct sigaction action{};
  action.sa_handler = [](int) {
    ticks = ticks + 1;
    asm volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm15, %%xmm15\n xorl %%r8d, %%r8d" ::: "xmm0", "xmm15", "r8");
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer{{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  bool right = true;
  for (int round = 0; right && ticks < 50; round++) {
    uint64_t a = 0x1111;
    uint64_t b = 0;
    uint64_t flags = 0;
    asm volatile(
        "movq %[in], %%xmm0\n movq %[in], %%xmm15\n movq %[in], %%r8\n movq %[in], %%r15\n movl $100000, %%ecx\n"
        "1: cmpq %%r8, %%r15\n jne 2f\n loop 1b\n 2:\n stc\n pushfq\n popq %[flags]\n movq %%xmm0, %[out]\n movq %%xmm15, %%rax\n"
        "xorq %%rax, %[out]\n xorq %%r8, %%r15\n orq %%r15, %[out]"
        : [out] "=&r"(b), [flags] "=&r"(flags)
        : [in] "r"(a + static_cast<uint64_t>(round))
        : "rax", "rcx", "r8", "r15", "xmm0", "xmm15", "cc", "memory");
    right = b == 0 && (flags & 1) == 1;
  }
  shown("kept", right);
}

namespace {

__attribute__((target("avx512f"))) bool keep_avx512(long (*between)()) {
  alignas(64) static unsigned char in[64];
  alignas(64) static unsigned char out[3][64];
  for (unsigned i = 0; i < 64; i++) in[i] = static_cast<unsigned char>(i * 5 + 1);
  uint64_t mask = 0;
  asm volatile(
      "vmovdqa64 (%[in]), %%zmm0\n vmovdqa64 (%[in]), %%zmm17\n vmovdqa64 (%[in]), %%zmm31\n movl $0xabcd, %%eax\n kmovw %%eax, %%k5\n"
      "call *%[between]\n"
      "vmovdqa64 %%zmm0, (%[out])\n vmovdqa64 %%zmm17, 64(%[out])\n vmovdqa64 %%zmm31, 128(%[out])\n kmovw %%k5, %%eax\n movq %%rax, %[mask]"
      : [mask] "=m"(mask)
      : [in] "r"(in), [out] "b"(out), [between] "r"(between)
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm17", "xmm31");
  return memcmp(out[0], in, 64) == 0 && memcmp(out[1], in, 64) == 0 && memcmp(out[2], in, 64) == 0 && mask == 0xabcd;
}

__attribute__((target("avx512f"))) void destroy_vectors(int) {
  asm volatile("vpxorq %%zmm0, %%zmm0, %%zmm0\n vpxorq %%zmm17, %%zmm17, %%zmm17\n vpxorq %%zmm31, %%zmm31, %%zmm31\n kxorw %%k5, %%k5, %%k5" ::
                   : "xmm0", "xmm17", "xmm31");
}

}  // namespace

CASE(vector_state) {
  if (!__builtin_cpu_supports("avx512f")) {
    say("no AVX-512");
    return;
  }
  struct sigaction action{};
  action.sa_handler = destroy_vectors;
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGSEGV, &action, nullptr);
  // Without library code in between, which may use the registers itself.
  shown("over a call", keep_avx512([]() -> long {
          long result = SYS_getppid;
          asm volatile("syscall" : "+a"(result)::"rcx", "r11", "memory");
          return result;
        }));
  shown("over a signal", keep_avx512([]() -> long {
          long pid = SYS_getpid;
          asm volatile("syscall" : "+a"(pid)::"rcx", "r11", "memory");
          long result = SYS_kill;
          asm volatile("syscall" : "+a"(result) : "D"(pid), "S"(SIGUSR1) : "rcx", "r11", "memory");
          return result;
        }));
  shown("over a page fault", keep_avx512([]() -> long {
          long result = SYS_mmap;
          register long flags asm("r10") = MAP_PRIVATE | MAP_ANONYMOUS;
          register long fd asm("r8") = -1;
          register long offset asm("r9") = 0;
          asm volatile("syscall" : "+a"(result) : "D"(0), "S"(65536), "d"(PROT_READ | PROT_WRITE), "r"(flags), "r"(fd), "r"(offset) : "rcx", "r11", "memory");
          *reinterpret_cast<volatile char*>(result) = 1;
          return 0;
        }));
  shown("over a fork", keep_avx512([]() -> long {
          long result = SYS_fork;
          asm volatile("syscall" : "+a"(result)::"rcx", "r11", "memory");
          if (result == 0) {
            long code = SYS_exit_group;
            asm volatile("syscall" : "+a"(code) : "D"(0) : "rcx", "r11", "memory");
          }
          long wait = SYS_wait4;
          register long usage asm("r10") = 0;
          asm volatile("syscall" : "+a"(wait) : "D"(result), "S"(0), "d"(0), "r"(usage) : "rcx", "r11", "memory");
          return 0;
        }));
  const pid_t child = fork();
  if (child == 0) {
    shown("in a forked child", keep_avx512([]() -> long {
            long result = SYS_sched_yield;
            asm volatile("syscall" : "+a"(result)::"rcx", "r11", "memory");
            return 0;
          }));
    _exit(0);
  }
  wait(nullptr);
}

CASE(single_step) {
  static volatile int steps = 0;
  static volatile int code = 0;
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    steps = steps + 1;
    code = info->si_code;
  };
  sigaction(SIGTRAP, &action, nullptr);
  asm volatile(
      "pushfq\n orq $0x100, (%%rsp)\n popfq\n"
      "nop\n nop\n nop\n"
      "pushfq\n andq $~0x100, (%%rsp)\n popfq\n" ::: "cc", "memory");
  say("steps %d code %d", steps, code);
  steps = 0;
  long pid = SYS_getppid;
  asm volatile(
      "pushfq\n orq $0x100, (%%rsp)\n popfq\n"
      "nop\n syscall\n nop\n"
      "pushfq\n andq $~0x100, (%%rsp)\n popfq\n"
      : "+a"(pid)::"rcx", "r11", "cc", "memory");
  say("steps over a call %d result right %d", steps, pid == getppid());
}
