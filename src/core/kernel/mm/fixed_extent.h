// FixedExtent: where bytes lie in a file of the host that nobody writes, such as the backing file of a copy-on-write disk. The host has them in memory once for
// all machines that use the file, so they are read and mapped from there instead of being copied into the page cache.
//
// What was found stays true: who changes the bytes writes them elsewhere, and the old ones stay where they are.
#pragma once

#include <cstdint>

namespace umk::mm {

struct FixedExtent {
  int fd = -1;
  uint64_t offset = 0, bytes = 0;

  /// Nothing was found.
  explicit operator bool() const { return bytes != 0; }
};

}  // namespace umk::mm
