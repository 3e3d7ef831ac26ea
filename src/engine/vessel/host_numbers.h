// Numbers of host calls that only the engine makes, with their arguments' constants. x86-64 Linux.
#pragma once

#include <cstdint>

namespace umk::engine {

enum EngineHostCall : uint64_t {
  kHostRtSigaction = 13, kHostRtSigprocmask = 14, kHostMremap = 25, kHostMincore = 27, kHostGetpid = 39, kHostKill = 62, kHostGetrusage = 98, kHostGetppid = 110,
  kHostSigaltstack = 131, kHostPrctl = 157, kHostGettid = 186, kHostSchedSetaffinity = 203, kHostClockGettime = 228, kHostExitGroup = 231, kHostTgkill = 234, kHostPause = 34,
  kHostMmap = 9, kHostMprotect = 10, kHostMunmap = 11, kHostMadvise = 28, kHostProcessVmReadv = 310, kHostProcessVmWritev = 311, kHostSeccomp = 317,
  kHostPkeyMprotect = 329,
};

inline constexpr uint64_t kPrSetPdeathsig = 1, kPrSetName = 15, kPrSetDumpable = 4, kPrSetNoNewPrivileges = 38, kPrSyscallUserDispatch = 59;

inline constexpr uint64_t kCloneVm = 0x100, kCloneFs = 0x200, kCloneFiles = 0x400, kCloneSighand = 0x800, kCloneParent = 0x8000, kCloneThread = 0x10000,
                          kCloneSysvsem = 0x40000, kCloneChildCleartid = 0x200000, kCloneChildSettid = 0x1000000;

/// The host signal that makes a guest thread enter the kernel.
inline constexpr int kKickSignal = 10;

inline uint64_t read_fs_base() {
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
inline void write_fs_base(uint64_t base) { asm volatile("wrfsbase %0" : : "r"(base)); }
inline uint64_t read_gs_base() {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
inline void write_gs_base(uint64_t base) { asm volatile("wrgsbase %0" : : "r"(base)); }

}  // namespace umk::engine
