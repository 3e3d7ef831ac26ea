// The vDSO's page as the kernel knows it: where its slots and its restorer lie. vdso.S and vdso.ld have the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace umk::engine {

inline constexpr uint64_t kVdsoRestorerOffset = 0xe01;
inline constexpr uint64_t kVdsoSlotsOffset = 0xf00;

/// Absolute addresses that the functions of the vDSO continue at.
struct VdsoSlots {
  uint64_t clock_gettime, gettimeofday, time, getcpu, gate;
};

/// Fills the slots in the kernel's copy, before the first program gets it.
void fill_vdso_slots(const VdsoSlots& slots);

}  // namespace umk::engine

/// The kernel's copy of the vDSO's file, whole pages (vdso_image.S).
extern "C" std::byte umk_vdso_begin[], umk_vdso_end[];
