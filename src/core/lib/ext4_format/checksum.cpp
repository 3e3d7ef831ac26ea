#include "core/lib/ext4_format/checksum.h"

#include <array>

namespace umk::ext4 {

namespace {

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

// By the instruction of SSE4.2, which works in general registers: each processor that has FSGSBASE, without which there is no umk, has it too.
uint32_t crc32c(uint32_t start, ConstBytes bytes) {
  uint64_t crc = start;
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    __builtin_memcpy(&word, at, 8);
    asm("crc32q %1, %0" : "+r"(crc) : "r"(word));
  }
  uint32_t rest = static_cast<uint32_t>(crc);
  for (; left != 0; ++at, --left) asm("crc32b %1, %0" : "+r"(rest) : "r"(static_cast<uint8_t>(*at)));
  return rest;
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
