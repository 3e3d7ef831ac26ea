// clone3(2): what its flags and fields mean for processes. Threads have a program of their own.
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>

#include "check.h"

using namespace check;

namespace {

long clone_call(clone_args arguments) { return syscall(SYS_clone3, &arguments, sizeof arguments); }

clone_args with_flags(unsigned long long flags) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  return arguments;
}

void show_end(const char* what, long child, int options = 0) {
  int status = 0;
  shown(what, waitpid(static_cast<pid_t>(child), &status, options) == child);
  shown_status(what, status);
}

}  // namespace

CASE(handlers) {
  signal(SIGUSR1, [](int) {});
  signal(SIGUSR2, SIG_IGN);
  const long child = clone_call(with_flags(CLONE_CLEAR_SIGHAND));
  if (child == 0) {
    struct sigaction action{};
    sigaction(SIGUSR1, nullptr, &action);
    say("default %d", action.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, nullptr, &action);
    say("still ignored %d", action.sa_handler == SIG_IGN);
    _exit(0);
  }
  show_end("child", child);
  shown("shared and cleared", clone_call(with_flags(CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM)));
}

CASE(thread_ids) {
  int* ids = static_cast<int*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  clone_args arguments = with_flags(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID);
  arguments.child_tid = reinterpret_cast<uint64_t>(&ids[0]);
  arguments.parent_tid = reinterpret_cast<uint64_t>(&ids[1]);
  const long child = clone_call(arguments);
  if (child == 0) {
    say("own %d", ids[0] == getpid());
    int* address = nullptr;
    shown("address", prctl(PR_GET_TID_ADDRESS, &address));
    say("right %d", address == &ids[0]);
    _exit(0);
  }
  show_end("child", child);
  say("parent's %d", ids[1] == child);
  // Memory that nobody else has, so that nobody waits: it stays.
  say("kept %d", ids[0] == child);
}

CASE(siblings) {
  const pid_t parent = getpid();
  int ready[2], said[2];
  pipe(ready);
  pipe(said);
  const pid_t middle = fork();
  if (middle == 0) {
    shown("with a signal", clone_call(with_flags(CLONE_PARENT)));
    clone_args arguments = with_flags(CLONE_PARENT);
    arguments.exit_signal = 0;
    const long sibling = clone_call(arguments);
    if (sibling == 0) {
      say("the parent is ours %d", getppid() == parent);
      write(said[1], "x", 1);
      _exit(7);
    }
    char byte;
    read(said[0], &byte, 1);
    shown("no child of ours", waitpid(static_cast<pid_t>(sibling), nullptr, 0));
    write(ready[1], &sibling, sizeof sibling);
    _exit(0);
  }
  long sibling = 0;
  read(ready[0], &sibling, sizeof sibling);
  show_end("middle", middle);
  show_end("sibling", sibling, __WALL);
}

CASE(exit_signals) {
  clone_args arguments = with_flags(0);
  arguments.exit_signal = SIGUSR2;
  signal(SIGUSR2, SIG_IGN);
  const long child = clone_call(arguments);
  if (child == 0) _exit(3);
  shown("not for wait", waitpid(static_cast<pid_t>(child), nullptr, 0));
  show_end("for __WCLONE", child, __WCLONE);
  arguments.exit_signal = 65;
  shown("no signal", clone_call(arguments));
}

CASE(wrong_arguments) {
  shown("unknown flag", clone_call(with_flags(1ULL << 40)));
  shown("thread alone", clone_call(with_flags(CLONE_THREAD)));
  shown("handlers alone", clone_call(with_flags(CLONE_SIGHAND)));
  shown("detached", clone_call(with_flags(CLONE_DETACHED)));
  shown("own mounts, shared directories", clone_call(with_flags(CLONE_FS | CLONE_NEWNS)));
  clone_args arguments = with_flags(0);
  arguments.stack = 4096;
  shown("stack without size", clone_call(arguments));
  arguments = with_flags(0);
  arguments.stack_size = 4096;
  shown("size without stack", clone_call(arguments));
  shown("too small", syscall(SYS_clone3, &arguments, 56));
  struct {
    clone_args known;
    uint64_t more;
  } larger{with_flags(0), 1};
  shown("more than known", syscall(SYS_clone3, &larger, sizeof larger));
  shown("bad pointer", syscall(SYS_clone3, bad(), sizeof(clone_args)));
}
