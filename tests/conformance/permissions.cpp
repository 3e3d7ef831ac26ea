// Permissions as uid 0 and as nobody, set-id bits, sticky directories, umask, chmod and chown.
#include "check.h"

#include <grp.h>

namespace {

void become(unsigned uid, unsigned gid) {
  must("setgroups", setgroups(0, nullptr));
  must("setresgid", setresgid(gid, gid, gid));
  must("setresuid", setresuid(uid, uid, uid));
}

void shown_mode(const char* name) {
  struct stat st{};
  if (lstat(name, &st) != 0) {
    shown(name, -1);
  } else {
    say("%s %o %u:%u", name, st.st_mode, st.st_uid, st.st_gid);
  }
}

}  // namespace

CASE(root_and_nobody) {
  chmod(".", 0755);
  make_file("secret", "s", 0600);
  make_file("open", "o", 0644);
  make_file("none", "n", 0000);
  mkdir("closed", 0700);
  make_file("closed/f", "f", 0644);
  mkdir("listed", 0744);
  make_file("listed/f", "f", 0644);
  mkdir("walked", 0711);
  make_file("walked/f", "f", 0644);
  opened("root reads mode 0", open("none", O_RDWR));
  shown("root executes", access("open", X_OK));
  in_child("nobody", [] {
    become(65534, 65534);
    opened("secret", open("secret", O_RDONLY));
    opened("open", open("open", O_RDONLY));
    opened("open for writing", open("open", O_WRONLY));
    opened("none", open("none", O_RDONLY));
    opened("closed/f", open("closed/f", O_RDONLY));
    opened("closed", open("closed", O_RDONLY));
    opened("listed", open("listed", O_RDONLY));
    opened("listed/f", open("listed/f", O_RDONLY));
    opened("walked", open("walked", O_RDONLY));
    opened("walked/f", open("walked/f", O_RDONLY));
    opened("create", open("new", O_CREAT | O_WRONLY, 0600));
    shown("unlink", unlink("open"));
    shown("mkdir", mkdir("d", 0700));
    shown("chmod", chmod("open", 0600));
    shown("chown", chown("open", 65534, 65534));
    shown("rename", rename("open", "moved"));
    shown("link", link("open", "hard"));
    shown("utimes now", utimensat(AT_FDCWD, "open", nullptr, 0));
    shown("truncate", truncate("open", 0));
    shown("chdir closed", chdir("closed"));
    opened("O_PATH of secret", open("secret", O_PATH));
    opened("O_NOATIME of others", open("open", O_RDONLY | O_NOATIME));
    shown("mknod", mknod("dev", S_IFCHR | 0600, 0x103));
    shown("stat in closed", access("closed/f", F_OK));
  });
}

CASE(owner_and_group) {
  chmod(".", 0777);
  make_file("f", "x", 0640);
  shown("chown", chown("f", 1000, 2000));
  in_child("owner", [] {
    become(1000, 1);
    opened("read", open("f", O_RDONLY));
    opened("write", open("f", O_WRONLY));
    shown("chmod", chmod("f", 0604));
    opened("others' bits do not matter to the owner", open("f", O_WRONLY));
    shown("chown to another", chown("f", 1001, -1));
    shown("chgrp to a foreign group", chown("f", -1, 5));
    shown("chgrp to own group", chown("f", -1, 1));
  });
  chown("f", 1000, 2000);
  chmod("f", 0140);
  in_child("group", [] {
    become(1001, 2000);
    opened("read", open("f", O_RDONLY));
    opened("write", open("f", O_WRONLY));
  });
  in_child("supplementary group", [] {
    gid_t group = 2000;
    setgroups(1, &group);
    setresgid(1, 1, 1);
    setresuid(1001, 1001, 1001);
    opened("read", open("f", O_RDONLY));
  });
  chmod("f", 0000);
  in_child("owner without bits", [] {
    become(1000, 1);
    opened("read", open("f", O_RDONLY));
    shown("access", access("f", R_OK));
  });
  shown_mode("f");
}

CASE(set_id_bits) {
  chmod(".", 0777);
  make_file("f", "x", 0755);
  chown("f", 1000, 2000);
  chmod("f", 06755);
  shown_mode("f");
  shown("chown as root", chown("f", 1000, 2000));
  shown_mode("f");
  chmod("f", 06777);
  in_child("write as another", [] {
    become(1001, 1);
    const int fd = open("f", O_WRONLY);
    write(fd, "y", 1);
  });
  shown_mode("f");
  chmod("f", 06755);
  in_child("truncate as owner", [] {
    become(1000, 2000);
    truncate("f", 0);
  });
  shown_mode("f");
  chmod("f", 02745);
  in_child("chmod g+s of a foreign group", [] {
    become(1000, 1);
    shown("chmod", chmod("f", 02755));
  });
  shown_mode("f");
  mkdir("d", 0777);
  chown("d", 5, 3000);
  chmod("d", 02777);
  in_child("create in a set-gid directory", [] {
    become(1000, 1);
    make_file("d/f", "x");
    mkdir("d/sub", 0755);
  });
  shown_mode("d/f");
  shown_mode("d/sub");
}

CASE(sticky) {
  chmod(".", 0755);
  mkdir("t", 0777);
  chmod("t", 01777);
  make_file("t/root", "x");
  make_file("t/mine", "x");
  chown("t/mine", 1000, 1000);
  in_child("user", [] {
    become(1000, 1000);
    shown("unlink root's", unlink("t/root"));
    shown("rename root's", rename("t/root", "t/x"));
    shown("rename over root's", rename("t/mine", "t/root"));
    shown("unlink mine", unlink("t/mine"));
    shown("chmod +t of a file of mine", (make_file("t/own", ""), chmod("t/own", 01644)));
  });
  shown_mode("t/own");
}

CASE(umasks) {
  shown("umask", umask(027));
  shown("umask", umask(07777));
  shown("only 9 bits", umask(027));
  make_file("f", "", 0666);
  mkdir("d", 0777);
  mknod("p", S_IFIFO | 0666, 0);
  shown_mode("f");
  shown_mode("d");
  shown_mode("p");
  shown("chmod ignores it", chmod("f", 0666));
  shown_mode("f");
}

CASE(change_errors) {
  shown("chmod missing", chmod("zz", 0600));
  shown("chmod bad pointer", chmod(bad<char>(), 0600));
  shown("fchmod bad fd", fchmod(99, 0600));
  shown("chown missing", chown("zz", 0, 0));
  shown("fchown bad fd", fchown(99, 0, 0));
  make_file("f", "x", 0644);
  symlink("f", "l");
  shown("lchown", lchown("l", 3, 4));
  shown_mode("l");
  shown_mode("f");
  shown("chown -1", chown("f", -1, -1));
  shown("chown through link", chown("l", 7, 8));
  shown_mode("f");
  const int fd = open("f", O_RDONLY);
  shown("fchmod", fchmod(fd, 04711));
  shown_mode("f");
  shown("fchown clears set-id", fchown(fd, 0, 0));
  shown_mode("f");
  shown("read-only descriptor may", fchmod(fd, 0600));
}

CASE(device_nodes) {
  shown("char", mknod("null", S_IFCHR | 0666, 0x103));
  struct stat st{};
  stat("null", &st);
  say("%o %lx", st.st_mode, st.st_rdev);
  shown("socket", mknod("sock", S_IFSOCK | 0600, 0));
  stat("sock", &st);
  say("%o", st.st_mode);
  opened("open socket", open("sock", O_RDONLY));
  shown("bad type", mknod("bad", 0170000 | 0600, 0));
  shown("no type is a file", mknod("plain", 0600, 0));
  stat("plain", &st);
  say("%o", st.st_mode);
  // Major 120 is kept free for local use.
  shown("missing device number opens as ENXIO", mknod("odd", S_IFCHR | 0600, 120 << 8));
  opened("open", open("odd", O_RDONLY));
}
