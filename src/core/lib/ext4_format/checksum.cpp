#include "core/lib/ext4_format/checksum.h"

#include <array>

namespace umk::ext4 {

namespace {

// Eight bytes a step: table k holds the effect of a byte that k further bytes follow.
struct Crc32cTables {
  std::array<std::array<uint32_t, 256>, 8> table{};
  constexpr Crc32cTables() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82f63b78u : 0);
      table[0][i] = value;
    }
    for (size_t k = 1; k < 8; ++k)
      for (size_t i = 0; i < 256; ++i) table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
  }
};
constexpr Crc32cTables kCrc32c;

struct Crc16Table {
  std::array<uint16_t, 256> table{};
  constexpr Crc16Table() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xa001u : 0);
      table[i] = static_cast<uint16_t>(value);
    }
  }
};
constexpr Crc16Table kCrc16;

}  // namespace

uint32_t crc32c(uint32_t start, ConstBytes bytes) {
  const auto& table = kCrc32c.table;
  uint32_t crc = start;
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    __builtin_memcpy(&word, at, 8);
    word ^= crc;
    crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^ table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^ table[3][word >> 32 & 0xff] ^
          table[2][word >> 40 & 0xff] ^ table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
  }
  for (; left != 0; ++at, --left) crc = (crc >> 8) ^ table[0][(crc ^ static_cast<uint32_t>(*at)) & 0xff];
  return crc;
}

uint16_t crc16(uint16_t start, ConstBytes bytes) {
  uint32_t crc = start;
  for (const std::byte byte : bytes) crc = (crc >> 8) ^ kCrc16.table[(crc ^ static_cast<uint32_t>(byte)) & 0xff];
  return static_cast<uint16_t>(crc);
}

uint32_t crc32c_number(uint32_t start, uint32_t number) { return crc32c(start, std::as_bytes(std::span(&number, 1))); }
uint32_t crc32c_number(uint32_t start, uint64_t number) { return crc32c(start, std::as_bytes(std::span(&number, 1))); }
uint16_t crc16_number(uint16_t start, uint32_t number) { return crc16(start, std::as_bytes(std::span(&number, 1))); }

}  // namespace umk::ext4
