// Extended attributes.
#include "check.h"

#include <sys/xattr.h>

namespace {

void shown_list(const char* name) {
  char buffer[1024];
  const ssize_t n = listxattr(name, buffer, sizeof buffer);
  // Attributes of the host's own (security.*) are no business of ours; the order is the file system's.
  int count = 0;
  for (ssize_t at = 0; at < n; at += static_cast<ssize_t>(strlen(buffer + at)) + 1) {
    if (strncmp(buffer + at, "user.", 5) == 0) count++;
  }
  say("%s has %d", name, count);
}

}  // namespace

CASE(set_get_list_remove) {
  make_file("f", "x");
  char buffer[64];
  shown("get missing", getxattr("f", "user.a", buffer, sizeof buffer));
  shown("set", setxattr("f", "user.a", "value", 5, 0));
  shown_data("get", buffer, getxattr("f", "user.a", buffer, sizeof buffer));
  shown("size", getxattr("f", "user.a", nullptr, 0));
  shown("too small", getxattr("f", "user.a", buffer, 3));
  shown("create existing", setxattr("f", "user.a", "v", 1, XATTR_CREATE));
  shown("replace", setxattr("f", "user.a", "w", 1, XATTR_REPLACE));
  shown("replace missing", setxattr("f", "user.b", "w", 1, XATTR_REPLACE));
  shown("empty value", setxattr("f", "user.empty", "", 0, 0));
  shown("get empty", getxattr("f", "user.empty", buffer, sizeof buffer));
  shown_list("f");
  shown("list too small", listxattr("f", buffer, 2));
  shown("remove", removexattr("f", "user.a"));
  shown("remove again", removexattr("f", "user.a"));
  shown_list("f");
}

CASE(errors) {
  make_file("f", "x");
  symlink("f", "l");
  char buffer[300];
  shown("no prefix", setxattr("f", "plain", "v", 1, 0));
  shown("unknown prefix", setxattr("f", "strange.a", "v", 1, 0));
  shown("only prefix", setxattr("f", "user.", "v", 1, 0));
  shown("empty name", setxattr("f", "", "v", 1, 0));
  shown("bad flags", setxattr("f", "user.a", "v", 1, 8));
  shown("missing file", setxattr("zz", "user.a", "v", 1, 0));
  shown("bad name pointer", setxattr("f", bad<char>(), "v", 1, 0));
  shown("bad value pointer", setxattr("f", "user.a", bad(), 1, 0));
  shown("value too large", setxattr("f", "user.a", buffer, 70000, 0));
  memset(buffer, 'n', sizeof buffer);
  memcpy(buffer, "user.", 5);
  buffer[299] = 0;
  shown("long name", setxattr("f", buffer, "v", 1, 0));
  shown("user attribute of a link", lsetxattr("l", "user.a", "v", 1, 0));
  shown("through a link", setxattr("l", "user.a", "v", 1, 0));
  shown_list("f");
  mknod("p", S_IFIFO | 0600, 0);
  shown("user attribute of a fifo", setxattr("p", "user.a", "v", 1, 0));
  const int fd = open("f", O_RDONLY);
  shown("fsetxattr", fsetxattr(fd, "user.b", "v", 1, 0));
  shown("fgetxattr", fgetxattr(fd, "user.b", buffer, 10));
  shown("bad descriptor", fsetxattr(99, "user.b", "v", 1, 0));
  const int path = open("f", O_PATH);
  shown("O_PATH", fsetxattr(path, "user.b", "v", 1, 0));
  mkdir("d", 0755);
  shown("directory", setxattr("d", "user.a", "v", 1, 0));
}

CASE(as_nobody) {
  chmod(".", 0755);
  make_file("f", "x", 0644);
  make_file("w", "x", 0666);
  chmod("w", 0666);
  setxattr("f", "user.a", "1", 1, 0);
  setxattr("f", "trusted.a", "1", 1, 0);
  in_child("nobody", [] {
    setresuid(65534, 65534, 65534);
    char buffer[16];
    shown("get", getxattr("f", "user.a", buffer, 16));
    shown("set", setxattr("f", "user.a", "2", 1, 0));
    shown("set on writable", setxattr("w", "user.a", "2", 1, 0));
    shown("get trusted", getxattr("f", "trusted.a", buffer, 16));
    shown("set trusted", setxattr("w", "trusted.a", "1", 1, 0));
    shown_list("f");
  });
}

CASE(links_and_descriptors) {
  make_file("f", "x");
  symlink("f", "l");
  char buffer[64];
  const int fd = open("f", O_RDONLY);
  shown("by descriptor", fsetxattr(fd, "user.a", "value", 5, 0));
  shown_data("get", buffer, fgetxattr(fd, "user.a", buffer, sizeof buffer));
  shown("list", flistxattr(fd, buffer, 1));
  shown("list has it", flistxattr(fd, nullptr, 0) >= 7);
  shown("remove", fremovexattr(fd, "user.a"));
  shown("remove again", fremovexattr(fd, "user.a"));
  shown("of a link", lgetxattr("l", "user.a", buffer, sizeof buffer));
  shown("remove from a link", lremovexattr("l", "user.a"));
  const int path = open("f", O_PATH);
  shown("O_PATH get", fgetxattr(path, "user.a", buffer, sizeof buffer));
  shown("O_PATH list", flistxattr(path, buffer, sizeof buffer));
  shown("O_PATH remove", fremovexattr(path, "user.a"));
  shown("closed", flistxattr(99, buffer, sizeof buffer));
}
