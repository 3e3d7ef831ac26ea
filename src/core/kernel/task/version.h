// What the kernel calls itself: uname(2), /proc/version, the auxiliary vector's platform.
#pragma once

#include <string_view>

namespace umk::version {

inline constexpr std::string_view kSystem = "Linux";
/// Programs take features for granted by this number: that of the newest Linux whose calls are the model.
inline constexpr std::string_view kRelease = "6.12.0-umk";
inline constexpr std::string_view kVersion = "#1 SMP PREEMPT_DYNAMIC umk";
inline constexpr std::string_view kMachine = "x86_64";

}  // namespace umk::version
