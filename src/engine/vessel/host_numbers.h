// Arguments of host calls that only the engine makes (core/host/call_table.h has their numbers), and segment bases. x86-64 Linux.
#pragma once

#include <cstdint>

namespace umk::engine {

inline constexpr uint64_t kPrSetPdeathsig = 1, kPrSetName = 15, kPrSetDumpable = 4, kPrSetNoNewPrivileges = 38, kPrSyscallUserDispatch = 59;

inline constexpr uint64_t kCloneVm = 0x100, kCloneFs = 0x200, kCloneFiles = 0x400, kCloneSighand = 0x800, kCloneParent = 0x8000, kCloneThread = 0x10000,
                          kCloneSysvsem = 0x40000, kCloneParentSettid = 0x100000, kCloneChildCleartid = 0x200000;

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
