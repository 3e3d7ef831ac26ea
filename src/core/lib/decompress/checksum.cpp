#include <array>

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

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

uint32_t adler32(ConstBytes bytes) {
  constexpr uint32_t kModulus = 65521;
  // As many as can be added before 32 bits overflow.
  constexpr size_t kAtOnce = 5552;
  uint32_t low = 1, high = 0;
  while (!bytes.empty()) {
    const size_t count = bytes.size() < kAtOnce ? bytes.size() : kAtOnce;
    for (const std::byte byte : bytes.first(count)) {
      low += static_cast<uint32_t>(byte);
      high += low;
    }
    low %= kModulus;
    high %= kModulus;
    bytes = bytes.subspan(count);
  }
  return high << 16 | low;
}

}  // namespace umk::decompress
