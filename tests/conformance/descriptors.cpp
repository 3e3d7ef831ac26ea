// fcntl, dup, close_range and what exec keeps.
#include "check.h"

#include <linux/close_range.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

CHILD(list_descriptors) {
  char line[256] = "";
  for (int fd = 3; fd < 64; fd++) {
    if (fcntl(fd, F_GETFD) >= 0) snprintf(line + strlen(line), 8, " %d", fd);
  }
  say("open:%s", line);
}

CASE(duplicates) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  const int low = dup(fd);
  shown("lowest", low - fd);
  shown("dup2", dup2(fd, 40));
  shown("dup2 onto itself", dup2(fd, fd) == fd);
  shown("dup2 onto itself, closed", dup2(50, 50));
  shown("dup2 bad", dup2(99, 41));
  shown("dup2 negative", dup2(fd, -1));
  shown("dup3 cloexec", dup3(fd, 42, O_CLOEXEC));
  shown("flag", fcntl(42, F_GETFD));
  shown("dup3 onto itself", dup3(fd, fd, 0));
  shown("dup3 bad flags", dup3(fd, 43, O_NONBLOCK));
  shown("F_DUPFD", fcntl(fd, F_DUPFD, 45));
  shown("F_DUPFD again", fcntl(fd, F_DUPFD, 45));
  shown("F_DUPFD_CLOEXEC", fcntl(fd, F_DUPFD_CLOEXEC, 50));
  shown("flag", fcntl(50, F_GETFD));
  shown("F_DUPFD negative", fcntl(fd, F_DUPFD, -1));
  shown("F_DUPFD too large", fcntl(fd, F_DUPFD, 1 << 30));
  write(fd, "abc", 3);
  shown("position is shared", lseek(40, 0, SEEK_CUR));
  rlimit limit{20, 20};
  setrlimit(RLIMIT_NOFILE, &limit);
  shown("dup2 over the limit", dup2(fd, 20));
  shown("F_DUPFD over the limit", fcntl(fd, F_DUPFD, 20));
  int last = 0;
  while ((last = dup(fd)) >= 0) {
  }
  shown("dup at the limit", last);
  shown("open at the limit", open("f", O_RDONLY));
  int pair[2];
  shown("pipe at the limit", pipe(pair));
}

CASE(flags) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  shown("getfd", fcntl(fd, F_GETFD));
  shown("setfd", fcntl(fd, F_SETFD, FD_CLOEXEC));
  shown("getfd", fcntl(fd, F_GETFD));
  shown("setfd other bits are ignored", fcntl(fd, F_SETFD, 0xfe));
  shown("getfd", fcntl(fd, F_GETFD));
  say("getfl %o", static_cast<unsigned>(fcntl(fd, F_GETFL)) & ~0100000U);
  shown("setfl", fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
  say("getfl %o", static_cast<unsigned>(fcntl(fd, F_GETFL)) & ~0100000U);
  shown("the access mode cannot be set", fcntl(fd, F_SETFL, O_RDONLY));
  say("getfl %o", static_cast<unsigned>(fcntl(fd, F_GETFL)) & ~0100000U);
  shown("unknown command", fcntl(fd, 7777, 0));
  shown("bad descriptor", fcntl(99, F_GETFL));
  int on = 1;
  shown("FIONBIO", ioctl(fd, FIONBIO, &on));
  say("getfl %o", static_cast<unsigned>(fcntl(fd, F_GETFL)) & ~0100000U);
  shown("FIOCLEX", ioctl(fd, FIOCLEX));
  shown("getfd", fcntl(fd, F_GETFD));
  shown("FIONCLEX", ioctl(fd, FIONCLEX));
  shown("getfd", fcntl(fd, F_GETFD));
  write(fd, "12345", 5);
  lseek(fd, 2, SEEK_SET);
  int left = 0;
  shown("FIONREAD", ioctl(fd, FIONREAD, &left));
  shown("left", left);
  shown("tty ioctl on a file", ioctl(fd, TIOCGPGRP, &left));
  shown("unknown ioctl", ioctl(fd, 0x1234, &left));
  shown("ioctl bad descriptor", ioctl(99, FIONREAD, &left));
}

CASE(owners) {
  int pair[2];
  pipe(pair);
  shown("getown", fcntl(pair[0], F_GETOWN));
  shown("setown", fcntl(pair[0], F_SETOWN, getpid()));
  shown("is me", fcntl(pair[0], F_GETOWN) == getpid());
  shown("setown group", fcntl(pair[0], F_SETOWN, -getpgrp()));
  f_owner_ex owner{};
  shown("getown_ex", fcntl(pair[0], F_GETOWN_EX, &owner));
  say("type %d mine %d", owner.type, owner.pid == getpgrp());
  shown("setown missing", fcntl(pair[0], F_SETOWN, 999999));
  shown("setsig", fcntl(pair[0], F_SETSIG, SIGRTMIN));
  shown("getsig", fcntl(pair[0], F_GETSIG) == SIGRTMIN);
  shown("setsig bad", fcntl(pair[0], F_SETSIG, 65));
}

CASE(async_io) {
  static volatile int fd_seen = -1;
  static volatile int code_seen = 0;
  int pair[2];
  pipe(pair);
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    fd_seen = info->si_fd;
    code_seen = info->si_code;
  };
  sigaction(SIGRTMIN + 1, &action, nullptr);
  fcntl(pair[0], F_SETOWN, getpid());
  fcntl(pair[0], F_SETSIG, SIGRTMIN + 1);
  shown("async", fcntl(pair[0], F_SETFL, O_ASYNC));
  write(pair[1], "x", 1);
  for (int i = 0; i < 100 && fd_seen < 0; i++) sleep_ms(5);
  say("fd right %d code %d", fd_seen == pair[0], code_seen);
}

CASE(close_ranges) {
  for (int fd = 10; fd < 20; fd++) dup2(1, fd);
  shown("close_range", syscall(SYS_close_range, 12, 14, 0));
  shown("11", fcntl(11, F_GETFD));
  shown("12", fcntl(12, F_GETFD));
  shown("14", fcntl(14, F_GETFD));
  shown("15", fcntl(15, F_GETFD));
  shown("cloexec", syscall(SYS_close_range, 16, 17, CLOSE_RANGE_CLOEXEC));
  shown("16", fcntl(16, F_GETFD));
  shown("18", fcntl(18, F_GETFD));
  shown("first after last", syscall(SYS_close_range, 5, 4, 0));
  shown("bad flags", syscall(SYS_close_range, 5, 6, 64));
  shown("unshare", syscall(SYS_close_range, 18, ~0U, CLOSE_RANGE_UNSHARE));
  shown("18", fcntl(18, F_GETFD));
  shown("close", close(10));
  shown("close again", close(10));
  shown("close -1", close(-1));
}

CASE(kept_by_exec) {
  for (int fd = 3; fd < 64; fd++) close(fd);
  dup2(1, 10);
  dup3(1, 11, O_CLOEXEC);
  dup2(1, 12);
  fcntl(12, F_SETFD, FD_CLOEXEC);
  dup2(1, 63);
  in_child("exec", [] { check::self("list_descriptors"); });
  shown("still here", fcntl(11, F_GETFD));
}

CASE(seals) {
  const int fd = ifd("memfd", memfd_create("m", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  shown("cloexec", fcntl(fd, F_GETFD));
  ftruncate(fd, 8192);
  shown("none", fcntl(fd, F_GET_SEALS));
  shown("shrink", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
  shown("smaller", ftruncate(fd, 10));
  shown("larger", ftruncate(fd, 9000));
  shown("grow", fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
  shown("larger", ftruncate(fd, 9001));
  shown("write over the end", pwrite(fd, "x", 1, 9000));
  void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  shown("write seal while mapped", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  munmap(map, 4096);
  shown("write seal", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  shown("write", pwrite(fd, "x", 1, 0));
  shown("map writable", mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  shown("map private", mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
  shown("seal", fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
  shown("no more", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
  shown("all", fcntl(fd, F_GET_SEALS));
  const int plain = memfd_create("p", 0);
  shown("without sealing", fcntl(plain, F_GET_SEALS));
  shown("cannot", fcntl(plain, F_ADD_SEALS, F_SEAL_GROW));
  shown("bad flags", memfd_create("x", 0x1000));
  shown("bad name", memfd_create(bad<char>(), 0));
  char name[300];
  memset(name, 'n', sizeof name);
  name[250] = 0;
  shown("250 characters", memfd_create(name, 0));
  struct stat st{};
  fstat(plain, &st);
  say("mode %o links %lu", st.st_mode, st.st_nlink);
  char path[64];
  char target[64] = "";
  snprintf(path, sizeof path, "/proc/self/fd/%d", plain);
  readlink(path, target, sizeof target - 1);
  say("%s", target);
}

CASE(of_others) {
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  const int copy = dup(file), other = open("f", O_RDWR);
  const auto compare = [](pid_t a, pid_t b, int kind, long first, long second) { return syscall(SYS_kcmp, a, b, kind, first, second); };
  enum { kFile = 0, kMemory = 1, kFiles = 2, kDirectories = 3, kHandlers = 4 };
  const pid_t own = getpid();
  shown("a copy", compare(own, own, kFile, file, copy));
  shown("another open file", compare(own, own, kFile, file, other) > 0);
  shown("orders", compare(own, own, kFile, file, other) + compare(own, own, kFile, other, file));
  shown("no descriptor", compare(own, own, kFile, file, 99));
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  shown("inherited", compare(own, child, kFile, file, file));
  for (int kind = kMemory; kind <= kHandlers; kind++) {
    shown("own", compare(own, own, kind, 0, 0));
    shown("the child's", compare(own, child, kind, 0, 0) > 0);
  }
  shown("bad kind", compare(own, own, 99, 0, 0));
  shown("nobody", compare(own, 999999, kMemory, 0, 0));
  shown("nobody, bad kind", compare(own, 999999, 99, 0, 0));

  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  close(copy);
  const int taken = ifd("take", syscall(SYS_pidfd_getfd, pidfd, file, 0));
  shown("the same", compare(own, own, kFile, file, taken));
  shown("closed at exec", fcntl(taken, F_GETFD));
  opened("what we closed", syscall(SYS_pidfd_getfd, pidfd, copy, 0));
  opened("no descriptor", syscall(SYS_pidfd_getfd, pidfd, 99, 0));
  opened("no pidfd", syscall(SYS_pidfd_getfd, file, 0, 0));
  opened("flags", syscall(SYS_pidfd_getfd, pidfd, 0, 1));
  in_child("stranger", [&] {
    setresuid(65534, 65534, 65534);
    opened("take", syscall(SYS_pidfd_getfd, pidfd, file, 0));
    shown("compare", compare(own, child, kFile, file, file));
  });
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  opened("of the dead", syscall(SYS_pidfd_getfd, pidfd, file, 0));
}
