// Usage: victim
//
// Makes, for each line of standard input, a partner that waits for a victim, and a victim whose process somebody kills from outside. Prints "partner", waits for a
// line, prints "victim" and waits for another line before the victim begins its work, then "status N" when both have ended. A partner that goes on to wait when the victim is no more was forgotten;
// so is what the machine does not get back.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr int kPartnerSeconds = 5;

int to_partner[2], from_partner[2];

bool wait_for_line() {
  char c = 0;
  while (read(0, &c, 1) == 1)
    if (c == '\n') return true;
  return false;
}

/// What the victim writes wakes it; its end does, too.
void be_partner() {
  close(to_partner[1]);
  close(from_partner[0]);
  alarm(kPartnerSeconds);
  signal(SIGPIPE, SIG_IGN);
  char c = 0;
  while (read(to_partner[0], &c, 1) == 1)
    if (write(from_partner[1], &c, 1) != 1) break;
  // The lock is free when the victim is gone.
  const int fd = open("lock", O_RDWR | O_CREAT, 0600);
  if (flock(fd, LOCK_EX) != 0) _exit(1);
  _exit(0);
}

/// Tasks, kernel stacks and vessels of the whole machine, which go a moment after who had them was waited for; -1 when they are not back at `expected` in time.
long things_in_use(long expected) {
  long sum = 0;
  for (int look = 0; look < 300; look++) {
    FILE* file = fopen("/proc/umk/counters", "r");
    char name[64];
    long value = 0;
    for (sum = 0; file && fscanf(file, "%63s %ld", name, &value) == 2;)
      if (strcmp(name, "tasks") == 0 || strcmp(name, "kernel_stacks") == 0 || strcmp(name, "vessels") == 0) sum += value;
    if (file) fclose(file);
    if (expected < 0 || sum <= expected) return sum;
    usleep(10'000);
  }
  return -1;
}

void* wait_on_pipe(void* ends) {
  char c = 0;
  read(static_cast<int*>(ends)[0], &c, 1);
  return nullptr;
}

/// Something of each kind that makes the kernel call the host, wake others or give memory back.
void be_victim() {
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGUSR1);
  int number = 0;
  sigwait(&awaited, &number);

  char c = 'x';
  write(to_partner[1], &c, 1);
  read(from_partner[0], &c, 1);
  const int lock = open("lock", O_RDWR | O_CREAT, 0600);
  flock(lock, LOCK_EX);
  write(to_partner[1], &c, 1);

  pthread_t thread;
  int ends[2];
  pipe(ends);
  pthread_create(&thread, nullptr, wait_on_pipe, ends);
  usleep(3000);
  write(ends[1], &c, 1);
  pthread_join(thread, nullptr);
  // Another one, on the host thread that the first has left.
  usleep(3000);
  pthread_create(&thread, nullptr, wait_on_pipe, ends);
  write(ends[1], &c, 1);
  pthread_join(thread, nullptr);

  constexpr size_t kBytes = 4 << 20;
  auto* memory = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(memory, 1, kBytes);
  mprotect(memory, kBytes / 2, PROT_READ);
  memory = static_cast<char*>(mremap(memory, kBytes, kBytes * 2, MREMAP_MAYMOVE));
  munmap(memory, kBytes * 2);
  auto* shared = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  memset(shared, 1, kBytes);
  munmap(shared, kBytes);

  const int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  write(file, "some text", 9);
  struct timespec moment = {0, 1000000};
  nanosleep(&moment, nullptr);
  close(file);
  if (vfork() == 0) _exit(0);
  if (vfork() == 0) {
    execl("/bin/true", "true", nullptr);
    _exit(1);
  }
  const pid_t child = fork();
  if (child == 0) _exit(0);
  while (wait(nullptr) > 0) {
  }
  flock(lock, LOCK_UN);
  _exit(0);
}

}  // namespace

int main() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  printf("ready\n");
  fflush(stdout);
  int forgotten = 0;
  const long in_use = things_in_use(-1);
  while (wait_for_line()) {
    pipe(to_partner);
    pipe(from_partner);
    const pid_t partner = fork();
    if (partner == 0) be_partner();
    printf("partner\n");
    fflush(stdout);
    wait_for_line();
    const pid_t victim = fork();
    if (victim == 0) {
      close(to_partner[0]);
      close(from_partner[1]);
      be_victim();
    }
    for (int fd : {to_partner[0], to_partner[1], from_partner[0], from_partner[1]}) close(fd);
    printf("victim\n");
    fflush(stdout);
    wait_for_line();
    kill(victim, SIGUSR1);
    int status = 0, of_partner = 0;
    waitpid(victim, &status, 0);
    waitpid(partner, &of_partner, 0);
    if (of_partner != 0) {
      forgotten++;
      printf("forgotten: %x\n", static_cast<unsigned>(of_partner));
    }
    if (things_in_use(in_use) < 0) {
      forgotten++;
      printf("a task, a kernel stack or a vessel is left\n");
    }
    printf("status %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    fflush(stdout);
  }
  if (forgotten == 0) printf("done\n");
  fflush(stdout);
  return forgotten != 0;
}
