// Bytes that are part of the program file and are read once.
#pragma once

#include <sys/mman.h>

#include <cstdint>

/// The kernel image, with the symbols of its functions.
extern "C" const unsigned char umk_kernel_image_begin[], umk_kernel_image_end[];

namespace umk::monitor {

/// Gives the pages of [begin, end) back; whoever reads them again gets them from the file.
inline void forget_embedded(const unsigned char* begin, const unsigned char* end) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + kPage - 1) & ~(kPage - 1);
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) & ~(kPage - 1);
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace umk::monitor
