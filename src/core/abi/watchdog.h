// What programs say to /dev/watchdog: Documentation/watchdog/watchdog-api.rst.
#pragma once

#include <cstdint>

namespace umk::watchdog_abi {

/// struct watchdog_info
struct Information {
  uint32_t options;
  uint32_t firmware;
  char identity[32];
};
static_assert(sizeof(Information) == 40);

inline constexpr uint32_t kKeepsAlive = 0x8000;  // WDIOF_KEEPALIVEPING

inline constexpr uint32_t kGetSupport = 0x80285700, kGetStatus = 0x80045701, kGetBootStatus = 0x80045702, kKeepAlive = 0x80045705;

}  // namespace umk::watchdog_abi
