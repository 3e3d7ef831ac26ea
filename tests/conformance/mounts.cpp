// mount, umount2, bind, move, remount, pivot_root. Natively in a mount namespace of its own.
#include "check.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

namespace {

void alone() {
  if (unshare(CLONE_NEWNS) != 0) return;  // in the guest the system is ours anyway
  mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
}

void shown_mounted(const char* what, const char* end) {
  FILE* file = fopen("/proc/self/mounts", "r");
  char line[4096];
  int count = 0;
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr) {
    char place[4096] = "";
    char type[64] = "";
    char options[1024] = "";
    sscanf(line, "%*s %4095s %63s %1023s", place, type, options);
    const size_t length = strlen(place);
    if (length < strlen(end) || strcmp(place + length - strlen(end), end) != 0) continue;
    count++;
    say("%s: %s %s", what, type, strncmp(options, "ro", 2) == 0 ? "ro" : "rw");
  }
  if (file != nullptr) fclose(file);
  if (count == 0) say("%s: not mounted", what);
}

}  // namespace

CASE(tmpfs) {
  alone();
  mkdir("m", 0755);
  make_file("m/under", "x");
  shown("mount", mount("none", "m", "tmpfs", 0, "mode=750,size=1m"));
  shown_mounted("m", "tmpfs/m");
  struct stat st{};
  stat("m", &st);
  say("%o", st.st_mode);
  shown("what was there", access("m/under", F_OK));
  const int fd = open("m/f", O_CREAT | O_RDWR, 0600);
  static char block[65536];
  long total = 0;
  long n = 0;
  while ((n = write(fd, block, sizeof block)) > 0) total += n;
  shown("full", n);
  say("at about a megabyte %d", total >= (1 << 20) - 65536 && total <= 1 << 20);
  struct statfs fs{};
  shown("statfs", statfs("m", &fs));
  say("type %lx block %ld free %ld name %ld", fs.f_type, fs.f_bsize, static_cast<long>(fs.f_bfree), fs.f_namelen);
  shown("busy", umount("m"));
  close(fd);
  shown("rmdir of a mount point", rmdir("m"));
  shown("rename of a mount point", rename("m", "n"));
  shown("umount", umount("m"));
  shown("again", umount("m"));
  shown("back", access("m/under", F_OK));
}

CASE(a_program_that_ended_keeps_nothing_busy) {
  alone();
  mkdir("m", 0755);
  mount("none", "m", "tmpfs", 0, nullptr);
  // It makes its calls itself, so its own text is what the kernel looks at.
  shown("copy", system("cp /lib64/ld-linux-x86-64.so.2 m/program"));
  for (int i = 0; i < 3; ++i) shown("run", system("m/program --help >/dev/null"));
  shown("umount", umount("m"));
}

CASE(read_only) {
  alone();
  mkdir("m", 0755);
  mount("none", "m", "tmpfs", 0, nullptr);
  make_file("m/f", "x");
  shown("remount", mount(nullptr, "m", nullptr, MS_REMOUNT | MS_RDONLY, nullptr));
  shown_mounted("m", "read_only/m");
  opened("read", open("m/f", O_RDONLY));
  opened("write", open("m/f", O_RDWR));
  opened("create", open("m/g", O_CREAT | O_RDWR, 0600));
  opened("create existing", open("m/f", O_CREAT | O_RDONLY, 0600));
  opened("truncate", open("m/f", O_RDONLY | O_TRUNC));
  shown("unlink", unlink("m/f"));
  shown("mkdir", mkdir("m/d", 0755));
  shown("mkdir existing", mkdir("m/f", 0755));
  shown("rename", rename("m/f", "m/h"));
  shown("chmod", chmod("m/f", 0600));
  shown("utimes", utimensat(AT_FDCWD, "m/f", nullptr, 0));
  shown("access", access("m/f", W_OK));
  shown("writable again", mount(nullptr, "m", nullptr, MS_REMOUNT, nullptr));
  const int writer = ifd("writer", open("m/f", O_RDWR));
  shown("remount while written", mount(nullptr, "m", nullptr, MS_REMOUNT | MS_RDONLY, nullptr));
  close(writer);
  struct statvfs flags{};
  mount(nullptr, "m", nullptr, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  statvfs("m", &flags);
  say("flags %lx", flags.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY));
  mknod("m/null", S_IFCHR | 0666, 0x103);
  opened("nodev", open("m/null", O_RDONLY));
  make_file("m/script", "#!/bin/sh\nexit 3\n", 0755);
  in_child("noexec", [] {
    execl("m/script", "script", nullptr);
    shown("exec", -1);
  });
  umount("m");
}

CASE(binds) {
  alone();
  mkdir("a", 0755);
  mkdir("b", 0755);
  make_file("a/f", "in a");
  make_file("file", "file");
  make_file("target", "target");
  shown("bind", mount("a", "b", nullptr, MS_BIND, nullptr));
  make_file("b/g", "x");
  shown("same directory", access("a/g", F_OK));
  struct stat one{};
  struct stat two{};
  stat("a/f", &one);
  stat("b/f", &two);
  shown("same file", one.st_ino == two.st_ino && one.st_dev == two.st_dev);
  shown("hard link over mounts", link("a/f", "b/link"));
  shown("rename over mounts", rename("a/f", "b/f2"));
  shown("read-only bind", mount(nullptr, "b", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr));
  opened("write through b", open("b/f", O_RDWR));
  opened("write through a", open("a/f", O_RDWR));
  shown("file", mount("file", "target", nullptr, MS_BIND, nullptr));
  char buffer[16];
  shown_data("target", buffer, read(open("target", O_RDONLY), buffer, 16));
  shown("unlink of a mount point", unlink("target"));
  shown("umount file", umount("target"));
  shown("directory on file", mount("a", "target", nullptr, MS_BIND, nullptr));
  shown("file on directory", mount("file", "b", nullptr, MS_BIND, nullptr));
  mkdir("a/sub", 0755);
  mount("none", "a/sub", "tmpfs", 0, nullptr);
  make_file("a/sub/deep", "x");
  mkdir("c", 0755);
  mount("a", "c", nullptr, MS_BIND, nullptr);
  shown("not recursive", access("c/sub/deep", F_OK));
  umount("c");
  shown("recursive", mount("a", "c", nullptr, MS_BIND | MS_REC, nullptr));
  shown("found", access("c/sub/deep", F_OK));
  shown("busy below", umount("c"));
  shown("lazily", umount2("c", MNT_DETACH));
  shown("gone", access("c/f", F_OK));
  mkdir("d", 0755);
  shown("move", mount("a/sub", "d", nullptr, MS_MOVE, nullptr));
  shown("moved", access("d/deep", F_OK));
  shown("left", access("a/sub/deep", F_OK));
  shown("move what is no mount", mount("a", "d", nullptr, MS_MOVE, nullptr));
  umount("d");
  umount("b");
}

CASE(stacking_and_paths) {
  alone();
  mkdir("m", 0755);
  mount("none", "m", "tmpfs", 0, nullptr);
  make_file("m/first", "x");
  shown("over it", mount("none", "m", "tmpfs", 0, nullptr));
  shown("hidden", access("m/first", F_OK));
  make_file("m/second", "x");
  const int inside = open("m", O_RDONLY | O_DIRECTORY);
  shown(".. leaves", faccessat(inside, "../m/second", F_OK, 0));
  shown("umount with a descriptor inside", umount("m"));
  shown("detach", umount2("m", MNT_DETACH));
  shown("first again", access("m/first", F_OK));
  shown("descriptor lives", faccessat(inside, "second", F_OK, 0));
  close(inside);
  chdir("m");
  shown("current directory keeps it busy", umount("../m"));
  chdir("..");
  symlink("m", "l");
  shown("no follow", umount2("l", UMOUNT_NOFOLLOW));
  shown("expire, first", umount2("m", MNT_EXPIRE));
  shown("expire, second", umount2("m", MNT_EXPIRE));
  mkdir("x", 0755);
  mount("none", "x", "tmpfs", 0, nullptr);
  mkdir("x/y", 0755);
  mount("none", "x/y", "tmpfs", 0, nullptr);
  struct stat outer{};
  struct stat inner{};
  stat("x", &outer);
  stat("x/y", &inner);
  shown("own device", outer.st_dev != inner.st_dev);
  shown("parent busy", umount("x"));
  umount("x/y");
  umount("x");
}

CASE(errors) {
  alone();
  mkdir("m", 0755);
  make_file("f", "x");
  shown("unknown type", mount("none", "m", "nosuchfs", 0, nullptr));
  shown("missing place", mount("none", "zz", "tmpfs", 0, nullptr));
  shown("a file as place", mount("none", "f", "tmpfs", 0, nullptr));
  shown("bad option", mount("none", "m", "tmpfs", 0, "nonsense=1"));
  shown("bad size", mount("none", "m", "tmpfs", 0, "size=banana"));
  shown("no type", mount("none", "m", nullptr, 0, nullptr));
  shown("bad place", mount("none", bad<char>(), "tmpfs", 0, nullptr));
  shown("bind of nothing", mount("zz", "m", nullptr, MS_BIND, nullptr));
  shown("remount of no mount", mount(nullptr, "m", nullptr, MS_REMOUNT, nullptr));
  shown("umount missing", umount("zz"));
  shown("umount of no mount", umount("m"));
  shown("umount bad flags", umount2("m", 0x100));
  shown("umount force and expire", umount2("m", MNT_EXPIRE | MNT_FORCE));
  in_child("nobody", [] {
    setresuid(65534, 65534, 65534);
    shown("mount", mount("none", "m", "tmpfs", 0, nullptr));
    shown("umount", umount("/"));
  });
}

CASE(proc_and_devices) {
  alone();
  mkdir("p", 0755);
  shown("proc", mount("proc", "p", "proc", 0, nullptr));
  shown("status", access("p/self/status", R_OK));
  shown("umount", umount("p"));
  shown("devpts", mount("devpts", "p", "devpts", 0, "newinstance,ptmxmode=0666"));
  shown("ptmx", access("p/ptmx", F_OK));
  shown("umount", umount("p"));
  shown("sysfs", mount("sysfs", "p", "sysfs", 0, nullptr));
  shown("kernel", access("p/kernel", F_OK));
  shown("umount", umount("p"));
}

// The last case: where there are no mount namespaces it takes the root away from everybody.
CASE(pivot) {
  alone();
  mkdir("new", 0755);
  shown("not a mount", syscall(SYS_pivot_root, "new", "new"));
  mount("none", "new", "tmpfs", 0, nullptr);
  mkdir("new/old", 0755);
  make_file("new/marker", "x");
  shown("put_old not below", syscall(SYS_pivot_root, "new", "/tmp"));
  in_child("pivot", [] {
    alone();
    shown("pivot_root", syscall(SYS_pivot_root, "new", "new/old"));
    chdir("/");
    shown("marker", access("/marker", F_OK));
    shown("old root", access("/old/etc", F_OK));
    shown("detach the old one", umount2("/old", MNT_DETACH));
    shown("gone", access("/old/etc", F_OK));
  });
}
