// Signal-driven I/O: O_ASYNC, F_SETOWN, F_SETSIG. fcntl(2).
#include "check.h"

#include <poll.h>
#include <pty.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

namespace {

constexpr int kMaximum = 64;
volatile int count = 0;
struct Seen {
  int number, code, fd;
  long band;
} volatile seen[kMaximum];

void note(int number, siginfo_t* info, void*) {
  const int i = count;
  if (i >= kMaximum) return;
  seen[i].number = number;
  seen[i].code = info->si_code;
  seen[i].fd = info->si_fd;
  seen[i].band = info->si_band;
  count = i + 1;
}

void catch_signal(int number) {
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  action.sa_sigaction = note;
  sigaction(number, &action, nullptr);
}

const char* name_of(int number) {
  if (number >= SIGRTMIN) return "RT";
  return sigabbrev_np(number);
}

// What came since the last look, descriptors by their order among `fds`.
void report(const char* what, std::initializer_list<int> fds) {
  for (int i = 0; i < count; i++) {
    int which = -1, n = 0;
    for (const int fd : fds) {
      if (fd == seen[i].fd) which = n;
      n++;
    }
    if (seen[i].code == SI_KERNEL) say("%s: %s by the kernel", what, name_of(seen[i].number));
    else say("%s: %s code %d fd %d band %lx", what, name_of(seen[i].number), seen[i].code, which, static_cast<unsigned long>(seen[i].band));
  }
  if (count == 0) say("%s: nothing", what);
  count = 0;
}

// Terminals tell by a worker of the kernel, which comes a little later; several of its signals may be one.
void report_soon(const char* what, std::initializer_list<int> fds) {
  for (int i = 0; i < 400 && count == 0; i++) sleep_ms(5);
  sleep_ms(20);
  if (count > 1) count = 1;
  report(what, fds);
}

void tell_me(int fd, int signal) {
  shown("owner", fcntl(fd, F_SETOWN, getpid()));
  if (signal != 0) shown("signal", fcntl(fd, F_SETSIG, signal));
  shown("async", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
}

bool is_async(int fd) { return (fcntl(fd, F_GETFL) & O_ASYNC) != 0; }

}  // namespace

CASE(pipe_plain) {
  int p[2];
  pipe(p);
  catch_signal(SIGIO);
  shown("async without an owner", fcntl(p[0], F_SETFL, O_ASYNC));
  write(p[1], "x", 1);
  report("no owner", {p[0], p[1]});
  tell_me(p[0], 0);
  write(p[1], "x", 1);
  report("write", {p[0], p[1]});
  write(p[1], "x", 1);
  report("again", {p[0], p[1]});
  char buffer[16];
  read(p[0], buffer, sizeof buffer);
  report("read", {p[0], p[1]});
  shown("off", fcntl(p[0], F_SETFL, 0));
  write(p[1], "x", 1);
  report("write", {p[0], p[1]});
  shown("on by ioctl", (ioctl(p[0], FIOASYNC, &(buffer[0] = 1, *reinterpret_cast<int*>(buffer)))));
  say("is async %d", is_async(p[0]));
  write(p[1], "x", 1);
  report("write", {p[0], p[1]});
  close(p[1]);
  report("hang-up", {p[0], p[1]});
}

CASE(pipe_information) {
  int p[2];
  pipe2(p, O_NONBLOCK);
  catch_signal(SIGRTMIN + 3);
  catch_signal(SIGRTMIN + 4);
  tell_me(p[0], SIGRTMIN + 3);
  tell_me(p[1], SIGRTMIN + 4);
  char buffer[4096];
  write(p[1], "hello", 5);
  report("write", {p[0], p[1]});
  read(p[0], buffer, 2);
  report("part", {p[0], p[1]});
  read(p[0], buffer, sizeof buffer);
  report("rest", {p[0], p[1]});
  shown("empty", read(p[0], buffer, sizeof buffer));
  report("empty", {p[0], p[1]});
  while (write(p[1], buffer, sizeof buffer) > 0) {
  }
  count = 0;
  shown("full", write(p[1], buffer, sizeof buffer));
  report("full", {p[0], p[1]});
  read(p[0], buffer, sizeof buffer);
  report("room", {p[0], p[1]});
  const int copy = dup(p[1]);
  close(p[1]);
  report("a copy is left", {p[0], copy});
  close(copy);
  report("hang-up", {p[0], copy});
}

CASE(pipe_broken) {
  int p[2];
  pipe(p);
  signal(SIGPIPE, SIG_IGN);
  catch_signal(SIGRTMIN);
  tell_me(p[1], SIGRTMIN);
  close(p[0]);
  report("no reader", {p[1]});
  write(p[1], "x", 1);
  report("write", {p[1]});
}

CASE(pipe_splice) {
  int p[2], q[2];
  pipe(p);
  pipe(q);
  catch_signal(SIGRTMIN);
  catch_signal(SIGRTMIN + 1);
  tell_me(q[0], SIGRTMIN);
  tell_me(p[1], SIGRTMIN + 1);
  write(p[1], "x", 1);
  report("write", {q[0], p[1]});
  splice(p[0], nullptr, q[1], nullptr, 1, 0);
  bool input = false, output = false;
  for (int i = 0; i < count; i++) (seen[i].fd == q[0] ? input : output) = true;
  say("input %d output %d", input, output);
  count = 0;
  tee(q[0], p[1], 1, 0);
  say("told %d", count > 0);
}

CASE(duplicates) {
  int p[2];
  pipe(p);
  catch_signal(SIGRTMIN);
  const int copy = dup(p[0]);
  tell_me(copy, SIGRTMIN);
  say("same file %d", is_async(p[0]));
  write(p[1], "x", 1);
  report("by the copy", {p[0], copy});
  // The number that was given when it was switched on is named, also when it is closed.
  close(copy);
  write(p[1], "x", 1);
  report("closed", {p[0], copy});
  fcntl(p[0], F_SETFL, 0);
  fcntl(p[0], F_SETFL, O_ASYNC);
  write(p[1], "x", 1);
  report("by the first", {p[0], copy});
}

CASE(codes_of_signals) {
  for (const int number : {SIGIO, SIGUSR1, SIGCHLD, SIGSEGV, SIGBUS, SIGURG, SIGRTMIN}) {
    int p[2];
    pipe(p);
    catch_signal(number);
    fcntl(p[0], F_SETOWN, getpid());
    fcntl(p[0], F_SETSIG, number);
    fcntl(p[0], F_SETFL, O_ASYNC);
    write(p[1], "x", 1);
    report("write", {p[0]});
    close(p[0]);
    close(p[1]);
  }
}

CASE(owners) {
  int p[2];
  pipe(p);
  catch_signal(SIGIO);
  f_owner_ex owner{};
  shown("nobody", fcntl(p[0], F_GETOWN_EX, &owner));
  say("type %d pid %d", owner.type, owner.pid);
  fcntl(p[0], F_SETFL, O_ASYNC);
  owner = {F_OWNER_TID, gettid()};
  shown("thread", fcntl(p[0], F_SETOWN_EX, &owner));
  owner = {};
  fcntl(p[0], F_GETOWN_EX, &owner);
  say("type %d mine %d", owner.type, owner.pid == gettid());
  write(p[1], "x", 1);
  report("thread", {p[0]});
  owner = {F_OWNER_PGRP, getpgrp()};
  setpgid(0, 0);
  owner.pid = getpgrp();
  shown("group", fcntl(p[0], F_SETOWN_EX, &owner));
  say("shown %d", fcntl(p[0], F_GETOWN) == -getpgrp());
  write(p[1], "x", 1);
  report("group", {p[0]});
  owner = {F_OWNER_PID, getpid()};
  shown("process", fcntl(p[0], F_SETOWN_EX, &owner));
  write(p[1], "x", 1);
  report("process", {p[0]});
  shown("nobody again", fcntl(p[0], F_SETOWN, 0));
  shown("getown", fcntl(p[0], F_GETOWN));
  write(p[1], "x", 1);
  report("nobody", {p[0]});
  owner.type = static_cast<decltype(owner.type)>(7);
  shown("bad type", fcntl(p[0], F_SETOWN_EX, &owner));
  owner = {F_OWNER_PID, 999999};
  shown("missing", fcntl(p[0], F_SETOWN_EX, &owner));
  owner = {F_OWNER_PID, -5};
  shown("negative", fcntl(p[0], F_SETOWN_EX, &owner));
  shown("bad address", fcntl(p[0], F_SETOWN_EX, bad()));
  shown("smallest", fcntl(p[0], F_SETOWN, INT32_MIN));
  // An owner that is gone is shown no more.
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  shown("child", fcntl(p[0], F_SETOWN, child));
  say("shown %d", fcntl(p[0], F_GETOWN) == child);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  shown("gone", fcntl(p[0], F_GETOWN));
  write(p[1], "x", 1);
  report("gone", {p[0]});
}

CASE(other_process) {
  int p[2], ready[2];
  pipe(p);
  pipe(ready);
  const pid_t child = fork();
  if (child == 0) {
    catch_signal(SIGRTMIN + 2);
    write(ready[1], "r", 1);
    for (int i = 0; i < 400 && count == 0; i++) sleep_ms(5);
    report("in the child", {p[0]});
    _exit(0);
  }
  char c = 0;
  read(ready[0], &c, 1);
  shown("owner", fcntl(p[0], F_SETOWN, child));
  shown("signal", fcntl(p[0], F_SETSIG, SIGRTMIN + 2));
  shown("async", fcntl(p[0], F_SETFL, O_ASYNC));
  write(p[1], "x", 1);
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("child", status);
}

CASE(permission) {
  // In the name of whoever set the owner: an ordinary user cannot signal a process of another one.
  int p[2], ready[2];
  pipe(p);
  pipe(ready);
  const pid_t target = fork();
  if (target == 0) {
    catch_signal(SIGIO);
    write(ready[1], "r", 1);
    for (int i = 0; i < 60 && count == 0; i++) sleep_ms(5);
    report("target", {p[0]});
    _exit(0);
  }
  char c = 0;
  read(ready[0], &c, 1);
  in_child("stranger", [&] {
    setresuid(65534, 65534, 65534);
    shown("owner", fcntl(p[0], F_SETOWN, target));
    shown("async", fcntl(p[0], F_SETFL, O_ASYNC));
  });
  write(p[1], "x", 1);
  int status = 0;
  waitpid(target, &status, 0);
  shown_status("target", status);
}

CASE(fifo) {
  mkfifo("f", 0600);
  const int reader = open("f", O_RDONLY | O_NONBLOCK);
  const int writer = open("f", O_WRONLY);
  catch_signal(SIGRTMIN);
  tell_me(reader, SIGRTMIN);
  write(writer, "x", 1);
  report("write", {reader});
  close(writer);
  report("closed", {reader});
  const int both = open("f", O_RDWR);
  count = 0;
  tell_me(both, SIGRTMIN);
  write(both, "x", 1);
  report("own write", {reader, both});
}

CASE(sockets) {
  catch_signal(SIGRTMIN);
  catch_signal(SIGRTMIN + 1);
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    say("type %d", type);
    int s[2];
    socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s);
    tell_me(s[0], SIGRTMIN);
    tell_me(s[1], SIGRTMIN + 1);
    char buffer[1024];
    memset(buffer, 1, sizeof buffer);
    send(s[1], "hello", 5, 0);
    report("send", {s[0], s[1]});
    recv(s[0], buffer, 5, 0);
    report("receive", {s[0], s[1]});
    while (send(s[1], buffer, sizeof buffer, 0) > 0) {
    }
    count = 0;
    while (recv(s[0], buffer, sizeof buffer, 0) > 0) {
    }
    bool output = false;
    for (int i = 0; i < count; i++) output = output || (seen[i].number == SIGRTMIN + 1 && seen[i].code == POLL_OUT);
    say("room %d of band %lx", output, count > 0 ? static_cast<unsigned long>(seen[count - 1].band) : 0ul);
    count = 0;
    shutdown(s[1], SHUT_WR);
    report("end of writing", {s[0], s[1]});
    shutdown(s[1], SHUT_RD);
    report("end of reading", {s[0], s[1]});
    close(s[1]);
    report("close", {s[0], s[1]});
    close(s[0]);
  }
}

CASE(socket_shutdown) {
  catch_signal(SIGRTMIN);
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  tell_me(s[0], SIGRTMIN);
  shutdown(s[1], SHUT_RDWR);
  report("both", {s[0], s[1]});
}

CASE(listener) {
  catch_signal(SIGRTMIN);
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  strcpy(name.sun_path, "s");
  bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof name);
  listen(listener, 4);
  tell_me(listener, SIGRTMIN);
  const int client = socket(AF_UNIX, SOCK_STREAM, 0);
  shown("connect", connect(client, reinterpret_cast<sockaddr*>(&name), sizeof name));
  report("connect", {listener});
  const int accepted = accept(listener, nullptr, nullptr);
  say("inherited %d", is_async(accepted));
}

CASE(socket_owner_calls) {
  int s[2], p[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  pipe(p);
  int pid = getpid();
  int read_back = 0;
  shown("FIOSETOWN", ioctl(s[0], FIOSETOWN, &pid));
  shown("FIOGETOWN", ioctl(s[0], FIOGETOWN, &read_back));
  say("mine %d", read_back == pid);
  pid = -getpgrp();
  shown("SIOCSPGRP", ioctl(s[0], SIOCSPGRP, &pid));
  shown("SIOCGPGRP", ioctl(s[0], SIOCGPGRP, &read_back));
  say("mine %d %d", read_back == pid, fcntl(s[0], F_GETOWN) == pid);
  pid = 999999;
  shown("missing", ioctl(s[0], SIOCSPGRP, &pid));
  shown("bad address", ioctl(s[0], SIOCSPGRP, bad()));
  shown("of a pipe", ioctl(p[0], FIOSETOWN, &pid));
  shown("of a pipe", ioctl(p[0], SIOCGPGRP, &pid));
}

CASE(files_without) {
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  shown("async", fcntl(file, F_SETFL, O_ASYNC));
  say("is async %d", is_async(file));
  int on = 1, off = 0;
  shown("by ioctl", ioctl(file, FIOASYNC, &on));
  shown("off", ioctl(file, FIOASYNC, &off));
  const int opened_so = open("f", O_RDWR | O_ASYNC);
  say("is async %d", is_async(opened_so));
  const int null = open("/dev/null", O_RDWR);
  shown("device", ioctl(null, FIOASYNC, &on));
  shown("owner", fcntl(file, F_SETOWN, getpid()));
  shown("owner", fcntl(file, F_GETOWN) == getpid());
}

CASE(terminal) {
  int master = -1, slave = -1;
  must("openpty", openpty(&master, &slave, nullptr, nullptr, nullptr));
  termios settings{};
  tcgetattr(slave, &settings);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  tcsetattr(slave, TCSANOW, &settings);
  catch_signal(SIGRTMIN);
  catch_signal(SIGRTMIN + 1);
  // Who switches it on is told when nobody else was named.
  shown("signal", fcntl(slave, F_SETSIG, SIGRTMIN));
  shown("async", fcntl(slave, F_SETFL, O_RDWR | O_ASYNC));
  say("owner is me %d", fcntl(slave, F_GETOWN) == getpid());
  shown("signal", fcntl(master, F_SETSIG, SIGRTMIN + 1));
  shown("async", fcntl(master, F_SETFL, O_RDWR | O_ASYNC));
  write(master, "abc", 3);
  sleep_ms(50);
  report("part of a line", {slave, master});
  write(master, "d\n", 2);
  report_soon("line", {slave, master});
  char buffer[64];
  shown_data("line", buffer, read(slave, buffer, sizeof buffer));
  report("read", {slave, master});
  write(slave, "out", 3);
  report_soon("output", {slave, master});
  settings.c_lflag &= ~static_cast<tcflag_t>(ICANON);
  tcsetattr(slave, TCSANOW, &settings);
  count = 0;
  write(master, "r", 1);
  report_soon("raw", {slave, master});
  fcntl(slave, F_SETFL, O_RDWR);
  write(master, "r", 1);
  sleep_ms(50);
  report("off", {slave, master});
}

CASE(terminal_group) {
  in_child("session", [] {
    setsid();
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master);
    unlockpt(master);
    const int slave = open(ptsname(master), O_RDWR);
    say("foreground %d", tcgetpgrp(slave) == getpgrp());
    catch_signal(SIGIO);
    shown("async", fcntl(slave, F_SETFL, O_RDWR | O_ASYNC));
    say("group %d", fcntl(slave, F_GETOWN) == -getpgrp());
    write(master, "line\n", 5);
    report_soon("line", {slave, master});
  });
}

CASE(blocked) {
  int p[2];
  pipe(p);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  catch_signal(SIGIO);
  catch_signal(SIGRTMIN);
  fcntl(p[0], F_SETOWN, getpid());
  fcntl(p[0], F_SETSIG, SIGRTMIN);
  fcntl(p[0], F_SETFL, O_ASYNC);
  for (int i = 0; i < 3; i++) write(p[1], "x", 1);
  report("blocked", {p[0]});
  sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  report("unblocked", {p[0]});
}

CASE(inotify_tells) {
  const int fd = inotify_init1(IN_NONBLOCK);
  catch_signal(SIGIO);
  catch_signal(SIGRTMIN + 3);
  inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE);
  make_file("before", "");
  report("not asked for", {fd});
  tell_me(fd, 0);
  make_file("a", "");
  report("create", {fd});
  shown("signal", fcntl(fd, F_SETSIG, SIGRTMIN + 3));
  in_child("another", [] { unlink("a"); });
  report("delete", {fd});
  chmod("before", 0600);
  report("not watched", {fd});
  shown("off", fcntl(fd, F_SETFL, O_NONBLOCK));
  make_file("b", "");
  report("create", {fd});
  shown("by ioctl", ioctl(fd, FIOASYNC, &count));
}
