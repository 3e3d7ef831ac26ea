// The host's own pseudo files and devices, through a directory of the host.
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "attack.h"

using namespace attack;

namespace {

bool mount_host(const char* host_directory, const char* at) {
  mkdir(at, 0700);
  return mount("none", at, "hostfs", 0, host_directory) == 0;
}

/// Fails when the file can be opened in any way that gives bytes of the host.
void expect_refused(const std::string& name) {
  for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
    const int fd = open(name.c_str(), flags | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) continue;
    char byte = 0;
    const ssize_t n = pread(fd, &byte, 1, 0);
    const int error = errno;
    void* map = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    broken("%s could be opened with flags %o; read = %zd %s, mmap %s", name.c_str(), static_cast<unsigned>(flags), n,
           n < 0 ? strerrorname_np(error) : "", map == MAP_FAILED ? "refused" : "works");
  }
}

}  // namespace

// /proc/self/mem of the host writes through every protection, keys too.
ATTACK(hostfs_procmem, Needs::Nothing) {
  if (!in_guest()) return;
  if (!mount_host("/proc", "hostproc")) {
    printf("hostfs does not mount the host's /proc: %s\n", strerrorname_np(errno));
  } else {
    for (const char* name :
         {"self/mem", "thread-self/mem", "self/maps", "self/environ", "self/exe", "self/map_files", "1/mem", "kcore", "sysrq-trigger",
          "self/attr/current", "self/oom_score_adj", "self/clear_refs", "sys/kernel/core_pattern", "kmsg"})
      expect_refused(std::string("hostproc/") + name);
  }
  // The same under the root, where the guest's own /proc hides it.
  const Ended ended = attempt([] {
    if (umount2("/proc", MNT_DETACH) != 0) return;
    struct stat info;
    if (stat("/proc/self/mem", &info) != 0) return;
    const int fd = open("/proc/self/mem", O_RDWR);
    _exit(fd >= 0 ? kGotHost : 0);
  });
  if (const char* loot = loot_of(ended)) broken("the host's /proc under the root: %s", loot);
  // And by names that lead there.
  must("symlink", symlink("/proc/self/mem", "link"));
  if (mount_host(".", "here")) expect_refused("here/../hostproc/self/mem");
}

// Device nodes, sockets and pipes of the host: a node is the guest's own device of that number, if there is one.
ATTACK(hostfs_dev, Needs::Nothing) {
  if (!in_guest()) return;
  if (!mount_host("/dev", "hostdev")) {
    printf("hostfs does not mount the host's /dev: %s\n", strerrorname_np(errno));
    return;
  }
  for (const char* name :
       {"kvm", "fuse", "mem", "kmem", "port", "vda", "sda", "ttyS0", "hpet", "userfaultfd", "vhost-net", "net/tun", "mapper/control"})
    expect_refused(std::string("hostdev/") + name);
  // Numbers that the guest has too: they are the guest's.
  const int zero = open("hostdev/zero", O_RDONLY);
  if (zero >= 0) {
    char byte = 1;
    if (read(zero, &byte, 1) != 1 || byte != 0) broken("the zero device is no zero device");
    close(zero);
  }
  const int log = open("hostdev/kmsg", O_RDONLY | O_NONBLOCK);
  if (log >= 0) {
    char line[1024] = {};
    for (int i = 0; i < 200 && read(log, line, sizeof line - 1) > 0; i++)
      if (strstr(line, "Linux version") != nullptr && strstr(line, "umk") == nullptr) broken("the host's kernel log: %s", line);
    close(log);
  }
  const int console = open("hostdev/ptmx", O_RDWR | O_NOCTTY);
  if (console >= 0) {
    int number = -1;
    if (syscall(SYS_ioctl, console, 0x80045430, &number) == 0) printf("a terminal of the guest: %d\n", number);
    close(console);
  }
}
