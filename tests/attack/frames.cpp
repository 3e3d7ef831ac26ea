// Signal frames that the guest forges or has put into strange places, and the host's vDSO, whose code guests may run.
#include <cpuid.h>
#include <sys/time.h>
#include <ucontext.h>

#include <atomic>

#include "jump.h"

using namespace attack;
namespace layout = umk::layout;

namespace {

constexpr uint64_t kKernelStacks[] = {layout::kKernelData + 0x8000, layout::kKernelData + 0x1008000, layout::kCacheWindow + 0x8000,
                                      layout::kVesselPage + 0x800,  layout::kImage + 0x4000,         layout::kSlots + 0x2000};

// The state image of a frame and its header: FXSAVE of 512 bytes, whose last 48 are the kernel's notes, then the header.
struct Notes {
  uint32_t magic1, extended_size;
  uint64_t features;
  uint32_t state_size;
};

int forgery = 0;
constexpr int kForgeries = 12;

void forge(int, siginfo_t*, void* context) {
  auto* image = reinterpret_cast<unsigned char*>(static_cast<ucontext_t*>(context)->uc_mcontext.fpregs);
  auto& notes = *reinterpret_cast<Notes*>(image + 464);
  auto* header = reinterpret_cast<uint64_t*>(image + 512);
  switch (forgery) {
    case 0: header[0] = ~uint64_t{0}; break;                                              // all features present
    case 1: header[0] |= 0x200, notes.features |= 0x200; break;                           // PKRU present
    case 2: header[0] &= ~uint64_t{0x200}, notes.features |= 0x200; break;                // PKRU in its initial state: all open
    case 3: header[1] = uint64_t{1} << 63; break;                                         // compacted
    case 4: header[2] = 1, header[5] = 7; break;                                          // reserved
    case 5: *reinterpret_cast<uint32_t*>(image + 24) = 0xffffffff; break;                 // MXCSR
    case 6: notes.features = ~uint64_t{0}, notes.extended_size = 0xffffffff, notes.state_size = 0xffffffff; break;
    case 7: notes.extended_size = 600, notes.state_size = 576; break;
    case 8: header[0] |= 0x60000, notes.features |= 0x60000; break;                       // AMX
    case 9: static_cast<ucontext_t*>(context)->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(layout::kKernelData + 0x1000); break;
    case 10: static_cast<ucontext_t*>(context)->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(image + 8); break;
    default: static_cast<ucontext_t*>(context)->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(layout::kUserEnd - 64); break;
  }
  // PKRU's place in the image: all open.
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(0xd, 9, &a, &b, &c, &d);
  if (a != 0 && forgery < 3) memset(image + b, 0, a);
}

void forge_segments(int, siginfo_t*, void* context) {
  greg_t* r = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  switch (forgery) {
    case 0: r[REG_CSGSFS] = 0x10 | 0x18ll << 48; break;                 // the host kernel's segments
    case 1: r[REG_CSGSFS] = 0x08; break;
    case 2: r[REG_CSGSFS] = 0; break;
    case 3: r[REG_CSGSFS] = 0x23 | 0x2bll << 48; break;                 // 32-bit code
    case 4: r[REG_EFL] = -1; break;
    case 5: r[REG_EFL] |= 0x3000; break;                                // I/O privilege
    case 6: r[REG_RIP] = static_cast<greg_t>(layout::kImage); break;
    case 7: r[REG_RIP] = static_cast<greg_t>(0x8000000000000000); break;  // not canonical
    case 8: r[REG_RSP] = static_cast<greg_t>(0xffff800000000000); break;
    case 9: r[REG_RSP] = static_cast<greg_t>(layout::kKernelData + 0x2000); break;
    case 10: r[REG_RIP] = static_cast<greg_t>(layout::kKernelData); break;
    default: r[REG_CSGSFS] = 0x63; break;                               // the entry that the shield tells threads by
  }
}

void try_forgeries(void (*handler)(int, siginfo_t*, void*)) {
  for (forgery = 0; forgery < kForgeries; forgery++) {
    const Ended ended = attempt([=] {
      struct sigaction action = {};
      action.sa_sigaction = handler;
      action.sa_flags = SA_SIGINFO;
      sigaction(SIGUSR1, &action, nullptr);
      for (int i = 0; i < 3; i++) {
        kill(getpid(), SIGUSR1);
        getppid();
        if (has_keys()) check_rights();
        if (calls_reach_host()) _exit(kGotHost);
      }
    });
    printf("forgery %d: %s\n", forgery, to_text(ended).c_str());
    if (const char* loot = loot_of(ended)) broken("forgery %d: %s", forgery, loot);
    if (ended.timed_out) broken("forgery %d: %s", forgery, to_text(ended).c_str());
  }
}

}  // namespace

ATTACK(sigreturn_vectors, Needs::Nothing) { try_forgeries(forge); }
ATTACK(sigreturn_registers, Needs::Nothing) { try_forgeries(forge_segments); }

// The kernel writes a guest's signal frame where the guest says: never into its own memory.
ATTACK(signal_stack_kernel, Needs::Nothing) {
  for (const uint64_t address : kKernelStacks) {
    const bool is_slots = address >= layout::kSlots && address < layout::kSlots + layout::kSlotsBytes;
    Ended ended = attempt([=] {
      const stack_t alternate = {.ss_sp = reinterpret_cast<void*>(address), .ss_flags = 0, .ss_size = 0x100000};
      sigaltstack(&alternate, nullptr);
      struct sigaction action = {};
      action.sa_handler = [](int) { _exit(kGotWrongResult); };
      action.sa_flags = SA_ONSTACK;
      sigaction(SIGUSR1, &action, nullptr);
      kill(getpid(), SIGUSR1);
    });
    if (!ended.was_killed()) broken("an alternate stack at 0x%lx: %s", address, to_text(ended).c_str());
    if (is_slots) continue;  // a guest may have its stack there if it likes
    ended = attempt([=] {
      struct sigaction action = {};
      action.sa_handler = [](int) { _exit(kGotWrongResult); };
      sigaction(SIGUSR1, &action, nullptr);
      sigaction(SIGALRM, &action, nullptr);
      const long pid = getpid();
      asm volatile("movq %0, %%rsp\n\tmovl $62, %%eax\n\tmovl $10, %%esi\n\tsyscall\n\thlt" ::"r"(address), "D"(pid) : "rsi", "memory");
    });
    if (!ended.was_killed()) broken("a signal with its stack pointer at 0x%lx: %s", address, to_text(ended).c_str());
    // The same by a kick, in the middle of user code.
    ended = attempt([=] {
      struct sigaction action = {};
      action.sa_handler = [](int) { _exit(kGotWrongResult); };
      sigaction(SIGALRM, &action, nullptr);
      const itimerval soon{{0, 2000}, {0, 2000}};
      setitimer(ITIMER_REAL, &soon, nullptr);
      asm volatile("movq %0, %%rsp\n1:\tjmp 1b" ::"r"(address) : "memory");
    });
    if (!ended.was_killed()) broken("a kick with its stack pointer at 0x%lx: %s", address, to_text(ended).c_str());
  }
}

namespace {

std::vector<uint64_t> vdso_call_sites() {
  std::vector<uint64_t> found;
  for (uint64_t page = layout::kHostVdso; page < layout::kHostVdso + 0x20000; page += 4096) {
    if (!can_read(page)) continue;
    for (uint64_t at = page; at < page + 4095; at++) {
      const auto* code = reinterpret_cast<const unsigned char*>(at);
      if ((code[0] == 0x0f && code[1] == 0x05) || (code[0] == 0xcd && code[1] == 0x80)) found.push_back(at);
    }
  }
  return found;
}

}  // namespace

// Calls of the host's vDSO, from a guest's stack and with the stack pointer in the kernel, where it looks like the kernel's own.
ATTACK(host_vdso, Needs::Nothing) {
  if (!in_guest()) return;
  const std::vector<uint64_t> sites = vdso_call_sites();
  printf("%zu calls in the host's vDSO\n", sites.size());
  if (sites.empty()) broken("the host's vDSO has no system calls: the search is wrong");
  static char told[512];
  for (const uint64_t site : sites) {
    const Ended ended = attempt([=] {
      // The call returns into the vDSO and by its `ret`, or dies: only whether the host answered is asked.
      long result;
      asm volatile("call *%3"
                   : "=a"(result)
                   : "0"(SYS_uname), "D"(told), "r"(site)
                   : "rcx", "r11", "rsi", "rdx", "r8", "r9", "r10", "rbx", "memory");
      _exit(0);
    });
    if (ended.timed_out) broken("vDSO 0x%lx: %s", site, to_text(ended).c_str());
  }
}

ATTACK(host_vdso_stack, Needs::Keys) {
  const std::vector<uint64_t> sites = vdso_call_sites();
  for (const uint64_t site : sites) {
    for (const Profile profile : {Profile::KernelStack, Profile::Kernel, Profile::Zero}) {
      JumpRegisters registers = registers_for(profile, site);
      registers.rax = SYS_getpid;
      try_jump("call of the vDSO", registers);
    }
  }
  print_jump_counts();
}
