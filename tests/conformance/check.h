#pragma once
// The frame of a conformance program.
//
// A program is a list of cases. Each runs in a child process and in a directory of its own, and prints lines that say how the
// kernel behaved: results, names of errors, data; never an address, a process number or a time. tests/run runs the program on the
// host's own Linux first and then in the guest, and compares the lines of each case. So a case expects nothing: the host is the
// oracle, and what the host refuses (ENOSYS) or what differs from run to run must not be in a case.
//
//   CASE(exclusive) {
//     opened("create", open("f", O_CREAT | O_EXCL, 0600));
//     shown("again", open("f", O_CREAT | O_EXCL, 0600));     // prints: again = -1 EEXIST
//   }
//
// CHILD(name) is a program of its own: check::self("name") execs it as `PROGRAM child NAME`.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace check {

// A line, written at once, so that lines of several processes do not mix.
__attribute__((format(printf, 1, 2))) inline void say(const char* format, ...) {
  char line[4096];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (length > static_cast<int>(sizeof line) - 2) length = sizeof line - 2;
  line[length++] = '\n';
  const int saved = errno;
  for (int done = 0; done < length;) {
    const ssize_t n = write(1, line + done, static_cast<size_t>(length - done));
    if (n < 0 && errno != EINTR) _exit(99);
    if (n > 0) done += static_cast<int>(n);
  }
  errno = saved;
}

inline const char* error_name(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "E?";
}

// Prints a call's result, with the error's name when it is -1, and returns it.
inline long shown(const char* what, long value) {
  const int saved = errno;
  if (value == -1) {
    say("%s = -1 %s", what, error_name(saved));
  } else {
    say("%s = %ld", what, value);
  }
  errno = saved;
  return value;
}

// The same for functions that return the error itself, as the pthread ones do.
inline int shown_error(const char* what, int error) {
  say("%s = %s", what, error == 0 ? "0" : error_name(error));
  return error;
}

// For results whose value says nothing, such as descriptors and process numbers: prints "ok" or the error, and returns the value.
inline long opened(const char* what, long value) {
  const int saved = errno;
  if (value < 0) {
    say("%s = -1 %s", what, error_name(saved));
  } else {
    say("%s = ok", what);
  }
  errno = saved;
  return value;
}

inline int ifd(const char* what, long value) { return static_cast<int>(opened(what, value)); }

inline void shown_data(const char* what, const void* bytes, long length) {
  char text[1024];
  size_t n = 0;
  if (length < 0) {
    shown(what, length);
    return;
  }
  for (long i = 0; i < length && n < sizeof text - 8; i++) {
    const unsigned char c = static_cast<const unsigned char*>(bytes)[i];
    if (c >= 32 && c < 127 && c != '\\') {
      text[n++] = static_cast<char>(c);
    } else {
      n += static_cast<size_t>(snprintf(text + n, 5, "\\%03o", c));
    }
  }
  text[n] = 0;
  say("%s = %ld '%s'", what, length, text);
}

inline void shown_status(const char* what, int status) {
  if (WIFEXITED(status)) {
    say("%s: exit %d", what, WEXITSTATUS(status));
  } else if (WIFSIGNALED(status)) {
    say("%s: killed by %s%s", what, sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "RT", WCOREDUMP(status) ? " (core)" : "");
  } else if (WIFSTOPPED(status)) {
    say("%s: stopped by %s, event %d", what, sigabbrev_np(WSTOPSIG(status)), status >> 16);
  } else if (WIFCONTINUED(status)) {
    say("%s: continued", what);
  } else {
    say("%s: status 0x%x", what, static_cast<unsigned>(status));
  }
}

// What must work for the case to make sense; ends the case otherwise.
inline long must(const char* what, long value) {
  if (value >= 0) return value;
  say("CANNOT %s: %s", what, error_name(errno));
  _exit(97);
}

// A pointer that no process has, of any type.
template <typename T = void>
T* bad() {
  static volatile uintptr_t address = 0x10;
  return reinterpret_cast<T*>(address);
}

template <typename T = void>
T* null() {
  static volatile uintptr_t address = 0;
  return reinterpret_cast<T*>(address);
}

inline void sleep_ms(long ms) {
  timespec time{ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

// Runs `body` in a child process and prints how it ended.
template <typename Body>
void in_child(const char* what, Body body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  shown_status(what, status);
}

inline void make_file(const char* name, const char* text, mode_t mode = 0644) {
  const int fd = static_cast<int>(must(name, open(name, O_CREAT | O_TRUNC | O_WRONLY, mode)));
  must("write", write(fd, text, strlen(text)));
  close(fd);
}

struct Entry {
  const char* name;
  void (*run)();
  Entry* next = nullptr;
};
struct List {
  Entry* first = nullptr;
  Entry** last = &first;
};
inline List cases;
inline List children;

struct Register : Entry {
  Register(List& list, const char* case_name, void (*function)()) : Entry{case_name, function} {
    *list.last = this;
    list.last = &next;
  }
};

inline int argument_count;
inline char** arguments;
inline char program[4096];  // absolute name of this program
inline int case_seconds = 20;

inline void self(const char* child, const char* argument = nullptr) {
  execl(program, program, "child", child, argument, static_cast<char*>(nullptr));
  say("exec of %s: %s", child, error_name(errno));
  _exit(98);
}

inline int run(int count, char** list) {
  argument_count = count;
  arguments = list;
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length < 0) snprintf(program, sizeof program, "%s", list[0]);
  setenv("LC_ALL", "C", 1);
  umask(022);
  signal(SIGPIPE, SIG_DFL);

  if (count > 2 && strcmp(list[1], "child") == 0) {
    for (Entry* entry = children.first; entry != nullptr; entry = entry->next) {
      if (strcmp(entry->name, list[2]) == 0) {
        entry->run();
        return 0;
      }
    }
    return 96;
  }

  for (Entry* entry = cases.first; entry != nullptr; entry = entry->next) {
    if (count > 1) {
      bool wanted = false;
      for (int i = 1; i < count; i++) wanted = wanted || strcmp(list[i], entry->name) == 0;
      if (!wanted) continue;
    }
    say("== %s", entry->name);
    const pid_t pid = fork();
    if (pid < 0) {
      say("fork: %s", error_name(errno));
      return 95;
    }
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (mkdir(entry->name, 0755) != 0 || chdir(entry->name) != 0) {
        say("no directory for the case: %s", error_name(errno));
        _exit(94);
      }
      entry->run();
      _exit(0);
    }
    // Not an alarm, since cases use that timer themselves.
    int status = 0;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
      if (waited == case_seconds * 1000) {
        say("stopped at its time limit");
        kill(pid, SIGKILL);
      }
      sleep_ms(1);
    }
    shown_status("end", status);
  }
  return 0;
}

}  // namespace check

#define CASE(name)                                                       \
  static void name##_case();                                             \
  static check::Register name##_entry(check::cases, #name, &name##_case); \
  static void name##_case()

#define CHILD(name)                                                          \
  static void name##_child();                                                \
  static check::Register name##_child_entry(check::children, #name, &name##_child); \
  static void name##_child()

using check::bad;
using check::ifd;
using check::in_child;
using check::make_file;
using check::must;
using check::null;
using check::opened;
using check::say;
using check::shown;
using check::shown_data;
using check::shown_error;
using check::shown_status;
using check::sleep_ms;

int main(int count, char** list) { return check::run(count, list); }
