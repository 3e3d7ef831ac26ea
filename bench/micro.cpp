// Usage: micro [--list] [--time MS] [TEST...]
//
// Prints `TEST NANOSECONDS` for each named test, or for all: nanoseconds an operation, the best of three batches. File tests work
// in the current directory.

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

extern char** environ;

namespace {

double now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

[[noreturn]] void die(const char* what) {
  perror(what);
  exit(1);
}

using Body = std::function<void(long)>;

double batch_ns = 50e6;

// Nanoseconds an operation of `body`, which does as many as it is told.
double measure(const Body& body) {
  body(1);
  long count = 1;
  double took = 0;
  for (;;) {
    const double start = now_ns();
    body(count);
    took = now_ns() - start;
    if (took > batch_ns / 4 || count > (1L << 40)) break;
    count *= took < batch_ns / 40 ? 8 : 2;
  }
  count = static_cast<long>(static_cast<double>(count) * batch_ns / took) + 1;
  double best = 1e30;
  for (int i = 0; i < 3; i++) {
    const double start = now_ns();
    body(count);
    const double each = (now_ns() - start) / static_cast<double>(count);
    if (each < best) best = each;
  }
  return best;
}

void reap(pid_t pid) {
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) die("child");
}

double ping_pong(int to[2], int back[2]) {
  const pid_t child = fork();
  if (child == 0) {
    char c = 0;
    close(to[1]);
    while (read(to[0], &c, 1) == 1) {
      if (write(back[1], &c, 1) != 1) break;
    }
    _exit(0);
  }
  char c = 0;
  const double each = measure([&](long n) {
    for (long i = 0; i < n; i++) {
      if (write(to[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) die("ping");
    }
  });
  close(to[1]);
  kill(child, SIGKILL);
  reap(child);
  return each;
}

long futex(uint32_t* word, int operation, uint32_t value) { return syscall(SYS_futex, word, operation, value, nullptr, nullptr, 0); }

double futex_ping_pong() {
  auto* words = static_cast<uint32_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const auto wait = [&](int i) {
    while (__atomic_exchange_n(&words[i * 16], 0, __ATOMIC_ACQ_REL) == 0) futex(&words[i * 16], FUTEX_WAIT, 0);
  };
  const auto wake = [&](int i) {
    __atomic_store_n(&words[i * 16], 1, __ATOMIC_RELEASE);
    futex(&words[i * 16], FUTEX_WAKE, 1);
  };
  const pid_t child = fork();
  if (child == 0) {
    for (;;) {
      wait(0);
      wake(1);
    }
  }
  const double each = measure([&](long n) {
    for (long i = 0; i < n; i++) {
      wake(0);
      wait(1);
    }
  });
  kill(child, SIGKILL);
  reap(child);
  return each;
}

int data_file() {
  const int fd = open("bench-data", O_RDWR | O_CREAT, 0600);
  if (fd < 0) die("bench-data");
  std::vector<char> block(1 << 20, 'x');
  for (int i = 0; i < 8; i++) {
    if (pwrite(fd, block.data(), block.size(), static_cast<off_t>(i) << 20) < 0) die("write");
  }
  return fd;
}

double reads(size_t size) {
  const int fd = data_file();
  std::vector<char> block(size);
  off_t at = 0;
  const double each = measure([&](long n) {
    for (long i = 0; i < n; i++) {
      if (pread(fd, block.data(), size, at) != static_cast<ssize_t>(size)) die("pread");
      at = (at + static_cast<off_t>(size)) & ((8 << 20) - 1);
    }
  });
  unlink("bench-data");
  return each;
}

double spawn(const char* file) {
  char* list[] = {const_cast<char*>(file), nullptr};
  return measure([&](long n) {
    for (long i = 0; i < n; i++) {
      pid_t pid = 0;
      if (posix_spawn(&pid, file, nullptr, nullptr, list, environ) != 0) die("posix_spawn");
      reap(pid);
    }
  });
}

struct Test {
  const char* name;
  double (*run)();
};

const Test kTests[] = {
    {"getppid", [] { return measure([](long n) { for (long i = 0; i < n; i++) syscall(SYS_getppid); }); }},
    {"spawn_true", [] { return spawn("/bin/true"); }},
    {"vfork_exit",
     [] {
       return measure([](long n) {
         for (long i = 0; i < n; i++) {
           const pid_t pid = vfork();
           if (pid == 0) _exit(0);
           reap(pid);
         }
       });
     }},
    {"fork_exit_wait",
     [] {
       return measure([](long n) {
         for (long i = 0; i < n; i++) {
           const pid_t pid = fork();
           if (pid == 0) _exit(0);
           reap(pid);
         }
       });
     }},
    {"page_fault",
     [] {
       return measure([](long n) {
         const long chunk = 1024;
         for (long done = 0; done < n; done += chunk) {
           auto* m = static_cast<char*>(mmap(nullptr, chunk * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
           if (m == MAP_FAILED) die("mmap");
           madvise(m, chunk * 4096, MADV_NOHUGEPAGE);
           for (long i = 0; i < chunk && done + i < n; i++) const_cast<volatile char*>(m)[i * 4096] = 1;
           munmap(m, chunk * 4096);
         }
       });
     }},
    {"clock_gettime",
     [] {
       return measure([](long n) {
         timespec time{};
         for (long i = 0; i < n; i++) clock_gettime(CLOCK_MONOTONIC, &time);
       });
     }},
    {"pipe_ping_pong",
     [] {
       int to[2];
       int back[2];
       if (pipe(to) != 0 || pipe(back) != 0) die("pipe");
       return ping_pong(to, back);
     }},
    {"unix_ping_pong",
     [] {
       int to[2];
       int back[2];
       if (socketpair(AF_UNIX, SOCK_STREAM, 0, to) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, back) != 0) die("socketpair");
       return ping_pong(to, back);
     }},
    {"pthread_create_join",
     [] {
       return measure([](long n) {
         for (long i = 0; i < n; i++) {
           pthread_t thread;
           if (pthread_create(&thread, nullptr, [](void* x) { return x; }, nullptr) != 0) die("pthread_create");
           pthread_join(thread, nullptr);
         }
       });
     }},
    {"futex_ping_pong", [] { return futex_ping_pong(); }},
    {"signal_self",
     [] {
       signal(SIGUSR1, [](int) {});
       const pid_t pid = getpid();
       return measure([=](long n) { for (long i = 0; i < n; i++) kill(pid, SIGUSR1); });
     }},
    {"mmap_touch_munmap",
     [] {
       return measure([](long n) {
         for (long i = 0; i < n; i++) {
           auto* m = static_cast<char*>(mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
           for (int p = 0; p < 16; p++) const_cast<volatile char*>(m)[p * 4096] = 1;
           munmap(m, 65536);
         }
       });
     }},
    {"open_close",
     [] {
       close(open("bench-file", O_RDWR | O_CREAT, 0600));
       const double each = measure([](long n) {
         for (long i = 0; i < n; i++) {
           const int fd = open("bench-file", O_RDONLY);
           if (fd < 0) die("open");
           close(fd);
         }
       });
       unlink("bench-file");
       return each;
     }},
    {"stat",
     [] {
       close(open("bench-file", O_RDWR | O_CREAT, 0600));
       const double each = measure([](long n) {
         struct stat st{};
         for (long i = 0; i < n; i++) {
           if (stat("bench-file", &st) != 0) die("stat");
         }
       });
       unlink("bench-file");
       return each;
     }},
    {"read_4k", [] { return reads(4096); }},
    {"read_64k", [] { return reads(65536); }},
};

}  // namespace

int main(int count, char** list) {
  std::vector<std::string> names;
  for (int i = 1; i < count; i++) {
    if (strcmp(list[i], "--time") == 0 && i + 1 < count) {
      batch_ns = atof(list[++i]) * 1e6;
    } else if (strcmp(list[i], "--list") == 0) {
      for (const Test& test : kTests) puts(test.name);
      return 0;
    } else {
      names.emplace_back(list[i]);
    }
  }
  for (const Test& test : kTests) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted = wanted || name == test.name;
    if (!wanted) continue;
    printf("%s %.1f\n", test.name, test.run());
    fflush(stdout);
  }
  return 0;
}
