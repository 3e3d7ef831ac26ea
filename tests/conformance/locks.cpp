// POSIX, open-file-description and flock locks.
#include "check.h"

#include <sys/file.h>

namespace {

long lock(int fd, int command, short type, off_t start, off_t length, short whence = SEEK_SET) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = whence;
  range.l_start = start;
  range.l_len = length;
  return fcntl(fd, command, &range);
}

void conflict(const char* what, int fd, short type, off_t start, off_t length, int command = F_GETLK) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = start;
  range.l_len = length;
  if (fcntl(fd, command, &range) != 0) {
    shown(what, -1);
  } else if (range.l_type == F_UNLCK) {
    say("%s: free", what);
  } else {
    say("%s: %s %ld+%ld %s", what, range.l_type == F_RDLCK ? "read" : "write", range.l_start, range.l_len,
        range.l_pid == -1 ? "ofd" : range.l_pid == getppid() ? "parent" : "other");
  }
}

}  // namespace

CASE(posix_ranges) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  write(fd, "0123456789", 10);
  shown("write lock 0+4", lock(fd, F_SETLK, F_WRLCK, 0, 4));
  shown("read lock 10 to the end", lock(fd, F_SETLK, F_RDLCK, 10, 0));
  shown("own locks do not conflict", lock(fd, F_SETLK, F_WRLCK, 2, 4));
  shown("unlock the middle", lock(fd, F_SETLK, F_UNLCK, 1, 1));
  shown("negative length", lock(fd, F_SETLK, F_WRLCK, 30, -5));
  shown("from the end", lock(fd, F_SETLK, F_WRLCK, -2, 1, SEEK_END));
  shown("negative start", lock(fd, F_SETLK, F_WRLCK, -2, 1));
  shown("bad type", lock(fd, F_SETLK, 7, 0, 1));
  shown("bad whence", lock(fd, F_SETLK, F_WRLCK, 0, 1, 9));
  in_child("other process", [fd] {
    conflict("0", fd, F_RDLCK, 0, 1);
    conflict("1", fd, F_WRLCK, 1, 1);
    conflict("all", fd, F_WRLCK, 0, 0);
    conflict("read 12", fd, F_RDLCK, 12, 1);
    conflict("write 12", fd, F_WRLCK, 12, 1);
    conflict("25", fd, F_WRLCK, 25, 1);
    shown("set", lock(fd, F_SETLK, F_WRLCK, 0, 1));
    shown("set read 12", lock(fd, F_SETLK, F_RDLCK, 12, 1));
    const int other = open("f", O_RDONLY);
    shown("write lock of a read-only file", lock(other, F_SETLK, F_WRLCK, 1, 1));
  });
  const int again = open("f", O_RDWR);
  close(again);
  in_child("any close drops the process's locks", [fd] { conflict("all", fd, F_WRLCK, 0, 0); });
  shown("bad descriptor", lock(99, F_SETLK, F_WRLCK, 0, 1));
  shown("bad pointer", fcntl(fd, F_SETLK, bad()));
  const int path = open("f", O_PATH);
  shown("O_PATH", lock(path, F_SETLK, F_WRLCK, 0, 1));
}

CASE(posix_waiting) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  int ready[2];
  pipe(ready);
  lock(fd, F_SETLK, F_WRLCK, 0, 1);
  const pid_t child = fork();
  if (child == 0) {
    lock(fd, F_SETLK, F_WRLCK, 5, 1);
    write(ready[1], "r", 1);
    shown("child waits", lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    _exit(0);
  }
  char c = 0;
  read(ready[0], &c, 1);
  sleep_ms(100);
  shown("deadlock", lock(fd, F_SETLKW, F_WRLCK, 5, 1));
  say("parent unlocks");
  lock(fd, F_SETLK, F_UNLCK, 0, 1);
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("child", status);
  shown("now free", lock(fd, F_SETLK, F_WRLCK, 0, 10));
  in_child("interrupted", [fd] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    sigaction(SIGALRM, &action, nullptr);
    alarm(1);
    shown("wait", lock(fd, F_SETLKW, F_WRLCK, 0, 1));
  });
}

CASE(ofd_locks) {
  const int a = open("f", O_CREAT | O_RDWR, 0600);
  const int b = open("f", O_RDWR);
  shown("lock", lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  shown("other description", lock(b, F_OFD_SETLK, F_WRLCK, 5, 10));
  conflict("who", b, F_WRLCK, 0, 1, F_OFD_GETLK);
  shown("posix conflicts too", lock(b, F_SETLK, F_WRLCK, 0, 1));
  const int c = dup(a);
  shown("dup is the same owner", lock(c, F_OFD_SETLK, F_RDLCK, 0, 10));
  shown("read locks share", lock(b, F_OFD_SETLK, F_RDLCK, 0, 10));
  in_child("inherited", [a] { shown("same owner in a child", lock(a, F_OFD_SETLK, F_UNLCK, 0, 10)); });
  shown("so b may write", lock(b, F_OFD_SETLK, F_WRLCK, 0, 10));
  close(b);
  shown("freed by close", lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_pid = 1;
  shown("pid must be 0", fcntl(a, F_OFD_SETLK, &range));
}

CASE(flock_locks) {
  const int a = open("f", O_CREAT | O_RDWR, 0600);
  const int b = open("f", O_RDONLY);
  shown("exclusive", flock(a, LOCK_EX));
  shown("other", flock(b, LOCK_SH | LOCK_NB));
  shown("again", flock(a, LOCK_EX | LOCK_NB));
  shown("to shared", flock(a, LOCK_SH));
  shown("both shared", flock(b, LOCK_SH | LOCK_NB));
  shown("upgrade", flock(a, LOCK_EX | LOCK_NB));
  shown("unlock", flock(b, LOCK_UN));
  shown("upgrade", flock(a, LOCK_EX | LOCK_NB));
  shown("independent of posix", lock(b, F_SETLK, F_RDLCK, 0, 0));
  shown("bad operation", flock(a, 0));
  shown("bad operation", flock(a, LOCK_SH | LOCK_EX));
  shown("bad descriptor", flock(99, LOCK_SH));
  in_child("shared by fork", [a] { shown("unlock in the child", flock(a, LOCK_UN)); });
  shown("so it is free", flock(b, LOCK_EX | LOCK_NB));
  const pid_t child = fork();
  if (child == 0) {
    close(b);
    const int own = open("f", O_RDONLY);
    shown("waits", flock(own, LOCK_SH));
    _exit(0);
  }
  sleep_ms(50);
  say("release");
  close(b);
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("child", status);
  int pipes[2];
  pipe(pipes);
  shown("pipe", flock(pipes[0], LOCK_EX | LOCK_NB));
}

CASE(leases) {
  const int fd = open("f", O_CREAT | O_RDONLY, 0600);
  shown("no lease", fcntl(fd, F_GETLEASE) == F_UNLCK);
}
