// Vector registers: they are the program's over calls, traps, faults, fork and signals. AVX-512 where the processor has it.
#include "check.h"

#include <cpuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace {

alignas(64) unsigned char image[32 * 64], after[32 * 64];

bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
bool has_avx() { return __builtin_cpu_supports("avx"); }

// Loads all vector registers from `image`, makes a call or touches `place`, and stores them to `after`.
__attribute__((target("avx512f"), noinline)) void over_512(long number, long argument, volatile char* place) {
#define LOAD(n) "vmovdqu64 " #n "*64(%[in]),%%zmm" #n "\n"
#define STORE(n) "vmovdqu64 %%zmm" #n "," #n "*64(%[out])\n"
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
  asm volatile(ALL(LOAD) "test %[place],%[place]\njz 1f\nmovb $1,(%[place])\n1:mov %[number],%%rax\nmov %[argument],%%rdi\nxor %%esi,%%esi\nxor %%edx,%%edx\nxor %%r10d,%%r10d\nsyscall\n" ALL(STORE)
               :
               : [in] "r"(image), [out] "r"(after), [number] "r"(number), [argument] "r"(argument), [place] "r"(place)
               : "rax", "rcx", "rdx", "rsi", "rdi", "r10", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
                 "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
#undef LOAD
#undef STORE
}
__attribute__((target("avx"), noinline)) void over_256(long number, long argument, volatile char* place) {
#define LOAD(n) "vmovdqu " #n "*32(%[in]),%%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n "," #n "*32(%[out])\n"
#define ALL16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
  asm volatile(ALL16(LOAD) "test %[place],%[place]\njz 1f\nmovb $1,(%[place])\n1:mov %[number],%%rax\nmov %[argument],%%rdi\nxor %%esi,%%esi\nxor %%edx,%%edx\nxor %%r10d,%%r10d\nsyscall\n" ALL16(STORE)
               :
               : [in] "r"(image), [out] "r"(after), [number] "r"(number), [argument] "r"(argument), [place] "r"(place)
               : "rax", "rcx", "rdx", "rsi", "rdi", "r10", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

// True when the registers came back as they were.
bool kept(long number, long argument = 0, volatile char* place = nullptr) {
  for (size_t i = 0; i < sizeof image; i++) image[i] = static_cast<unsigned char>(i * 7 + 3);
  memset(after, 0, sizeof after);
  size_t bytes = 0;
  if (has_avx512()) {
    over_512(number, argument, place);
    bytes = 32 * 64;
  } else if (has_avx()) {
    over_256(number, argument, place);
    bytes = 16 * 32;
  }
  return memcmp(image, after, bytes) == 0;
}

void clobber(int) {
  if (has_avx()) asm volatile("vzeroall" : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

}  // namespace

CASE(over_calls) {
  long lost = 0;
  for (int i = 0; i < 300; i++) lost += !kept(SYS_getppid);
  shown("lost", lost);
}

CASE(over_a_page_fault) {
  auto* memory = static_cast<volatile char*>(mmap(nullptr, 100 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  long lost = 0;
  for (int i = 0; i < 100; i++) lost += !kept(SYS_getppid, 0, memory + i * 4096);
  shown("lost", lost);
}

CASE(over_a_signal) {
  signal(SIGUSR1, clobber);
  long lost = 0;
  for (int i = 0; i < 50; i++) {
    // A call that delivers the signal: tgkill of oneself needs three arguments, so the signal is sent blocked and let in by sigprocmask's end.
    raise(SIGUSR1);
    lost += !kept(SYS_getppid);
  }
  shown("lost", lost);
  struct itimerval often {};
  often.it_interval.tv_usec = often.it_value.tv_usec = 500;
  signal(SIGALRM, clobber);
  setitimer(ITIMER_REAL, &often, nullptr);
  for (int i = 0; i < 20000; i++) lost += !kept(SYS_getppid);
  often = {};
  setitimer(ITIMER_REAL, &often, nullptr);
  shown("lost with a timer", lost);
}

CASE(over_fork) {
  long lost = 0;
  for (int i = 0; i < 20; i++) {
    // The child of a bare fork comes back through the same stores.
    const pid_t parent = getpid();
    const bool same = kept(SYS_fork);
    if (getpid() != parent) _exit(same ? 0 : 1);
    int status = 0;
    wait(&status);
    lost += !same;
    lost += status != 0;
  }
  shown("lost", lost);
}

CASE(over_a_sleep) {
  alarm(0);
  long lost = 0;
  struct timespec moment {0, 1000000};
  for (int i = 0; i < 20; i++) lost += !kept(SYS_nanosleep, reinterpret_cast<long>(&moment));
  shown("lost", lost);
}

CASE(a_new_program_starts_clean) {
  kept(SYS_getppid);
  in_child("exec", [] { check::self("fresh"); });
}

CHILD(fresh) {
  unsigned mxcsr = 0;
  asm volatile("stmxcsr %0" : "=m"(mxcsr));
  shown("mxcsr", mxcsr);
}
