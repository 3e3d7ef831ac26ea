// execve: arguments, environment, scripts, errors, and what it keeps.
#include "check.h"

#include <grp.h>
#include <sys/resource.h>

namespace {

void attempt(const char* what, const char* file, char* const* list = nullptr) {
  const pid_t pid = fork();
  if (pid == 0) {
    char* plain[] = {const_cast<char*>("name"), const_cast<char*>("one"), nullptr};
    char* environment[] = {const_cast<char*>("A=b"), nullptr};
    execve(file, list != nullptr ? list : plain, environment);
    shown(what, -1);
    _exit(50);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  shown_status(what, status);
}

void script(const char* name, const char* text) {
  make_file(name, text, 0755);
}

}  // namespace

CHILD(report) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  struct sigaction action{};
  sigaction(SIGUSR1, nullptr, &action);
  const bool handler = action.sa_handler != SIG_DFL;
  sigaction(SIGUSR2, nullptr, &action);
  sigset_t pending;
  sigpending(&pending);
  say("blocked HUP %d, USR1 has a handler %d, USR2 ignored %d, pending HUP %d", sigismember(&mask, SIGHUP), handler, action.sa_handler == SIG_IGN,
      sigismember(&pending, SIGHUP));
  char name[32] = {};
  prctl(PR_GET_NAME, name);
  say("name %s", name);
  char directory[512];
  say("directory ends right %d, umask %03o", strstr(getcwd(directory, sizeof directory), "/kept_state") != nullptr, umask(022));
  stack_t stack{};
  sigaltstack(nullptr, &stack);
  say("alternate stack %d", stack.ss_flags);
  rlimit limit{};
  getrlimit(RLIMIT_CORE, &limit);
  say("limit %lu", limit.rlim_cur);
  shown("alarm is kept", alarm(0) > 0);
  shown("parent death signal", (prctl(PR_GET_PDEATHSIG, &name), name[0]));
}

CHILD(arguments) {
  for (int i = 3; i < check::argument_count; i++) shown_data("argument", check::arguments[i], static_cast<long>(strlen(check::arguments[i])));
  const char* value = getenv("UMK_TEST");
  say("environment %s", value != nullptr ? value : "(none)");
}

CASE(arguments) {
  in_child("list", [] {
    setenv("UMK_TEST", "a value = b", 1);
    execl(check::program, check::program, "child", "arguments", "", "two words", "\xff\x01", nullptr);
  });
  in_child("no environment", [] {
    char* list[] = {check::program, const_cast<char*>("child"), const_cast<char*>("arguments"), nullptr};
    execve(check::program, list, nullptr);
  });
  in_child("long argument", [] {
    static char text[131072];
    memset(text, 'l', sizeof text);
    text[131071] = 0;
    execl("/bin/true", "true", text, nullptr);
    shown("131071", -1);
  });
  in_child("too long argument", [] {
    static char text[131073];
    memset(text, 'l', sizeof text);
    text[131072] = 0;
    execl("/bin/true", "true", text, nullptr);
    shown("131072", -1);
  });
  in_child("too many", [] {
    static char text[100001];
    memset(text, 'l', sizeof text - 1);
    static char* list[101];
    for (int i = 0; i < 100; i++) list[i] = text;
    execv("/bin/true", list);
    shown("10 MB", -1);
  });
  in_child("two megabytes less a bit", [] {
    static char text[100001];
    memset(text, 'l', sizeof text - 1);
    static char* list[20];
    for (int i = 0; i < 19; i++) list[i] = text;
    execv("/bin/true", list);
    shown("1.9 MB", -1);
  });
  in_child("empty list", [] {
    char* none[] = {nullptr};
    execve("/bin/true", none, none);
    shown("empty", -1);
  });
}

CASE(errors) {
  mkdir("d", 0755);
  make_file("plain", "echo hello\n", 0644);
  make_file("empty", "", 0755);
  make_file("text", "just text\n", 0755);
  symlink("loop", "loop");
  attempt("missing", "missing");
  attempt("directory", "d");
  attempt("not executable", "plain");
  attempt("empty file", "empty");
  attempt("no format", "text");
  attempt("below a file", "plain/x");
  attempt("loop", "loop");
  attempt("empty name", "");
  attempt("bad name", bad<char>());
  attempt("bad list", "/bin/true", bad<char*>());
  char* half[] = {const_cast<char*>("x"), bad<char>(), nullptr};
  attempt("bad argument", "/bin/true", half);
  make_file("elf", "\177ELF\002\001\001", 0755);
  attempt("short ELF", "elf");
  make_file("elf32", "\177ELF\001\001\001 0123456789012345678901234567890123456789012345678901234567890123456789", 0755);
  attempt("32-bit header of garbage", "elf32");
  mknod("fifo", S_IFIFO | 0755, 0);
  attempt("fifo", "fifo");
  attempt("device", "/dev/null");
  const int busy = open("busy", O_CREAT | O_WRONLY, 0755);
  write(busy, "#!/bin/true\n", 12);
  attempt("being written", "busy");
  close(busy);
  attempt("closed again", "busy");
  chmod(".", 0755);
  in_child("nobody", [] {
    setresuid(65534, 65534, 65534);
    attempt("not executable by others", "text");
  });
  const int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
  in_child("execveat by descriptor", [fd] {
    char* list[] = {const_cast<char*>("true"), nullptr};
    syscall(SYS_execveat, fd, "", list, environ, AT_EMPTY_PATH);
    shown("execveat", -1);
  });
  in_child("execveat of a link", [] {
    symlink("/bin/true", "link");
    char* list[] = {const_cast<char*>("true"), nullptr};
    syscall(SYS_execveat, AT_FDCWD, "link", list, environ, AT_SYMLINK_NOFOLLOW);
    shown("execveat", -1);
  });
  in_child("execveat flags", [] {
    char* list[] = {const_cast<char*>("true"), nullptr};
    syscall(SYS_execveat, AT_FDCWD, "/bin/true", list, environ, 1);
    shown("execveat", -1);
  });
}

CASE(scripts) {
  script("plain", "#!/bin/sh\necho \"$0\" \"$#\" \"$@\"\n");
  attempt("plain", "./plain");
  script("argument", "#!/bin/echo  with one   argument  \n");
  attempt("argument", "./argument");
  script("spaces", "#!   /bin/echo\n");
  attempt("spaces", "./spaces");
  script("tab", "#!\t/bin/echo\tx\n");
  attempt("tab", "./tab");
  script("no newline", "#!/bin/echo");
  attempt("no newline", "./no newline");
  script("nothing", "#!\n");
  attempt("nothing", "./nothing");
  script("missing", "#!/nonexistent/interpreter\n");
  attempt("missing interpreter", "./missing");
  script("nested", "#!./plain\n");
  attempt("script of a script", "./nested");
  script("self", "#!./self\n");
  attempt("itself", "./self");
  script("relative", "#!plain x\n");
  attempt("relative interpreter", "./relative");
  script("directory", "#!/tmp\n");
  attempt("a directory", "./directory");
  char text[600];
  memset(text, 'a', sizeof text);
  memcpy(text, "#!/bin/echo ", 12);
  text[200] = 0;
  strcat(text, "\n");
  script("long", text);
  attempt("long line", "./long");
  memset(text, 'a', sizeof text);
  memcpy(text, "#!/", 3);
  text[400] = 0;
  script("longer", text);
  attempt("interpreter name too long", "./longer");
  in_child("list of one", [] {
    char* none[] = {nullptr};
    execve("./plain", none, environ);
    shown("empty list", -1);
  });
}

CASE(kept_state) {
  in_child("exec", [] {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, nullptr);
    raise(SIGHUP);
    signal(SIGUSR1, [](int) {});
    signal(SIGUSR2, SIG_IGN);
    umask(037);
    stack_t stack{};
    static char space[16384];
    stack.ss_sp = space;
    stack.ss_size = sizeof space;
    sigaltstack(&stack, nullptr);
    const rlimit limit{12345, 23456};
    setrlimit(RLIMIT_CORE, &limit);
    prctl(PR_SET_NAME, "renamed");
    alarm(100);
    symlink(check::program, "report-program");
    execl("report-program", "x", "child", "report", nullptr);
    shown("exec", -1);
  });
}

CASE(set_id) {
  chmod(".", 0755);
  char command[8300];
  snprintf(command, sizeof command, "cp /usr/bin/id id && chown 1234:2345 id && chmod 6755 id");
  system(command);
  in_child("set-uid and set-gid", [] {
    setgroups(0, nullptr);
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    execl("./id", "id", "-u", nullptr);
  });
  in_child("no_new_privs", [] {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    execl("./id", "id", "-u", nullptr);
  });
  in_child("group", [] {
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    execl("./id", "id", "-g", nullptr);
  });
}
