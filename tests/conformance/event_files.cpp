// eventfd, timerfd, signalfd.
#include "check.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

namespace {

short ready(int fd, short events = POLLIN | POLLOUT) {
  pollfd one{fd, events, 0};
  poll(&one, 1, 0);
  return one.revents;
}

}  // namespace

CASE(event_counters) {
  const int fd = ifd("create", eventfd(3, EFD_NONBLOCK));
  uint64_t value = 0;
  shown("read", read(fd, &value, 8));
  shown("value", static_cast<long>(value));
  shown("empty", read(fd, &value, 8));
  shown("short read", read(fd, &value, 4));
  shown("short write", write(fd, &value, 4));
  value = ~uint64_t{0};
  shown("all ones", write(fd, &value, 8));
  value = ~uint64_t{0} - 1;
  shown("the maximum", write(fd, &value, 8));
  say("full %x", static_cast<unsigned>(ready(fd)));
  value = 1;
  shown("over", write(fd, &value, 8));
  char longer[16];
  shown("longer read", read(fd, longer, 16));
  say("empty %x", static_cast<unsigned>(ready(fd)));
  const int semaphore = ifd("semaphore", eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
  read(semaphore, &value, 8);
  shown("one", static_cast<long>(value));
  read(semaphore, &value, 8);
  shown("one", static_cast<long>(value));
  shown("empty", read(semaphore, &value, 8));
  shown("bad flags", eventfd(0, 0x40));
  shown("seek", lseek(fd, 0, SEEK_SET));
  shown("pread", pread(fd, &value, 8, 0));
  shown("bad pointer", write(fd, bad(), 8));
}

CASE(event_blocking) {
  const int fd = eventfd(0, 0);
  const pid_t child = fork();
  if (child == 0) {
    sleep_ms(50);
    const uint64_t five = 5;
    write(fd, &five, 8);
    _exit(0);
  }
  uint64_t value = 0;
  shown("waits", read(fd, &value, 8));
  shown("value", static_cast<long>(value));
  waitpid(child, nullptr, 0);
}

CASE(timers) {
  const int fd = ifd("create", timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  uint64_t count = 0;
  shown("not armed", read(fd, &count, 8));
  itimerspec time{};
  shown("gettime", timerfd_gettime(fd, &time));
  say("%ld %ld", time.it_value.tv_sec, time.it_value.tv_nsec);
  time.it_value.tv_nsec = 20000000;
  shown("settime", timerfd_settime(fd, 0, &time, nullptr));
  say("ready %x", static_cast<unsigned>(ready(fd)));
  sleep_ms(60);
  say("ready %x", static_cast<unsigned>(ready(fd)));
  shown("read", read(fd, &count, 8));
  shown("count", static_cast<long>(count));
  shown("again", read(fd, &count, 8));
  time.it_interval.tv_nsec = 10000000;
  itimerspec old{};
  shown("interval", timerfd_settime(fd, 0, &time, &old));
  say("old %ld %ld", old.it_value.tv_sec, old.it_value.tv_nsec);
  sleep_ms(105);
  read(fd, &count, 8);
  say("count %s", count >= 5 && count <= 30 ? "plausible" : "wrong");
  timerfd_gettime(fd, &old);
  say("interval %ld armed %d", old.it_interval.tv_nsec, old.it_value.tv_nsec > 0);
  time = {};
  shown("disarm", timerfd_settime(fd, 0, &time, nullptr));
  sleep_ms(20);
  shown("read", read(fd, &count, 8));
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  time.it_value = now;
  shown("absolute, past", timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, nullptr));
  sleep_ms(5);
  shown("read", read(fd, &count, 8));
  shown("count", static_cast<long>(count));
  time.it_value.tv_nsec = 1000000000;
  shown("bad time", timerfd_settime(fd, 0, &time, nullptr));
  shown("bad flags", timerfd_settime(fd, 16, &old, nullptr));
  shown("bad pointer", timerfd_settime(fd, 0, bad<itimerspec>(), nullptr));
  shown("bad clock", timerfd_create(77, 0));
  shown("bad create flags", timerfd_create(CLOCK_REALTIME, 1));
  shown("realtime", timerfd_create(CLOCK_REALTIME, 0) >= 0);
  shown("boottime", timerfd_create(CLOCK_BOOTTIME, 0) >= 0);
  const int event = eventfd(0, 0);
  shown("not a timer", timerfd_gettime(event, &old));
  shown("short read", read(fd, &count, 4));
  shown("write", write(fd, &count, 8));
}

CASE(signals) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  sigaddset(&mask, SIGRTMIN + 2);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  const int fd = ifd("create", signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC));
  signalfd_siginfo info[4] = {};
  shown("none", read(fd, info, sizeof info));
  raise(SIGUSR1);
  say("ready %x", static_cast<unsigned>(ready(fd)));
  shown("read", read(fd, info, sizeof info));
  say("signal %u code %d mine %d", info[0].ssi_signo, info[0].ssi_code, info[0].ssi_pid == static_cast<uint32_t>(getpid()));
  sigval value{};
  value.sival_int = 42;
  sigqueue(getpid(), SIGRTMIN + 2, value);
  value.sival_int = 43;
  sigqueue(getpid(), SIGRTMIN + 2, value);
  shown("two at once", read(fd, info, sizeof info));
  say("%d %d code %d", info[0].ssi_int, info[1].ssi_int, info[0].ssi_code);
  const pid_t child = fork();
  if (child == 0) _exit(7);
  pollfd one{fd, POLLIN, 0};
  poll(&one, 1, 5000);
  shown("read", read(fd, info, sizeof info));
  say("signal %u code %d status %d child %d", info[0].ssi_signo, info[0].ssi_code, info[0].ssi_status, info[0].ssi_pid == static_cast<uint32_t>(child));
  waitpid(child, nullptr, 0);
  sigset_t other;
  sigemptyset(&other);
  sigaddset(&other, SIGUSR2);
  shown("change", signalfd(fd, &other, 0) == fd);
  raise(SIGUSR1);
  shown("not of interest any more", read(fd, info, sizeof info));
  shown("short read", read(fd, info, 10));
  shown("bad flags", signalfd(-1, &mask, 1));
  shown("bad size", syscall(SYS_signalfd4, -1, &mask, 4, 0));
  const int event = eventfd(0, 0);
  shown("not a signalfd", signalfd(event, &mask, 0));
  shown("bad descriptor", signalfd(99, &mask, 0));
  shown("bad mask", syscall(SYS_signalfd4, -1, bad(), 8, 0));
}
