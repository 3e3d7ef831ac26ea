#include "monitor/machine/host_shield.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "engine/gate/offsets.h"

namespace umk::monitor {

namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr uint32_t kKeysAtStart = 0x55555554;  // pkeys(7): every key but the first is closed in a new process, and in signal handlers

/// How a trial in a child process ended.
enum Finding : int { kWorks = 0, kNoKeys, kOtherKeys, kNoIdentity, kNoFrame };

const char* text_of(int finding) {
  switch (finding) {
    case kNoKeys: return "the host refuses to hand out protection keys";
    case kOtherKeys: return "the host hands out other protection keys than the first ones";
    case kNoIdentity: return "the host has no 32-bit system calls (CONFIG_IA32_EMULATION, or ia32_emulation=1 on its command line), by which threads get an identity";
    case kNoFrame: return "the host cannot deliver signals to a stack that guests have no access to (Linux 6.12)";
    default: return "a trial of protection keys failed";
  }
}

bool take_keys() {
  return pkey_alloc(0, 0) == UMK_KERNEL_KEY && pkey_alloc(0, 0) == UMK_SELECTOR_KEY;
}

/// Gives this thread an entry in the descriptor table and reads it back, as engine/vessel/identity.cpp does.
bool identity_works() {
  struct {
    uint32_t entry, base, limit, flags;
  } constexpr request{UMK_IDENTITY_ENTRY, 0, 7, 1 | 64};
  void* low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (low == MAP_FAILED) return false;
  std::memcpy(low, &request, sizeof request);
  long result = 243;  // set_thread_area
  asm volatile("int $0x80" : "+a"(result) : "b"(low) : "memory", "r8", "r9", "r10", "r11");
  uint32_t limit = 0;
  asm volatile("lsl %1, %0" : "+r"(limit) : "r"(uint32_t{UMK_IDENTITY_SELECTOR}) : "cc");
  return result == 0 && limit == request.limit;
}

// The handler of the trial: the stack is closed to it until it has opened it. It ends the trial.
extern "C" void umk_trial_handler(int);
asm(R"(
        .pushsection .text
        .type   umk_trial_handler, @function
umk_trial_handler:
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $0x55555540, %eax
        wrpkru
        movb    $0, (%rsp)
        xorl    %edi, %edi
        movl    $231, %eax
        syscall
        ud2
        .popsection
)");
static_assert(UMK_PKRU_KERNEL == 0x55555540);

/// Takes a signal on an alternate stack that is closed, and ends the process with kWorks. Does not come back when that works; when it does not the host
/// kills the process.
void take_signal_on_closed_stack() {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || pkey_mprotect(memory, kStackBytes, PROT_READ | PROT_WRITE, UMK_KERNEL_KEY) != 0) return;
  const stack_t stack{.ss_sp = memory, .ss_flags = 0, .ss_size = kStackBytes};
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_handler = umk_trial_handler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  asm volatile("wrpkru" : : "a"(kKeysAtStart), "c"(0), "d"(0) : "memory");
  raise(SIGUSR1);
}

/// The trials in turn; the exit status of a child.
[[noreturn]] void try_everything() {
  if (!take_keys()) _exit(errno == 0 ? kOtherKeys : kNoKeys);
  if (!identity_works()) _exit(kNoIdentity);
  take_signal_on_closed_stack();
  _exit(kNoFrame);
}

[[noreturn]] void try_identity_alone() { _exit(identity_works() ? kWorks : kNoIdentity); }

/// Runs a trial in a child: its exit status, or `when_killed`.
int outcome_of(void (*trial)(), int when_killed) {
  const pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    // Quietly: a trial that fails may do so by a fault.
    for (const int fatal : {SIGSEGV, SIGBUS, SIGILL, SIGSYS}) signal(fatal, SIG_DFL);
    trial();
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : when_killed;
}

uintptr_t frame_place = 0;
void note_frame(int, siginfo_t*, void* context) {
  // Below the context lies the return address, where the stack pointer stands when the handler starts.
  frame_place = reinterpret_cast<uintptr_t>(context) - sizeof(void*);
}

}  // namespace

std::string find_shield_obstacle() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  constexpr unsigned kPku = 1u << 3, kOspke = 1u << 4;
  if (!(c & kPku)) return "the processor has no memory protection keys";
  if (!(c & kOspke)) return "the host kernel does not use memory protection keys";
  if (personality(0xffffffff) & READ_IMPLIES_EXEC) return "this process runs with READ_IMPLIES_EXEC (setarch -X), which makes all memory executable";
  if (outcome_of(try_identity_alone, kNoIdentity) != kWorks) return text_of(kNoIdentity);
  const int finding = outcome_of(try_everything, kNoFrame);
  return finding == kWorks ? "" : text_of(finding);
}

void allocate_shield_keys() {
  if (!take_keys()) throw std::runtime_error(fmt::format("umk: cannot allocate the shield's protection keys: {}", std::strerror(errno)));
}

uint64_t signal_frame_bytes() {
  alignas(64) static std::byte memory[kStackBytes];
  stack_t before{};
  const stack_t stack{.ss_sp = memory, .ss_flags = 0, .ss_size = sizeof memory};
  struct sigaction action{}, handler_before{};
  action.sa_sigaction = note_frame;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  sigset_t one, mask_before;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR1);
  sigaltstack(&stack, &before);
  sigaction(SIGUSR1, &action, &handler_before);
  pthread_sigmask(SIG_UNBLOCK, &one, &mask_before);
  raise(SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
  sigaction(SIGUSR1, &handler_before, nullptr);
  sigaltstack(&before, nullptr);
  return reinterpret_cast<uintptr_t>(memory + sizeof memory) - frame_place;
}

}  // namespace umk::monitor
