// Process groups, sessions, limits, prctl, priorities, affinity, identity of the system.
#include "check.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

CASE(groups_and_sessions) {
  in_child("leader", [] {
    shown("setsid", setsid() == getpid());
    shown("is its own group", getpgrp() == getpid());
    shown("again", setsid());
    shown("setpgid of a leader", setpgid(0, 0));
    const pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    shown("group of the child", getpgid(child) == getpid());
    shown("session of the child", getsid(child) == getpid());
    shown("new group", setpgid(child, child));
    shown("is leader", getpgid(child) == child);
    shown("missing group", setpgid(child, 999999));
    shown("negative", setpgid(child, -1));
    shown("missing process", setpgid(999999, 0));
    shown("getpgid missing", getpgid(999999));
    shown("getsid missing", getsid(999999));
    shown("back", setpgid(child, getpid()));
    shown("kill group", kill(-getpid(), 0));
    kill(child, SIGKILL);
    wait(nullptr);
    const pid_t other = fork();
    if (other == 0) {
      setsid();
      sleep_ms(100);
      _exit(0);
    }
    sleep_ms(30);
    shown("a child in another session", setpgid(other, 0));
    wait(nullptr);
  });
  int until_exec[2];
  must("pipe", pipe2(until_exec, O_CLOEXEC));
  const pid_t pid = fork();
  if (pid == 0) {
    execl("/bin/sh", "sh", "-c", "sleep 0.2", nullptr);
    _exit(1);
  }
  close(until_exec[1]);
  char none;
  must("read", read(until_exec[0], &none, 1));
  shown("after exec", setpgid(pid, pid));
  waitpid(pid, nullptr, 0);
}

CASE(resource_limits) {
  rlimit limit{};
  shown("get", getrlimit(RLIMIT_NOFILE, &limit));
  limit = {100, 50};
  shown("soft above hard", setrlimit(RLIMIT_NOFILE, &limit));
  shown("bad resource", getrlimit(static_cast<__rlimit_resource>(99), &limit));
  shown("bad pointer", syscall(SYS_getrlimit, RLIMIT_NOFILE, bad()));
  rlimit old{};
  limit = {64, 128};
  shown("prlimit", prlimit(0, RLIMIT_NOFILE, &limit, &old));
  prlimit(0, RLIMIT_NOFILE, nullptr, &old);
  say("%lu %lu", old.rlim_cur, old.rlim_max);
  shown("prlimit missing", prlimit(999999, RLIMIT_NOFILE, nullptr, &old));
  in_child("nobody", [] {
    setresuid(65534, 65534, 65534);
    rlimit raised{64, 256};
    shown("raise the hard limit", setrlimit(RLIMIT_NOFILE, &raised));
    raised = {128, 128};
    shown("raise the soft limit", setrlimit(RLIMIT_NOFILE, &raised));
    shown("of init", prlimit(1, RLIMIT_NOFILE, &raised, nullptr));
  });
  in_child("file size", [] {
    rlimit size{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &size);
    const int fd = open("f", O_CREAT | O_RDWR, 0600);
    static char data[2000];
    shown("up to the limit", write(fd, data, 2000));
    write(fd, data, 1);
  });
  in_child("file size, ignored", [] {
    rlimit size{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &size);
    signal(SIGXFSZ, SIG_IGN);
    const int fd = open("f", O_RDWR);
    shown("seek", lseek(fd, 1000, SEEK_SET));
    shown("write", write(fd, "x", 1));
    shown("truncate", ftruncate(fd, 2000));
  });
  in_child("cpu time", [] {
    rlimit cpu{1, 2};
    setrlimit(RLIMIT_CPU, &cpu);
    alarm(0);
    for (;;) {
    }
  });
  in_child("address space", [] {
    rlimit space{256 << 20, 256 << 20};
    setrlimit(RLIMIT_AS, &space);
    void* memory = malloc(512 << 20);
    shown("malloc", memory == nullptr ? -1 : 0);
  });
  in_child("processes", [] {
    setresuid(54321, 54321, 54321);
    rlimit processes{2, 2};
    setrlimit(RLIMIT_NPROC, &processes);
    const pid_t one = fork();
    if (one == 0) {
      pause();
      _exit(0);
    }
    shown("first", one > 0);
    const pid_t two = fork();
    if (two == 0) _exit(0);
    shown("second", two);
    kill(one, SIGKILL);
  });
}

CASE(process_control) {
  char name[32] = {};
  shown("set name", prctl(PR_SET_NAME, "a-name-that-is-far-too-long"));
  shown("get name", prctl(PR_GET_NAME, name));
  say("%s", name);
  shown("bad name", prctl(PR_SET_NAME, bad()));
  shown("dumpable", prctl(PR_GET_DUMPABLE));
  shown("set", prctl(PR_SET_DUMPABLE, 0));
  shown("dumpable", prctl(PR_GET_DUMPABLE));
  shown("bad", prctl(PR_SET_DUMPABLE, 7));
  shown("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  shown("cannot be unset", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  shown("set", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  shown("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  shown("keepcaps", prctl(PR_GET_KEEPCAPS));
  shown("death signal", prctl(PR_SET_PDEATHSIG, SIGUSR1));
  int signal_number = 0;
  prctl(PR_GET_PDEATHSIG, &signal_number);
  shown("is", signal_number);
  shown("bad", prctl(PR_SET_PDEATHSIG, 99));
  shown("timer slack", prctl(PR_SET_TIMERSLACK, 1000));
  shown("is", prctl(PR_GET_TIMERSLACK));
  shown("unknown", prctl(9999, 0, 0, 0, 0));
  shown("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1));
  int subreaper = 0;
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  shown("is", subreaper);
  in_child("not inherited", [] {
    int value = 9;
    prctl(PR_GET_CHILD_SUBREAPER, &value);
    shown("subreaper", value);
    int death = 9;
    prctl(PR_GET_PDEATHSIG, &death);
    shown("death signal", death);
    char own[32];
    prctl(PR_GET_NAME, own);
    say("%s", own);
  });
}

// Two programs on one processor: one that is nice leaves most of it to the other, also one that was made so before exec or by another process.
static long clock_ms() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

CHILD(spin) {
  const long end = clock_ms() + 300;
  unsigned long rounds = 0;
  while (clock_ms() < end) rounds++;
  const int fd = open(check::arguments[3], O_WRONLY | O_APPEND);
  write(fd, &rounds, sizeof rounds);
  close(fd);
}

static pid_t start_spinning(const char* file, int nice_value, bool borrows) {
  const pid_t pid = borrows ? vfork() : fork();
  if (pid != 0) {
    if (!borrows) shown("by another", setpriority(PRIO_PROCESS, static_cast<id_t>(pid), nice_value));
    return pid;
  }
  if (borrows) setpriority(PRIO_PROCESS, 0, nice_value);
  check::self("spin", file);
  _exit(1);
}

CASE(niceness_is_felt) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  shown("pinned", sched_setaffinity(0, sizeof set, &set));
  for (const bool borrows : {false, true}) {
    make_file("usual", "");
    make_file("nice", "");
    const pid_t usual = start_spinning("usual", 0, borrows);
    const pid_t niced = start_spinning("nice", 15, borrows);
    shown("of the nice one", getpriority(PRIO_PROCESS, static_cast<id_t>(niced)));
    shown("own", getpriority(PRIO_PROCESS, 0));
    waitpid(usual, nullptr, 0);
    waitpid(niced, nullptr, 0);
    unsigned long of_usual = 0, of_nice = 0;
    read(open("usual", O_RDONLY), &of_usual, sizeof of_usual);
    read(open("nice", O_RDONLY), &of_nice, sizeof of_nice);
    say("%s: the nice one got %s", borrows ? "vfork" : "fork", of_nice * 3 < of_usual ? "much less" : "its share");
  }
}

CASE(priorities) {
  errno = 0;
  shown("nice", nice(5));
  shown("get", getpriority(PRIO_PROCESS, 0));
  shown("clamped", nice(100));
  shown("set", setpriority(PRIO_PROCESS, 0, -5));
  shown("get", getpriority(PRIO_PROCESS, 0));
  shown("raw", syscall(SYS_getpriority, PRIO_PROCESS, 0));
  shown("bad which", getpriority(static_cast<__priority_which>(7), 0));
  shown("missing", getpriority(PRIO_PROCESS, 999999));
  in_child("nobody", [] {
    setresuid(65534, 65534, 65534);
    shown("lower the niceness", setpriority(PRIO_PROCESS, 0, -10));
    shown("raise it", setpriority(PRIO_PROCESS, 0, 10));
    shown("of another user", setpriority(PRIO_PROCESS, static_cast<id_t>(getppid()), 10));
  });
  in_child("inherited", [] { shown("get", getpriority(PRIO_PROCESS, 0)); });
  sched_param parameter{};
  shown("policy", sched_getscheduler(0));
  shown("batch", sched_setscheduler(0, SCHED_BATCH, &parameter));
  shown("policy", sched_getscheduler(0));
  shown("bad policy", sched_setscheduler(0, 77, &parameter));
  parameter.sched_priority = 5;
  shown("priority of other", sched_setscheduler(0, SCHED_OTHER, &parameter));
  shown("missing", sched_getscheduler(999999));
  shown("max fifo", sched_get_priority_max(SCHED_FIFO));
  shown("min fifo", sched_get_priority_min(SCHED_FIFO));
  shown("max other", sched_get_priority_max(SCHED_OTHER));
  shown("bad", sched_get_priority_max(77));
  shown("yield", sched_yield());
}

CASE(affinity) {
  cpu_set_t set;
  shown("get", sched_getaffinity(0, sizeof set, &set));
  shown("some", CPU_COUNT(&set) > 0);
  shown("raw returns bytes", syscall(SYS_sched_getaffinity, 0, sizeof set, &set) >= 8);
  shown("too small", syscall(SYS_sched_getaffinity, 0, 1, &set));
  shown("of nobody", sched_getaffinity(-1, sizeof set, &set));
  shown("set for nobody", sched_setaffinity(-1, sizeof set, &set));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  shown("set", sched_setaffinity(0, sizeof one, &one));
  shown("on it", sched_getcpu());
  sched_getaffinity(0, sizeof set, &set);
  shown("count", CPU_COUNT(&set));
  in_child("inherited", [] {
    cpu_set_t own;
    sched_getaffinity(0, sizeof own, &own);
    shown("count", CPU_COUNT(&own));
  });
  CPU_ZERO(&one);
  shown("empty", sched_setaffinity(0, sizeof one, &one));
  shown("missing", sched_setaffinity(999999, sizeof one, &set));
  shown("bad pointer", sched_setaffinity(0, sizeof one, bad<cpu_set_t>()));
}

CASE(system_identity) {
  utsname name{};
  shown("uname", uname(&name));
  say("%s %s", name.sysname, name.machine);
  shown("bad", uname(bad<utsname>()));
  struct sysinfo info{};
  shown("sysinfo", sysinfo(&info));
  say("plausible %d", info.totalram > 0 && info.freeram <= info.totalram && info.procs > 0 && info.mem_unit > 0);
  shown("bad", sysinfo(bad<struct sysinfo>()));
  tms ticks{};
  shown("times", times(&ticks) > 0);
  rusage usage{};
  shown("getrusage", getrusage(RUSAGE_SELF, &usage));
  shown("children", getrusage(RUSAGE_CHILDREN, &usage));
  shown("thread", getrusage(RUSAGE_THREAD, &usage));
  shown("bad who", getrusage(static_cast<__rusage_who>(9), &usage));
  unsigned char bytes[32] = {};
  shown("getrandom", syscall(SYS_getrandom, bytes, 32, 0));
  int zero = 0;
  for (unsigned char byte : bytes) zero += byte == 0;
  shown("random enough", zero < 8);
  shown("bad flags", syscall(SYS_getrandom, bytes, 32, 0x100));
  shown("bad pointer", syscall(SYS_getrandom, bad(), 32, 0));
  in_child("hostname", [] {
    setresuid(65534, 65534, 65534);
    shown("sethostname as nobody", sethostname("x", 1));
  });
  shown("unknown call", syscall(1000));
  shown("unknown call", syscall(-1));
}

CASE(process_switches) {
  int value = -1;
  shown("time stamp counter", prctl(PR_GET_TSC, &value));
  shown("value", value);
  shown("time stamp counter, bad", prctl(PR_GET_TSC, bad()));
  shown("timing", prctl(PR_GET_TIMING));
  shown("statistical", prctl(PR_SET_TIMING, PR_TIMING_STATISTICAL));
  shown("by time stamp", prctl(PR_SET_TIMING, PR_TIMING_TIMESTAMP));
  shown("huge pages", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
  shown("without", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  in_child("child", [] { shown("huge pages", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)); });
  shown("with", prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
  shown("huge pages", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
  shown("more arguments", prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
  shown("more arguments", prctl(PR_SET_THP_DISABLE, 1, 0, 1, 0));
  shown("nothing", prctl(9999, 0, 0, 0, 0));
}
