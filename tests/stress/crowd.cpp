// Usage: crowd PROCESSES SECONDS
//
// Many processes that fork, pipe, signal each other, start threads, map memory, exec and exit, until the time is over. Prints what
// went wrong, and "done".

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace {

struct Shared {
  std::atomic<long> rounds;
  std::atomic<long> wrong;
  std::atomic<pid_t> members[1024];
};
Shared* shared = nullptr;
int population = 0;
time_t end_time = 0;
uint64_t state = 1;

uint64_t random_number() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

time_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

void wrong(const char* what) {
  if (shared->wrong.fetch_add(1) < 10) fprintf(stderr, "wrong: %s (%s)\n", what, strerrorname_np(errno));
}

int finish(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      wrong("waitpid");
      return -1;
    }
  }
  return status;
}

void pipe_through_a_child() {
  int in[2];
  int out[2];
  if (pipe(in) != 0) return wrong("pipe");
  if (pipe(out) != 0) return wrong("pipe");
  const pid_t child = fork();
  if (child < 0) return wrong("fork");
  if (child == 0) {
    close(in[1]);
    close(out[0]);
    char c = 0;
    while (read(in[0], &c, 1) == 1) {
      c = static_cast<char>(c + 1);
      if (write(out[1], &c, 1) != 1) _exit(1);
    }
    _exit(42);
  }
  close(in[0]);
  close(out[1]);
  for (int i = 0; i < 20; i++) {
    char c = static_cast<char>(i);
    if (write(in[1], &c, 1) != 1) wrong("write");
    while (read(out[0], &c, 1) < 0 && errno == EINTR) {
    }
    if (c != static_cast<char>(i + 1)) wrong("byte");
  }
  close(in[1]);
  const int status = finish(child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 42) wrong("status");
  close(out[0]);
}

void threads() {
  pthread_t list[3];
  std::atomic<int> sum = 0;
  for (pthread_t& thread : list) {
    if (pthread_create(
            &thread, nullptr,
            [](void* s) -> void* {
              *static_cast<std::atomic<int>*>(s) += 1;
              return nullptr;
            },
            &sum) != 0) {
      return wrong("pthread_create");
    }
  }
  for (pthread_t thread : list) pthread_join(thread, nullptr);
  if (sum != 3) wrong("sum of threads");
}

void execute() {
  const pid_t child = random_number() % 2 == 0 ? fork() : vfork();
  if (child == 0) {
    execl("/proc/self/exe", "crowd", "child", nullptr);
    _exit(1);
  }
  const int status = finish(child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 21) wrong("exec");
}

void memory() {
  const size_t size = (2 + random_number() % 64) * 4096;
  char* m = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, (random_number() % 2 ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS, -1, 0));
  if (m == MAP_FAILED) return wrong("mmap");
  for (size_t i = 0; i < size; i += 4096) m[i] = 1;
  const pid_t child = fork();
  if (child == 0) {
    m[0] = 2;
    _exit(m[size - 4096]);
  }
  if (WEXITSTATUS(finish(child)) != 1) wrong("memory of a child");
  munmap(m, size);
}

void kill_a_child() {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) {
      if (random_number() % 2 == 0) usleep(100);
    }
  }
  usleep(static_cast<useconds_t>(random_number() % 2000));
  kill(child, SIGKILL);
  if (WTERMSIG(finish(child)) != SIGKILL) wrong("kill");
}

void orphan() {
  const pid_t child = fork();
  if (child == 0) {
    if (fork() == 0) usleep(500);
    _exit(0);
  }
  finish(child);
}

void signal_others() {
  for (int i = 0; i < 5; i++) {
    const pid_t pid = shared->members[random_number() % static_cast<uint64_t>(population)];
    if (pid > 1 && kill(pid, SIGUSR1) != 0 && errno != ESRCH) wrong("signal");
  }
}

void sockets() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return wrong("socketpair");
  char block[5000] = {};
  if (write(pair[0], block, sizeof block) != sizeof block) wrong("socket write");
  long total = 0;
  while (total < 5000) {
    const ssize_t n = read(pair[1], block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    total += n;
  }
  if (total != 5000) wrong("socket read");
  close(pair[0]);
  close(pair[1]);
}

[[noreturn]] void live(int number) {
  state = static_cast<uint64_t>(number) * 2654435761U + 12345;
  signal(SIGUSR1, [](int) {});
  shared->members[number] = getpid();
  void (*const deeds[])() = {pipe_through_a_child, threads, execute, memory, kill_a_child, orphan, signal_others, sockets};
  while (now() < end_time) {
    deeds[random_number() % (sizeof deeds / sizeof *deeds)]();
    shared->rounds.fetch_add(1);
  }
  shared->members[number] = 0;
  _exit(0);
}

}  // namespace

int main(int count, char** list) {
  if (count == 2 && strcmp(list[1], "child") == 0) return 21;
  population = count > 1 ? atoi(list[1]) : 200;
  if (population < 1 || population > 1024) return 2;
  shared = static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  end_time = now() + (count > 2 ? atoi(list[2]) : 10);
  for (int i = 0; i < population; i++) {
    const pid_t pid = fork();
    if (pid < 0) {
      perror("fork");
      break;
    }
    if (pid == 0) live(i);
  }
  int status = 0;
  while (wait(&status) > 0 || errno == EINTR) {
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) shared->wrong++;
    status = 0;
  }
  usleep(100000);  // orphans
  fprintf(stderr, "%ld rounds\n", shared->rounds.load());
  printf("wrong %ld\ndone\n", shared->wrong.load());
  return shared->wrong == 0 ? 0 : 1;
}
