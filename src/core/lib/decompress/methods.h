// The methods, for decompressor.cpp. Each is in a file of its own.
#pragma once

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

Result<std::unique_ptr<Decompressor>> make_zlib();
Result<std::unique_ptr<Decompressor>> make_lz4();
Result<std::unique_ptr<Decompressor>> make_lzo();
Result<std::unique_ptr<Decompressor>> make_xz();
Result<std::unique_ptr<Decompressor>> make_zstd();

/// Copies `length` bytes from `distance` bytes back to `at`, byte after byte: the source may reach into what is being written. All was checked.
inline void copy_match(std::byte* at, size_t distance, size_t length) {
  const std::byte* from = at - distance;
  if (distance >= length) {
    __builtin_memcpy(at, from, length);
    return;
  }
  if (distance == 1) {
    __builtin_memset(at, static_cast<int>(*from), length);
    return;
  }
  // Each round doubles what can be copied at once.
  while (length > distance) {
    __builtin_memcpy(at, from, distance);
    at += distance;
    length -= distance;
    distance *= 2;
  }
  __builtin_memcpy(at, from, length);
}

template <typename T>
inline T load(const std::byte* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace umk::decompress
