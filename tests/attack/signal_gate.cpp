// The entry of the host's signals: jumped to with frames of one's own, of another thread, or used before; and faults on strange stacks.
#include <atomic>

#include "engine/gate/offsets.h"
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

namespace {

/// Where the host puts the signal frames of the threads that are not in the kernel at the moment: the caller is among them. From the selector lines, which can be read.
std::vector<uint64_t> frames_of_running_threads() {
  std::vector<uint64_t> found;
  constexpr uint64_t kLineBytes = 64;
  for (uint64_t page = umk::layout::kKernelData; can_read(page); page += 4096) {
    for (uint64_t line = page; line < page + 4096; line += kLineBytes) {
      const bool is_in_kernel = reinterpret_cast<volatile unsigned char*>(line)[UMK_LINE_IN_KERNEL] != 0;
      const uint64_t frame = peek(line + UMK_LINE_SIGNAL_FRAME);
      if (!is_in_kernel && frame != 0) found.push_back(frame);
    }
  }
  return found;
}

}  // namespace

// Faults and calls whose stack pointer lies in the own alternate stack. The host must not take the thread for one that is in a handler already and put its
// frame below: it would not be at the one place where frames are believed, and the process would end. Here its own handler runs.
ATTACK(altstack_rsp, Needs::Keys) {
  enum { kHandled = 21, kNoFrame = 22 };
  static unsigned char* code = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const unsigned char fault[] = {0x0f, 0x0b}, call[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xf4},
                      load[] = {0x48, 0x8b, 0x04, 0x25, 16, 0, 0, 0};
  memcpy(code, fault, sizeof fault);
  memcpy(code + 64, call, sizeof call);
  memcpy(code + 128, load, sizeof load);
  must("mprotect", mprotect(code, 4096, PROT_READ | PROT_EXEC));
  for (const int64_t offset : {-16, 0, 64, 512, -1024, -8192, -20480}) {
    for (const size_t which : {0, 1, 2}) {
      for (const uint64_t variant : {0, 64, 128}) {
        const Ended ended = attempt(
            [&] {
              const std::vector<uint64_t> frames = frames_of_running_threads();
              if (which >= frames.size()) _exit(which == 0 ? kNoFrame : kHandled);
              static char space[65536];
              const stack_t stack = {space, 0, sizeof space};
              must("sigaltstack", sigaltstack(&stack, nullptr));
              struct sigaction action = {};
              action.sa_handler = [](int) { _exit(kHandled); };
              action.sa_flags = SA_ONSTACK;
              for (const int signal : {SIGILL, SIGSEGV}) sigaction(signal, &action, nullptr);
              static JumpRegisters registers;
              registers = registers_for(Profile::Zero, reinterpret_cast<uint64_t>(code) + variant);
              registers.rsp = frames[which] + static_cast<uint64_t>(offset);
              jump(registers);
            },
            5000);
        if (ended.exited_with(kNoFrame)) broken("no thread runs behind a shield");
        if (!ended.exited_with(kHandled)) broken("stack pointer %ld from a frame: %s", offset, to_text(ended).c_str());
      }
    }
  }
}
