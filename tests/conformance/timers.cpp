// Clocks, the vDSO, sleeps, interval timers and POSIX timers.
#include "check.h"

#include <sys/auxv.h>
#include <sys/timex.h>

namespace {

long long nanoseconds(const timespec& time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }
long long now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time{};
  clock_gettime(clock, &time);
  return nanoseconds(time);
}
volatile int ticks = 0;
siginfo_t last{};
void count(int number, int flags = 0) {
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | flags;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    ticks = ticks + 1;
    last = *info;
  };
  sigaction(number, &action, nullptr);
}

}  // namespace

CASE(clocks) {
  timespec time{};
  for (clockid_t clock = 0; clock < 12; clock++) {
    char what[32];
    snprintf(what, sizeof what, "clock %d", clock);
    shown(what, clock_gettime(clock, &time));
    snprintf(what, sizeof what, "resolution %d", clock);
    if (shown(what, clock_getres(clock, &time)) == 0 && clock != 5 && clock != 6) say("  %ld %ld", time.tv_sec, time.tv_nsec);
  }
  shown("bad clock", clock_gettime(99, &time));
  shown("raw", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time));
  shown("bad pointer, raw", syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad()));
  const long long library = now();
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
  const long long later = nanoseconds(time) - library;
  shown("library and call agree", later >= 0 && later < 50000000);
  bool steady = true;
  long long previous = now();
  for (int i = 0; i < 100000; i++) {
    const long long next = now();
    steady = steady && next >= previous;
    previous = next;
  }
  shown("never back", steady);
  timeval day{};
  shown("gettimeofday", gettimeofday(&day, nullptr));
  shown("agrees", llabs(day.tv_sec * 1000000000LL + day.tv_usec * 1000LL - now(CLOCK_REALTIME)) < 50000000);
  shown("time agrees", llabs(::time(nullptr) - day.tv_sec) <= 1);
  shown("raw time", llabs(syscall(SYS_time, nullptr) - day.tv_sec) <= 1);
  unsigned cpu = 999;
  unsigned node = 999;
  shown("getcpu", syscall(SYS_getcpu, &cpu, &node, nullptr));
  shown("plausible", cpu < 1024 && node < 64);
  shown("vDSO", getauxval(AT_SYSINFO_EHDR) != 0);
  const auto* header = reinterpret_cast<const unsigned char*>(getauxval(AT_SYSINFO_EHDR));
  if (header != nullptr) shown_data("its head", header, 4);
  const long long cpu_before = now(CLOCK_PROCESS_CPUTIME_ID);
  const long long thread_before = now(CLOCK_THREAD_CPUTIME_ID);
  const long long wall = now();
  while (now() - wall < 30000000) {
  }
  shown("process time", now(CLOCK_PROCESS_CPUTIME_ID) > cpu_before);
  shown("thread time", now(CLOCK_THREAD_CPUTIME_ID) > thread_before);
  clockid_t clock = 0;
  shown_error("clock of another process", clock_getcpuclockid(getppid(), &clock));
  shown("read", clock_gettime(clock, &time));
  shown_error("of a missing one", clock_getcpuclockid(999999, &clock));
  in_child("nobody sets", [] {
    setresuid(65534, 65534, 65534);
    const timespec zero{1000000000, 0};
    shown("clock_settime", clock_settime(CLOCK_REALTIME, &zero));
    shown("monotonic", clock_settime(CLOCK_MONOTONIC, &zero));
  });
}

CASE(sleeps) {
  const long long start = now();
  const timespec some{0, 20000000};
  shown("nanosleep", nanosleep(&some, nullptr));
  const long long took = now() - start;
  shown("long enough", took >= 20000000);
  shown("not too long", took < 500000000);
  const timespec negative{-1, 0};
  const timespec large{0, 1000000000};
  shown("negative", nanosleep(&negative, nullptr));
  shown("large", nanosleep(&large, nullptr));
  shown("bad pointer", syscall(SYS_nanosleep, bad(), nullptr));
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 20000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  shown_error("absolute", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr));
  shown("reached", now() >= nanoseconds(until));
  const timespec past{0, 1};
  shown_error("past", clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &past, nullptr));
  shown_error("bad clock", clock_nanosleep(99, 0, &some, nullptr));
  shown_error("thread clock", clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &some, nullptr));
  count(SIGALRM, SA_RESTART);
  itimerval timer{{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  timespec left{};
  const timespec second{1, 0};
  shown("interrupted in spite of SA_RESTART", nanosleep(&second, &left));
  shown("left", left.tv_sec == 0 && left.tv_nsec > 500000000);
}

CASE(interval_timers) {
  count(SIGALRM);
  count(SIGVTALRM);
  count(SIGPROF);
  itimerval timer{{0, 10000}, {0, 10000}};
  shown("real", setitimer(ITIMER_REAL, &timer, nullptr));
  while (ticks < 5) pause();
  itimerval old{};
  timer = {};
  shown("stop", setitimer(ITIMER_REAL, &timer, &old));
  say("interval %ld", old.it_interval.tv_usec);
  ticks = 0;
  sleep_ms(30);
  shown("stopped", ticks);
  timer = {{0, 0}, {0, 20000}};
  for (const __itimer_which which : {ITIMER_VIRTUAL, ITIMER_PROF}) {
    ticks = 0;
    setitimer(which, &timer, nullptr);
    while (ticks == 0) {
    }
    say("signal %s code %d", sigabbrev_np(last.si_signo), last.si_code);
  }
  timer.it_value.tv_usec = 1000000;
  shown("bad", setitimer(ITIMER_REAL, &timer, nullptr));
  shown("bad which", setitimer(static_cast<__itimer_which>(7), &old, nullptr));
  shown("get bad which", getitimer(static_cast<__itimer_which>(7), &old));
  shown("alarm", alarm(100));
  shown("alarm again", alarm(50));
  getitimer(ITIMER_REAL, &timer);
  shown("same timer", timer.it_value.tv_sec >= 49);
  in_child("not inherited", [] { shown("alarm", alarm(0)); });
}

CASE(posix_timers) {
  count(SIGRTMIN + 1);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN + 1;
  event.sigev_value.sival_int = 77;
  timer_t timer{};
  shown("create", timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec time{{0, 0}, {0, 20000000}};
  shown("set", timer_settime(timer, 0, &time, nullptr));
  itimerspec left{};
  shown("get", timer_gettime(timer, &left));
  shown("armed", left.it_value.tv_nsec > 0);
  while (ticks == 0) pause();
  say("code %d value %d", last.si_code, last.si_value.sival_int);
  shown("overrun", timer_getoverrun(timer));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  time = {{0, 1000000}, {0, 1000000}};
  timer_settime(timer, 0, &time, nullptr);
  sleep_ms(30);
  siginfo_t info{};
  shown("one signal", sigwaitinfo(&set, &info) == SIGRTMIN + 1);
  shown("overruns", info.si_overrun >= 5);
  shown("delete", timer_delete(timer));
  shown("gone", timer_gettime(timer, &left));
  event.sigev_notify = SIGEV_NONE;
  shown("none", timer_create(CLOCK_REALTIME, &event, &timer));
  time = {{0, 0}, {100, 0}};
  timer_settime(timer, 0, &time, nullptr);
  timer_gettime(timer, &left);
  shown("runs", left.it_value.tv_sec >= 98);
  event.sigev_notify = 99;
  shown("bad notify", timer_create(CLOCK_REALTIME, &event, &timer));
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = 99;
  shown("bad signal", timer_create(CLOCK_REALTIME, &event, &timer));
  shown("bad clock", timer_create(77, nullptr, &timer));
  shown("default event", timer_create(CLOCK_BOOTTIME, nullptr, &timer));
  time.it_value.tv_nsec = -1;
  shown("bad time", timer_settime(timer, 0, &time, nullptr));
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN + 1;
  event._sigev_un._tid = gettid();
  shown("thread", timer_create(CLOCK_MONOTONIC, &event, &timer));
  time = {{0, 0}, {0, 1000000}};
  timer_settime(timer, 0, &time, nullptr);
  shown("arrives", sigwaitinfo(&set, &info) == SIGRTMIN + 1);
  event._sigev_un._tid = 999999;
  shown("missing thread", timer_create(CLOCK_MONOTONIC, &event, &timer));
  shown("cpu clock", timer_create(CLOCK_PROCESS_CPUTIME_ID, nullptr, &timer));
  in_child("not inherited", [=] {
    itimerspec own{};
    shown("get", timer_gettime(timer, &own));
  });
}
