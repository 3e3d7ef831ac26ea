// open(2): flags and errors.
#include "check.h"

CASE(create_and_exclusive) {
  opened("missing", open("f", O_RDONLY));
  opened("create", open("f", O_CREAT | O_WRONLY, 0640));
  opened("exclusive on existing", open("f", O_CREAT | O_EXCL | O_WRONLY, 0600));
  opened("exclusive new", open("g", O_CREAT | O_EXCL | O_WRONLY, 0600));
  symlink("nowhere", "dangling");
  opened("exclusive on dangling link", open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
  opened("create through dangling link", open("dangling", O_CREAT | O_WRONLY, 0600));
  shown("target exists", access("nowhere", F_OK));
  struct stat st{};
  stat("f", &st);
  say("mode %o size %ld links %lu", st.st_mode, st.st_size, st.st_nlink);
}

CASE(access_modes) {
  make_file("f", "hello");
  char buffer[8];
  int fd = ifd("rdonly", open("f", O_RDONLY));
  shown("write to rdonly", write(fd, "x", 1));
  shown("read", read(fd, buffer, 2));
  shown("getfl", fcntl(fd, F_GETFL) & O_ACCMODE);
  fd = ifd("wronly", open("f", O_WRONLY));
  shown("read from wronly", read(fd, buffer, 1));
  shown("write", write(fd, "x", 1));
  fd = ifd("mode 3", open("f", 3));
  shown("read mode 3", read(fd, buffer, 1));
  shown("write mode 3", write(fd, buffer, 1));
  fd = ifd("path", open("f", O_PATH));
  shown("read path", read(fd, buffer, 1));
  shown("write path", write(fd, buffer, 1));
  shown("fchmod path", fchmod(fd, 0600));
  shown("ftruncate path", ftruncate(fd, 0));
  shown("lseek path", lseek(fd, 0, SEEK_SET));
  struct stat st{};
  shown("fstat path", fstat(fd, &st));
  say("flags of path fd %x", static_cast<unsigned>(fcntl(fd, F_GETFL)) & ~0x8000U);
  shown("dup path", dup(fd) >= 0);
}

CASE(truncate_and_append) {
  make_file("f", "0123456789");
  int fd = ifd("append", open("f", O_WRONLY | O_APPEND));
  shown("lseek", lseek(fd, 0, SEEK_SET));
  shown("write", write(fd, "ab", 2));
  shown("position", lseek(fd, 0, SEEK_CUR));
  shown("pwrite goes to the end as well", pwrite(fd, "cd", 2, 0));
  struct stat st{};
  fstat(fd, &st);
  shown("size", st.st_size);
  fd = ifd("trunc", open("f", O_WRONLY | O_TRUNC));
  fstat(fd, &st);
  shown("size", st.st_size);
  make_file("g", "abc");
  opened("rdonly trunc", open("g", O_RDONLY | O_TRUNC));
  stat("g", &st);
  shown("size", st.st_size);
  fd = ifd("no append", open("g", O_RDWR));
  shown("set append", fcntl(fd, F_SETFL, O_APPEND));
  write(fd, "12", 2);
  lseek(fd, 0, SEEK_SET);
  write(fd, "34", 2);
  char buffer[8];
  shown_data("content", buffer, pread(fd, buffer, 8, 0));
}

CASE(directories) {
  mkdir("d", 0755);
  make_file("f", "x");
  opened("write a directory", open("d", O_WRONLY));
  opened("rdwr a directory", open("d", O_RDWR));
  opened("creat a directory", open("d", O_CREAT | O_RDONLY, 0600));
  opened("O_DIRECTORY on file", open("f", O_DIRECTORY));
  opened("O_DIRECTORY on directory", open("d", O_DIRECTORY));
  opened("O_DIRECTORY|O_CREAT new", open("new", O_DIRECTORY | O_CREAT, 0600));
  opened("O_PATH|O_DIRECTORY on file", open("f", O_PATH | O_DIRECTORY));
  opened("file as directory", open("f/x", O_RDONLY));
  opened("file with slash", open("f/", O_RDONLY));
  opened("create with slash", open("n/", O_CREAT | O_WRONLY, 0600));
  opened("directory with slashes", open("d///", O_RDONLY));
  opened("dot", open("d/.", O_RDONLY));
  opened("dot dot", open("d/../f", O_RDONLY));
  opened("create dot", open("d/.", O_CREAT | O_WRONLY, 0600));
  char buffer[8];
  const int fd = open("d", O_RDONLY);
  shown("read a directory", read(fd, buffer, 1));
  shown("pread a directory", pread(fd, buffer, 1, 0));
}

CASE(names) {
  char name[5000];
  memset(name, 'a', sizeof name);
  name[255] = 0;
  opened("255 characters", open(name, O_CREAT | O_WRONLY, 0600));
  shown("unlink", unlink(name));
  name[255] = 'a';
  name[256] = 0;
  opened("256 characters", open(name, O_CREAT | O_WRONLY, 0600));
  name[256] = 'a';
  name[4999] = 0;
  opened("4999 characters", open(name, O_CREAT | O_WRONLY, 0600));
  for (int i = 0; i < 4096; i += 2) memcpy(name + i, "./", 2);
  name[4094] = 'f';
  name[4095] = 0;
  opened("path of 4095", open(name, O_CREAT | O_WRONLY, 0600));
  memcpy(name + 4094, "/f", 3);
  opened("path of 4096", open(name, O_CREAT | O_WRONLY, 0600));
  opened("empty", open("", O_RDONLY));
  opened("null", open(null<char>(), O_RDONLY));
  opened("bad pointer", open(bad<char>(), O_RDONLY));
  opened("kernel pointer", open(reinterpret_cast<char*>(0xffff800000000000), O_RDONLY));
  opened("odd bytes", open("\001\377\200 x", O_CREAT | O_WRONLY, 0600));
  opened("odd bytes again", open("\001\377\200 x", O_RDONLY));
}

CASE(links) {
  make_file("f", "x");
  symlink("f", "l");
  symlink("loop", "loop");
  symlink("a2", "a1");
  symlink("a1", "a2");
  opened("through link", open("l", O_RDONLY));
  opened("O_NOFOLLOW", open("l", O_RDONLY | O_NOFOLLOW));
  opened("O_NOFOLLOW|O_PATH", open("l", O_PATH | O_NOFOLLOW));
  opened("loop", open("loop", O_RDONLY));
  opened("loop of two", open("a1", O_RDONLY));
  opened("below loop", open("a1/x", O_RDONLY));
  opened("O_NOFOLLOW|O_DIRECTORY", open("l", O_NOFOLLOW | O_DIRECTORY));
  char from[16];
  char to[16];
  symlink("f", "c0");
  for (int i = 1; i < 45; i++) {
    snprintf(to, sizeof to, "c%d", i - 1);
    snprintf(from, sizeof from, "c%d", i);
    symlink(to, from);
  }
  opened("40 links", open("c39", O_RDONLY));
  opened("41 links", open("c40", O_RDONLY));
  char target[64];
  shown_data("readlink", target, readlink("c3", target, sizeof target));
  shown_data("readlink cut", target, readlink("c13", target, 1));
  shown("readlink of 0", readlink("c3", target, 0));
  shown("readlink of a file", readlink("f", target, 8));
  shown("empty target", symlink("", "e"));
  shown("existing", symlink("x", "l"));
}

CASE(temporary_files) {
  const int fd = ifd("O_TMPFILE", open(".", O_TMPFILE | O_RDWR, 0600));
  shown("write", write(fd, "abc", 3));
  struct stat st{};
  fstat(fd, &st);
  say("links %lu size %ld", st.st_nlink, st.st_size);
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  shown("link it", linkat(AT_FDCWD, name, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  stat("named", &st);
  say("links %lu size %ld", st.st_nlink, st.st_size);
  opened("O_TMPFILE read only", open(".", O_TMPFILE | O_RDONLY, 0600));
  opened("O_TMPFILE on file", open("named", O_TMPFILE | O_RDWR, 0600));
  const int exclusive = ifd("O_TMPFILE|O_EXCL", open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
  snprintf(name, sizeof name, "/proc/self/fd/%d", exclusive);
  shown("cannot be linked", linkat(AT_FDCWD, name, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
}

CASE(unlinked_files) {
  const int fd = ifd("create", open("f", O_CREAT | O_RDWR, 0600));
  write(fd, "still", 5);
  shown("unlink", unlink("f"));
  opened("gone", open("f", O_RDONLY));
  char buffer[8];
  shown_data("still readable", buffer, pread(fd, buffer, 8, 0));
  struct stat st{};
  fstat(fd, &st);
  shown("links", static_cast<long>(st.st_nlink));
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  opened("reopened by number", open(name, O_RDONLY));
  char target[256];
  const ssize_t n = readlink(name, target, sizeof target - 1);
  target[n > 0 ? n : 0] = 0;
  shown("named as deleted", strstr(target, "/unlinked_files/f (deleted)") != nullptr);
}

CASE(devices) {
  char buffer[16];
  memset(buffer, 'x', sizeof buffer);
  int fd = ifd("null", open("/dev/null", O_RDWR));
  shown("read null", read(fd, buffer, 4));
  shown("write null", write(fd, buffer, 4));
  shown("lseek null", lseek(fd, 5, SEEK_SET));
  fd = ifd("zero", open("/dev/zero", O_RDWR));
  shown_data("read zero", buffer, read(fd, buffer, 4));
  fd = ifd("full", open("/dev/full", O_RDWR));
  shown("write full", write(fd, buffer, 4));
  shown("read full", read(fd, buffer, 4));
  fd = ifd("urandom", open("/dev/urandom", O_RDONLY));
  shown("read urandom", read(fd, buffer, 16));
  struct stat st{};
  for (const char* name : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"}) {
    if (stat(name, &st) == 0) say("%s %o %lx", name, st.st_mode, st.st_rdev);
  }
}

CASE(file_limits) {
  opened("bad flag bits are ignored by open", open("f", O_CREAT | O_RDWR | 0x40000000, 0600));
  opened("nonblock on a file", open("f", O_RDONLY | O_NONBLOCK));
  opened("O_NOATIME as owner", open("f", O_RDONLY | O_NOATIME));
  opened("O_SYNC", open("f", O_RDWR | O_SYNC));
  opened("O_DSYNC", open("f", O_RDWR | O_DSYNC));
  opened("O_ASYNC", open("f", O_RDWR | O_ASYNC));
  opened("creat", creat("c", 0444));
  struct stat st{};
  stat("c", &st);
  say("mode %o", st.st_mode);
  umask(0777);
  opened("umask 0777", open("u", O_CREAT | O_WRONLY, 0777));
  stat("u", &st);
  say("mode %o", st.st_mode);
  umask(0);
  opened("mode 07777", open("v", O_CREAT | O_WRONLY, 07777));
  stat("v", &st);
  say("mode %o", st.st_mode);
  const int fd = open("cloexec", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  shown("cloexec", fcntl(fd, F_GETFD));
}
