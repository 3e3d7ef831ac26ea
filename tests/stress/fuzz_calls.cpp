// Usage: fuzz_calls SEED COUNT
//
// Random system calls with random arguments, in children that may die of them, as an unprivileged user. The guest may fail, the
// kernel may not: the parent lives on and prints "done".

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

uint64_t state = 1;
uint64_t random_number() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state * 0x2545f4914f6cdd1dU;
}

unsigned char* pages = nullptr;
char names[4][32] = {"f", "d/x", "/proc/self/status", "/dev/null"};

uint64_t argument() {
  switch (random_number() % 16) {
    case 0: return 0;
    case 1: return ~uint64_t{0};
    case 2: return random_number();
    case 3: return random_number() % 0x10000;
    case 4: return uint64_t{1} << (random_number() % 64);
    case 5: return reinterpret_cast<uint64_t>(pages) + random_number() % 8192;
    case 6: return reinterpret_cast<uint64_t>(pages) + 16384 - random_number() % 64;  // the end of what is mapped
    case 7: return reinterpret_cast<uint64_t>(pages) + random_number() % 2 * 4096;
    case 8: return reinterpret_cast<uint64_t>(names[random_number() % 4]);
    case 9: return 0x7e0000000000 + random_number() % 0x20000000000;  // where a kernel of ours may lie
    case 10: return 0xffff800000000000 + random_number() % 0x100000;
    case 11: return 4096 * (random_number() % 16);
    case 12: return -(random_number() % 64);
    default: return random_number() % 16;
  }
}

// Calls that would only end the test, or that act on others.
bool skipped(long number) {
  switch (number) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_pause:
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_rt_sigreturn:
    case SYS_rt_sigsuspend:
    case SYS_vhangup:
    case SYS_reboot:
    case SYS_setsid: return true;
    default: return false;
  }
}

[[noreturn]] void child(uint64_t seed, int calls) {
  state = seed * 0x9e3779b97f4a7c15U + 1;
  alarm(2);
  const rlimit processes{200, 200};
  setrlimit(RLIMIT_NPROC, &processes);
  const rlimit space{size_t{2} << 30, size_t{2} << 30};
  setrlimit(RLIMIT_AS, &space);
  const rlimit file{1 << 20, 1 << 20};
  setrlimit(RLIMIT_FSIZE, &file);
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  int p[2];
  pipe(p);
  open("f", O_RDWR | O_CREAT, 0600);
  open(".", O_RDONLY);
  pages = static_cast<unsigned char*>(mmap(nullptr, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(pages + 16384, 4096);
  for (int i = 0; i < 16384; i++) pages[i] = static_cast<unsigned char>(random_number() % 4 == 0 ? random_number() : 0);
  const pid_t me = getpid();
  for (int i = 0; i < calls; i++) {
    const long number = static_cast<long>(random_number() % 470);
    if (skipped(number)) continue;
    syscall(number, argument(), argument(), argument(), argument(), argument(), argument());
    if (getpid() != me) _exit(0);  // a fork
  }
  _exit(0);
}

}  // namespace

int main(int count, char** list) {
  const uint64_t seed = count > 1 ? strtoull(list[1], nullptr, 0) : 1;
  const int total = count > 2 ? atoi(list[2]) : 1000;
  if (geteuid() == 0) {
    if (chmod(".", 0777) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) {
      perror("cannot drop privileges");
      return 2;
    }
  }
  int ended = 0;
  int killed = 0;
  for (int i = 0; i < total; i++) {
    const pid_t pid = fork();
    if (pid < 0) {
      // Descendants of an earlier child may still be about.
      usleep(10000);
      continue;
    }
    if (pid == 0) {
      setpgid(0, 0);
      child(seed + static_cast<uint64_t>(i), 100);
    }
    setpgid(pid, pid);
    int status = 0;
    // A child may have blocked its alarm.
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
      if (waited == 3000) kill(pid, SIGKILL);
      usleep(1000);
    }
    kill(-pid, SIGKILL);
    if (WIFEXITED(status)) {
      ended++;
    } else {
      killed++;
    }
  }
  fprintf(stderr, "%d ended, %d killed\n", ended, killed);
  puts("done");
  return 0;
}
