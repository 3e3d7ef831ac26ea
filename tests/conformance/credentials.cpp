// User and group numbers, supplementary groups, capabilities.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

namespace {

void shown_ids() {
  uid_t r = 0;
  uid_t e = 0;
  uid_t s = 0;
  gid_t rg = 0;
  gid_t eg = 0;
  gid_t sg = 0;
  getresuid(&r, &e, &s);
  getresgid(&rg, &eg, &sg);
  say("uid %u %u %u gid %u %u %u", r, e, s, rg, eg, sg);
}

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
};

void shown_capabilities(const char* what) {
  Capabilities c;
  if (syscall(SYS_capget, &c.header, c.data) != 0) {
    shown(what, -1);
    return;
  }
  // A few by name: the full sets depend on the host.
  say("%s: effective chown %d kill %d permitted chown %d inheritable %x", what, c.data[0].effective & 1, c.data[0].effective >> CAP_KILL & 1,
      c.data[0].permitted & 1, c.data[0].inheritable);
}

}  // namespace

CASE(users) {
  shown_ids();
  in_child("setuid as root sets all", [] {
    shown("setuid", setuid(1000));
    shown_ids();
    shown("back", setuid(0));
    shown("seteuid", seteuid(0));
  });
  in_child("seteuid", [] {
    shown("seteuid", seteuid(1000));
    shown_ids();
    shown("setuid to saved", setuid(0));
    shown_ids();
  });
  in_child("setreuid", [] {
    shown("setreuid", setreuid(1000, 2000));
    shown_ids();
    shown("swap", setreuid(2000, 1000));
    shown_ids();
    shown("foreign", setreuid(3000, -1));
  });
  in_child("setresuid", [] {
    shown("all three", setresuid(1, 2, 3));
    shown_ids();
    shown("permute", setresuid(3, 1, 2));
    shown_ids();
    shown("keep", setresuid(-1, -1, -1));
    shown("foreign", setresuid(4, -1, -1));
    shown("bad pointers", getresuid(bad<uid_t>(), bad<uid_t>(), bad<uid_t>()));
  });
  in_child("invalid", [] {
    shown("setuid -1", syscall(SYS_setuid, -1));
    shown("setgid -1", syscall(SYS_setgid, -1));
  });
  in_child("fsuid", [] {
    shown("setfsuid returns the old", setfsuid(1000));
    shown("is", setfsuid(-1));
    const int fd = open("fs", O_CREAT | O_WRONLY, 0600);
    shown("cannot create in root's directory", fd);
  });
}

CASE(groups) {
  in_child("setgid", [] {
    shown("setgid", setgid(1000));
    shown_ids();
    shown("setegid", setegid(5));
    shown("setresgid", setresgid(6, 7, 8));
    shown("setregid", setregid(9, 10));
    shown_ids();
  });
  in_child("supplementary", [] {
    gid_t list[3] = {30, 10, 20};
    shown("set", setgroups(3, list));
    gid_t got[10] = {};
    shown("count", getgroups(0, got));
    shown("get", getgroups(10, got));
    say("%u %u %u", got[0], got[1], got[2]);
    shown("too small", getgroups(2, got));
    shown("negative", getgroups(-1, got));
    shown("too many", syscall(SYS_setgroups, 70000, list));
    shown("bad pointer", syscall(SYS_setgroups, 3, bad()));
    setuid(1000);
    shown("as a user", setgroups(0, nullptr));
    shown("kept", getgroups(0, nullptr));
    shown("setgid to a supplementary group", setgid(30));
  });
}

CASE(capabilities) {
  shown_capabilities("root");
  in_child("loses them", [] {
    setresuid(1000, 1000, 1000);
    shown_capabilities("user");
  });
  in_child("seteuid and back", [] {
    seteuid(1000);
    shown_capabilities("euid 1000");
    seteuid(0);
    shown_capabilities("euid 0");
  });
  in_child("keepcaps", [] {
    prctl(PR_SET_KEEPCAPS, 1);
    setresuid(1000, 1000, 1000);
    shown_capabilities("kept");
    Capabilities c;
    syscall(SYS_capget, &c.header, c.data);
    c.data[0].effective = 1U << CAP_CHOWN;
    shown("raise", syscall(SYS_capset, &c.header, c.data));
    shown_capabilities("raised");
    make_file("/dev/null", "");
    c.data[0].permitted = 0;
    shown("effective without permitted", syscall(SYS_capset, &c.header, c.data));
    c.data[0].effective = 0;
    shown("drop", syscall(SYS_capset, &c.header, c.data));
    c.data[0].permitted = 1;
    shown("back", syscall(SYS_capset, &c.header, c.data));
  });
  in_child("bounding set", [] {
    shown("read", prctl(PR_CAPBSET_READ, CAP_CHOWN));
    shown("drop", prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    shown("read", prctl(PR_CAPBSET_READ, CAP_CHOWN));
    shown("bad", prctl(PR_CAPBSET_READ, 200));
    execl(check::program, check::program, "child", "caps", nullptr);
  });
  in_child("without chown", [] {
    Capabilities c;
    syscall(SYS_capget, &c.header, c.data);
    c.data[0].effective &= ~(1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER);
    shown("capset", syscall(SYS_capset, &c.header, c.data));
    make_file("mine", "x", 0600);
    shown("chown", chown("mine", 5, 5));
    make_file("closed", "x", 0600);
    chmod("closed", 0);
    opened("mode 0", open("closed", O_RDONLY));
  });
  Capabilities c;
  c.header.version = 0x12345;
  shown("bad version", syscall(SYS_capget, &c.header, c.data));
  say("preferred %x", c.header.version);
  c.header.pid = 999999;
  shown("missing process", syscall(SYS_capget, &c.header, c.data));
  shown("bad header", syscall(SYS_capget, bad(), c.data));
  shown("probe", (c.header.version = 0, c.header.pid = 0, syscall(SYS_capget, &c.header, nullptr)));
  shown("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0));
  shown("ambient raise without inheritable", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
  shown("securebits", prctl(PR_GET_SECUREBITS));
  shown("set", prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
  shown("securebits", prctl(PR_GET_SECUREBITS));
}

CHILD(caps) { shown_capabilities("after exec"); }

CASE(kill_permission) {
  const pid_t target = fork();
  if (target == 0) {
    setresuid(1000, 1000, 1000);
    pause();
    _exit(0);
  }
  sleep_ms(30);
  in_child("another user", [=] {
    setresuid(1001, 1001, 1001);
    shown("kill", kill(target, 0));
    shown("kill root", kill(getppid(), SIGTERM));
    shown("init", kill(1, 0));
  });
  in_child("same user", [=] {
    setresuid(1000, 1000, 1000);
    shown("kill", kill(target, 0));
    shown("queue", sigqueue(target, 0, sigval{}));
  });
  shown("missing", kill(999999, 0));
  shown("bad signal", kill(target, 65));
  shown("bad signal", kill(target, -1));
  kill(target, SIGKILL);
  wait(nullptr);
}

CASE(groups_of_files) {
  const auto of_new = [](const char* name) {
    make_file(name, "");
    struct stat st{};
    stat(name, &st);
    return static_cast<long>(st.st_gid);
  };
  shown("set", setfsgid(1234));
  shown("was", setfsgid(1234));
  shown("new file", of_new("a"));
  shown("group", getgid());
  shown("effective group", getegid());
  shown("none", setfsgid(static_cast<gid_t>(-1)));
  shown("effective group again", setegid(55));
  shown("follows", setfsgid(static_cast<gid_t>(-1)));
  shown("new file", of_new("b"));
  in_child("nobody", [] {
    setresgid(1, 2, 3);
    setresuid(65534, 65534, 65534);
    setfsgid(1);
    shown("own", setfsgid(3));
    shown("saved", setfsgid(4));
    shown("another's is not taken", setfsgid(2));
  });
}
