// Jumps into the kernel's text, and the gate entered under another thread's name.
#include <sys/utsname.h>

#include <atomic>

#include "jump.h"

using namespace attack;

namespace {

constexpr Profile kProfiles[] = {Profile::Zero, Profile::Buffer, Profile::Kernel, Profile::KernelStack};

// What a guest could load into PKRU by a jump to the instruction: everything open, the kernel's own value, and any other.
constexpr uint64_t kLoads[] = {0, 0x55555540, 0x55555550, 0x55555555, 0x55555564};

// The bytes are compared in two steps, so that they do not stand in this program's own text.
bool loads_pkru(const unsigned char* at) { return at[0] == 0x0f && at[1] == 0x01 && (at[2] ^ 0x10) == 0xff; }
bool loads_state(const unsigned char* at) { return at[0] == 0x0f && at[1] + 1 == 0xaf && (at[2] >> 3 & 7) == 5 && at[2] >> 6 != 3; }

}  // namespace

ATTACK(gate_every_byte, Needs::Keys) {
  for (const uint64_t at : KernelFile::get().gate_bytes()) {
    if (is_thorough()) {
      for (const Profile profile : kProfiles) try_jump(to_text(profile).c_str(), registers_for(profile, at));
    } else {
      const Profile profile = kProfiles[at % 4];
      try_jump(to_text(profile).c_str(), registers_for(profile, at));
    }
  }
  print_jump_counts();
}

ATTACK(text_every_byte, Needs::Keys) {
  const KernelFile& kernel = KernelFile::get();
  const uint64_t step = is_thorough() ? 1 : 1021;
  for (uint64_t at = kernel.text_start(); at < kernel.text_end(); at += step) {
    const Profile profile = kProfiles[at % 4];
    try_jump(to_text(profile).c_str(), registers_for(profile, at));
  }
  print_jump_counts();
}

ATTACK(every_function, Needs::Keys) {
  const std::vector<uint64_t> functions = KernelFile::get().functions();
  const size_t step = is_thorough() ? 1 : 11;
  for (size_t i = 0; i < functions.size(); i += step) {
    const Profile profile = kProfiles[i / step % 4];
    try_jump(to_text(profile).c_str(), registers_for(profile, functions[i]));
  }
  print_jump_counts();
}

ATTACK(wrpkru_forged, Needs::Keys) {
  const std::vector<uint64_t> sites = KernelFile::get().find(loads_pkru);
  printf("%zu sites\n", sites.size());
  if (sites.empty()) broken("a kernel behind a shield loads PKRU somewhere: the search is wrong");
  for (const uint64_t site : sites) {
    for (const uint64_t load : kLoads) {
      for (const Profile profile : {Profile::Buffer, Profile::Zero, Profile::KernelStack}) {
        JumpRegisters registers = registers_for(profile, site);
        registers.rax = load;
        registers.rcx = registers.rdx = 0;
        try_jump("load of PKRU", registers);
      }
    }
  }
  print_jump_counts();
}

ATTACK(xrstor_pkru, Needs::Keys) {
  const std::vector<uint64_t> sites = KernelFile::get().find(loads_state);
  printf("%zu sites\n", sites.size());
  // An image whose header says that PKRU is in its initial state, which is 0: everything open.
  static unsigned char image[8192] __attribute__((aligned(64)));
  memset(image, 0, sizeof image);
  const auto at_image = reinterpret_cast<uint64_t>(image);
  for (const uint64_t site : sites) {
    for (const uint64_t mask : {uint64_t{0x200}, uint64_t{0x2ff}, ~uint64_t{0}, uint64_t{0}}) {
      for (const uint64_t start : {site, site - 1}) {  // with and without a REX prefix
        JumpRegisters r = registers_for(Profile::Buffer, start);
        r.rbx = r.rcx = r.rsi = r.rdi = r.rbp = r.r8 = r.r9 = r.r10 = r.r11 = r.r12 = r.r13 = r.r14 = r.r15 = at_image;
        r.rax = mask & 0xffffffff;
        r.rdx = mask >> 32;
        try_jump("load of the vector state", r);
      }
    }
  }
  print_jump_counts();
}

// Threads jump into the gate in processes side by side, while others work: only those who jump may die.
ATTACK(gate_death_isolated, Needs::Keys) {
  const KernelFile& kernel = KernelFile::get();
  const uint64_t from = kernel.gate("gate_start"), to = kernel.gate("gate_end");
  registers_for(Profile::Kernel, 0);
  pid_t workers[3];
  for (pid_t& worker : workers) {
    worker = start(
        [](void*) {
          for (int i = 0; i < 300; i++) {
            int ends[2];
            if (pipe(ends) != 0 || write(ends[1], "abc", 3) != 3) _exit(3);
            const pid_t child = fork();
            if (child == 0) {
              char text[4] = {};
              _exit(read(ends[0], text, 3) == 3 && strcmp(text, "abc") == 0 ? 7 : 8);
            }
            int status = 0;
            if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) _exit(4);
            close(ends[0]);
            close(ends[1]);
          }
        },
        nullptr);
  }
  uint64_t random = 88172645463325252u;
  for (int round = 0; round < (is_thorough() ? 400 : 40); round++) {
    pid_t children[4];
    for (pid_t& child : children) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      JumpRegisters registers = registers_for(kProfiles[random % 4], from + random / 4 % (to - from));
      child = start(
          [](void* argument) {
            // Another thread of the process is in the kernel, asleep, when this one dies in the gate.
            pthread_t thread;
            pthread_create(
                &thread, nullptr, [](void*) -> void* { return pause(), nullptr; }, nullptr);
            sched_yield();
            jump(*static_cast<JumpRegisters*>(argument));
          },
          &registers);
    }
    for (const pid_t child : children) {
      const Ended ended = finish(child, 5000);
      if (const char* loot = loot_of(ended)) broken("%s", loot);
    }
  }
  for (const pid_t worker : workers) {
    const Ended ended = finish(worker, 60000);
    if (!ended.exited_with(0)) broken("a process that did nothing wrong: %s", to_text(ended).c_str());
  }
}

// The kernel looks into another process by a signal of the host, which finds that process at any step of its ways in and out, and with no work to do.
// Whatever is interrupted, the next call is the kernel's again. `tests/keyed/run --each-instruction` has interrupts where others have them.
ATTACK(kick_at_exit, Needs::Nothing) {
  const Ended ended = attempt(
      [] {
        static pid_t self;
        self = getpid();
        const pid_t other = start(
            [](void*) {
              uint64_t word = 0;
              const iovec here{&word, sizeof word}, there{&self, sizeof self};
              while (process_vm_readv(self, &here, 1, &there, 1, 0) > 0) {
              }
            },
            nullptr);
        utsname ours = {};
        fresh_call(SYS_uname, reinterpret_cast<long>(&ours));
        for (int i = 0; i < (is_thorough() ? 300000 : 20000); i++) {
          utsname told = {};
          fresh_call(SYS_uname, reinterpret_cast<long>(&told));
          if (strcmp(ours.release, told.release) != 0) _exit(kGotHost);
        }
        int status = 0;
        if (waitpid(other, &status, WNOHANG) != 0) _exit(3);  // it was to look until now
      },
      600000);
  printf("%s\n", to_text(ended).c_str());
  if (const char* loot = loot_of(ended)) broken("%s", loot);
  if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
}

// An exit of the gate runs on a register block that the guest made, while signals arrive: whatever is restored, it is a guest's.
ATTACK(exit_replay, Needs::Keys) {
  const KernelFile& kernel = KernelFile::get();
  const uint64_t exits[] = {kernel.gate("gate_exit_begin"), kernel.gate("gate_exit_full"), kernel.gate("gate_exit_again"),
                            kernel.gate("leave_to_guest")};
  for (const uint64_t exit : exits) {
    for (int round = 0; round < 6; round++) {
      const Ended ended = attempt(
          [&] {
            static JumpRegisters registers;
            registers = registers_for(round % 2 == 0 ? Profile::Buffer : Profile::Zero, exit + static_cast<uint64_t>(round) * 4);
            // A block at the end of an aligned 64 KiB, as the kernel's own are.
            registers.rsp = stack() + 65536 - 8 - 168;
            struct sigaction action = {};
            action.sa_handler = [](int) {};
            sigaction(SIGUSR1, &action, nullptr);
            static std::atomic<bool> go{false};
            static pid_t target;
            target = static_cast<pid_t>(syscall(SYS_gettid));
            pthread_t thread;
            pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  go = true;
                  for (int i = 0; i < 20000; i++) syscall(SYS_tgkill, getpid(), target, SIGUSR1);
                  _exit(0);
                },
                nullptr);
            while (!go) sched_yield();
            jump(registers);
          },
          8000);
      if (const char* loot = loot_of(ended)) broken("exit 0x%lx, round %d: %s", exit, round, loot);
    }
  }
}

namespace {

std::atomic<uint64_t> base_of_a{0};
int sleep_pipe[2];

void* be_impersonated(void*) {
  base_of_a = read_gs_base();
  char byte;
  // In and out of the kernel all the time, asleep in it for a part of that.
  for (;;) {
    for (int i = 0; i < 100; i++) getppid();
    if (read(sleep_pipe[0], &byte, 1) < 0) usleep(500);
  }
}

}  // namespace

namespace {

/// How many calls of the machine have come by traps; -1 where nobody counts.
long count_traps() {
  char text[4096] = {};
  const int counters = open("/proc/umk/counters", O_RDONLY);
  if (counters < 0) return -1;
  const ssize_t n = read(counters, text, sizeof text - 1);
  close(counters);
  const char* line = n > 0 ? strstr(text, "trapped_calls ") : nullptr;
  return line == nullptr ? -1 : atol(line + 14);
}

/// Calls by syscall(2) until its site is patched, where sites are.
void settle_call_site() {
  for (int i = 0; i < 200; i++) {
    constexpr int kCalls = 1000;
    const long before = count_traps();
    for (int call = 0; call < kCalls; call++) syscall(SYS_getppid);
    if (count_traps() - before < kCalls / 2) return;
    sleep_ms(20);
  }
  printf("the call site stays as it is\n");
}

}  // namespace

// A thread names another thread's slot by its GS base and enters: it must not become that thread, nor open the way to the host for it. The other may take the
// registers that were put into its slot for its own and go on here: both are the guest's to mix up.
ATTACK(gs_impersonate, Needs::Keys) {
  for (int round = 0; round < (is_thorough() ? 40 : 8); round++) {
    const Ended ended = attempt(
        [&] {
          static thread_local bool is_attacker;
          is_attacker = true;
          must("pipe", pipe2(sleep_pipe, O_NONBLOCK));
          pthread_t thread;
          pthread_create(&thread, nullptr, be_impersonated, nullptr);
          while (base_of_a == 0) sched_yield();
          const pid_t tid = static_cast<pid_t>(syscall(SYS_gettid));
          const uint64_t own = read_gs_base();
          for (int i = 0; i < 2000; i++) {
            write_gs_base(round % 2 == 0 ? base_of_a.load() : own + static_cast<uint64_t>(i % 64) * 256);
            const long told = round % 4 < 2 ? syscall(SYS_gettid) : fresh_call(SYS_gettid);
            const bool reached = calls_reach_host();
            if (!is_attacker) _exit(0);
            if (told != tid) _exit(kGotWrongResult);
            if (reached) _exit(kGotHost);
          }
        },
        20000);
    printf("round %d: %s\n", round, to_text(ended).c_str());
    if (const char* loot = loot_of(ended)) broken("round %d: %s", round, loot);
    if (ended.timed_out) broken("round %d: %s", round, to_text(ended).c_str());
  }
}

// The other way around: A enters with B's slot and sleeps in a host call, while B makes raw calls. What lets A's call through must not let B's through.
ATTACK(gs_impersonate_raw, Needs::Keys) {
  for (int round = 0; round < 4; round++) {
    const Ended ended = attempt(
        [] {
          static std::atomic<uint64_t> base_of_b{0};
          settle_call_site();
          pthread_t thread;
          pthread_create(
              &thread, nullptr,
              [](void*) -> void* {
                while (base_of_b == 0) sched_yield();
                write_gs_base(base_of_b);
                const timespec nap{0, 2000000};
                for (;;) syscall(SYS_nanosleep, &nap, nullptr);
              },
              nullptr);
          base_of_b = read_gs_base();
          for (int i = 0; i < 3000; i++)
            if (calls_reach_host()) _exit(kGotHost);
        },
        20000);
    printf("%s\n", to_text(ended).c_str());
    if (const char* loot = loot_of(ended)) broken("%s", loot);
    if (ended.timed_out) broken("%s", to_text(ended).c_str());
  }
}

// A program that uses the GS base for itself, though it was told that it cannot: its calls work, also at sites that find the kernel by GS.
ATTACK(own_gs_base, Needs::Nothing) {
  const Ended ended = attempt(
      [] {
        static uint64_t block[512] __attribute__((aligned(4096)));
        settle_call_site();
        const auto base = reinterpret_cast<uint64_t>(block);
        const long parent = syscall(SYS_getppid);
        long wrong = 0;
        write_gs_base(base);
        for (int i = 0; i < 1000; i++) wrong += syscall(SYS_getppid) != parent || read_gs_base() != base;
        // Arguments arrive too.
        int ends[2];
        if (syscall(SYS_pipe2, ends, O_NONBLOCK) != 0 || syscall(SYS_write, ends[1], "abc", 3) != 3) wrong++;
        _exit(wrong == 0 ? 0 : kGotWrongResult);
      },
      20000);
  if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
}
