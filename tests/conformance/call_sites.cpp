// System call sites: what a call may change, however it enters the kernel: a first call that traps, later ones that come by a patched
// jump, sites in memory that no file stands behind, threads that meet at one site, jumps into the middle of one.
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>

namespace {

struct Values {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};

// Fills all registers from *v (rax is the number), calls at a site of its own, and stores them back. rsp must come back by itself.
#define CALL_SITE(name)                                                                                                             \
  extern "C" void name(Values* v);                                                                                                  \
  asm(".text\n.globl " #name "\n.type " #name ",@function\n" #name ":\n.cfi_startproc\n"                                            \
      "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"                                               \
      "mov 0(%rdi),%rax\nmov 8(%rdi),%rbx\nmov 24(%rdi),%rdx\nmov 32(%rdi),%rsi\nmov 48(%rdi),%rbp\nmov 56(%rdi),%r8\n"             \
      "mov 64(%rdi),%r9\nmov 72(%rdi),%r10\nmov 88(%rdi),%r12\nmov 96(%rdi),%r13\nmov 104(%rdi),%r14\nmov 112(%rdi),%r15\n"        \
      "mov 40(%rdi),%rdi\nnop\nnop\nmov $39,%eax\nsyscall\n"                                                                       \
      "xchg (%rsp),%rdi\nmov %rax,0(%rdi)\nmov %rbx,8(%rdi)\nmov %rdx,24(%rdi)\nmov %rsi,32(%rdi)\nmov %rbp,48(%rdi)\n"            \
      "mov %r8,56(%rdi)\nmov %r9,64(%rdi)\nmov %r10,72(%rdi)\nmov %r12,88(%rdi)\nmov %r13,96(%rdi)\nmov %r14,104(%rdi)\n"          \
      "mov %r15,112(%rdi)\npop %rsi\nmov %rsi,40(%rdi)\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"         \
      ".cfi_endproc\n.size " #name ",.-" #name "\n")

CALL_SITE(first_site);
CALL_SITE(raced_site);
CALL_SITE(kicked_site);

constexpr Values kPattern{39, 0x1111, 0, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777, 0x8888, 0x9999, 0, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd};

bool is_intact(const Values& v, long result) {
  return static_cast<long>(v.rax) == result && v.rbx == kPattern.rbx && v.rdx == kPattern.rdx && v.rsi == kPattern.rsi && v.rdi == kPattern.rdi &&
         v.rbp == kPattern.rbp && v.r8 == kPattern.r8 && v.r9 == kPattern.r9 && v.r10 == kPattern.r10 && v.r12 == kPattern.r12 &&
         v.r13 == kPattern.r13 && v.r14 == kPattern.r14 && v.r15 == kPattern.r15;
}

long broken_calls(void (*site)(Values*), int calls) {
  const long pid = getpid();
  long broken = 0;
  for (int i = 0; i < calls; i++) {
    Values v = kPattern;
    site(&v);
    if (!is_intact(v, pid)) broken++;
  }
  return broken;
}

std::atomic<long> broken_in_threads;
std::atomic<bool> go, stop;
std::atomic<int> handled;

void* race(void*) {
  while (!go.load()) {
  }
  broken_in_threads += broken_calls(raced_site, 20000);
  return nullptr;
}

}  // namespace

CASE(registers_over_a_call) {
  // Many calls, with time in between: a site that is patched meanwhile must not show.
  for (int round = 0; round < 20; round++) {
    if (const long broken = broken_calls(first_site, 1000)) shown("broken", broken);
    usleep(2000);
  }
  say("done");
}

CASE(threads_at_one_new_site) {
  pthread_t threads[4];
  for (pthread_t& thread : threads) pthread_create(&thread, nullptr, race, nullptr);
  go = true;
  for (pthread_t& thread : threads) pthread_join(thread, nullptr);
  shown("broken", broken_in_threads.load());
}

CASE(signals_at_every_moment) {
  signal(SIGUSR1, [](int) { handled++; });
  static pthread_t caller;
  caller = pthread_self();
  pthread_t sender;
  pthread_create(
      &sender, nullptr,
      [](void*) -> void* {
        while (!stop.load()) pthread_kill(caller, SIGUSR1);
        return nullptr;
      },
      nullptr);
  long broken = 0;
  for (int i = 0; i < 50 || (handled.load() < 1000 && i < 100000); i++) broken += broken_calls(kicked_site, 2000);
  stop = true;
  pthread_join(sender, nullptr);
  shown("broken", broken);
  shown("handled many", handled.load() >= 1000);
}

CASE(site_in_anonymous_memory) {
  // mov $39,%eax; syscall; ret
  const unsigned char code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
  auto* memory = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memcpy(memory, code, sizeof code);
  shown("made executable", mprotect(memory, 4096, PROT_READ | PROT_EXEC));
  long wrong = 0;
  for (int i = 0; i < 200; i++) wrong += reinterpret_cast<int (*)()>(memory)() != getpid();
  shown("wrong", wrong);
}

CASE(writable_and_executable) {
  auto* memory = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (!shown("mapped", memory != MAP_FAILED)) return;
  long wrong = 0;
  for (int i = 0; i < 50; i++) {
    // mov $i,%eax; ret, written over itself each time
    const unsigned char code[] = {0xb8, static_cast<unsigned char>(i), 0, 0, 0, 0xc3};
    memcpy(memory, code, sizeof code);
    wrong += reinterpret_cast<int (*)()>(memory)() != i;
  }
  shown("wrong", wrong);
}

// Three instructions before the call, of which the last two become the window of a patch: each is jumped to, before and after.
extern "C" long window_first(long), window_second(long), window_third(long), window_call(long);
asm(".text\n.globl window_first,window_second,window_third,window_call\n.cfi_startproc\nwindow_first:\nadd $1,%rdi\nwindow_second:\nadd $2,%rdi\n"
    "window_third:\nmov $24,%eax\nwindow_call:\nsyscall\nmov %rdi,%rax\nret\n.cfi_endproc\n");

CASE(jumps_into_a_window) {
  for (int i = 0; i < 30; i++) window_first(0);
  usleep(20000);
  long sum = 0;
  for (int i = 0; i < 30; i++) sum += window_first(0) * 1000 + window_second(0) * 100 + window_third(5);
  shown("sum", sum);
  // At the call itself the number is the caller's.
  long result = 0;
  asm volatile("call window_call" : "=a"(result) : "a"(24L), "D"(7L) : "rcx", "r11", "memory");
  shown("at the call", result);
}

CASE(flags_survive) {
  uint64_t flags = 0;
  for (int i = 0; i < 100; i++)
    asm volatile("xor %%eax,%%eax\nstc\nmov $39,%%eax\nsyscall\npushfq\npop %0" : "=r"(flags) : : "rax", "rcx", "r11", "memory", "cc");
  shown("carry", flags & 1);
  asm volatile("std\nmov $39,%%eax\nsyscall\npushfq\npop %0\ncld" : "=r"(flags) : : "rax", "rcx", "r11", "memory", "cc");
  shown("direction", (flags >> 10) & 1);
}

namespace {

// The flags after a call that was made with `flags`, from one site.
__attribute__((noinline)) uint64_t flags_after_call(uint64_t flags) {
  uint64_t after = 0;
  asm volatile(
      "lea -128(%%rsp),%%rsp\npush %1\npopfq\nmov $39,%%eax\nsyscall\npushfq\npop %0\npush $2\npopfq\nlea 128(%%rsp),%%rsp"
      : "=&r"(after)
      : "r"(flags)
      : "rax", "rcx", "r11", "memory", "cc");
  return after;
}

}  // namespace

CASE(every_flag_survives) {
  constexpr uint64_t kArithmetic[] = {0x1, 0x4, 0x10, 0x40, 0x80, 0x800};
  constexpr uint64_t kOthers[] = {0, 0x400, 0x4000, 0x40000, 0x200000};  // direction, nested task, alignment check, ID
  constexpr uint64_t kAll = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x800 | 0x400 | 0x4000 | 0x40000 | 0x200000;
  for (int round = 0; round < 4; round++) {
    uint64_t lost = 0;
    for (const uint64_t other : kOthers) {
      for (unsigned bits = 0; bits < 64; bits++) {
        uint64_t flags = 0x202 | other;
        for (unsigned i = 0; i < 6; i++) flags |= bits >> i & 1 ? kArithmetic[i] : 0;
        lost |= (flags_after_call(flags) ^ flags) & kAll;
      }
    }
    shown("changed", static_cast<long>(lost));
    usleep(20000);
  }
}

// As the C library's _exit: the call is reached by a branch to the instruction before it, and has no room for a jump of its own.
//   branched_start(a, b): adds 1 to a, branches; branched_padding: falls into code that adds 100; branched_body, branched_call: no branch at all
extern "C" long branched_start(long, long), branched_padding(long, long), branched_after(long, long), branched_body(long, long), branched_call(long, long);
asm(".text\n.globl branched_start,branched_padding,branched_after,branched_body,branched_call\n.p2align 4\nbranched_start:\n.cfi_startproc\n"
    "add $1,%rdi\n.byte 0xeb\n.byte branched_body - (.+1)\nbranched_padding:\nnopl 0(%rax,%rax,1)\nbranched_after:\nadd $100,%rdi\nmov %esi,%eax\nnop\n"
    "syscall\nmov %rdi,%rax\nret\nhlt\nbranched_body:\nmov %esi,%eax\nbranched_call:\nsyscall\nmov %rdi,%rax\nret\n.cfi_endproc\n");

CASE(jumps_around_a_branch_to_a_call) {
  constexpr long kNumber = 24;  // sched_yield
  long sum = 0;
  for (int round = 0; round < 30; round++) {
    sum += branched_start(0, kNumber) * 10000 + branched_padding(0, kNumber) * 100 + branched_after(3, kNumber) + branched_body(5, kNumber);
    if (round % 10 == 0) usleep(20000);
  }
  shown("sum", sum);
  long result = 0;
  asm volatile("call branched_call" : "=a"(result) : "a"(kNumber), "D"(7L) : "rcx", "r11", "memory");
  shown("at the call", result);
}

CASE(threads_at_one_new_branch) {
  static std::atomic<bool> begun;
  static std::atomic<long> wrong;
  constexpr long kNumber = 39;  // getpid: sched_yield would give a busy host away
  pthread_t threads[4];
  for (pthread_t& thread : threads)
    pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          while (!begun.load()) {
          }
          for (int i = 0; i < 20000; i++) {
            if (branched_start(i, kNumber) != i + 1) wrong++;
            if (i % 16 == 0 && branched_padding(i, kNumber) != i + 100) wrong++;
          }
          return nullptr;
        },
        nullptr);
  begun = true;
  for (pthread_t& thread : threads) pthread_join(thread, nullptr);
  shown("wrong", wrong.load());
}

// Single steps: each function sets the trap flag when its first argument is 0x100, makes call 39 at a site of its own, and clears it.
extern "C" void stepped_load(long, long), stepped_pair(long, long), stepped_branch(long, long);
#define STEPPED(name, before, behind)                                                                                            \
  asm(".text\n.globl " #name "\n.p2align 4\n" #name ":\n.cfi_startproc\npushfq\n.cfi_adjust_cfa_offset 8\norq %rdi,(%rsp)\npopfq\n" \
      ".cfi_adjust_cfa_offset -8\nnop\n" before "syscall\nnop\npushfq\n.cfi_adjust_cfa_offset 8\nandq $~0x100,(%rsp)\npopfq\n"      \
      ".cfi_adjust_cfa_offset -8\nret\n" behind ".cfi_endproc\n")
STEPPED(stepped_load, "mov $39,%eax\n", "");
STEPPED(stepped_pair, "mov $39,%edx\nmov %edx,%eax\n", "");
STEPPED(stepped_branch, ".byte 0xeb,6,0x0f,0x1f,0x44,0,0\nhlt\nmov %esi,%eax\n", "");

CASE(steps_through_call_sites) {
  static uintptr_t start;
  static volatile int steps;
  static uintptr_t seen[64];
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    if (steps < 64) seen[steps] = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]) - start;
    steps = steps + 1;
  };
  sigaction(SIGTRAP, &action, nullptr);
  for (const auto stepped : {stepped_load, stepped_pair, stepped_branch}) {
    start = reinterpret_cast<uintptr_t>(stepped);
    for (int round = 0; round < 2; round++) {
      steps = 0;
      stepped(0x100, 39);
      char line[1024];
      int length = 0;
      for (int i = 0; i < steps && i < 64; i++) length += snprintf(line + length, sizeof line - static_cast<size_t>(length), " %ld", static_cast<long>(seen[i]));
      say("steps %d:%s", steps, line);
      // By then its site is patched.
      stepped(0, 39);
      usleep(30000);
      stepped(0, 39);
      usleep(30000);
    }
  }
}

// The load behind the call's number faults with a bad pointer: where the site is patched it does so in the kernel's copy of it.
extern "C" long faulting_load(const int*);
asm(".text\n.globl faulting_load\n.p2align 4\nfaulting_load:\n.cfi_startproc\nnop\nmov 16(%rdi),%edx\nmov %edx,%eax\nsyscall\nret\n.cfi_endproc\n");

CASE(faults_before_a_call) {
  static int values[8] = {0, 0, 0, 0, 39};
  static volatile long seen = -1, address = -1;
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    seen = static_cast<long>(static_cast<uintptr_t>(registers[REG_RIP]) - reinterpret_cast<uintptr_t>(faulting_load));
    address = reinterpret_cast<long>(info->si_addr);
    registers[REG_RDI] = reinterpret_cast<greg_t>(values);
  };
  sigaction(SIGSEGV, &action, nullptr);
  for (int round = 0; round < 3; round++) {
    seen = -1;
    const long pid = faulting_load(reinterpret_cast<const int*>(0x1000));
    say("fault at %ld of %lx, goes on %d", seen, address, pid == getpid());
    faulting_load(values);
    usleep(30000);
    faulting_load(values);
    usleep(30000);
  }
}
