// Kernel addresses where calls take pointers, pointers that change during the call, raw calls.
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include <atomic>

#include "attack.h"

using namespace attack;
namespace layout = umk::layout;

namespace {

constexpr uint64_t kKernelAddresses[] = {layout::kKernelData,
                                         layout::kKernelData + 0x1000000,
                                         layout::kCacheWindow,
                                         layout::kVesselPage,
                                         layout::kImage,
                                         layout::kImage + 0x1008,
                                         layout::kCacheWindow + layout::kCacheWindowBytes - 4096};

/// In a row: the argument that is a kernel address; a structure in user memory whose pointer, at the given word, is one.
constexpr long kKernel = 0x4b4b4b4b4b, kNested = 0x4e4e4e4e00;
constexpr long nested(int word) { return kNested + word; }

struct Row {
  const char* name;
  long number;
  long arguments[6];
  /// The call may also succeed, or fail with another error before it looks at the pointer.
  bool may_do_else = false;
};

struct Files {
  int file, other, directory, pipe_out, pipe_in, socket, socket_end, epoll, event, timer, watch, zero;
};

Files make_files() {
  Files f{};
  f.file = static_cast<int>(must("open", open("file", O_RDWR | O_CREAT | O_TRUNC, 0600)));
  must("write", write(f.file, "some content of the file, more than sixteen bytes", 48));
  lseek(f.file, 0, SEEK_SET);
  f.other = static_cast<int>(must("open", open("other", O_RDWR | O_CREAT | O_TRUNC, 0600)));
  f.directory = static_cast<int>(must("open", open("/", O_RDONLY | O_DIRECTORY)));
  int ends[2];
  must("pipe", pipe(ends));
  f.pipe_out = ends[0], f.pipe_in = ends[1];
  must("write", write(ends[1], "0123456789abcdef0123456789abcdef", 32));
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
  f.socket = ends[0], f.socket_end = ends[1];
  must("write", write(ends[1], "0123456789abcdef", 16));
  f.event = static_cast<int>(must("eventfd", eventfd(5, EFD_NONBLOCK)));
  f.epoll = static_cast<int>(must("epoll", epoll_create1(0)));
  epoll_event wanted{EPOLLIN, {}};
  must("epoll_ctl", epoll_ctl(f.epoll, EPOLL_CTL_ADD, f.event, &wanted));
  f.timer = static_cast<int>(must("timerfd", timerfd_create(CLOCK_MONOTONIC, 0)));
  f.watch = static_cast<int>(must("inotify", inotify_init()));
  f.zero = static_cast<int>(must("open", open("/dev/zero", O_RDWR)));
  return f;
}

std::vector<Row> rows(const Files& f) {
  static char buffer[65536];
  static uint64_t page = reinterpret_cast<uint64_t>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  static socklen_t length = 16;
  const long b = reinterpret_cast<long>(buffer), dot = reinterpret_cast<long>("."), name = reinterpret_cast<long>("file"), K = kKernel;
  const long cwd = AT_FDCWD, user = reinterpret_cast<long>("user.attack"), program = reinterpret_cast<long>("/bin/true");
  return {
      {"read", SYS_read, {f.file, K, 16}},
      {"read of zeroes", SYS_read, {f.zero, K, 4096}},
      {"read of a pipe", SYS_read, {f.pipe_out, K, 16}},
      {"write", SYS_write, {f.other, K, 16}},
      {"write to a pipe", SYS_write, {f.pipe_in, K, 16}},
      {"pread64", SYS_pread64, {f.file, K, 16, 0}},
      {"pwrite64", SYS_pwrite64, {f.other, K, 16, 0}},
      {"readv", SYS_readv, {f.file, K, 1}},
      {"readv, nested", SYS_readv, {f.file, nested(0), 1}},
      {"writev", SYS_writev, {f.other, K, 1}},
      {"writev, nested", SYS_writev, {f.other, nested(0), 1}},
      {"preadv", SYS_preadv, {f.file, nested(0), 1, 0, 0}},
      {"pwritev", SYS_pwritev, {f.other, nested(0), 1, 0, 0}},
      {"preadv2", SYS_preadv2, {f.file, nested(0), 1, 0, 0, 0}},
      {"pwritev2", SYS_pwritev2, {f.other, nested(0), 1, 0, 0, 0}},
      {"vmsplice", SYS_vmsplice, {f.pipe_in, nested(0), 1, 0}},
      {"open", SYS_open, {K, O_RDONLY}},
      {"openat", SYS_openat, {cwd, K, O_RDONLY}},
      {"openat2", SYS_openat2, {cwd, dot, K, 24}},
      {"creat", SYS_creat, {K, 0600}},
      {"stat", SYS_stat, {dot, K}},
      {"stat, name", SYS_stat, {K, b}},
      {"lstat", SYS_lstat, {dot, K}},
      {"fstat", SYS_fstat, {f.file, K}},
      {"newfstatat", SYS_newfstatat, {cwd, dot, K, 0}},
      {"statx", SYS_statx, {cwd, dot, 0, 0x7ff, K}},
      {"statx, name", SYS_statx, {cwd, K, 0, 0x7ff, b}},
      {"statfs", SYS_statfs, {dot, K}},
      {"fstatfs", SYS_fstatfs, {f.file, K}},
      {"poll", SYS_poll, {K, 1, 0}},
      {"ppoll", SYS_ppoll, {K, 1, 0, 0, 0}},
      {"ppoll, time", SYS_ppoll, {0, 0, K, 0, 0}},
      {"ppoll, mask", SYS_ppoll, {0, 0, 0, K, 8}},
      {"select", SYS_select, {64, K, 0, 0, 0}},
      {"select, time", SYS_select, {0, 0, 0, 0, K}},
      {"pselect6", SYS_pselect6, {64, 0, K, 0, 0, 0}},
      {"pselect6, mask", SYS_pselect6, {0, 0, 0, 0, 0, K}},
      {"pselect6, nested", SYS_pselect6, {0, 0, 0, 0, 0, nested(-1)}},
      {"access", SYS_access, {K, 0}},
      {"faccessat", SYS_faccessat, {cwd, K, 0}},
      {"pipe", SYS_pipe, {K}},
      {"pipe2", SYS_pipe2, {K, 0}},
      {"mincore", SYS_mincore, {static_cast<long>(page), 4096, K}},
      {"nanosleep", SYS_nanosleep, {K, 0}},
      {"clock_nanosleep", SYS_clock_nanosleep, {0, 0, K, 0}},
      {"getitimer", SYS_getitimer, {0, K}},
      {"setitimer", SYS_setitimer, {0, K, 0}},
      {"setitimer, old", SYS_setitimer, {0, 0, K}},
      {"sendfile", SYS_sendfile, {f.other, f.file, K, 8}},
      {"copy_file_range", SYS_copy_file_range, {f.file, K, f.other, 0, 8, 0}},
      {"splice", SYS_splice, {f.file, K, f.pipe_in, 0, 8, 0}},
      {"sendto", SYS_sendto, {f.socket, K, 16, 0, 0, 0}},
      {"recvfrom", SYS_recvfrom, {f.socket, K, 16, MSG_DONTWAIT, 0, 0}},
      {"sendmsg", SYS_sendmsg, {f.socket, K, 0}},
      {"sendmsg, iovec", SYS_sendmsg, {f.socket, nested(2), 0}},
      {"sendmsg, control", SYS_sendmsg, {f.socket, nested(4), 0}},
      {"sendmsg, name", SYS_sendmsg, {f.socket, nested(0), 0}, true},
      {"recvmsg", SYS_recvmsg, {f.socket, K, MSG_DONTWAIT}},
      {"recvmsg, iovec", SYS_recvmsg, {f.socket, nested(2), MSG_DONTWAIT}},
      {"sendmmsg", SYS_sendmmsg, {f.socket, K, 1, 0}},
      {"recvmmsg", SYS_recvmmsg, {f.socket, K, 1, MSG_DONTWAIT, 0}},
      {"connect", SYS_connect, {f.socket, K, 16}},
      {"bind", SYS_bind, {f.socket, K, 16}},
      {"getsockname", SYS_getsockname, {f.socket, K, reinterpret_cast<long>(&length)}},
      {"getsockname, length", SYS_getsockname, {f.socket, b, K}},
      {"getpeername", SYS_getpeername, {f.socket, K, reinterpret_cast<long>(&length)}},
      {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, K}},
      {"setsockopt", SYS_setsockopt, {f.socket, SOL_SOCKET, SO_RCVBUF, K, 4}},
      {"getsockopt", SYS_getsockopt, {f.socket, SOL_SOCKET, SO_TYPE, K, reinterpret_cast<long>(&length)}},
      {"getsockopt, length", SYS_getsockopt, {f.socket, SOL_SOCKET, SO_TYPE, b, K}},
      {"execve", SYS_execve, {K, 0, 0}},
      {"execve, arguments", SYS_execve, {program, K, 0}},
      {"execve, argument", SYS_execve, {program, nested(0), 0}},
      {"execve, environment", SYS_execve, {program, 0, K}},
      {"execveat", SYS_execveat, {cwd, K, 0, 0, 0}},
      {"uname", SYS_uname, {K}},
      {"fcntl lock", SYS_fcntl, {f.file, F_SETLK, K}},
      {"fcntl owner", SYS_fcntl, {f.file, 16, K}},
      {"truncate", SYS_truncate, {K, 0}},
      {"getdents", SYS_getdents, {f.directory, K, 4096}},
      {"getdents64", SYS_getdents64, {f.directory, K, 4096}},
      {"getcwd", SYS_getcwd, {K, 4096}},
      {"chdir", SYS_chdir, {K}},
      {"rename", SYS_rename, {K, dot}},
      {"rename, to", SYS_rename, {name, K}},
      {"mkdir", SYS_mkdir, {K, 0700}},
      {"rmdir", SYS_rmdir, {K}},
      {"link", SYS_link, {K, dot}},
      {"link, to", SYS_link, {name, K}},
      {"unlink", SYS_unlink, {K}},
      {"symlink", SYS_symlink, {K, name}},
      {"symlink, to", SYS_symlink, {name, K}},
      {"readlink", SYS_readlink, {reinterpret_cast<long>("/proc/self/exe"), K, 100}},
      {"chmod", SYS_chmod, {K, 0600}},
      {"chown", SYS_chown, {K, 0, 0}},
      {"mknod", SYS_mknod, {K, 0100600, 0}},
      {"gettimeofday", SYS_gettimeofday, {K, 0}},
      {"settimeofday", SYS_settimeofday, {K, 0}},
      {"time", SYS_time, {K}},
      {"times", SYS_times, {K}},
      {"getrlimit", SYS_getrlimit, {7, K}},
      {"setrlimit", SYS_setrlimit, {7, K}},
      {"prlimit64", SYS_prlimit64, {0, 7, K, 0}},
      {"prlimit64, old", SYS_prlimit64, {0, 7, 0, K}},
      {"getrusage", SYS_getrusage, {0, K}},
      {"sysinfo", SYS_sysinfo, {K}},
      {"setgroups", SYS_setgroups, {1, K}},
      {"getresuid", SYS_getresuid, {K, K, K}},
      {"getresgid", SYS_getresgid, {b, b, K}},
      {"capget", SYS_capget, {K, K}},
      {"capset", SYS_capset, {K, K}},
      {"rt_sigaction", SYS_rt_sigaction, {10, K, 0, 8}},
      {"rt_sigaction, old", SYS_rt_sigaction, {10, 0, K, 8}},
      {"rt_sigprocmask", SYS_rt_sigprocmask, {0, K, 0, 8}},
      {"rt_sigprocmask, old", SYS_rt_sigprocmask, {0, 0, K, 8}},
      {"rt_sigpending", SYS_rt_sigpending, {K, 8}},
      {"rt_sigtimedwait", SYS_rt_sigtimedwait, {K, 0, 0, 8}},
      {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {getpid(), 10, K}},
      {"rt_sigsuspend", SYS_rt_sigsuspend, {K, 8}},
      {"sigaltstack", SYS_sigaltstack, {K, 0}},
      {"sigaltstack, old", SYS_sigaltstack, {0, K}},
      {"utime", SYS_utime, {name, K}},
      {"utimes", SYS_utimes, {name, K}},
      {"utimensat", SYS_utimensat, {cwd, name, K, 0}},
      {"futimesat", SYS_futimesat, {cwd, name, K}},
      {"sched_setparam", SYS_sched_setparam, {0, K}},
      {"sched_getparam", SYS_sched_getparam, {0, K}},
      {"sched_setscheduler", SYS_sched_setscheduler, {0, 0, K}},
      {"sched_rr_get_interval", SYS_sched_rr_get_interval, {0, K}},
      {"sched_setattr", SYS_sched_setattr, {0, K, 0}},
      {"sched_getattr", SYS_sched_getattr, {0, K, 56, 0}},
      {"sched_setaffinity", SYS_sched_setaffinity, {0, 8, K}},
      {"sched_getaffinity", SYS_sched_getaffinity, {0, 128, K}},
      {"prctl, set name", SYS_prctl, {15, K, 0, 0, 0}},
      {"prctl, name", SYS_prctl, {16, K, 0, 0, 0}},
      {"prctl, death signal", SYS_prctl, {2, K, 0, 0, 0}},
      {"arch_prctl", SYS_arch_prctl, {0x1003, K}},
      {"adjtimex", SYS_adjtimex, {K}},
      {"clock_adjtime", SYS_clock_adjtime, {0, K}},
      {"chroot", SYS_chroot, {K}},
      {"mount", SYS_mount, {K, dot, K, 0, 0}},
      {"umount2", SYS_umount2, {K, 0}},
      {"pivot_root", SYS_pivot_root, {K, K}},
      {"sethostname", SYS_sethostname, {K, 5}},
      {"syslog", SYS_syslog, {3, K, 100}, true},
      {"setxattr", SYS_setxattr, {name, K, b, 5, 0}},
      {"setxattr, value", SYS_setxattr, {name, user, K, 5, 0}, true},
      {"getxattr", SYS_getxattr, {name, K, b, 5}},
      {"removexattr", SYS_removexattr, {name, K}},
      {"futex wait", SYS_futex, {K, FUTEX_WAIT_PRIVATE, 0, 0}},
      {"futex wait, shared", SYS_futex, {K, FUTEX_WAIT, 0, 0}},
      {"futex wake", SYS_futex, {K, FUTEX_WAKE_PRIVATE, 1, 0}, true},
      {"futex time", SYS_futex, {b, FUTEX_WAIT_PRIVATE, 0, K}},
      {"epoll_ctl", SYS_epoll_ctl, {f.epoll, EPOLL_CTL_ADD, f.pipe_out, K}},
      {"epoll_wait", SYS_epoll_wait, {f.epoll, K, 1, 0}},
      {"epoll_pwait", SYS_epoll_pwait, {f.epoll, b, 1, 0, K, 8}},
      {"epoll_pwait2", SYS_epoll_pwait2, {f.epoll, b, 1, K, 0, 0}},
      {"timer_create", SYS_timer_create, {0, K, b}},
      {"timer_create, number", SYS_timer_create, {0, 0, K}},
      {"clock_gettime", SYS_clock_gettime, {1, K}},
      {"clock_getres", SYS_clock_getres, {1, K}},
      {"clock_settime", SYS_clock_settime, {0, K}},
      {"timerfd_settime", SYS_timerfd_settime, {f.timer, 0, K, 0}},
      {"timerfd_gettime", SYS_timerfd_gettime, {f.timer, K}},
      {"inotify_add_watch", SYS_inotify_add_watch, {f.watch, K, 1}},
      {"unlinkat", SYS_unlinkat, {cwd, K, 0}},
      {"mkdirat", SYS_mkdirat, {cwd, K, 0700}},
      {"readlinkat", SYS_readlinkat, {cwd, K, b, 100}},
      {"renameat2", SYS_renameat2, {cwd, K, cwd, dot, 0}},
      {"linkat", SYS_linkat, {cwd, K, cwd, dot, 0}},
      {"fchmodat", SYS_fchmodat, {cwd, K, 0600}},
      {"fchownat", SYS_fchownat, {cwd, K, 0, 0, 0}},
      {"signalfd4", SYS_signalfd4, {-1, K, 8, 0}},
      {"getrandom", SYS_getrandom, {K, 16, 0}},
      {"memfd_create", SYS_memfd_create, {K, 0}},
      {"clone3", SYS_clone3, {K, 88}},
      {"get_robust_list", SYS_get_robust_list, {0, K, K}},
      {"getcpu", SYS_getcpu, {K, 0, 0}},
      {"ioctl FIONREAD", SYS_ioctl, {f.pipe_out, 0x541b, K}},
      {"ioctl FIONBIO", SYS_ioctl, {f.pipe_out, 0x5421, K}},
      {"pidfd_send_signal", SYS_pidfd_send_signal, {-1, 10, K, 0}, true},
      {"waitid", SYS_waitid, {0, 0, K, WEXITED | WNOHANG, K}, true},
      {"wait4", SYS_wait4, {-1, K, WNOHANG, K}, true},
      {"process_vm_readv", 310, {getpid(), nested(0), 1, nested(0), 1, 0}, true},
      {"process_vm_writev", 311, {getpid(), nested(0), 1, nested(0), 1, 0}, true},
      {"futex_waitv", SYS_futex_waitv, {K, 1, 0, 0, 0}},
      {"futex_waitv, nested", SYS_futex_waitv, {nested(1), 1, 0, 0, 0}},
  };
}

/// The argument as it is passed. A nested one is a structure of zeroes with the address in one word: an iovec, a message, an array.
long value_of(long argument, uint64_t address) {
  static uint64_t structure[16];
  if (argument == kKernel) return static_cast<long>(address);
  if (argument < kNested - 1 || argument > kNested + 15) return argument;
  const long word = argument - kNested;
  memset(structure, 0, sizeof structure);
  if (word < 0) {  // pselect6's mask and its size
    structure[0] = address, structure[1] = 8;
  } else {
    structure[word] = address;
    if (word == 0) structure[1] = 16;                                       // an iovec; a message with a name
    if (word == 1) structure[2] = 2;                                        // a futex_waitv: 32 bits
    if (word == 2) structure[3] = 1;                                        // a message: one iovec
    if (word == 4) structure[5] = 32;                                       // a message: control data
  }
  return reinterpret_cast<long>(structure);
}

}  // namespace

ATTACK(kernel_pointers, Needs::Nothing) {
  const Files files = make_files();
  int calls = 0;
  std::string wrong;
  for (const uint64_t address : kKernelAddresses) {
    for (const Row& row : rows(files)) {
      long a[6];
      for (int i = 0; i < 6; i++) a[i] = value_of(row.arguments[i], address);
      errno = 0;
      const long result = syscall(row.number, a[0], a[1], a[2], a[3], a[4], a[5]);
      calls++;
      if (row.may_do_else || (result == -1 && (errno == EFAULT || errno == ENOSYS))) continue;
      wrong += std::string(row.name) + " = " + std::to_string(result) + " " + (result < 0 ? strerrorname_np(errno) : "") + "; ";
    }
    if (!wrong.empty()) broken("with 0x%lx: %s", address, wrong.c_str());
  }
  printf("%d calls\n", calls);
}

namespace {

uint64_t* shared_word;

// A thread that turns a word between a good address and a kernel's, until the process ends.
void start_flipping(uint64_t good, uint64_t bad) {
  static uint64_t values[2];
  values[0] = good, values[1] = bad;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        for (uint64_t i = 0;; i++) __atomic_store_n(shared_word, values[i / 64 % 2], __ATOMIC_RELAXED);
      },
      nullptr);
}

}  // namespace

// The kernel must use the pointer that it checked: what arrives is the buffer's bytes or nothing.
ATTACK(iovec_toctou, Needs::Nothing) {
  for (const uint64_t bad : {layout::kKernelData + 0x40, layout::kCacheWindow, layout::kImage}) {
    const Ended ended = attempt(
        [&] {
          constexpr size_t kBytes = 4096;
          static char got[2 * kBytes];
          // The two addresses differ in one byte: a copy of the word that takes some bytes before and some after it was turned is one of them too.
          char* const good = static_cast<char*>(mmap(reinterpret_cast<void*>((bad & 0xff'ffff'f000) | 0x1000'0000'0000), 2 * kBytes, PROT_READ | PROT_WRITE,
                                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)) + bad % kBytes;
          if (good != reinterpret_cast<char*>((bad & 0xff'ffff'ffff) | 0x1000'0000'0000)) cannot("map a buffer");
          memset(good, 'A', kBytes);
          static iovec vectors[2];
          static msghdr message;
          vectors[0] = {good, kBytes};
          vectors[1] = {good, kBytes};
          message.msg_iov = vectors;
          message.msg_iovlen = 2;
          shared_word = reinterpret_cast<uint64_t*>(&vectors[1].iov_base);
          int ends[2], line[2];
          must("pipe", pipe2(ends, O_NONBLOCK));
          must("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, line));
          const int file = static_cast<int>(must("open", open("toctou", O_RDWR | O_CREAT | O_TRUNC, 0600)));
          start_flipping(reinterpret_cast<uint64_t>(good), bad);
          long whole = 0, cut = 0;
          for (int i = 0; i < 4000 || (whole == 0 && i < 1000000); i++) {
            long sent = 0, n = 0;
            switch (i % 3) {
              case 0:
                sent = writev(ends[1], vectors, 2);
                n = read(ends[0], got, sizeof got);
                break;
              case 1:
                sent = sendmsg(line[0], &message, 0);
                n = read(line[1], got, sizeof got);
                break;
              default: sent = pwritev(file, vectors, 2, 0); n = sent < 0 ? 0 : pread(file, got, static_cast<size_t>(sent), 0);
            }
            sent == sizeof got ? whole++ : cut++;
            for (long at = 0; at < n; at++) {
              if (got[at] == 'A') continue;
              printf("way %d: byte %ld of %ld is %02x, %ld were sent\n", i % 3, at, n, static_cast<unsigned char>(got[at]), sent);
              fflush(stdout);
              _exit(kGotMemory);
            }
            // And the other way: nothing but user memory is written. The buffers hold the same bytes.
            if (pwrite(file, good, kBytes, 0) > 0) preadv(file, vectors, 2, 0);
          }
          _exit(whole > 0 ? 0 : 3);
        },
        60000);
    if (const char* loot = loot_of(ended)) broken("%s", loot);
    if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
  }
}

// Operations with a second futex word, which the kernel loads or changes itself.
ATTACK(futex2_kernel, Needs::Nothing) {
  static uint32_t word = 0;
  for (const uint64_t address : kKernelAddresses) {
    for (const int shared : {0, FUTEX_PRIVATE_FLAG}) {
      const bool readable = can_read(address);
      const uint32_t before = readable ? *reinterpret_cast<volatile uint32_t*>(address) : 0;
      const auto second = reinterpret_cast<void*>(address);
      for (const int operation : {FUTEX_OP_SET, FUTEX_OP_ADD, FUTEX_OP_OR, FUTEX_OP_ANDN, FUTEX_OP_XOR}) {
        errno = 0;
        if (syscall(SYS_futex, &word, FUTEX_WAKE_OP | shared, 1, 1, second, FUTEX_OP(operation, 1, FUTEX_OP_CMP_EQ, 0)) >= 0 ||
            errno != EFAULT)
          broken("FUTEX_WAKE_OP: %s", strerrorname_np(errno));
        if (syscall(SYS_futex, second, FUTEX_WAKE_OP | shared, 1, 1, &word, FUTEX_OP(operation, 0, FUTEX_OP_CMP_EQ, 0)) >= 0 && shared == 0)
          broken("FUTEX_WAKE_OP worked with a kernel address");
      }
      syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE | shared, 1, 1, second, word);
      if (syscall(SYS_futex, second, FUTEX_CMP_REQUEUE | shared, 1, 1, &word, 0) >= 0)
        broken("FUTEX_CMP_REQUEUE worked with a kernel address");
      for (const int operation : {FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI, FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI})
        if (syscall(SYS_futex, second, operation | shared, 1, nullptr, &word, 0) >= 0)
          broken("futex operation %d worked with a kernel address", operation);
      if (readable && *reinterpret_cast<volatile uint32_t*>(address) != before)
        printf("the kernel's word at 0x%lx changed meanwhile\n", address);
    }
  }
}

// Robust lists with heads and entries in the kernel: the walk at the end of a thread must not touch them.
ATTACK(robust_kernel, Needs::Nothing) {
  struct Head {
    uint64_t next;
    int64_t offset;
    uint64_t pending;
  };
  for (const uint64_t address : kKernelAddresses) {
    for (int kind = 0; kind < 5; kind++) {
      const Ended ended = attempt([=] {
        static Head head;
        static Head entry;
        switch (kind) {
          case 0: break;
          case 1: head = {address, 0, 0}; break;
          case 2: head = {reinterpret_cast<uint64_t>(&head), 0, address}; break;
          case 3:
            head = {reinterpret_cast<uint64_t>(&entry), static_cast<int64_t>(address - reinterpret_cast<uint64_t>(&entry)), 0};
            entry.next = reinterpret_cast<uint64_t>(&head);
            break;
          default:
            head = {reinterpret_cast<uint64_t>(&entry), 0, address | 1};
            entry.next = reinterpret_cast<uint64_t>(&entry);  // a ring without the head
        }
        syscall(SYS_set_robust_list, kind == 0 ? reinterpret_cast<void*>(address) : &head, sizeof head);
      });
      if (!ended.exited_with(0)) broken("kind %d: %s", kind, to_text(ended).c_str());
    }
  }
}

// The word that is cleared at the end of a thread, and those that clone fills.
ATTACK(cleartid_kernel, Needs::Nothing) {
  for (const uint64_t start : kKernelAddresses) {
    // A word that is not zero, where the kernel can be read, as one with no shield can.
    uint64_t address = start;
    for (int i = 0; i < 512 && can_read(start) && *reinterpret_cast<volatile uint32_t*>(address) == 0; i++) address += 4;
    if (can_read(start) && *reinterpret_cast<volatile uint32_t*>(address) == 0) address = start;
    const uint32_t before = can_read(address) ? *reinterpret_cast<volatile uint32_t*>(address) : 0;
    Ended ended = attempt([=] {
      syscall(SYS_set_tid_address, address);
      pthread_t thread;
      void* where = reinterpret_cast<void*>(address);
      pthread_create(
          &thread, nullptr, [](void* at) -> void* { return syscall(SYS_set_tid_address, at), syscall(SYS_exit, 0), nullptr; }, where);
      sleep_ms(20);
      syscall(SYS_exit, 0);
    });
    if (!ended.exited_with(0)) broken("set_tid_address: %s", to_text(ended).c_str());
    ended = attempt([=] {
      constexpr long kFlags = SIGCHLD | 0x00100000 | 0x01000000 | 0x00200000;  // CLONE_PARENT_SETTID, _CHILD_SETTID, _CHILD_CLEARTID
      const long child = syscall(SYS_clone, kFlags, nullptr, address, address, 0);
      if (child == 0) syscall(SYS_exit, 0);
      if (child > 0) waitpid(static_cast<pid_t>(child), nullptr, 0);
    });
    if (!ended.exited_with(0)) broken("clone: %s", to_text(ended).c_str());
    if (before != 0 && *reinterpret_cast<volatile uint32_t*>(address) == 0) broken("the kernel's word at 0x%lx was cleared", address);
  }
}

// Nothing of a guest is registered with the host: its code at abort_ip would run right after the gate opened the kernel's memory.
ATTACK(rseq_abort, Needs::Nothing) {
  if (!in_guest()) {
    printf("not in a guest\n");
    return;
  }
  const Ended ended = attempt([] {
    static unsigned char area[64] __attribute__((aligned(64)));
    constexpr long kRseq = 334;
    for (const uint64_t at : {reinterpret_cast<uint64_t>(area), layout::kKernelData, layout::kSlots})
      if (syscall(kRseq, at, 32, 0, 0x53053053) == 0) _exit(kGotHost);
    if (errno != ENOSYS) _exit(3);
  });
  if (!ended.exited_with(0)) broken("rseq: %s", to_text(ended).c_str());
}

namespace {

long trapped_calls() {
  char text[512] = {};
  const int fd = open("/proc/umk/counters", O_RDONLY);
  if (fd < 0) return -1;
  must("read", read(fd, text, sizeof text - 1));
  close(fd);
  const char* at = strstr(text, "trapped_calls ");
  return at == nullptr ? -1 : atol(at + 14);
}

bool ends_or_waits(long number) {
  for (const long other : {SYS_exit, SYS_exit_group, SYS_pause, SYS_rt_sigreturn, SYS_fork, SYS_vfork})
    if (number == other) return true;
  return false;
}

}  // namespace

// Every number, by a `syscall` instruction of the attacker's own, arrives in the guest's kernel.
ATTACK(rawcall_fuzz, Needs::Nothing) {
  if (trapped_calls() < 0) {
    printf("not in a guest\n");
    return;
  }
  constexpr int kCalls = 20;
  std::vector<long> numbers;
  for (long number = 0; number < 600; number++) numbers.push_back(number);
  for (const long number : {-1L, 0x40000000L, 0x40000001L, 0x40000027L, 0x400000ffL, 1L << 32 | 39, ~0x7fffffffL, 1000L, 4096L})
    numbers.push_back(number);
  int tried = 0;
  for (const long number : numbers) {
    if (ends_or_waits(number & 0xffffffff)) continue;
    const Ended ended = attempt([=] {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      long before = 0;
      if (number != SYS_munmap && number != SYS_close && number != SYS_close_range) trapped_calls();  // its own sites are patched now
      before = trapped_calls();
      for (int i = 0; i < kCalls; i++) fresh_call(number, -1, -1, -1, -1, -1, -1);
      const long after = trapped_calls();
      _exit(after < 0 ? 4 : after - before >= kCalls ? 0 : kGotHost);
    });
    tried++;
    // A number may have taken away what is needed to look (a root, a privilege, a limit): only that nothing was trapped counts.
    if (const char* loot = loot_of(ended)) broken("call %ld: %s", number, loot);
    if (ended.timed_out) broken("call %ld: %s", number, to_text(ended).c_str());
  }
  if (calls_reach_host()) broken("calls reach the host");
  printf("%d numbers\n", tried);
}

// Descriptors closed and opened again under calls that use them: what is read is one of the files that this process opened, and no other.
ATTACK(fd_reuse_race, Needs::Nothing) {
  const Ended ended = attempt(
      [] {
        static char names[2][8] = {"reuse-a", "reuse-b"};
        for (int i = 0; i < 2; i++) {
          const int fd = static_cast<int>(must("open", open(names[i], O_RDWR | O_CREAT | O_TRUNC, 0600)));
          std::vector<char> content(65536, static_cast<char>('A' + i));
          must("write", write(fd, content.data(), content.size()));
          close(fd);
        }
        static std::atomic<bool> stop{false};
        static std::atomic<long> wrong{0}, reads{0};
        constexpr int kFd = 200;
        pthread_t threads[3];
        const auto storm = [](void*) -> void* {
          for (int i = 0; !stop; i++) {
            const int fd = open(names[i % 2], O_RDONLY);
            dup2(fd, kFd);
            close(fd);
            close(kFd);
          }
          return nullptr;
        };
        const auto use = [](void*) -> void* {
          std::vector<char> got(65536);
          while (!stop) {
            const ssize_t n = pread(kFd, got.data(), got.size(), 0);
            if (n <= 0) continue;
            reads++;
            for (ssize_t i = 0; i < n; i++)
              if (got[static_cast<size_t>(i)] != got[0] || (got[0] != 'A' && got[0] != 'B')) wrong++;
            void* map = mmap(nullptr, 65536, PROT_READ, MAP_PRIVATE, kFd, 0);
            if (map != MAP_FAILED) {
              const char first = *static_cast<volatile char*>(map);
              if (first != 'A' && first != 'B') wrong++;
              munmap(map, 65536);
            }
            // It was opened for reading.
            if (write(kFd, "x", 1) >= 0) wrong++;
          }
          return nullptr;
        };
        pthread_create(&threads[0], nullptr, storm, nullptr);
        pthread_create(&threads[1], nullptr, use, nullptr);
        pthread_create(&threads[2], nullptr, use, nullptr);
        sleep_ms(is_thorough() ? 10000 : 1500);
        stop = true;
        for (const pthread_t thread : threads) pthread_join(thread, nullptr);
        printf("%ld reads\n", reads.load());
        fflush(stdout);
        _exit(wrong > 0 ? kGotMemory : reads > 0 ? 0 : 3);
      },
      60000);
  if (const char* loot = loot_of(ended)) broken("%s", loot);
  if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
}

// A signal frame in the kernel, or one that asks for registers that a guest may not have.
ATTACK(sigreturn_kernel, Needs::Nothing) {
  for (const uint64_t address : kKernelAddresses) {
    const Ended ended = attempt([=] {
      asm volatile("movq %0, %%rsp\n\tmovl $15, %%eax\n\tsyscall\n\thlt" ::"r"(address) : "memory");
      __builtin_unreachable();
    });
    if (!ended.was_killed()) broken("rt_sigreturn at 0x%lx: %s", address, to_text(ended).c_str());
  }
}

// GS leads into the kernel, by the call and by the instruction. A guest that does so may die of it, and nobody else.
ATTACK(gs_kernel, Needs::Nothing) {
  for (const uint64_t address : kKernelAddresses) {
    for (const bool by_call : {true, false}) {
      const Ended ended = attempt([=] {
        if (by_call) {
          syscall(SYS_arch_prctl, 0x1001, address);
        } else {
          write_gs_base(address);
        }
        for (int i = 0; i < 20; i++) {
          getppid();
          if (calls_reach_host()) _exit(kGotHost);
        }
      });
      if (const char* loot = loot_of(ended)) broken("%s", loot);
    }
  }
}
