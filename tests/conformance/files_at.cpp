// The *at calls, openat2, statx and renameat2.
#include "check.h"

#include <linux/openat2.h>
#include <sys/time.h>

namespace {

long openat2(int dir, const char* path, uint64_t flags, uint64_t mode, uint64_t resolve, size_t size = sizeof(open_how)) {
  open_how how{flags, mode, resolve};
  return syscall(SYS_openat2, dir, path, &how, size);
}

long renameat2_call(const char* from, const char* to, unsigned flags) { return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags); }

}  // namespace

CASE(open_at) {
  mkdir("d", 0755);
  make_file("d/f", "x");
  const int dir = ifd("dir", open("d", O_RDONLY | O_DIRECTORY));
  opened("relative", openat(dir, "f", O_RDONLY));
  opened("missing", openat(dir, "g", O_RDONLY));
  opened("absolute ignores the directory", openat(-1, "/dev/null", O_RDONLY));
  opened("bad directory", openat(77, "f", O_RDONLY));
  const int file = open("d/f", O_RDONLY);
  opened("a file as directory", openat(file, "f", O_RDONLY));
  const int path = open("d", O_PATH);
  opened("through O_PATH", openat(path, "f", O_RDONLY));
  opened("..", openat(dir, "..", O_RDONLY));
  shown("rmdir of the directory fails", rmdir("d"));
  unlink("d/f");
  shown("rmdir", rmdir("d"));
  opened("in a removed directory", openat(dir, "f", O_CREAT | O_RDWR, 0600));
  opened("dot of a removed directory", openat(dir, ".", O_RDONLY));
}

CASE(open_at_2) {
  mkdir("d", 0755);
  make_file("d/f", "x");
  make_file("top", "x");
  symlink("f", "d/l");
  symlink("../top", "d/up");
  symlink("/dev/null", "d/abs");
  const int dir = open("d", O_RDONLY);
  opened("plain", openat2(dir, "f", O_RDONLY, 0, 0));
  opened("unknown flag", openat2(dir, "f", 0x40000000, 0, 0));
  opened("mode without create", openat2(dir, "f", O_RDONLY, 0600, 0));
  opened("mode too large", openat2(dir, "n", O_CREAT, 0200000, 0));
  opened("unknown resolve", openat2(dir, "f", O_RDONLY, 0, 0x100000));
  opened("short struct", openat2(dir, "f", O_RDONLY, 0, 0, 8));
  opened("NO_SYMLINKS", openat2(dir, "l", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  opened("BENEATH", openat2(dir, "f", O_RDONLY, 0, RESOLVE_BENEATH));
  opened("BENEATH ..", openat2(dir, "../top", O_RDONLY, 0, RESOLVE_BENEATH));
  opened("BENEATH link up", openat2(dir, "up", O_RDONLY, 0, RESOLVE_BENEATH));
  opened("BENEATH absolute", openat2(dir, "/dev/null", O_RDONLY, 0, RESOLVE_BENEATH));
  opened("BENEATH absolute link", openat2(dir, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
  opened("IN_ROOT absolute", openat2(dir, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  opened("IN_ROOT ..", openat2(dir, "../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  opened("IN_ROOT absolute link", openat2(dir, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
  opened("BENEATH and IN_ROOT", openat2(dir, "f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
  opened("NO_XDEV to proc", openat2(AT_FDCWD, "/proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV));
  opened("NO_MAGICLINKS", openat2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  opened("O_PATH with O_RDWR", openat2(dir, "f", O_PATH | O_RDWR, 0, 0));
  struct {
    open_how how;
    uint64_t more;
  } longer{{O_RDONLY, 0, 0}, 0};
  opened("longer struct, zero", syscall(SYS_openat2, dir, "f", &longer, sizeof longer));
  longer.more = 1;
  opened("longer struct, not zero", syscall(SYS_openat2, dir, "f", &longer, sizeof longer));
  opened("bad struct", syscall(SYS_openat2, dir, "f", bad(), sizeof(open_how)));
}

CASE(stat_calls) {
  make_file("f", "12345", 0640);
  symlink("f", "l");
  struct stat st{};
  shown("fstatat", fstatat(AT_FDCWD, "l", &st, 0));
  say("%o %ld", st.st_mode, st.st_size);
  shown("nofollow", fstatat(AT_FDCWD, "l", &st, AT_SYMLINK_NOFOLLOW));
  say("%o %ld", st.st_mode & S_IFMT, st.st_size);
  const int fd = open("f", O_RDONLY);
  shown("empty path", fstatat(fd, "", &st, AT_EMPTY_PATH));
  shown("empty path without flag", fstatat(fd, "", &st, 0));
  shown("bad flag", fstatat(AT_FDCWD, "f", &st, 0x40000));
  shown("bad buffer", syscall(SYS_newfstatat, AT_FDCWD, "f", bad(), 0));
  shown("stat bad name", stat(bad<char>(), &st));
  struct statx sx{};
  shown("statx", statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx));
  say("mask %x mode %o size %llu links %u uid %u", sx.stx_mask & STATX_BASIC_STATS, sx.stx_mode, sx.stx_size, sx.stx_nlink, sx.stx_uid);
  shown("statx reserved mask", statx(AT_FDCWD, "f", 0, 0x80000000U, &sx));
  shown("statx both sync flags", statx(AT_FDCWD, "f", AT_STATX_SYNC_TYPE, STATX_SIZE, &sx));
  shown("statx no automount", statx(AT_FDCWD, "f", AT_NO_AUTOMOUNT, STATX_SIZE, &sx));
  shown("statx empty", statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &sx));
  shown("statx bad flag", statx(AT_FDCWD, "f", 0x80000, STATX_ALL, &sx));
  shown("statx null name with empty path", statx(fd, null<char>(), 0, STATX_ALL, &sx));
}

CASE(rename_2) {
  make_file("a", "A");
  make_file("b", "B");
  mkdir("d", 0755);
  mkdir("e", 0755);
  make_file("e/full", "x");
  shown("NOREPLACE existing", renameat2_call("a", "b", RENAME_NOREPLACE));
  shown("NOREPLACE new", renameat2_call("a", "c", RENAME_NOREPLACE));
  shown("EXCHANGE", renameat2_call("b", "c", RENAME_EXCHANGE));
  char buffer[4];
  int fd = open("b", O_RDONLY);
  shown_data("b", buffer, read(fd, buffer, 4));
  shown("EXCHANGE missing", renameat2_call("b", "zz", RENAME_EXCHANGE));
  shown("EXCHANGE file and directory", renameat2_call("b", "d", RENAME_EXCHANGE));
  shown("now a directory", open("b", O_DIRECTORY) >= 0);
  shown("back", renameat2_call("b", "d", RENAME_EXCHANGE));
  shown("both flags", renameat2_call("b", "c", RENAME_EXCHANGE | RENAME_NOREPLACE));
  shown("unknown flag", renameat2_call("b", "c", 64));
  shown("file over directory", rename("b", "d"));
  shown("directory over file", rename("d", "b"));
  shown("directory over full directory", rename("d", "e"));
  shown("directory into itself", rename("e", "e/sub"));
  shown("missing", rename("nope", "x"));
  shown("same name", rename("b", "b"));
  shown("link", link("b", "b2"));
  shown("two names of one file", rename("b", "b2"));
  shown("both remain", access("b", F_OK) + access("b2", F_OK));
  shown("dot", rename(".", "x"));
  shown("dot dot", rename("d/..", "x"));
  shown("trailing slash on file", rename("b/", "x"));
  shown("directory to name with slash", rename("d", "x/"));
  shown("empty", rename("", "x"));
  shown("parent over child", rename("e/full", "e"));
}

CASE(link_unlink) {
  make_file("f", "x");
  mkdir("d", 0755);
  symlink("f", "l");
  shown("linkat", linkat(AT_FDCWD, "f", AT_FDCWD, "g", 0));
  shown("existing", link("f", "g"));
  shown("directory", link("d", "d2"));
  shown("link of a link", linkat(AT_FDCWD, "l", AT_FDCWD, "l2", 0));
  struct stat st{};
  lstat("l2", &st);
  shown("is a link", S_ISLNK(st.st_mode));
  shown("following", linkat(AT_FDCWD, "l", AT_FDCWD, "l3", AT_SYMLINK_FOLLOW));
  stat("f", &st);
  shown("links", static_cast<long>(st.st_nlink));
  shown("bad flag", linkat(AT_FDCWD, "f", AT_FDCWD, "z", 0x800000));
  shown("unlinkat directory", unlinkat(AT_FDCWD, "d", 0));
  shown("unlinkat file as directory", unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
  shown("bad flag", unlinkat(AT_FDCWD, "f", 1));
  shown("removedir", unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
  shown("missing", unlink("zz"));
  shown("slash", unlink("g/"));
  shown("empty", unlink(""));
  shown("rmdir dot", rmdir("."));
  mkdir("d", 0755);
  shown("rmdir d/.", rmdir("d/."));
  shown("rmdir d/..", rmdir("d/.."));
  shown("rmdir d/", rmdir("d/"));
  shown("mkdir existing", mkdir("f", 0755));
  shown("mkdir below file", mkdir("f/x", 0755));
  shown("mkdir slash", mkdir("s/", 0755));
  shown("mkdir dot", mkdir(".", 0755));
  shown("mkdir root", mkdir("/", 0755));
  shown("rmdir root", rmdir("/"));
  shown("unlink dot", unlink("."));
}

CASE(times) {
  make_file("f", "x");
  symlink("f", "l");
  timespec when[2] = {{1000, 5}, {2000, 7}};
  struct stat st{};
  shown("utimensat", utimensat(AT_FDCWD, "f", when, 0));
  stat("f", &st);
  say("%ld.%ld %ld.%ld", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  when[0].tv_nsec = UTIME_OMIT;
  when[1] = {3000, 0};
  shown("omit", utimensat(AT_FDCWD, "f", when, 0));
  stat("f", &st);
  say("%ld %ld", st.st_atim.tv_sec, st.st_mtim.tv_sec);
  when[1].tv_nsec = 1000000000;
  shown("bad nsec", utimensat(AT_FDCWD, "f", when, 0));
  when[1] = {4000, 0};
  shown("of the link", utimensat(AT_FDCWD, "l", when, AT_SYMLINK_NOFOLLOW));
  lstat("l", &st);
  shown("mtime", st.st_mtim.tv_sec);
  shown("bad flag", utimensat(AT_FDCWD, "f", when, 0x10000));
  shown("missing", utimensat(AT_FDCWD, "zz", when, 0));
  shown("null name is EFAULT or the fd", syscall(SYS_utimensat, AT_FDCWD, nullptr, when, 0));
  const int fd = open("f", O_RDONLY);
  shown("futimens", futimens(fd, when));
  // A file that is touched does not become older than it was when it was made.
  for (int i = 0; i < 20; ++i) {
    unlink("touched");
    close(open("touched", O_CREAT | O_WRONLY, 0600));
    struct stat made{}, touched{};
    stat("touched", &made);
    utimensat(AT_FDCWD, "touched", nullptr, 0);
    stat("touched", &touched);
    const auto ns = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
    if (ns(touched.st_mtim) < ns(made.st_mtim) || ns(touched.st_atim) < ns(made.st_atim)) say("older by being touched");
  }
  timeval seconds[2] = {{11, 0}, {12, 0}};
  shown("utimes", utimes("f", seconds));
  stat("f", &st);
  say("%ld %ld", st.st_atim.tv_sec, st.st_mtim.tv_sec);
  seconds[0].tv_usec = 1000000;
  shown("utimes bad", utimes("f", seconds));
}

CASE(access_at) {
  make_file("f", "x", 0600);
  shown("F_OK", faccessat(AT_FDCWD, "f", F_OK, 0));
  shown("X_OK as root on plain file", faccessat(AT_FDCWD, "f", X_OK, 0));
  chmod("f", 0010);
  shown("X_OK with one x bit", faccessat(AT_FDCWD, "f", X_OK, 0));
  shown("R_OK", faccessat(AT_FDCWD, "f", R_OK | W_OK, 0));
  shown("bad mode", syscall(SYS_faccessat2, AT_FDCWD, "f", 8, 0));
  shown("bad flag", syscall(SYS_faccessat2, AT_FDCWD, "f", 0, 1));
  shown("AT_EACCESS", syscall(SYS_faccessat2, AT_FDCWD, "f", 0, AT_EACCESS));
  shown("AT_EMPTY_PATH", syscall(SYS_faccessat2, AT_FDCWD, "", 0, AT_EMPTY_PATH));
  shown("missing", access("zz", F_OK));
  shown("chmodat", fchmodat(AT_FDCWD, "f", 0640, 0));
  symlink("f", "l");
  shown("fchmodat nofollow on link", fchmodat(AT_FDCWD, "l", 0640, AT_SYMLINK_NOFOLLOW));
  shown("fchownat", fchownat(AT_FDCWD, "l", 5, 6, AT_SYMLINK_NOFOLLOW));
  struct stat st{};
  lstat("l", &st);
  say("link %u %u", st.st_uid, st.st_gid);
  stat("f", &st);
  say("file %u %u", st.st_uid, st.st_gid);
  shown("mknodat fifo", mknodat(AT_FDCWD, "p", S_IFIFO | 0600, 0));
  shown("mknodat file", mknodat(AT_FDCWD, "n", S_IFREG | 0600, 0));
  shown("mknodat directory", mknodat(AT_FDCWD, "q", S_IFDIR | 0600, 0));
  shown("mknodat existing", mknodat(AT_FDCWD, "n", S_IFREG | 0600, 0));
}

CASE(names_below) {
  mkdir("d", 0755);
  mkdir("e", 0755);
  const int d = open("d", O_RDONLY), e = open("e", O_RDONLY);
  make_file("d/f", "text", 0644);
  shown("renameat", renameat(d, "f", e, "g"));
  shown("gone", access("d/f", F_OK));
  shown("here", access("e/g", F_OK));
  shown("renameat of nothing", renameat(d, "f", e, "h"));
  shown("renameat, bad descriptor", renameat(99, "f", e, "h"));
  shown("renameat below a file", renameat(open("e/g", O_RDONLY), "f", e, "h"));
  shown("symlinkat", symlinkat("g", e, "l"));
  char text[16];
  shown_data("readlink", text, readlinkat(e, "l", text, sizeof text));
  shown("symlinkat existing", symlinkat("g", e, "l"));
  shown("symlinkat empty", symlinkat("", e, "m"));
  shown("symlinkat, bad descriptor", symlinkat("g", 99, "m"));
  constexpr long kFchmodat2 = 452;
  const auto change = [&](const char* name, unsigned permissions, int flags) { return syscall(kFchmodat2, e, name, permissions, flags); };
  const auto mode = [&](const char* name) {
    struct stat st{};
    fstatat(e, name, &st, AT_SYMLINK_NOFOLLOW);
    return static_cast<long>(st.st_mode & 07777);
  };
  shown("fchmodat2", change("g", 0600, 0));
  shown("mode", mode("g"));
  shown("through a link", change("l", 0640, 0));
  shown("mode", mode("g"));
  shown("of a link", change("l", 0600, AT_SYMLINK_NOFOLLOW));
  shown("mode", mode("g"));
  shown("not of a link", change("g", 0604, AT_SYMLINK_NOFOLLOW));
  shown("mode", mode("g"));
  shown("empty name", syscall(kFchmodat2, open("e/g", O_PATH), "", 0606, AT_EMPTY_PATH));
  shown("mode", mode("g"));
  shown("empty name, no flag", change("", 0600, 0));
  shown("bad flag", change("g", 0600, 0x4000));
}
