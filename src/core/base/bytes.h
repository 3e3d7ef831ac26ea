// Numbers in bytes, as formats of disks have them: little-endian but for those whose names say big. Every access is checked against its span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/check.h"

namespace umk {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

template <typename T>
inline T load_field(ConstBytes bytes, size_t offset) {
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset, "a field lies inside of its structure");
  T value;
  __builtin_memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
inline void store_field(Bytes bytes, size_t offset, T value) {
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset, "a field lies inside of its structure");
  __builtin_memcpy(bytes.data() + offset, &value, sizeof(T));
}

inline uint8_t get8(ConstBytes bytes, size_t offset) { return load_field<uint8_t>(bytes, offset); }
inline uint16_t get16(ConstBytes bytes, size_t offset) { return load_field<uint16_t>(bytes, offset); }
inline uint32_t get32(ConstBytes bytes, size_t offset) { return load_field<uint32_t>(bytes, offset); }
inline uint64_t get64(ConstBytes bytes, size_t offset) { return load_field<uint64_t>(bytes, offset); }
inline void put8(Bytes bytes, size_t offset, uint8_t value) { store_field(bytes, offset, value); }
inline void put16(Bytes bytes, size_t offset, uint16_t value) { store_field(bytes, offset, value); }
inline void put32(Bytes bytes, size_t offset, uint32_t value) { store_field(bytes, offset, value); }
inline void put64(Bytes bytes, size_t offset, uint64_t value) { store_field(bytes, offset, value); }

inline uint16_t get16_big(ConstBytes bytes, size_t offset) { return __builtin_bswap16(get16(bytes, offset)); }
inline uint32_t get32_big(ConstBytes bytes, size_t offset) { return __builtin_bswap32(get32(bytes, offset)); }
inline uint64_t get64_big(ConstBytes bytes, size_t offset) { return __builtin_bswap64(get64(bytes, offset)); }
inline void put16_big(Bytes bytes, size_t offset, uint16_t value) { put16(bytes, offset, __builtin_bswap16(value)); }
inline void put32_big(Bytes bytes, size_t offset, uint32_t value) { put32(bytes, offset, __builtin_bswap32(value)); }
inline void put64_big(Bytes bytes, size_t offset, uint64_t value) { put64(bytes, offset, __builtin_bswap64(value)); }

inline void fill_zero(Bytes bytes) { __builtin_memset(bytes.data(), 0, bytes.size()); }
inline void copy_bytes(Bytes to, ConstBytes from) {
  CHECK(to.size() >= from.size(), "the copy fits");
  if (!from.empty()) __builtin_memcpy(to.data(), from.data(), from.size());
}

}  // namespace umk
