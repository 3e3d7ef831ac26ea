// Sending, queueing, masks, alternate stacks, SA_* flags, stop and continue.
#include "check.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

namespace {

volatile sig_atomic_t order[128];
volatile sig_atomic_t count = 0;
siginfo_t last{};

void note(int number) {
  order[count] = number;
  count = count + 1;
}
void note_info(int number, siginfo_t* info, void*) {
  last = *info;
  note(number);
}

void install(int number, int flags, void (*handler)(int) = note) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(number, &action, nullptr);
}
void install_info(int number, int flags = 0) {
  struct sigaction action{};
  action.sa_sigaction = note_info;
  action.sa_flags = flags | SA_SIGINFO;
  sigaction(number, &action, nullptr);
}
void block(int how, std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : numbers) sigaddset(&set, number);
  sigprocmask(how, &set, nullptr);
}
void shown_order(const char* what) {
  char line[512] = "";
  for (int i = 0; i < count; i++) snprintf(line + strlen(line), 16, " %d", static_cast<int>(order[i]));
  say("%s:%s", what, line);
  count = 0;
}

}  // namespace

CASE(all_sixty_four) {
  for (int number = 1; number <= 64; number++) {
    if (number == SIGKILL || number == SIGSTOP || number == 32 || number == 33) continue;
    install(number, 0);
    count = 0;
    if (raise(number) != 0 || count != 1 || order[0] != number) say("%d was not delivered", number);
  }
  say("delivered");
  struct sigaction action{};
  action.sa_handler = note;
  shown("SIGKILL", sigaction(SIGKILL, &action, nullptr));
  shown("SIGSTOP", sigaction(SIGSTOP, &action, nullptr));
  shown("0", syscall(SYS_rt_sigaction, 0, nullptr, nullptr, 8));
  shown("65", syscall(SYS_rt_sigaction, 65, nullptr, nullptr, 8));
  shown("bad size", syscall(SYS_rt_sigaction, 1, nullptr, nullptr, 4));
  shown("bad pointer", syscall(SYS_rt_sigaction, 1, bad(), nullptr, 8));
  shown("read SIGKILL", sigaction(SIGKILL, nullptr, &action));
  for (int number = 1; number <= 64; number++) {
    if (number == 32 || number == 33) continue;
    const pid_t pid = fork();
    if (pid == 0) {
      if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);
      kill(getpid(), number);
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, WUNTRACED);
    char what[32];
    snprintf(what, sizeof what, "default of %d", number);
    shown_status(what, status & ~0x80);
    kill(pid, SIGKILL);
    if (WIFSTOPPED(status)) waitpid(pid, nullptr, 0);
  }
}

CASE(masks_and_order) {
  for (int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5, SIGSEGV}) install(number, 0);
  block(SIG_BLOCK, {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5});
  for (int number : {SIGRTMIN + 5, SIGTERM, SIGRTMIN, SIGUSR2, SIGUSR1, SIGRTMIN + 1, SIGUSR1, SIGRTMIN}) kill(getpid(), number);
  sigset_t pending;
  sigpending(&pending);
  say("pending %d %d %d", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGRTMIN), sigismember(&pending, SIGHUP));
  struct sigaction action{};
  sigfillset(&action.sa_mask);
  action.sa_handler = note;
  for (int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5}) sigaction(number, &action, nullptr);
  block(SIG_UNBLOCK, {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5});
  shown_order("with full masks");
  shown("bad how", syscall(SYS_rt_sigprocmask, 9, &pending, nullptr, 8));
  shown("bad size", syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pending, nullptr, 7));
  shown("bad pointer", syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad(), nullptr, 8));
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  sigprocmask(SIG_SETMASK, nullptr, &all);
  say("SIGKILL blocked %d SIGSTOP blocked %d", sigismember(&all, SIGKILL), sigismember(&all, SIGSTOP));
  raise(SIGUSR1);
  signal(SIGUSR1, SIG_IGN);
  sigpending(&pending);
  shown("ignoring drops what is pending", sigismember(&pending, SIGUSR1));
  in_child("pending is not inherited", [] {
    sigset_t own;
    raise(SIGUSR2);
    if (fork() == 0) {
      sigpending(&own);
      shown("pending", sigismember(&own, SIGUSR2));
      sigprocmask(SIG_SETMASK, nullptr, &own);
      shown("mask is", sigismember(&own, SIGUSR2));
      _exit(0);
    }
    wait(nullptr);
  });
  in_child("a blocked fault kills", [] { *bad<volatile int>() = 0; });
  in_child("a blocked handler fault kills", [] {
    install(SIGSEGV, 0);
    block(SIG_BLOCK, {SIGSEGV});
    *bad<volatile int>() = 0;
  });
  in_child("an ignored fault kills", [] {
    signal(SIGSEGV, SIG_IGN);
    *bad<volatile int>() = 0;
  });
}

CASE(information) {
  install_info(SIGUSR1);
  install_info(SIGRTMIN + 4);
  install_info(SIGCHLD);
  kill(getpid(), SIGUSR1);
  say("kill: code %d mine %d uid %u", last.si_code, last.si_pid == getpid(), last.si_uid);
  syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
  say("tgkill: code %d mine %d", last.si_code, last.si_pid == getpid());
  sigval value{};
  value.sival_ptr = reinterpret_cast<void*>(0x123456789abcdef);
  shown("sigqueue", sigqueue(getpid(), SIGRTMIN + 4, value));
  say("sigqueue: code %d value %lx", last.si_code, reinterpret_cast<unsigned long>(last.si_value.sival_ptr));
  siginfo_t own{};
  own.si_code = -77;
  own.si_value.sival_int = 5;
  shown("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN + 4, &own));
  say("code %d value %d signo %d", last.si_code, last.si_value.sival_int, last.si_signo - SIGRTMIN);
  const pid_t other = fork();
  if (other == 0) {
    pause();
    _exit(0);
  }
  own.si_code = SI_USER;
  shown("forged kill to another", syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, &own));
  own.si_code = 3;
  shown("forged kernel code to another", syscall(SYS_rt_sigqueueinfo, other, SIGUSR1, &own));
  shown("tgkill wrong group", syscall(SYS_tgkill, getpid(), other, 0));
  shown("tgkill 0", syscall(SYS_tgkill, 0, 0, 0));
  shown("tkill missing", syscall(SYS_tkill, 999999, 0));
  block(SIG_BLOCK, {SIGRTMIN + 4});
  for (int i = 0; i < 5; i++) {
    value = {};
    value.sival_int = i;
    sigqueue(getpid(), SIGRTMIN + 4, value);
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 4);
  siginfo_t info{};
  const timespec zero{0, 0};
  for (int i = 0; i < 6; i++) {
    const int n = sigtimedwait(&set, &info, &zero);
    if (n < 0) {
      shown("sigtimedwait", n);
    } else {
      say("got %d value %d", n - SIGRTMIN, info.si_value.sival_int);
    }
  }
  const timespec wrong{0, -1};
  shown("bad time", sigtimedwait(&set, &info, &wrong));
  const timespec some{0, 20000000};
  shown("time limit", sigtimedwait(&set, &info, &some));
  install(SIGALRM, SA_RESTART);
  itimerval timer{{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  const timespec longer{5, 0};
  shown("another signal interrupts", sigtimedwait(&set, &info, &longer));
  kill(other, SIGKILL);
  sleep_ms(50);
  say("child: code %d status %d right %d", last.si_code, last.si_status, last.si_pid == other);
  wait(nullptr);
}

CASE(flags) {
  install(SIGUSR1, SA_RESETHAND);
  raise(SIGUSR1);
  struct sigaction action{};
  sigaction(SIGUSR1, nullptr, &action);
  say("SA_RESETHAND: default again %d", action.sa_handler == SIG_DFL);
  static volatile int depth = 0;
  static volatile int deepest = 0;
  auto nested = [](int number) {
    depth = depth + 1;
    if (depth > deepest) deepest = depth;
    if (depth < 3) raise(number);
    depth = depth - 1;
  };
  install(SIGUSR2, SA_NODEFER, nested);
  raise(SIGUSR2);
  say("SA_NODEFER: depth %d", deepest);
  deepest = 0;
  static volatile int calls = 0;
  install(SIGUSR2, 0, [](int number) {
    calls = calls + 1;
    depth = depth + 1;
    if (depth > deepest) deepest = depth;
    if (calls < 3) raise(number);
    depth = depth - 1;
  });
  raise(SIGUSR2);
  say("deferred: depth %d calls %d", deepest, calls);
  action = {};
  action.sa_handler = [](int) {
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    say("in the handler: HUP %d USR1 %d TERM %d", sigismember(&mask, SIGHUP), sigismember(&mask, SIGUSR1), sigismember(&mask, SIGTERM));
  };
  sigaddset(&action.sa_mask, SIGHUP);
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  say("after: HUP %d USR1 %d", sigismember(&mask, SIGHUP), sigismember(&mask, SIGUSR1));
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void* context) { sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGTERM); };
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  say("changed by the handler: TERM %d", sigismember(&mask, SIGTERM));
  install(SIGCHLD, SA_NOCLDSTOP);
  count = 0;
  const pid_t child = fork();
  if (child == 0) {
    raise(SIGSTOP);
    _exit(0);
  }
  waitpid(child, nullptr, WUNTRACED);
  shown("SA_NOCLDSTOP", count);
  kill(child, SIGCONT);
  waitpid(child, nullptr, 0);
  shown("exit is told", count);
}

CASE(suspend_and_jump) {
  install(SIGUSR1, 0);
  block(SIG_BLOCK, {SIGUSR1});
  raise(SIGUSR1);
  sigset_t none;
  sigemptyset(&none);
  shown("sigsuspend", sigsuspend(&none));
  shown_order("delivered");
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  shown("blocked again", sigismember(&mask, SIGUSR1));
  shown("bad", syscall(SYS_rt_sigsuspend, bad(), 8));
  block(SIG_UNBLOCK, {SIGUSR1});
  static sigjmp_buf place;
  install(SIGSEGV, 0, [](int) { siglongjmp(place, 1); });
  int jumps = 0;
  for (int i = 0; i < 5; i++) {
    if (sigsetjmp(place, 1) == 0) {
      *bad<volatile int>() = 1;
    } else {
      jumps++;
    }
  }
  shown("jumps out of a handler", jumps);
  int number = 0;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const pid_t parent = getpid();
  if (fork() == 0) {
    sleep_ms(30);
    kill(parent, SIGUSR2);
    _exit(0);
  }
  shown_error("sigwait", sigwait(&set, &number));
  shown("is", number);
  wait(nullptr);
}

CASE(alternate_stack) {
  static char space[32768];
  stack_t stack{};
  shown("none", sigaltstack(nullptr, &stack));
  shown("disabled", stack.ss_flags);
  stack.ss_sp = space;
  stack.ss_size = 100;
  stack.ss_flags = 0;
  shown("too small", sigaltstack(&stack, nullptr));
  stack.ss_size = sizeof space;
  stack.ss_flags = 0x44;
  shown("bad flags", sigaltstack(&stack, nullptr));
  stack.ss_flags = 0;
  shown("set", sigaltstack(&stack, nullptr));
  auto where = [](int) {
    char here = 0;
    stack_t now{};
    sigaltstack(nullptr, &now);
    stack_t other{};
    other.ss_flags = SS_DISABLE;
    const long change = sigaltstack(&other, nullptr);
    say("on it %d flags %d change %s", &here >= space && &here < space + sizeof space, now.ss_flags, change == 0 ? "0" : check::error_name(errno));
  };
  install(SIGUSR1, SA_ONSTACK, where);
  raise(SIGUSR1);
  install(SIGUSR1, 0, where);
  raise(SIGUSR1);
  sigaltstack(&stack, nullptr);
  in_child("stack overflow", [] {
    install(SIGSEGV, SA_ONSTACK, [](int) {
      say("caught");
      _exit(4);
    });
    struct Recursion {
      static int go(int n) {
        volatile char frame[10000];
        frame[0] = static_cast<char>(n);
        return go(n + 1) + frame[0];
      }
    };
    Recursion::go(0);
  });
  in_child("stack overflow without", [] {
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, nullptr);
    install(SIGSEGV, 0, [](int) { _exit(4); });
    struct Recursion {
      static int go(int n) {
        volatile char frame[10000];
        frame[0] = static_cast<char>(n);
        return go(n + 1) + frame[0];
      }
    };
    Recursion::go(0);
  });
  stack.ss_flags = static_cast<int>(1U << 31);  // SS_AUTODISARM
  shown("autodisarm", sigaltstack(&stack, nullptr));
  install(SIGUSR1, SA_ONSTACK, [](int) {
    stack_t now{};
    sigaltstack(nullptr, &now);
    say("in the handler: flags %x", static_cast<unsigned>(now.ss_flags));
  });
  raise(SIGUSR1);
  sigaltstack(nullptr, &stack);
  say("after: flags %x", static_cast<unsigned>(stack.ss_flags));
  in_child("inherited by fork", [] {
    stack_t own{};
    sigaltstack(nullptr, &own);
    say("set %d", own.ss_sp == space);
  });
}

CASE(stop_and_continue) {
  const pid_t child = fork();
  if (child == 0) {
    install(SIGCONT, 0, [](int) { say("child got SIGCONT"); });
    raise(SIGSTOP);
    say("child goes on");
    raise(SIGTSTP);
    say("child goes on again");
    block(SIG_BLOCK, {SIGCONT});
    raise(SIGSTOP);
    say("continued although blocked");
    block(SIG_UNBLOCK, {SIGCONT});
    _exit(0);
  }
  int status = 0;
  for (int i = 0; i < 3; i++) {
    waitpid(child, &status, WUNTRACED);
    shown_status("child", status);
    if (!WIFSTOPPED(status)) return;
    kill(child, SIGCONT);
  }
  waitpid(child, &status, 0);
  shown_status("end", status);
  const pid_t second = fork();
  if (second == 0) {
    signal(SIGTSTP, SIG_IGN);
    raise(SIGTSTP);
    setsid();
    if (fork() == 0) {
      setsid();
      raise(SIGTTIN);
      say("an orphaned group does not stop");
      _exit(0);
    }
    wait(nullptr);
    kill(getpid(), SIGSTOP);
    _exit(0);
  }
  waitpid(second, &status, WUNTRACED);
  shown_status("second", status);
  kill(second, SIGTERM);
  kill(second, SIGCONT);
  waitpid(second, &status, 0);
  shown_status("pending SIGTERM acts when continued", status);
}
