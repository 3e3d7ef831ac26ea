// poll, ppoll, select, pselect and epoll.
#include "check.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

namespace {

unsigned bits(short revents) { return static_cast<unsigned short>(revents); }

long long now_ms() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

void events(const char* what, int epoll, int wait_ms = 0) {
  epoll_event list[8];
  const int n = epoll_wait(epoll, list, 8, wait_ms);
  if (n < 0) {
    shown(what, n);
    return;
  }
  char line[256] = "";
  // In the order of their data, since the order of arrival is not promised.
  for (uint64_t data = 0; data < 16; data++) {
    for (int i = 0; i < n; i++) {
      if (list[i].data.u64 == data) snprintf(line + strlen(line), 32, " %lu:%x", data, list[i].events);
    }
  }
  say("%s: %d%s", what, n, line);
}

int add(int epoll, int fd, uint32_t mask, uint64_t data, int operation = EPOLL_CTL_ADD) {
  epoll_event event{};
  event.events = mask;
  event.data.u64 = data;
  return epoll_ctl(epoll, operation, fd, &event);
}

}  // namespace

CASE(poll_calls) {
  int p[2];
  pipe(p);
  pollfd fds[3] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {99, POLLIN, 0}};
  shown("poll", poll(fds, 3, 0));
  say("%x %x %x", bits(fds[0].revents), bits(fds[1].revents), bits(fds[2].revents));
  fds[0].fd = -1;
  fds[0].revents = 77;
  shown("negative is skipped", poll(fds, 1, 0));
  shown("revents", fds[0].revents);
  const long long start = now_ms();
  fds[0].fd = p[0];
  shown("time limit", poll(fds, 1, 60));
  const long long took = now_ms() - start;
  say("took %s", took >= 59 && took < 1000 ? "right" : "wrong");
  shown("no descriptors", poll(nullptr, 0, 10));
  shown("bad pointer", poll(bad<pollfd>(), 1, 0));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  shown("too many", poll(fds, limit.rlim_cur + 1, 0));
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  pollfd on_file{file, POLLIN | POLLOUT | POLLPRI, 0};
  shown("a file", poll(&on_file, 1, 0));
  say("%x", bits(on_file.revents));
  const int path = open("f", O_PATH);
  pollfd on_path{path, POLLIN, 0};
  shown("O_PATH", poll(&on_path, 1, 0));
  say("%x", bits(on_path.revents));
  timespec zero{0, 0};
  timespec wrong{0, 1000000000};
  shown("ppoll", ppoll(fds, 2, &zero, nullptr));
  shown("ppoll bad time", ppoll(fds, 2, &wrong, nullptr));
}

CASE(poll_wakes) {
  int p[2];
  pipe(p);
  if (fork() == 0) {
    sleep_ms(50);
    write(p[1], "x", 1);
    _exit(0);
  }
  pollfd fd{p[0], POLLIN, 0};
  shown("wakes", poll(&fd, 1, 5000));
  say("%x", bits(fd.revents));
  wait(nullptr);
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGALRM);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  raise(SIGALRM);
  sigset_t none;
  sigemptyset(&none);
  char c = 0;
  read(p[0], &c, 1);
  shown("ppoll with the signal let in", ppoll(&fd, 1, nullptr, &none));
  sigset_t pending;
  sigpending(&pending);
  shown("taken", sigismember(&pending, SIGALRM));
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  shown("mask is back", sigismember(&mask, SIGALRM));
  sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  itimerval timer{{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  shown("poll is not restarted", poll(&fd, 1, 5000));
}

CASE(select_calls) {
  int p[2];
  pipe(p);
  fd_set in;
  fd_set out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(p[0], &in);
  FD_SET(p[1], &out);
  timeval zero{0, 0};
  shown("select", select(p[1] + 1, &in, &out, nullptr, &zero));
  say("in %d out %d", FD_ISSET(p[0], &in) != 0, FD_ISSET(p[1], &out) != 0);
  write(p[1], "x", 1);
  FD_SET(p[0], &in);
  shown("select", select(p[1] + 1, &in, &out, nullptr, &zero));
  shown("negative", select(-1, &in, nullptr, nullptr, &zero));
  FD_ZERO(&in);
  FD_SET(200, &in);
  shown("closed", select(201, &in, nullptr, nullptr, &zero));
  timeval wrong{-1, 0};
  shown("bad time", select(0, nullptr, nullptr, nullptr, &wrong));
  timeval wait{0, 30000};
  shown("time limit", select(0, nullptr, nullptr, nullptr, &wait));
  shown("time left is written", wait.tv_usec);
  shown("bad pointer", select(10, bad<fd_set>(), nullptr, nullptr, &zero));
  timespec longer{0, 10000000};
  FD_ZERO(&in);
  FD_SET(p[0], &in);
  shown("pselect", pselect(p[1] + 1, &in, nullptr, nullptr, &longer, nullptr));
  shown("time is kept by the library", longer.tv_nsec);
}

CASE(epoll_basics) {
  const int epoll = ifd("create", epoll_create1(EPOLL_CLOEXEC));
  shown("cloexec", fcntl(epoll, F_GETFD));
  shown("create 0", epoll_create(0));
  shown("bad flags", epoll_create1(1));
  int p[2];
  pipe(p);
  shown("add", add(epoll, p[0], EPOLLIN, 1));
  shown("add again", add(epoll, p[0], EPOLLIN, 1));
  shown("add write end", add(epoll, p[1], EPOLLOUT, 2));
  events("first", epoll);
  write(p[1], "x", 1);
  events("both", epoll);
  events("level triggered", epoll);
  shown("modify", add(epoll, p[1], 0, 2, EPOLL_CTL_MOD));
  events("only input", epoll);
  shown("modify missing", add(epoll, eventfd(0, 0), EPOLLIN, 3, EPOLL_CTL_MOD));
  shown("delete", epoll_ctl(epoll, EPOLL_CTL_DEL, p[0], nullptr));
  shown("delete again", epoll_ctl(epoll, EPOLL_CTL_DEL, p[0], nullptr));
  events("none", epoll);
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  shown("a file", add(epoll, file, EPOLLIN, 4));
  shown("a closed descriptor", add(epoll, 99, EPOLLIN, 4));
  shown("itself", add(epoll, epoll, EPOLLIN, 4));
  shown("not an epoll", add(p[0], p[1], EPOLLIN, 4));
  shown("bad operation", add(epoll, p[0], EPOLLIN, 4, 9));
  shown("bad event", epoll_ctl(epoll, EPOLL_CTL_ADD, p[0], bad<epoll_event>()));
  epoll_event list[2];
  shown("maximum 0", epoll_wait(epoll, list, 0, 0));
  shown("bad list", (add(epoll, p[0], EPOLLIN, 1), epoll_wait(epoll, bad<epoll_event>(), 1, 0)));
  shown("time limit", epoll_wait(p[0], list, 1, 0));
  close(p[1]);
  events("hang-up is always told", epoll);
}

CASE(epoll_modes) {
  const int epoll = epoll_create1(0);
  int p[2];
  pipe(p);
  add(epoll, p[0], EPOLLIN | EPOLLET, 1);
  write(p[1], "x", 1);
  events("edge", epoll);
  events("edge is over", epoll);
  write(p[1], "y", 1);
  events("new edge", epoll);
  add(epoll, p[0], EPOLLIN | EPOLLONESHOT, 1, EPOLL_CTL_MOD);
  events("one shot", epoll);
  write(p[1], "z", 1);
  events("disarmed", epoll);
  add(epoll, p[0], EPOLLIN | EPOLLONESHOT, 1, EPOLL_CTL_MOD);
  events("armed again", epoll);
  shown("exclusive", add(epoll, p[1], EPOLLOUT | EPOLLEXCLUSIVE, 2));
  shown("exclusive with modify", add(epoll, p[1], EPOLLOUT, 2, EPOLL_CTL_MOD));
  shown("exclusive one shot", add(epoll, eventfd(0, 0), EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 3));
  const int copy = dup(p[0]);
  add(epoll, p[0], EPOLLIN, 1, EPOLL_CTL_MOD);
  shown("dup is another entry", add(epoll, copy, EPOLLIN, 4));
  events("both names", epoll);
  close(p[0]);
  events("closed name stays while the description lives", epoll);
  close(copy);
  events("gone", epoll);
}

CASE(epoll_nested) {
  const int outer = epoll_create1(0);
  const int inner = epoll_create1(0);
  int p[2];
  pipe(p);
  shown("nest", add(outer, inner, EPOLLIN, 1));
  add(inner, p[0], EPOLLIN, 2);
  events("quiet", outer);
  write(p[1], "x", 1);
  events("outer", outer);
  events("inner", inner);
  shown("loop", add(inner, outer, EPOLLIN, 3));
  pollfd fd{inner, POLLIN, 0};
  shown("poll of an epoll", poll(&fd, 1, 0));
  int chain[8];
  for (int& link : chain) link = epoll_create1(0);
  for (int i = 0; i < 7; i++) {
    char name[16];
    snprintf(name, sizeof name, "depth %d", i);
    shown(name, add(chain[i + 1], chain[i], EPOLLIN, 1));
  }
}

CASE(epoll_waiting) {
  const int epoll = epoll_create1(0);
  const int event = eventfd(0, 0);
  add(epoll, event, EPOLLIN, 1);
  if (fork() == 0) {
    sleep_ms(50);
    const uint64_t one = 1;
    write(event, &one, 8);
    _exit(0);
  }
  events("woken", epoll, 5000);
  wait(nullptr);
  uint64_t value = 0;
  read(event, &value, 8);
  events("time limit", epoll, 20);
  timespec time{0, 20000000};
  epoll_event list[1];
  shown("epoll_pwait2", syscall(SYS_epoll_pwait2, epoll, list, 1, &time, nullptr, 8));
  time.tv_nsec = -1;
  shown("epoll_pwait2 bad time", syscall(SYS_epoll_pwait2, epoll, list, 1, &time, nullptr, 8));
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer{{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  events("interrupted", epoll, 5000);
}

// A call that found something at once leaves no trace by which a signal could miss the program that computes on.
CASE(killed_while_computing) {
  for (int way = 0; way < 4; way++) {
    int p[2];
    shown("pipe", pipe(p));
    const pid_t child = fork();
    if (child == 0) {
      pollfd item{p[1], POLLOUT, 0};
      epoll_event event{EPOLLOUT, {}};
      if (way == 0) poll(&item, 1, 1000);
      if (way == 1) {
        const int epoll = epoll_create1(0);
        epoll_ctl(epoll, EPOLL_CTL_ADD, p[1], &event);
        epoll_wait(epoll, &event, 1, 1000);
      }
      if (way == 2) {
        static int word = 1;
        syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
      }
      if (way == 3) poll(nullptr, 0, 1);
      // The clock is read in user mode, so nothing here enters the kernel.
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      for (const time_t start = now.tv_sec; now.tv_sec < start + 5;) clock_gettime(CLOCK_MONOTONIC, &now);
      (void)!write(p[1], "late", 4);
      _exit(1);
    }
    usleep(20'000);
    kill(child, SIGTERM);
    int status;
    waitpid(child, &status, 0);
    shown_status("child", status);
    close(p[1]);
    char word[4];
    shown("what it wrote instead of dying", read(p[0], word, sizeof word));
    close(p[0]);
  }
}
