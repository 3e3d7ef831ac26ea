// Device numbers: which driver (major) and which of its devices (minor) stand behind a device file.
#pragma once

#include <cstdint>

namespace umk {

/// A device number as Linux splits it: makedev(3).
struct DeviceNumber {
  uint32_t major = 0;
  uint32_t minor = 0;
  /// The 64-bit form of stat(2).
  constexpr uint64_t encoded() const {
    return (minor & 0xffu) | ((major & 0xfffu) << 8) | (static_cast<uint64_t>(minor & ~0xffu) << 12) | (static_cast<uint64_t>(major & ~0xfffu) << 32);
  }
  static constexpr DeviceNumber decode(uint64_t encoded) {
    return {static_cast<uint32_t>(((encoded >> 8) & 0xfff) | ((encoded >> 32) & ~0xfffull)),
            static_cast<uint32_t>((encoded & 0xff) | ((encoded >> 12) & ~0xffull))};
  }
  friend bool operator==(const DeviceNumber&, const DeviceNumber&) = default;
};

}  // namespace umk
