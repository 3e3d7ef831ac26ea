// The version of umk. The build gives it (project() in CMakeLists.txt).
#pragma once

#ifndef UMK_VERSION
#define UMK_VERSION "unknown"
#endif

namespace umk::monitor {

inline constexpr const char* kVersion = UMK_VERSION;

}  // namespace umk::monitor
