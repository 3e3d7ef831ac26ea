// Which calls a signal interrupts, and which go on, with and without SA_RESTART.
#include "check.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>

namespace {

void arm(int flags) {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = flags;
  sigaction(SIGUSR1, &action, nullptr);
}

// Sends SIGUSR1 after 30 ms; `then`, in the same child, makes the call succeed some time later.
template <typename Then>
pid_t disturb(Then then) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    sleep_ms(30);
    kill(parent, SIGUSR1);
    sleep_ms(60);
    then();
    _exit(0);
  }
  return child;
}

template <typename Call, typename Then>
void try_both(const char* name, Call call, Then then) {
  for (const int flags : {0, SA_RESTART}) {
    arm(flags);
    const pid_t child = disturb(then);
    char what[64];
    snprintf(what, sizeof what, "%s%s", name, flags != 0 ? ", SA_RESTART" : "");
    shown(what, call());
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace

CASE(reads_and_waits) {
  static int p[2];
  pipe(p);
  fcntl(p[0], F_SETFL, 0);
  try_both(
      "read", [] {
        char c = 0;
        const long n = read(p[0], &c, 1);
        if (n < 0) {
          const int saved = errno;
          read(p[0], &c, 1);
          errno = saved;
        }
        return n;
      },
      [] { write(p[1], "x", 1); });
  static int pair[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  try_both(
      "recv", [] {
        char c = 0;
        const long n = recv(pair[0], &c, 1, 0);
        if (n < 0) {
          const int saved = errno;
          while (recv(pair[0], &c, 1, 0) < 0) {
          }
          errno = saved;
        }
        return n;
      },
      [] { write(pair[1], "x", 1); });
  try_both("poll", [] { return poll(nullptr, 0, 150); }, [] {});
  try_both("select", [] { timeval t{0, 150000}; return select(0, nullptr, nullptr, nullptr, &t); }, [] {});
  try_both("pause", [] { return pause(); }, [] {});
  try_both("nanosleep", [] { timespec t{0, 150000000}; return nanosleep(&t, nullptr); }, [] {});
  try_both(
      "epoll_wait", [] { epoll_event e; return epoll_wait(epoll_create1(0), &e, 1, 150); }, [] {});
  timeval wait{0, 200000};
  setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  try_both("recv with a time limit", [] { char c; return recv(pair[0], &c, 1, 0); }, [] {});
}

CASE(children_and_locks) {
  for (const int flags : {0, SA_RESTART}) {
    arm(flags);
    const pid_t slow = fork();
    if (slow == 0) {
      sleep_ms(100);
      _exit(3);
    }
    const pid_t child = disturb([] {});
    int status = 0;
    const long result = waitpid(slow, &status, 0);
    say("waitpid flags %d: %s", flags != 0, result == slow ? "child" : check::error_name(errno));
    while (wait(nullptr) > 0 || errno == EINTR) {
    }
    (void)child;
  }
  for (const int flags : {0, SA_RESTART}) {
    arm(flags);
    const int a = open("f", O_CREAT | O_RDWR, 0600);
    const pid_t holder = fork();
    if (holder == 0) {
      const int own = open("f", O_RDWR);
      flock(own, LOCK_EX);
      sleep_ms(150);
      _exit(0);
    }
    sleep_ms(40);
    const pid_t child = disturb([] {});
    shown("flock", flock(a, LOCK_EX));
    (void)child;
    while (wait(nullptr) > 0 || errno == EINTR) {
    }
    close(a);
  }
  static sem_t* semaphore = sem_open("/umk-conformance-restart", O_CREAT, 0600, 0);
  if (semaphore != SEM_FAILED) {
    sem_unlink("/umk-conformance-restart");
    try_both("sem_wait", [] { return sem_wait(semaphore); }, [] { sem_post(semaphore); });
  }
}

CASE(ignored_signals_interrupt_nothing) {
  signal(SIGUSR1, SIG_IGN);
  int p[2];
  pipe(p);
  const pid_t child = disturb([=] { write(p[1], "x", 1); });
  char c = 0;
  shown("read", read(p[0], &c, 1));
  waitpid(child, nullptr, 0);
  const pid_t stopped = fork();
  if (stopped == 0) {
    timespec t{0, 100000000};
    const long n = nanosleep(&t, nullptr);
    shown("sleep over stop and continue", n);
    char d = 0;
    shown("read over stop and continue", read(p[0], &d, 1));
    _exit(0);
  }
  for (int i = 0; i < 2; i++) {
    sleep_ms(30);
    kill(stopped, SIGSTOP);
    sleep_ms(30);
    kill(stopped, SIGCONT);
    sleep_ms(150);
  }
  write(p[1], "y", 1);
  waitpid(stopped, nullptr, 0);
}
