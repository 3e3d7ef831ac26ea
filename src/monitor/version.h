#pragma once

namespace umk::monitor {

inline constexpr const char* kVersion = UMK_VERSION;

}  // namespace umk::monitor
