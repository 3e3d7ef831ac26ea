#include "core/base/crc32.h"

#include <array>

namespace umk {

namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

}  // namespace

uint32_t crc32(ConstBytes bytes) {
  uint32_t value = ~uint32_t{0};
  for (const std::byte byte : bytes) value = kTable[(value ^ static_cast<uint32_t>(byte)) & 0xff] ^ value >> 8;
  return ~value;
}

}  // namespace umk
