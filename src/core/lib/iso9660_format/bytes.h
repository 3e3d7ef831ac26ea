// Numbers of ISO 9660. Those that are written in both orders of bytes are read in the little-endian one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "core/base/bits.h"
#include "core/base/make.h"

namespace umk::iso9660 {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

inline constexpr uint32_t kSectorBytes = 2048;

template <typename T>
inline T get(ConstBytes bytes, size_t offset) {
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset, "a field lies inside of its structure");
  T value;
  memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
inline uint8_t get8(ConstBytes bytes, size_t offset) { return get<uint8_t>(bytes, offset); }
inline uint16_t get16(ConstBytes bytes, size_t offset) { return get<uint16_t>(bytes, offset); }
inline uint32_t get32(ConstBytes bytes, size_t offset) { return get<uint32_t>(bytes, offset); }

inline std::string_view text_of(ConstBytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace umk::iso9660
