#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

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
