// The calls of the host that the kernel image makes. There are no others: raw_call() takes a Call, tools/check_image knows the few instructions that call the
// host, and the seccomp filter of vessels is made from this table (engine/gate/call_filter.cpp).
#pragma once

#include <cstdint>

namespace umk::host {

/// Who makes a call.
enum class CallMaker : uint8_t {
  Kernel,   // kernel code, in any process
  Gate,     // an instruction of the gate's own (engine/gate/gate.S)
  Nursery,  // only before there are vessels
  Monitor,  // only threads of the monitor
};

// Numbers of x86-64 Linux, in their order.
#define UMK_HOST_CALLS(call) \
  call(Read, 0, Kernel) call(Write, 1, Kernel) call(Close, 3, Kernel) call(Lseek, 8, Kernel) call(Mmap, 9, Kernel) \
  call(Mprotect, 10, Kernel) call(Munmap, 11, Kernel) call(RtSigaction, 13, Nursery) call(RtSigprocmask, 14, Nursery) \
  call(RtSigreturn, 15, Gate) call(Pread, 17, Kernel) call(Pwrite, 18, Kernel) call(Yield, 24, Kernel) call(Mremap, 25, Kernel) \
  call(Mincore, 27, Kernel) call(Madvise, 28, Kernel) call(Pause, 34, Kernel) call(Clone, 56, Gate) call(Exit, 60, Gate) \
  call(Fsync, 74, Kernel) call(Fdatasync, 75, Kernel) call(Ftruncate, 77, Kernel) call(Chmod, 90, Kernel) call(Getrlimit, 97, Kernel) \
  call(Getrusage, 98, Kernel) call(Geteuid, 107, Kernel) call(Getegid, 108, Kernel) call(Getppid, 110, Kernel) \
  call(Sigaltstack, 131, Kernel) call(Fstatfs, 138, Kernel) call(Setpriority, 141, Kernel) call(Prctl, 157, Kernel) call(Setxattr, 188, Kernel) \
  call(Getxattr, 191, Kernel) call(Listxattr, 194, Kernel) call(Removexattr, 197, Kernel) call(Futex, 202, Kernel) \
  call(SchedSetaffinity, 203, Kernel) call(Getdents64, 217, Kernel) call(ClockGettime, 228, Kernel) call(ExitGroup, 231, Kernel) \
  call(Tgkill, 234, Kernel) call(Openat, 257, Kernel) call(Mkdirat, 258, Kernel) call(Mknodat, 259, Kernel) call(Fchownat, 260, Kernel) \
  call(Unlinkat, 263, Kernel) call(Linkat, 265, Kernel) call(Symlinkat, 266, Kernel) call(Readlinkat, 267, Kernel) \
  call(SyncFileRange, 277, Monitor) call(Utimensat, 280, Kernel) call(Fallocate, 285, Kernel) call(Eventfd, 290, Monitor) call(Preadv, 295, Kernel) \
  call(Pwritev, 296, Kernel) call(Syncfs, 306, Kernel) call(Getcpu, 309, Kernel) call(ProcessVmReadv, 310, Kernel) \
  call(ProcessVmWritev, 311, Kernel) call(Renameat2, 316, Kernel) call(Seccomp, 317, Nursery) call(Getrandom, 318, Kernel) \
  call(Membarrier, 324, Kernel) call(PkeyMprotect, 329, Nursery) call(Statx, 332, Kernel) call(IoUringSetup, 425, Monitor) \
  call(IoUringEnter, 426, Monitor) call(Openat2, 437, Kernel)

enum class Call : uint64_t {
#define UMK_ENUMERATOR(name, number, maker) name = number,
  UMK_HOST_CALLS(UMK_ENUMERATOR)
#undef UMK_ENUMERATOR
};

struct CallRow {
  Call call;
  CallMaker maker;
};

inline constexpr CallRow kCallTable[] = {
#define UMK_ROW(name, number, maker) {Call::name, CallMaker::maker},
    UMK_HOST_CALLS(UMK_ROW)
#undef UMK_ROW
};
#undef UMK_HOST_CALLS

}  // namespace umk::host
