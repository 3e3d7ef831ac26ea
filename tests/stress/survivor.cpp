// Usage: survivor WORKERS SECONDS
//
// Keeps workers of many kinds running while somebody kills their processes from outside: each must be seen to end by SIGKILL or by itself, and what it shared
// with others must go on to work. Prints how many were killed, what went wrong, and "done". Waits for a line on standard input before it begins and, behind its
// end, before it leaves.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace {

constexpr int kKinds = 8;
int wrong_count = 0;

void wrong(const char* what, int status) {
  if (wrong_count++ < 10) fprintf(stderr, "wrong: %s (status %x, %s)\n", what, static_cast<unsigned>(status), strerrorname_np(errno));
}

time_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

void compute() {
  volatile unsigned long sum = 0;
  for (unsigned long i = 0; i < 20'000'000; i++) sum = sum + i;
}

void sleep_long() { usleep(500'000); }

void wait_on_pipe() {
  int p[2];
  pipe(p);
  char c = 0;
  alarm(1);
  signal(SIGALRM, [](int) { _exit(0); });
  read(p[0], &c, 1);
}

// A pair of processes, of which either may be killed: the other sees an end of file or SIGPIPE.
void talk() {
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  const pid_t child = fork();
  close(s[child == 0]);
  const int mine = s[child != 0];
  for (int i = 0; i < 200; i++) {
    char c = 'x';
    if (child != 0 && (write(mine, &c, 1) != 1)) break;
    if (read(mine, &c, 1) != 1) break;
    if (child == 0 && (write(mine, &c, 1) != 1)) break;
    usleep(2000);
  }
  if (child == 0) _exit(0);
  close(mine);
  int status = 0;
  if (waitpid(child, &status, 0) != child) _exit(3);
  if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGPIPE) _exit(4);
}

void run_threads() {
  pthread_t list[3];
  for (pthread_t& thread : list)
    pthread_create(&thread, nullptr, [](void* which) -> void* {
      if (which) compute();
      else usleep(400'000);
      return nullptr;
    }, &thread == list ? nullptr : list);
  for (pthread_t thread : list) pthread_join(thread, nullptr);
}

// The lock of a file goes with the process that holds it.
void hold_lock() {
  const int fd = open("lock", O_RDWR | O_CREAT, 0600);
  if (flock(fd, LOCK_EX) != 0) _exit(5);
  usleep(50'000);
  flock(fd, LOCK_UN);
}

void borrow() {
  const pid_t child = vfork();
  if (child == 0) {
    timespec time{0, 300'000'000};
    nanosleep(&time, nullptr);
    _exit(7);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 7) _exit(6);
}

void be_a_parent() {
  for (int i = 0; i < 5; i++) {
    const pid_t child = fork();
    if (child == 0) {
      usleep(60'000);
      _exit(9);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) _exit(10);
    const bool is_right = WIFEXITED(status) ? WEXITSTATUS(status) == 9 : WTERMSIG(status) == SIGKILL;
    if (!is_right) _exit(11);
  }
}

void work(int kind) {
  switch (kind) {
    case 0: return compute();
    case 1: return sleep_long();
    case 2: return wait_on_pipe();
    case 3: return talk();
    case 4: return run_threads();
    case 5: return hold_lock();
    case 6: return borrow();
    default: return be_a_parent();
  }
}

void wait_for_line() {
  char c = 0;
  while (read(0, &c, 1) == 1 && c != '\n') {
  }
}

}  // namespace

int main(int count, char** list) {
  const int workers = count > 1 ? atoi(list[1]) : 16;
  const time_t end = now() + (count > 2 ? atoi(list[2]) : 5);
  printf("ready\n");
  fflush(stdout);
  wait_for_line();
  int running = 0, killed = 0, kind = 0;
  while (running > 0 || now() < end) {
    while (running < workers && now() < end) {
      const pid_t child = fork();
      if (child < 0) {
        wrong("fork", 0);
        break;
      }
      if (child == 0) {
        work(kind % kKinds);
        _exit(0);
      }
      kind++;
      running++;
    }
    int status = 0;
    const pid_t ended = wait(&status);
    if (ended < 0) {
      if (errno == ECHILD) running = 0;
      continue;
    }
    running--;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) killed++;
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) continue;
    else if (status != 0) wrong("a worker", status);
  }
  // Nothing that the dead held is held still.
  alarm(20);
  hold_lock();
  printf("killed %d of %d\n", killed, kind);
  if (wrong_count == 0) printf("done\n");
  fflush(stdout);
  return wrong_count != 0;
}
