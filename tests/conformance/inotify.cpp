// inotify.
#include "check.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>

namespace {

uint32_t cookies[32];
int cookie_count = 0;

void events(const char* what, int fd, const int* watches, int count) {
  alignas(inotify_event) char buffer[4096];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n < 0) {
    shown(what, n);
    return;
  }
  say("%s:", what);
  for (ssize_t at = 0; at < n;) {
    const inotify_event* event = reinterpret_cast<inotify_event*>(buffer + at);
    int watch = -1;
    for (int i = 0; i < count; i++) {
      if (watches[i] == event->wd) watch = i;
    }
    int cookie = 0;
    if (event->cookie != 0) {
      for (int i = 0; i < cookie_count; i++) {
        if (cookies[i] == event->cookie) cookie = i + 1;
      }
      if (cookie == 0) {
        cookies[cookie_count++] = event->cookie;
        cookie = cookie_count;
      }
    }
    say("  watch %d mask %x cookie %d len %u name '%s'", watch, event->mask, cookie, event->len, event->len > 0 ? event->name : "");
    at += static_cast<ssize_t>(sizeof *event + event->len);
  }
}

}  // namespace

CASE(directory) {
  mkdir("d", 0755);
  mkdir("e", 0755);
  const int fd = ifd("init", inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  int watch[2];
  watch[0] = static_cast<int>(must("watch", inotify_add_watch(fd, "d", IN_ALL_EVENTS)));
  watch[1] = static_cast<int>(must("watch", inotify_add_watch(fd, "e", IN_MOVED_TO)));
  events("none", fd, watch, 2);
  const int file = open("d/f", O_CREAT | O_RDWR, 0600);
  events("create", fd, watch, 2);
  write(file, "x", 1);
  write(file, "y", 1);
  events("writes are one event", fd, watch, 2);
  char c = 0;
  pread(file, &c, 1, 0);
  events("read", fd, watch, 2);
  close(file);
  events("close", fd, watch, 2);
  chmod("d/f", 0644);
  events("chmod", fd, watch, 2);
  rename("d/f", "d/g");
  events("rename", fd, watch, 2);
  rename("d/g", "e/g");
  events("move", fd, watch, 2);
  link("e/g", "d/h");
  events("link", fd, watch, 2);
  unlink("d/h");
  events("unlink", fd, watch, 2);
  mkdir("d/sub", 0755);
  rmdir("d/sub");
  events("directory", fd, watch, 2);
  symlink("x", "d/l");
  truncate("e/g", 0);
  events("link", fd, watch, 2);
  unlink("d/l");
  rmdir("d");
  events("removed", fd, watch, 2);
  shown("removed watch", inotify_rm_watch(fd, watch[0]));
}

CASE(file_watch) {
  make_file("f", "x");
  const int fd = inotify_init1(IN_NONBLOCK);
  int watch = inotify_add_watch(fd, "f", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_OPEN | IN_CLOSE);
  const int file = open("f", O_RDWR);
  write(file, "z", 1);
  ftruncate(file, 0);
  fchmod(file, 0600);
  close(file);
  events("changes", fd, &watch, 1);
  rename("f", "g");
  events("moved", fd, &watch, 1);
  unlink("g");
  events("deleted", fd, &watch, 1);
  shown("again", inotify_add_watch(fd, "g", IN_MODIFY));
}

CASE(flags) {
  mkdir("d", 0755);
  make_file("f", "x");
  const int fd = inotify_init1(IN_NONBLOCK);
  int watch = inotify_add_watch(fd, "d", IN_CREATE);
  shown("same directory, same number", inotify_add_watch(fd, "d", IN_DELETE) - watch);
  make_file("d/a", "");
  events("the mask was replaced", fd, &watch, 1);
  shown("mask add", inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_ADD) - watch);
  make_file("d/b", "");
  unlink("d/b");
  events("both", fd, &watch, 1);
  shown("mask create", inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_CREATE));
  shown("one shot", inotify_add_watch(fd, "d", IN_CREATE | IN_ONESHOT) - watch);
  make_file("d/c", "");
  make_file("d/e", "");
  events("once", fd, &watch, 1);
  shown("only directories", inotify_add_watch(fd, "f", IN_CREATE | IN_ONLYDIR));
  symlink("f", "l");
  shown("no follow", inotify_add_watch(fd, "l", IN_OPEN | IN_DONT_FOLLOW) >= 0);
  shown("empty mask", inotify_add_watch(fd, "d", 0));
  shown("missing", inotify_add_watch(fd, "zz", IN_CREATE));
  shown("bad descriptor", inotify_add_watch(99, "d", IN_CREATE));
  const int file = open("f", O_RDONLY);
  shown("not an inotify", inotify_add_watch(file, "d", IN_CREATE));
  shown("bad init flags", inotify_init1(1));
  watch = inotify_add_watch(fd, "d", IN_CREATE | IN_MODIFY);
  make_file("d/x1", "");
  make_file("d/x2", "");
  int bytes = 0;
  ioctl(fd, FIONREAD, &bytes);
  shown("FIONREAD", bytes);
  char small[8];
  shown("small buffer", read(fd, small, sizeof small));
  shown("remove", inotify_rm_watch(fd, watch));
  events("ignored is told", fd, &watch, 1);
}

CASE(what_happened) {
  mkdir("d", 0755);
  make_file("d/f", "x");
  const int watcher = inotify_init1(IN_NONBLOCK);
  const int watch = inotify_add_watch(watcher, "d", IN_ALL_EVENTS | IN_EXCL_UNLINK);
  const auto show = [&](const char* what) {
    alignas(inotify_event) char buffer[4096];
    say("%s", what);
    for (long length; (length = read(watcher, buffer, sizeof buffer)) > 0;)
      for (char* at = buffer; at < buffer + length;) {
        const auto* event = reinterpret_cast<inotify_event*>(at);
        say("  %x '%s' watch %d cookie %d", event->mask, event->len ? event->name : "", event->wd == watch, event->cookie != 0);
        at += sizeof *event + event->len;
      }
  };
  char c = 0;
  const int fd = open("d/f", O_RDWR);
  show("open");
  read(fd, &c, 1);
  show("read");
  write(fd, "y", 1);
  show("write");
  unlink("d/f");
  show("unlink");
  read(fd, &c, 1);
  write(fd, "z", 1);
  close(fd);
  show("after that");
  mkdir("d/s", 0755);
  show("mkdir");
  rename("d/s", "d/t");
  show("rename");
  rename("d/t", "elsewhere");
  show("out");
  chmod("d", 0700);
  show("chmod");
  rmdir("d");
  show("rmdir");
  shown("no watch any more", inotify_rm_watch(watcher, watch));
}
