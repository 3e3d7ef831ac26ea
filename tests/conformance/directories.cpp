// getdents64, getcwd, chdir, fchdir, chroot.
#include "check.h"

#include <dirent.h>

namespace {

struct Entry64 {
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[256];
};

int compare(const void* a, const void* b) { return strcmp(*static_cast<char* const*>(a), *static_cast<char* const*>(b)); }

}  // namespace

CASE(read_entries) {
  make_file("file", "x");
  mkdir("dir", 0755);
  symlink("file", "link");
  mknod("fifo", S_IFIFO | 0600, 0);
  char* names[16];
  int count = 0;
  DIR* dir = opendir(".");
  while (dirent* entry = readdir(dir)) {
    char line[300];
    snprintf(line, sizeof line, "%s %d", entry->d_name, entry->d_type);
    names[count++] = strdup(line);
  }
  qsort(names, static_cast<size_t>(count), sizeof *names, compare);
  for (int i = 0; i < count; i++) say("%s", names[i]);
  rewinddir(dir);
  int again = 0;
  while (readdir(dir) != nullptr) again++;
  shown("again", again);
}

CASE(small_buffers) {
  char name[64];
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "file-with-a-longer-name-%03d", i);
    make_file(name, "");
  }
  const int fd = open(".", O_RDONLY | O_DIRECTORY);
  char buffer[200];
  bool seen[300] = {};
  int total = 0;
  int twice = 0;
  long n = 0;
  while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < n;) {
      const Entry64* entry = reinterpret_cast<Entry64*>(buffer + at);
      int number = 0;
      if (sscanf(entry->name, "file-with-a-longer-name-%d", &number) == 1) {
        twice += seen[number];
        seen[number] = true;
      }
      total++;
      at += entry->length;
    }
  }
  say("total %d twice %d last %ld", total, twice, n);
  lseek(fd, 0, SEEK_SET);
  shown("too small", syscall(SYS_getdents64, fd, buffer, 10));
  shown("bad pointer", syscall(SYS_getdents64, fd, bad(), 200));
  const int file = open(name, O_RDONLY);
  shown("not a directory", syscall(SYS_getdents64, file, buffer, 200));
  shown("bad descriptor", syscall(SYS_getdents64, 99, buffer, 200));
  mkdir("gone", 0755);
  const int gone = open("gone", O_RDONLY);
  rmdir("gone");
  shown("removed directory", syscall(SYS_getdents64, gone, buffer, 200));
  shown("unlink while reading", lseek(fd, 0, SEEK_SET));
  int unlinked = 0;
  while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < n;) {
      const Entry64* entry = reinterpret_cast<Entry64*>(buffer + at);
      if (entry->name[0] == 'f' && unlink(entry->name) == 0) unlinked++;
      at += entry->length;
    }
  }
  shown("all", unlinked);
}

CASE(current_directory) {
  char start[512];
  char buffer[512];
  getcwd(start, sizeof start);
  mkdir("a", 0755);
  mkdir("a/b", 0755);
  shown("chdir", chdir("a/b"));
  getcwd(buffer, sizeof buffer);
  shown("path", strcmp(buffer + strlen(start), "/a/b") == 0);
  shown("too small", syscall(SYS_getcwd, buffer, 2));
  shown("bad pointer", syscall(SYS_getcwd, bad(), 512));
  shown("length", syscall(SYS_getcwd, buffer, 512) == static_cast<long>(strlen(start)) + 5);
  shown("chdir up", chdir("../.."));
  make_file("f", "");
  shown("chdir file", chdir("f"));
  shown("chdir missing", chdir("zz"));
  const int fd = open("a", O_RDONLY);
  shown("fchdir", fchdir(fd));
  const int path = open("b", O_PATH);
  shown("fchdir by path", fchdir(path));
  shown("rmdir current", rmdir("../b"));
  shown("getcwd of removed", syscall(SYS_getcwd, buffer, 512));
  shown("create in removed", open("x", O_CREAT | O_RDWR, 0600));
  shown("chdir ..", chdir(".."));
  shown("fchdir bad", fchdir(99));
  const int file = open("../f", O_RDONLY);
  shown("fchdir file", fchdir(file));
  shown("rename of current directory", rename("../a", "../moved"));
  getcwd(buffer, sizeof buffer);
  shown("path follows", strcmp(buffer + strlen(start), "/moved") == 0);
}

CASE(change_root) {
  mkdir("r", 0755);
  mkdir("r/in", 0755);
  make_file("r/file", "inside");
  symlink("/file", "r/in/link");
  shown("chroot", chroot("r"));
  shown("chdir", chdir("/"));
  char buffer[64];
  shown("access", access("/file", F_OK));
  shown("absolute link", access("/in/link", F_OK));
  shown("up from the root", access("/../../file", F_OK));
  shown("outside", access("/etc/passwd", F_OK));
  getcwd(buffer, sizeof buffer);
  say("%s", buffer);
  shown("chroot to a file", chroot("/file"));
  shown("chroot missing", chroot("/zz"));
  in_child("as nobody", [] {
    setresuid(65534, 65534, 65534);
    shown("chroot", chroot("/in"));
  });
}

CASE(limits_of_depth) {
  char name[201];
  memset(name, 'd', 200);
  name[200] = 0;
  int depth = 0;
  for (; depth < 25; depth++) {
    if (mkdir(name, 0755) != 0 || chdir(name) != 0) break;
  }
  shown("depth", depth);
  char buffer[8192];
  shown("getcwd longer than a page", syscall(SYS_getcwd, buffer, sizeof buffer));
  make_file("deep", "x");
  shown("relative open", access("deep", R_OK));
  for (int i = 0; i < depth; i++) {
    if (i == 0) unlink("deep");
    chdir("..");
    rmdir(name);
  }
  shown("cleaned", access(name, F_OK));
}
