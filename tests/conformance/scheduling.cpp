// Policies and their attributes: sched(7). The real-time ones are not here: whether root may have them is up to the host's control groups.
#include <sched.h>
#include <sys/resource.h>

#include "check.h"

using namespace check;

namespace {

// struct sched_attr, with what came after its first version and room for more.
struct Attributes {
  uint32_t size = 0;
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
  uint32_t utilization_minimum = 0, utilization_maximum = 0;
  char rest[64] = {};
};

long set(Attributes attributes, unsigned flags = 0) { return syscall(SYS_sched_setattr, 0, &attributes, flags); }

// Without the time slice, which is the host's to choose.
void show_attributes(const char* what) {
  Attributes now{};
  shown(what, syscall(SYS_sched_getattr, 0, &now, 56, 0));
  say("size %u policy %u flags %lx nice %d priority %u", now.size, now.policy, static_cast<unsigned long>(now.flags), now.nice, now.priority);
}

}  // namespace

CASE(reset_on_fork) {
  sched_param parameter{};
  shown("nice", setpriority(PRIO_PROCESS, 0, -5));
  shown("set", sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &parameter));
  shown("get", sched_getscheduler(0));
  show_attributes("attributes");
  in_child("child", [] {
    shown("policy", sched_getscheduler(0));
    shown("nice", getpriority(PRIO_PROCESS, 0));
  });
  shown("lower", setpriority(PRIO_PROCESS, 0, 3));
  in_child("child of a nice one", [] { shown("nice", getpriority(PRIO_PROCESS, 0)); });
  in_child("nobody", [] {
    sched_param own{};
    setresuid(65534, 65534, 65534);
    shown("keep the flag", sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &own));
    shown("parameters", sched_setparam(0, &own));
  });
  shown("clear", sched_setscheduler(0, SCHED_OTHER, &parameter));
  shown("get", sched_getscheduler(0));
}

CASE(privilege) {
  in_child("nobody", [] {
    sched_param parameter{};
    setpriority(PRIO_PROCESS, 0, 3);
    const rlimit limit{};
    setrlimit(RLIMIT_NICE, &limit);
    setresuid(65534, 65534, 65534);
    shown("set the flag", sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &parameter));
    shown("clear the flag", sched_setscheduler(0, SCHED_OTHER, &parameter));
    shown("less nice", set({.size = 48, .flags = 1, .nice = 2}));
    shown("nicer", set({.size = 48, .flags = 1, .nice = 4}));
    shown("idle", sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &parameter));
    shown("from idle", sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &parameter));
    shown("another's", sched_setscheduler(getppid(), SCHED_BATCH, &parameter));
    shown("deadline", set({.size = 48, .policy = SCHED_DEADLINE, .flags = 1, .runtime = 10000000, .deadline = 30000000, .period = 30000000}));
  });
}

CASE(attributes) {
  show_attributes("get");
  shown("nice", set({.size = 48, .nice = 5}));
  shown("nice", getpriority(PRIO_PROCESS, 0));
  shown("keep the policy", set({.size = 48, .policy = SCHED_BATCH, .flags = 8, .nice = 7}));
  show_attributes("get");
  shown("keep the parameters", set({.size = 48, .policy = SCHED_BATCH, .flags = 0x10, .nice = 9}));
  show_attributes("get");
  shown("batch", set({.size = 56, .policy = SCHED_BATCH, .nice = 100}));
  show_attributes("get");
  shown("no size", set({.nice = 1}));
  show_attributes("get");
}

CASE(wrong_attributes) {
  Attributes one{.size = 40};
  shown("small", syscall(SYS_sched_setattr, 0, &one, 0));
  shown("the right size", one.size);
  one = {.size = 100};
  shown("large and empty", syscall(SYS_sched_setattr, 0, &one, 0));
  one.rest[20] = 1;
  shown("large and full", syscall(SYS_sched_setattr, 0, &one, 0));
  shown("the right size", one.size);
  one = {.size = 5000};
  shown("beyond a page", syscall(SYS_sched_setattr, 0, &one, 0));
  shown("null", syscall(SYS_sched_setattr, 0, nullptr, 0));
  shown("bad", syscall(SYS_sched_setattr, 0, bad(), 0));
  shown("call's flags", set({.size = 48}, 1));
  shown("flags", set({.size = 48, .flags = 0x80}));
  shown("utilization, small", set({.size = 48, .flags = 0x20}));
  shown("policy", set({.size = 48, .policy = 9}));
  shown("policy -1", set({.size = 48, .policy = ~0u}));
  shown("priority of other", set({.size = 48, .priority = 1}));
  shown("no deadline", set({.size = 48, .policy = SCHED_DEADLINE}));
  shown("deadline too short", set({.size = 48, .policy = SCHED_DEADLINE, .runtime = 1, .deadline = 30000000, .period = 30000000}));
  shown("missing", syscall(SYS_sched_setattr, 999999, &(one = {.size = 48}), 0));
  shown("get: small", syscall(SYS_sched_getattr, 0, &one, 47, 0));
  shown("get: first version", syscall(SYS_sched_getattr, 0, &one, 48, 0));
  shown("size", one.size);
  shown("get: large", syscall(SYS_sched_getattr, 0, &one, 100, 0));
  shown("size", one.size);
  shown("get: beyond a page", syscall(SYS_sched_getattr, 0, &one, 5000, 0));
  shown("get: flags", syscall(SYS_sched_getattr, 0, &one, 48, 1));
  shown("get: bad", syscall(SYS_sched_getattr, 0, bad(), 48, 0));
  sched_param parameter{100};
  shown("priority 100", sched_setscheduler(0, SCHED_FIFO, &parameter));
  parameter = {0};
  shown("fifo without priority", sched_setscheduler(0, SCHED_FIFO, &parameter));
  shown("other by priority", sched_setparam(0, &(parameter = {1})));
}

CASE(io_priorities) {
  enum { kProcess = 1, kGroup = 2, kUser = 3 };
  enum { kRealtime = 1 << 13, kBestEffort = 2 << 13, kIdle = 3 << 13 };
  const auto get = [](int which, int who) { return syscall(SYS_ioprio_get, which, who); };
  const auto set = [](int which, int who, int value) { return syscall(SYS_ioprio_set, which, who, value); };
  shown("set", set(kProcess, 0, kBestEffort | 6));
  shown("get", get(kProcess, 0));
  shown("by number", get(kProcess, getpid()));
  shown("idle", set(kProcess, 0, kIdle));
  shown("get", get(kProcess, 0));
  shown("real-time", set(kProcess, 0, kRealtime | 2));
  shown("get", get(kProcess, 0));
  in_child("inherited", [&] { shown("get", get(kProcess, 0)); });
  setpgid(0, 0);
  shown("own group", set(kGroup, 0, kBestEffort | 3));
  shown("get", get(kGroup, 0));
  shown("none", set(kProcess, 0, 0));
  shown("none with a level", set(kProcess, 0, 3));
  shown("class 4", set(kProcess, 0, 4 << 13));
  shown("negative", set(kProcess, 0, -1));
  shown("bad kind", set(9, 0, kIdle));
  shown("bad kind", get(9, 0));
  shown("missing", set(kProcess, 999999, kIdle));
  shown("missing", get(kProcess, 999999));
  in_child("nobody", [&] {
    setresuid(65534, 65534, 65534);
    shown("real-time", set(kProcess, 0, kRealtime | 2));
    shown("best effort", set(kProcess, 0, kBestEffort | 2));
    shown("of another", set(kProcess, getppid(), kBestEffort | 2));
  });
}
