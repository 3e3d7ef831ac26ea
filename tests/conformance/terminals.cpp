// Pseudo-terminals: line discipline, signals, window size, sessions.
#include "check.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

namespace {

struct Pair {
  int master = -1;
  int slave = -1;
  Pair() {
    if (openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) {
      say("CANNOT openpty: %s", check::error_name(errno));
      _exit(97);
    }
  }
};

void type(int fd, const char* text) { write(fd, text, strlen(text)); }

// Linux brings input from one end to the other by a worker.
void wait_for_input(int fd) {
  pollfd one{fd, POLLIN, 0};
  poll(&one, 1, 1000);
}

// All that arrives within a short time.
void shown_output(const char* what, int fd) {
  char buffer[4096];
  long total = 0;
  pollfd one{fd, POLLIN, 0};
  while (total < 4000 && poll(&one, 1, 50) > 0 && (one.revents & POLLIN) != 0) {
    const ssize_t n = read(fd, buffer + total, sizeof buffer - static_cast<size_t>(total));
    if (n <= 0) break;
    total += n;
  }
  shown_data(what, buffer, total);
}

void change(int fd, tcflag_t local_off, tcflag_t local_on = 0, tcflag_t input_off = 0, tcflag_t output_off = 0) {
  termios settings{};
  tcgetattr(fd, &settings);
  settings.c_lflag = (settings.c_lflag & ~local_off) | local_on;
  settings.c_iflag &= ~input_off;
  settings.c_oflag &= ~output_off;
  tcsetattr(fd, TCSANOW, &settings);
}

}  // namespace

CASE(defaults) {
  const Pair p;
  termios settings{};
  shown("tcgetattr", tcgetattr(p.slave, &settings));
  say("%o %o %o %o", settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag);
  shown_data("characters", settings.c_cc, 17);
  shown("isatty", isatty(p.slave) + isatty(p.master));
  winsize size{};
  shown("size", ioctl(p.slave, TIOCGWINSZ, &size));
  say("%u %u", size.ws_row, size.ws_col);
  int number = -1;
  shown("TIOCGPTN", ioctl(p.master, TIOCGPTN, &number));
  char name[64];
  shown_error("name", ttyname_r(p.slave, name, sizeof name));
  say("in /dev/pts %d", strncmp(name, "/dev/pts/", 9) == 0);
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  shown("tcgetattr of a file", tcgetattr(file, &settings));
  shown("bad pointer", ioctl(p.slave, TCGETS, bad()));
  shown("seek", lseek(p.slave, 0, SEEK_SET));
}

CASE(canonical) {
  const Pair p;
  char buffer[64];
  type(p.master, "hello\n");
  shown_data("line", buffer, read(p.slave, buffer, 64));
  shown_output("echo", p.master);
  type(p.master, "abX\177c\n");
  shown_data("erase", buffer, read(p.slave, buffer, 64));
  shown_output("echo", p.master);
  type(p.master, "one two\027three\n");
  shown_data("word erase", buffer, read(p.slave, buffer, 64));
  shown_output("echo", p.master);
  type(p.master, "gone\025kept\n");
  shown_data("kill", buffer, read(p.slave, buffer, 64));
  shown_output("echo", p.master);
  type(p.master, "part\004");
  shown_data("end of file pushes", buffer, read(p.slave, buffer, 64));
  type(p.master, "\004");
  shown_data("end of file", buffer, read(p.slave, buffer, 64));
  type(p.master, "two\nlines\n");
  shown_data("one line a read", buffer, read(p.slave, buffer, 64));
  shown_data("part of a line", buffer, read(p.slave, buffer, 2));
  shown_data("rest", buffer, read(p.slave, buffer, 64));
  type(p.master, "a\026\003b\n");
  shown_data("literal", buffer, read(p.slave, buffer, 64));
  shown_output("echo", p.master);
  type(p.master, "return\r");
  shown_data("return is newline", buffer, read(p.slave, buffer, 64));
  int left = 0;
  type(p.master, "1234\n");
  wait_for_input(p.slave);
  ioctl(p.slave, FIONREAD, &left);
  shown("FIONREAD", left);
  shown("flush", tcflush(p.slave, TCIFLUSH));
  ioctl(p.slave, FIONREAD, &left);
  shown("FIONREAD", left);
  type(p.slave, "out\nput\t.");
  shown_output("output", p.master);
}

CASE(raw) {
  const Pair p;
  termios settings{};
  tcgetattr(p.slave, &settings);
  cfmakeraw(&settings);
  shown("set", tcsetattr(p.slave, TCSANOW, &settings));
  char buffer[64];
  type(p.master, "a\003\r\177");
  shown_data("bytes", buffer, read(p.slave, buffer, 64));
  shown_output("no echo", p.master);
  type(p.slave, "a\nb");
  shown_output("as it is", p.master);
  settings.c_cc[VMIN] = 0;
  settings.c_cc[VTIME] = 0;
  tcsetattr(p.slave, TCSANOW, &settings);
  shown("MIN 0 TIME 0", read(p.slave, buffer, 64));
  settings.c_cc[VTIME] = 1;
  tcsetattr(p.slave, TCSANOW, &settings);
  shown("TIME 1", read(p.slave, buffer, 64));
  settings.c_cc[VMIN] = 3;
  settings.c_cc[VTIME] = 0;
  tcsetattr(p.slave, TCSANOW, &settings);
  if (fork() == 0) {
    type(p.master, "1");
    sleep_ms(30);
    type(p.master, "2");
    sleep_ms(30);
    type(p.master, "345");
    _exit(0);
  }
  shown("MIN 3 waits", read(p.slave, buffer, 64) >= 3);
  wait(nullptr);
  fcntl(p.slave, F_SETFL, O_NONBLOCK);
  tcflush(p.slave, TCIFLUSH);
  shown("nonblock", read(p.slave, buffer, 64));
  change(p.slave, 0, 0, 0, 0);
  shown("bad action", tcsetattr(p.slave, 77, &settings));
  shown("drain", tcdrain(p.slave));
  shown("break", tcsendbreak(p.slave, 0));
  shown("speed", cfgetospeed(&settings) == B38400);
}

CASE(echo_flags) {
  const Pair p;
  char buffer[64];
  change(p.slave, ECHO);
  type(p.master, "hidden\n");
  read(p.slave, buffer, 64);
  shown_output("no echo", p.master);
  change(p.slave, 0, ECHONL);
  type(p.master, "hidden\n");
  read(p.slave, buffer, 64);
  shown_output("only newline", p.master);
  change(p.slave, ECHOCTL, ECHO);
  type(p.master, "\001x\n");
  read(p.slave, buffer, 64);
  shown_output("control not shown", p.master);
  change(p.slave, 0, 0, ICRNL);
  type(p.master, "a\rb\n");
  shown_data("return stays", buffer, read(p.slave, buffer, 64));
  change(p.slave, 0, 0, 0, OPOST);
  type(p.slave, "x\ny");
  sleep_ms(20);
  tcflush(p.slave, TCOFLUSH);
  shown_output("output as it is", p.master);
}

CASE(session_and_signals) {
  const Pair p;
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    shown("take", ioctl(p.slave, TIOCSCTTY, 0));
    shown("session", tcgetsid(p.slave) == getpid());
    shown("foreground", tcgetpgrp(p.slave) == getpid());
    opened("/dev/tty", open("/dev/tty", O_RDWR));
    for (const int number : {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT}) {
      signal(number, [](int n) { say("got %s", sigabbrev_np(n)); });
    }
    write(p.slave, "ready", 5);
    char c = 0;
    for (;;) {
      if (read(p.slave, &c, 1) == 1 && c == 'q') break;
    }
    _exit(0);
  }
  char buffer[16];
  read(p.master, buffer, 5);
  for (const char* key : {"\003", "\034", "\032"}) {
    type(p.master, key);
    sleep_ms(60);
  }
  winsize size{40, 100, 0, 0};
  // The child tells of its signal meanwhile: the result is said after it.
  const int resized = ioctl(p.master, TIOCSWINSZ, &size);
  sleep_ms(60);
  shown("resize", resized);
  shown("same size again", ioctl(p.master, TIOCSWINSZ, &size));
  sleep_ms(60);
  size = {};
  ioctl(p.slave, TIOCGWINSZ, &size);
  say("%u %u", size.ws_row, size.ws_col);
  shown_output("echo", p.master);
  type(p.master, "q\n");
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("child", status);
}

CASE(background) {
  const Pair p;
  const pid_t leader = fork();
  if (leader == 0) {
    setsid();
    ioctl(p.slave, TIOCSCTTY, 0);
    const pid_t job = fork();
    if (job == 0) {
      setpgid(0, 0);
      char c = 0;
      read(p.slave, &c, 1);
      say("read %c", c);
      _exit(0);
    }
    setpgid(job, job);
    int status = 0;
    waitpid(job, &status, WUNTRACED);
    shown_status("background read", status);
    shown("foreground", tcsetpgrp(p.slave, job));
    kill(-job, SIGCONT);
    waitpid(job, &status, WUNTRACED);
    shown_status("job", status);
    signal(SIGTTOU, SIG_IGN);
    shown("take it back", tcsetpgrp(p.slave, getpgrp()));
    signal(SIGTTOU, SIG_DFL);
    const pid_t writer = fork();
    if (writer == 0) {
      setpgid(0, 0);
      termios settings{};
      tcgetattr(p.slave, &settings);
      shown("write without TOSTOP", write(p.slave, "w", 1));
      tcsetattr(p.slave, TCSANOW, &settings);
      say("not reached before SIGCONT");
      _exit(0);
    }
    setpgid(writer, writer);
    waitpid(writer, &status, WUNTRACED);
    shown_status("background tcsetattr", status);
    kill(writer, SIGKILL);
    waitpid(writer, &status, 0);
    shown("missing group", tcsetpgrp(p.slave, 999999));
    shown("negative group", tcsetpgrp(p.slave, -5));
    _exit(0);
  }
  sleep_ms(100);
  type(p.master, "j\n");
  int status = 0;
  waitpid(leader, &status, 0);
  shown_status("leader", status);
  shown("not my terminal", tcgetpgrp(p.slave));
}

CASE(hang_up) {
  int master = -1;
  int slave = -1;
  openpty(&master, &slave, nullptr, nullptr, nullptr);
  char buffer[16];
  type(slave, "last");
  close(slave);
  shown_data("data after the slave closed", buffer, read(master, buffer, 16));
  shown("then EIO", read(master, buffer, 16));
  pollfd one{master, POLLIN | POLLOUT, 0};
  poll(&one, 1, 0);
  say("poll %x", static_cast<unsigned>(one.revents));
  openpty(&master, &slave, nullptr, nullptr, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    close(master);
    setsid();
    ioctl(slave, TIOCSCTTY, 0);
    signal(SIGHUP, [](int) { say("got HUP"); });
    char c = 0;
    const long n = read(slave, &c, 1);
    say("read %ld", n > 0 ? 1L : n);
    shown("read again", read(slave, &c, 1));
    shown("write", write(slave, "x", 1));
    opened("/dev/tty", open("/dev/tty", O_RDWR));
    _exit(0);
  }
  close(slave);
  sleep_ms(50);
  close(master);
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("child", status);
}

CASE(opening) {
  const int master = ifd("ptmx", posix_openpt(O_RDWR | O_NOCTTY));
  char* name = ptsname(master);
  opened("locked", open(name, O_RDWR | O_NOCTTY));
  shown("grant", grantpt(master));
  shown("unlock", unlockpt(master));
  const int slave = ifd("slave", open(name, O_RDWR | O_NOCTTY));
  struct stat st{};
  fstat(slave, &st);
  // The permissions are the mount's choice.
  say("%o major %lx", st.st_mode & S_IFMT, st.st_rdev >> 8);
  const int peer = ifd("TIOCGPTPEER", ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY));
  write(peer, "p", 1);
  shown_output("through the peer", master);
  int on = 1;
  shown("packet mode", ioctl(master, TIOCPKT, &on));
  type(slave, "data");
  shown_output("packet", master);
  tcflush(slave, TCIFLUSH);
  shown_output("control packet", master);
  shown("exclusive", ioctl(slave, TIOCEXCL));
  opened("root may open all the same", open(name, O_RDWR | O_NOCTTY));
  shown("TIOCSTI", ioctl(slave, TIOCSTI, "z") >= -1);
  close(slave);
  close(peer);
  close(master);
  opened("gone", open(name, O_RDWR | O_NOCTTY));
  in_child("no controlling terminal", [] {
    setsid();
    opened("/dev/tty", open("/dev/tty", O_RDWR));
  });
}

CASE(locked_settings) {
  const auto [master, slave] = Pair();
  struct KernelSettings {
    tcflag_t input, output, control, local;
    cc_t line, characters[19];
  } locks{}, read_back{};
  shown("get", ioctl(slave, TIOCGLCKTRMIOS, &read_back));
  say("local %x", read_back.local);
  locks.local = ECHO | ISIG;
  locks.input = ICRNL;
  locks.characters[VINTR] = 1;
  shown("set", ioctl(slave, TIOCSLCKTRMIOS, &locks));
  shown("of the master", ioctl(master, TIOCGLCKTRMIOS, &read_back));
  say("the same %d", memcmp(&locks, &read_back, sizeof locks) == 0);
  termios settings{};
  tcgetattr(slave, &settings);
  cfmakeraw(&settings);
  settings.c_cc[VINTR] = 'x';
  settings.c_cc[VQUIT] = 'y';
  shown("raw", tcsetattr(slave, TCSANOW, &settings));
  tcgetattr(slave, &settings);
  say("input %x local %x interrupt %x quit %x", settings.c_iflag, settings.c_lflag, settings.c_cc[VINTR], settings.c_cc[VQUIT]);
  in_child("nobody", [slave] {
    setresuid(65534, 65534, 65534);
    KernelSettings none{};
    shown("look", ioctl(slave, TIOCGLCKTRMIOS, &none));
    shown("unlock", ioctl(slave, TIOCSLCKTRMIOS, &none));
    shown("bad address", ioctl(slave, TIOCSLCKTRMIOS, bad()));
  });
  shown("bad address", ioctl(slave, TIOCSLCKTRMIOS, bad()));
  shown("bad address", ioctl(slave, TIOCGLCKTRMIOS, bad()));
  locks = {};
  shown("unlock", ioctl(master, TIOCSLCKTRMIOS, &locks));
  cfmakeraw(&settings);
  shown("raw", tcsetattr(slave, TCSANOW, &settings));
  tcgetattr(slave, &settings);
  say("input %x local %x", settings.c_iflag, settings.c_lflag);
}

CASE(hang_up_by_call) {
  int master = -1;
  int slave = -1;
  openpty(&master, &slave, nullptr, nullptr, nullptr);
  in_child("leader", [&] {
    signal(SIGHUP, [](int) { say("got HUP"); });
    setsid();
    shown("without a terminal", syscall(SYS_vhangup));
    ioctl(slave, TIOCSCTTY, 0);
    in_child("nobody", [] {
      setresuid(65534, 65534, 65534);
      shown("vhangup", syscall(SYS_vhangup));
    });
    shown("vhangup", syscall(SYS_vhangup));
    char c = 0;
    shown("read", read(slave, &c, 1));
    shown("write", write(slave, "x", 1));
    opened("/dev/tty", open("/dev/tty", O_RDWR));
    const int again = ifd("again", open(ptsname(master), O_RDWR | O_NOCTTY));
    shown("write", write(again, "x", 1));
    shown("once more", syscall(SYS_vhangup));
  });
}
