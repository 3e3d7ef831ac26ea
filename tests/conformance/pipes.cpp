// Pipes and FIFOs.
#include "check.h"

#include <poll.h>
#include <sys/ioctl.h>

namespace {

void ignore_sigpipe() { signal(SIGPIPE, SIG_IGN); }

volatile sig_atomic_t caught = 0;

void catch_signal(int number, int flags) {
  struct sigaction action{};
  action.sa_handler = [](int) { caught = caught + 1; };
  action.sa_flags = flags;
  sigaction(number, &action, nullptr);
}

}  // namespace

CASE(basics) {
  int p[2];
  shown("pipe", pipe(p));
  char buffer[64];
  shown("write", write(p[1], "hello", 5));
  int left = 0;
  ioctl(p[0], FIONREAD, &left);
  shown("FIONREAD", left);
  shown_data("part", buffer, read(p[0], buffer, 2));
  write(p[1], "more", 4);
  shown_data("joined", buffer, read(p[0], buffer, 64));
  shown("write to the read end", write(p[0], "x", 1));
  shown("read from the write end", read(p[1], buffer, 1));
  shown("seek", lseek(p[0], 0, SEEK_SET));
  shown("pread", pread(p[0], buffer, 1, 0));
  shown("zero write", write(p[1], buffer, 0));
  shown("bad pointer", write(p[1], bad(), 4));
  write(p[1], "x", 1);
  shown("read to a bad pointer", read(p[0], bad(), 4));
  close(p[1]);
  shown("what is left", read(p[0], buffer, 64));
  shown("end", read(p[0], buffer, 64));
  shown("bad array", pipe(bad<int>()));
  shown("bad flags", pipe2(p, 0x1));
  shown("pipe2", pipe2(p, O_NONBLOCK | O_CLOEXEC));
  shown("getfd", fcntl(p[0], F_GETFD));
  shown("empty", read(p[0], buffer, 1));
  struct stat st{};
  fstat(p[0], &st);
  say("mode %o size %ld", st.st_mode, st.st_size);
}

CASE(broken) {
  int p[2];
  pipe(p);
  close(p[0]);
  in_child("SIGPIPE kills", [&] { write(p[1], "x", 1); });
  ignore_sigpipe();
  shown("EPIPE", write(p[1], "x", 1));
  pollfd poll_fd{p[1], POLLOUT, 0};
  poll(&poll_fd, 1, 0);
  say("revents %x", static_cast<unsigned>(poll_fd.revents));
}

CASE(capacity) {
  int p[2];
  pipe2(p, O_NONBLOCK);
  shown("size", fcntl(p[0], F_GETPIPE_SZ));
  static char data[1 << 20];
  shown("fill", write(p[1], data, sizeof data));
  shown("full", write(p[1], data, 1));
  shown("atomic write does not fit", (read(p[0], data, 100), write(p[1], data, 200)));
  shown("drain", read(p[0], data, sizeof data));
  shown("smaller", fcntl(p[0], F_SETPIPE_SZ, 5000));
  shown("size", fcntl(p[0], F_GETPIPE_SZ));
  shown("fill", write(p[1], data, sizeof data));
  shown("too small for its content", fcntl(p[0], F_SETPIPE_SZ, 4096));
  shown("larger", fcntl(p[0], F_SETPIPE_SZ, 1 << 20));
  shown("keeps its content", read(p[0], data, sizeof data));
  shown("fill", write(p[1], data, sizeof data));
  in_child("unprivileged", [&] {
    setresuid(65534, 65534, 65534);
    shown("over the maximum", fcntl(p[0], F_SETPIPE_SZ, 1 << 21));
  });
  shown("zero", fcntl(p[0], F_SETPIPE_SZ, 0));
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  shown("of a file", fcntl(file, F_GETPIPE_SZ));
}

CASE(blocking) {
  int p[2];
  pipe(p);
  const pid_t writer = fork();
  if (writer == 0) {
    close(p[0]);
    static char block[100000];
    for (size_t i = 0; i < sizeof block; i++) block[i] = static_cast<char>(i % 251);
    for (int i = 0; i < 5; i++) {
      if (write(p[1], block, sizeof block) != sizeof block) _exit(1);
    }
    _exit(0);
  }
  close(p[1]);
  long total = 0;
  bool right = true;
  char buffer[7777];
  ssize_t n = 0;
  while ((n = read(p[0], buffer, sizeof buffer)) > 0) {
    for (ssize_t i = 0; i < n; i++) right = right && static_cast<unsigned char>(buffer[i]) == (total + i) % 100000 % 251;
    total += n;
  }
  say("total %ld right %d", total, right);
  int status = 0;
  waitpid(writer, &status, 0);
  shown_status("writer", status);
}

CASE(interrupted) {
  int p[2];
  pipe(p);
  char c = 0;
  catch_signal(SIGALRM, 0);
  itimerval timer{{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  shown("read", read(p[0], &c, 1));
  shown("caught", caught);
  catch_signal(SIGALRM, SA_RESTART);
  const pid_t child = fork();
  if (child == 0) {
    sleep_ms(150);
    write(p[1], "y", 1);
    _exit(0);
  }
  setitimer(ITIMER_REAL, &timer, nullptr);
  shown("restarted read", read(p[0], &c, 1));
  shown("caught", caught);
  waitpid(child, nullptr, 0);
  static char data[100000];
  catch_signal(SIGALRM, 0);
  setitimer(ITIMER_REAL, &timer, nullptr);
  shown("partial write", write(p[1], data, sizeof data));
}

CASE(fifos) {
  shown("mkfifo", mkfifo("p", 0600));
  shown("again", mkfifo("p", 0600));
  struct stat st{};
  stat("p", &st);
  say("%o", st.st_mode);
  ignore_sigpipe();
  opened("write, nonblock, no reader", open("p", O_WRONLY | O_NONBLOCK));
  const int reader = ifd("read, nonblock", open("p", O_RDONLY | O_NONBLOCK));
  char buffer[16];
  shown("no writer reads as end", read(reader, buffer, 16));
  const int writer = ifd("write, nonblock, with reader", open("p", O_WRONLY | O_NONBLOCK));
  shown("empty", read(reader, buffer, 16));
  write(writer, "abc", 3);
  close(writer);
  shown_data("data", buffer, read(reader, buffer, 16));
  shown("end", read(reader, buffer, 16));
  pollfd poll_fd{reader, POLLIN, 0};
  shown("poll", poll(&poll_fd, 1, 0));
  say("revents %x", static_cast<unsigned>(poll_fd.revents));
  close(reader);
  const int both = ifd("rdwr", open("p", O_RDWR));
  write(both, "self", 4);
  shown_data("data", buffer, read(both, buffer, 16));
  close(both);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open("p", O_WRONLY);
    write(fd, "from child", 10);
    _exit(0);
  }
  const int fd = ifd("waits for a writer", open("p", O_RDONLY));
  shown_data("data", buffer, read(fd, buffer, 16));
  waitpid(child, nullptr, 0);
  shown("seek", lseek(fd, 0, SEEK_SET));
  catch_signal(SIGALRM, 0);
  close(fd);
  itimerval timer{{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  opened("open is interrupted", open("p", O_RDONLY));
}

CASE(packets) {
  int p[2];
  shown("O_DIRECT", pipe2(p, O_DIRECT));
  write(p[1], "one", 3);
  write(p[1], "two", 3);
  char buffer[16];
  shown_data("first", buffer, read(p[0], buffer, 16));
  shown_data("cut", buffer, read(p[0], buffer, 2));
  write(p[1], "three", 5);
  shown_data("next", buffer, read(p[0], buffer, 16));
}

CASE(opened_again) {
  int p[2];
  pipe(p);
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", p[0]);
  const int reader = ifd("reader", open(name, O_RDONLY));
  snprintf(name, sizeof name, "/dev/fd/%d", p[1]);
  const int writer = ifd("writer", open(name, O_WRONLY));
  write(p[1], "old", 3);
  write(writer, "new", 3);
  close(p[1]);
  char buffer[16];
  shown_data("both", buffer, read(reader, buffer, 16));
  shown("non-blocking", fcntl(p[0], F_SETFL, O_NONBLOCK));
  shown("a writer is left", read(p[0], buffer, 16));
  close(writer);
  shown("end", read(reader, buffer, 16));
  shown("the other is another description", fcntl(reader, F_GETFL) & O_NONBLOCK);
  snprintf(name, sizeof name, "/proc/self/fd/%d", p[0]);
  opened("no writer, no wait", open(name, O_RDONLY));
  const int both = ifd("both ends", open(name, O_RDWR));
  shown("write", write(both, "x", 1));
  shown("read", read(p[0], buffer, 16));
}

CASE(poll_states) {
  int p[2];
  pipe(p);
  pollfd fds[2] = {{p[0], POLLIN | POLLOUT, 0}, {p[1], POLLIN | POLLOUT, 0}};
  poll(fds, 2, 0);
  say("new %x %x", static_cast<unsigned>(fds[0].revents), static_cast<unsigned>(fds[1].revents));
  write(p[1], "x", 1);
  poll(fds, 2, 0);
  say("data %x %x", static_cast<unsigned>(fds[0].revents), static_cast<unsigned>(fds[1].revents));
  close(p[1]);
  fds[1].fd = -1;
  poll(fds, 2, 0);
  say("closed with data %x %x", static_cast<unsigned>(fds[0].revents), static_cast<unsigned>(fds[1].revents));
  char c = 0;
  read(p[0], &c, 1);
  poll(fds, 2, 0);
  say("closed %x", static_cast<unsigned>(fds[0].revents));
}

// Both sides open at the same moment, and the writer is gone again at once: both opens succeed all the same.
CASE(fifo_meetings) {
  mkfifo("meeting", 0600);
  int met = 0;
  for (int round = 0; round < 200; round++) {
    const pid_t child = fork();
    if (child == 0) {
      const int writer = open("meeting", O_WRONLY);
      _exit(write(writer, "x", 1) == 1 ? 0 : 1);
    }
    const int reader = open("meeting", O_RDONLY);
    char got[2];
    if (read(reader, got, 2) == 1 && read(reader, got, 2) == 0) met++;
    close(reader);
    waitpid(child, nullptr, 0);
  }
  say("met %d times", met);
}

// The reader leaves while the writer waits for room, or is just about to.
CASE(reader_leaves) {
  ignore_sigpipe();
  int told = 0;
  for (int round = 0; round < 200; round++) {
    int p[2];
    if (pipe(p) != 0) return;
    const pid_t child = fork();
    if (child == 0) {
      close(p[0]);
      static const char data[100'000] = {};
      const ssize_t written = write(p[1], data, sizeof data);
      _exit(written < static_cast<ssize_t>(sizeof data) ? 0 : 1);
    }
    close(p[1]);
    char first;
    if (read(p[0], &first, 1) != 1) return;
    close(p[0]);
    int status = -1;
    waitpid(child, &status, 0);
    if (status == 0) told++;
  }
  say("told %d times", told);
}
