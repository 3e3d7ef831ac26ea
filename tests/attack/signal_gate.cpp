// The entry of the host's signals: jumped to with frames of one's own, of another thread, or used before; and faults on strange stacks.
#include <atomic>

#include "jump.h"

using namespace attack;

namespace {

uint64_t signal_entry() { return KernelFile::get().gate("signal_entry"); }

std::vector<uint64_t> pointers() {
  std::vector<uint64_t> found = readable_kernel_pointers();
  printf("%zu kernel pointers can be read\n", found.size());
  if (found.empty()) found.push_back(umk::layout::kKernelData + 0x1000000);
  constexpr size_t kEnough = 48;
  if (!is_thorough() && found.size() > kEnough) found.resize(kEnough);
  return found;
}

}  // namespace

// Frames of threads of other processes, and those of the own thread that were consumed long ago.
ATTACK(siggate_stale_frame, Needs::Keys) {
  for (const uint64_t pointer : pointers()) {
    for (const int signal : {SIGSYS, SIGSEGV, SIGUSR1}) {
      JumpRegisters registers = registers_for(Profile::Buffer, signal_entry());
      registers.rdi = static_cast<uint64_t>(signal);
      registers.rsp = pointer;
      try_jump("signal entry", registers);
      registers.rsi = pointer + 312;
      registers.rdx = pointer + 8;
      try_jump("signal entry", registers);
    }
  }
  print_jump_counts();
}

// A frame on a stack of the guest, forged with all that a frame has.
ATTACK(siggate_forged_frame, Needs::Keys) {
  for (const uint64_t offset : {0, 8, 16, 24, 32, 48, 64, 4096}) {
    for (const uint64_t skip : {0, 1, 2, 3, 4, 5, 8, 12}) {
      JumpRegisters registers = registers_for(Profile::Buffer, signal_entry() + skip);
      registers.rdi = SIGSYS;
      registers.rsp = stack() + kStackBytes - 65536 + offset;
      registers.rdx = registers.rsp + 8;
      registers.rsi = registers.rsp + 312;
      try_jump("signal entry", registers);
    }
  }
  print_jump_counts();
}

// One thread faults all the time, another jumps to the entry with the places where its frames may lie.
ATTACK(siggate_foreign_frame, Needs::Keys) {
  const std::vector<uint64_t> places = pointers();
  for (size_t i = 0; i < places.size(); i++) {
    const Ended ended = attempt(
        [&] {
          static sigjmp_buf again;
          struct sigaction action = {};
          action.sa_handler = [](int) { siglongjmp(again, 1); };
          action.sa_flags = SA_NODEFER;
          sigaction(SIGSEGV, &action, nullptr);
          static std::atomic<int> faults{0};
          pthread_t thread;
          pthread_create(
              &thread, nullptr,
              [](void*) -> void* {
                sigsetjmp(again, 0);
                faults++;
                *reinterpret_cast<volatile char*>(16);
                return nullptr;
              },
              nullptr);
          while (faults < 20 + static_cast<int>(i)) sched_yield();
          static JumpRegisters registers;
          registers = registers_for(Profile::Buffer, signal_entry());
          registers.rdi = SIGSEGV;
          registers.rsp = places[i];
          registers.rdx = registers.rsp + 8;
          registers.rsi = registers.rsp + 312;
          jump(registers);
        },
        2000);
    if (const char* loot = loot_of(ended)) broken("frame at 0x%lx: %s", places[i], loot);
    if (!ended.was_killed() && !ended.timed_out) broken("frame at 0x%lx: %s", places[i], to_text(ended).c_str());
  }
}

// Faults and calls whose stack pointer lies in the kernel, in the own alternate stack among others: the host then puts its frame there.
ATTACK(altstack_rsp, Needs::Keys) {
  static unsigned char* code = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const unsigned char fault[] = {0x0f, 0x0b}, call[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xf4},
                      load[] = {0x48, 0x8b, 0x04, 0x25, 16, 0, 0, 0};
  memcpy(code, fault, sizeof fault);
  memcpy(code + 64, call, sizeof call);
  memcpy(code + 128, load, sizeof load);
  must("mprotect", mprotect(code, 4096, PROT_READ | PROT_EXEC));
  for (const uint64_t pointer : pointers()) {
    int i = 0;
    for (const int64_t offset : {-16, 64, 512, -1024, -8192, -20480, -28672, 4096}) {
      JumpRegisters registers = registers_for(Profile::Zero, reinterpret_cast<uint64_t>(code) + static_cast<uint64_t>(i++ % 3 * 64));
      registers.rsp = pointer + static_cast<uint64_t>(offset);
      try_jump("fault", registers);
    }
  }
  print_jump_counts();
}
