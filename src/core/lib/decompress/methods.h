// The methods, for decompressor.cpp. Each is in a file of its own.
#pragma once

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

Result<std::unique_ptr<Decompressor>> make_zlib();
Result<std::unique_ptr<Decompressor>> make_lz4();
Result<std::unique_ptr<Decompressor>> make_lzo();
Result<std::unique_ptr<Decompressor>> make_xz();
Result<std::unique_ptr<Decompressor>> make_zstd();

template <typename T>
inline T load(const std::byte* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

/// Copies a few bytes, by words where up to `slack` bytes more may be read and written.
inline void copy_bytes(std::byte* to, const std::byte* from, size_t length, size_t slack) {
  constexpr size_t kFew = 32;
  if (length > kFew || slack < 8) {
    if (length != 0) __builtin_memcpy(to, from, length);
    return;
  }
  for (size_t i = 0; i < length; i += 8) __builtin_memcpy(to + i, from + i, 8);
}

/// Copies `length` bytes from `distance` bytes back to `at`, byte after byte: the source may reach into what is being written. All was checked; up to `end`
/// anything may be written.
inline void copy_match(std::byte* at, size_t distance, size_t length, const std::byte* end) {
  const std::byte* from = at - distance;
  if (distance >= 8 && static_cast<size_t>(end - at) >= length + 8) [[likely]] {
    // What a word reads was written before, as it is that far back.
    if (length <= 64 || distance < length) {
      for (size_t i = 0; i < length; i += 8) __builtin_memcpy(at + i, from + i, 8);
      return;
    }
  }
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

}  // namespace umk::decompress
