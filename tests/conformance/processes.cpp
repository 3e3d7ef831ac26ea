// fork, vfork, clone, clone3, wait and orphans.
#include "check.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

namespace {

long clone3(clone_args* arguments, size_t size = sizeof(clone_args)) { return syscall(SYS_clone3, arguments, size); }

void shown_info(const char* what, long result, const siginfo_t& info, pid_t child) {
  if (result != 0) {
    shown(what, result);
    return;
  }
  say("%s: signo %d code %d status %d child %d", what, info.si_signo, info.si_code, info.si_status, info.si_pid == child);
}

alignas(16) char stack[65536];
int shared_value = 0;

}  // namespace

CASE(fork_and_wait) {
  int value = 1;
  const pid_t child = fork();
  if (child == 0) {
    value = 2;
    say("child: parent is right %d", getppid() != 1);
    _exit(300);
  }
  int status = 0;
  shown("wait", waitpid(child, &status, 0) == child);
  shown_status("status", status);
  shown("own copy", value);
  shown("no more", wait(&status));
  shown("not mine", waitpid(1, &status, 0));
  shown("bad options", waitpid(-1, &status, 0x1000));
  shown("missing group", waitpid(-99999, &status, 0));
  const pid_t slow = fork();
  if (slow == 0) {
    pause();
    _exit(0);
  }
  shown("WNOHANG", waitpid(slow, &status, WNOHANG));
  kill(slow, SIGTERM);
  shown("bad status pointer", waitpid(slow, bad<int>(), 0));
  shown("was reaped all the same", waitpid(slow, &status, 0));
}

CASE(exit_reasons) {
  in_child("exit 0", [] { _exit(0); });
  in_child("exit 255", [] { _exit(-1); });
  in_child("abort", [] { abort(); });
  in_child("kill", [] { kill(getpid(), SIGKILL); });
  in_child("term", [] { raise(SIGTERM); });
  in_child("ignored", [] {
    signal(SIGTERM, SIG_IGN);
    raise(SIGTERM);
    _exit(3);
  });
  in_child("user signal", [] { raise(SIGUSR1); });
  in_child("real-time signal", [] { raise(SIGRTMIN + 3); });
  in_child("segment", [] { *bad<volatile int>() = 1; });
  in_child("child's default is ignored", [] { raise(SIGCHLD); });
  in_child("trap", [] { __builtin_trap(); });
}

CASE(wait_by_id) {
  siginfo_t info{};
  pid_t child = fork();
  if (child == 0) _exit(5);
  shown_info("WNOWAIT", waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), info, child);
  shown_info("WEXITED", waitid(P_ALL, 0, &info, WEXITED), info, child);
  shown("none", waitid(P_ALL, 0, &info, WEXITED));
  shown("no options", waitid(P_ALL, 0, &info, 0));
  shown("bad type", waitid(static_cast<idtype_t>(9), 0, &info, WEXITED));
  child = fork();
  if (child == 0) {
    raise(SIGSTOP);
    for (;;) pause();
  }
  shown_info("stopped", waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED), info, child);
  info.si_pid = 9;
  shown("nothing new", waitid(P_PID, static_cast<id_t>(child), &info, WSTOPPED | WNOHANG));
  shown("pid is 0", info.si_pid);
  kill(child, SIGCONT);
  shown_info("continued", waitid(P_PID, static_cast<id_t>(child), &info, WCONTINUED | WEXITED), info, child);
  kill(child, SIGKILL);
  shown_info("killed", waitid(P_PID, static_cast<id_t>(child), &info, WEXITED), info, child);
  rusage usage{};
  child = fork();
  if (child == 0) _exit(0);
  shown("rusage", syscall(SYS_wait4, child, nullptr, 0, &usage) == child);
  child = fork();
  if (child == 0) _exit(4);
  const int fd = ifd("pidfd", syscall(SYS_pidfd_open, child, 0));
  pollfd one{fd, POLLIN, 0};
  shown("poll", poll(&one, 1, 5000));
  shown_info("P_PIDFD", waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED), info, child);
  shown("signal to the dead", syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0));
  shown("pidfd of nobody", syscall(SYS_pidfd_open, 999999, 0));
  shown("pidfd flags", syscall(SYS_pidfd_open, getpid(), 1));
}

CASE(signals_by_proc) {
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, 0);
    for (;;) pause();
  }
  setpgid(child, child);
  char name[64];
  snprintf(name, sizeof name, "/proc/%d", child);
  const int directory = ifd("directory", open(name, O_RDONLY | O_DIRECTORY));
  shown("signal 0", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 0));
  shown("bad signal", syscall(SYS_pidfd_send_signal, directory, 65, nullptr, 0));
  shown("two scopes", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 3));
  shown("unknown scope", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 8));
  shown("first thread", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 1));
  shown("thread group", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 2));
  shown("process group", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 4));
  siginfo_t info{};
  info.si_signo = SIGTERM;
  info.si_code = SI_USER;
  shown("false origin", syscall(SYS_pidfd_send_signal, directory, SIGTERM, &info, 0));
  in_child("nobody", [&] {
    setresuid(65534, 65534, 65534);
    shown("signal", syscall(SYS_pidfd_send_signal, directory, SIGTERM, nullptr, 0));
    shown("group", syscall(SYS_pidfd_send_signal, directory, SIGTERM, nullptr, 4));
  });
  snprintf(name, sizeof name, "/proc/%d/task/%d", child, child);
  shown("thread's directory", syscall(SYS_pidfd_send_signal, open(name, O_RDONLY), 0, nullptr, 0));
  snprintf(name, sizeof name, "/proc/%d/status", child);
  shown("file in it", syscall(SYS_pidfd_send_signal, open(name, O_RDONLY), 0, nullptr, 0));
  snprintf(name, sizeof name, "/proc/%d", child);
  shown("O_PATH", syscall(SYS_pidfd_send_signal, open(name, O_PATH), 0, nullptr, 0));
  shown("/proc", syscall(SYS_pidfd_send_signal, open("/proc", O_RDONLY), 0, nullptr, 0));
  shown("wait for it", waitid(P_PIDFD, static_cast<id_t>(directory), &info, WEXITED));
  const int own = ifd("own group", static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  shown("no such group", syscall(SYS_pidfd_send_signal, own, 0, nullptr, 4));
  shown("kill", syscall(SYS_pidfd_send_signal, directory, SIGKILL, nullptr, 4));
  int status = 0;
  shown("gone", waitpid(child, &status, 0) == child);
  shown_status("child", status);
  shown("signal to the dead", syscall(SYS_pidfd_send_signal, directory, 0, nullptr, 0));
}

CASE(groups_of_children) {
  const pid_t a = fork();
  if (a == 0) {
    setpgid(0, 0);
    _exit(1);
  }
  setpgid(a, a);
  const pid_t b = fork();
  if (b == 0) _exit(2);
  int status = 0;
  shown("by group", waitpid(-a, &status, 0) == a);
  shown_status("a", status);
  shown("own group", waitpid(0, &status, 0) == b);
  shown_status("b", status);
}

CASE(ignored_children) {
  signal(SIGCHLD, SIG_IGN);
  if (fork() == 0) {
    sleep_ms(20);
    _exit(1);
  }
  shown("wait until all are gone", wait(nullptr));
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  action.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &action, nullptr);
  if (fork() == 0) _exit(1);
  shown("no zombies", wait(nullptr));
}

CASE(orphans) {
  int p[2];
  pipe(p);
  if (fork() == 0) {
    const pid_t parent = getpid();
    if (fork() == 0) {
      for (int i = 0; i < 200 && getppid() == parent; i++) sleep_ms(5);
      const char answer = getppid() != parent ? 'y' : 'n';
      write(p[1], &answer, 1);
      _exit(0);
    }
    _exit(0);
  }
  wait(nullptr);
  char c = 0;
  read(p[0], &c, 1);
  say("adopted %c", c);
  shown("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1));
  if (fork() == 0) {
    if (fork() == 0) {
      sleep_ms(50);
      _exit(9);
    }
    _exit(8);
  }
  int status = 0;
  wait(&status);
  shown_status("child", status);
  shown("grandchild", wait(&status) > 0);
  shown_status("grandchild", status);
  in_child("death signal", [] {
    int q[2];
    pipe(q);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t middle = fork();
    if (middle == 0) {
      if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        write(q[1], "r", 1);
        pause();
      }
      char r = 0;
      read(q[0], &r, 1);
      _exit(0);
    }
    waitpid(middle, nullptr, 0);
    int how = 0;
    wait(&how);
    shown_status("orphan", how);
  });
}

CASE(vforks) {
  volatile int value = 1;
  const pid_t child = vfork();
  if (child == 0) {
    value = 2;
    _exit(6);
  }
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("vfork", status);
  shown("shared", value);
  for (int i = 0; i < 3; i++) {
    const pid_t pid = vfork();
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
      _exit(127);
    }
    waitpid(pid, &status, 0);
    shown_status("vfork and exec", status);
  }
  const pid_t failing = vfork();
  if (failing == 0) {
    execl("/nonexistent", "x", nullptr);
    _exit(errno == ENOENT ? 11 : 12);
  }
  waitpid(failing, &status, 0);
  shown_status("exec failed", status);
  const pid_t killed = vfork();
  if (killed == 0) {
    kill(getpid(), SIGKILL);
    _exit(0);
  }
  waitpid(killed, &status, 0);
  shown_status("killed", status);
}

CASE(clones) {
  int tid = 0;
  pid_t child = clone([](void* argument) { return *static_cast<int*>(argument); }, stack + sizeof stack, SIGCHLD, &(shared_value = 21));
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("plain", status);
  child = clone(
      [](void*) {
        shared_value = 77;
        return 0;
      },
      stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, nullptr);
  waitpid(child, &status, 0);
  shown("CLONE_VM", shared_value);
  child = clone(
      [](void*) {
        close(40);
        chdir("/");
        umask(0);
        return 0;
      },
      stack + sizeof stack, (dup2(1, 40), CLONE_FILES | CLONE_FS | CLONE_VM | SIGCHLD), nullptr);
  waitpid(child, &status, 0);
  shown("CLONE_FILES", fcntl(40, F_GETFD));
  char directory[64];
  say("CLONE_FS %s %03o", getcwd(directory, sizeof directory), umask(022));
  signal(SIGUSR1, SIG_IGN);
  child = clone([](void*) { return 3; }, stack + sizeof stack, CLONE_PARENT_SETTID | SIGUSR1, nullptr, &tid);
  shown("parent tid", tid == child);
  shown("other exit signal needs __WALL", waitpid(child, &status, 0));
  shown("__WALL", waitpid(child, &status, __WALL) == child);
  child = clone([](void*) { return 3; }, stack + sizeof stack, 0, nullptr);
  shown("__WCLONE", waitpid(child, &status, __WCLONE) == child);
  shown("CLONE_THREAD without CLONE_SIGHAND", syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0));
  shown("CLONE_SIGHAND without CLONE_VM", syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
  shown("CLONE_FS with CLONE_NEWNS", syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
}

CASE(clone_3) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  int fd = -1;
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&fd);
  const long child = clone3(&arguments);
  if (child == 0) _exit(13);
  opened("clone3", child);
  shown("pidfd is close-on-exec", fcntl(fd, F_GETFD));
  siginfo_t info{};
  shown_info("wait", waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED), info, static_cast<pid_t>(child));
  shown("too small", clone3(&arguments, 8));
  shown("too large", clone3(&arguments, 100000));
  arguments.flags = uint64_t{1} << 60;
  shown("unknown flag", clone3(&arguments));
  arguments.flags = 0;
  arguments.exit_signal = 0x100;
  shown("bad exit signal", clone3(&arguments));
  arguments.exit_signal = SIGCHLD;
  arguments.stack_size = 4096;
  shown("stack size without stack", clone3(&arguments));
  shown("bad pointer", clone3(bad<clone_args>()));
}

CASE(many) {
  int wrong = 0;
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 10; i++) {
      const pid_t pid = fork();
      if (pid < 0) wrong++;
      if (pid == 0) _exit(i);
    }
    int sum = 0;
    int status = 0;
    while (wait(&status) > 0) sum += WEXITSTATUS(status);
    if (sum != 45) wrong++;
  }
  shown("wrong", wrong);
}

CASE(memory_after_fork) {
  char* shared = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  char* own = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  strcpy(shared, "before");
  strcpy(own, "before");
  madvise(own + 0, 4096, MADV_WIPEONFORK);
  in_child("child", [&] {
    say("shared '%s' wiped '%s'", shared, own);
    strcpy(shared, "child");
    strcpy(own, "child");
  });
  say("shared '%s' own '%s'", shared, own);
  madvise(own, 4096, MADV_DONTFORK);
  in_child("not inherited", [&] { own[0] = 1; });
}
