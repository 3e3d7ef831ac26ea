// Numbers of ISO 9660. Those that are written in both orders of bytes are read in the little-endian one.
#pragma once

#include <string_view>

#include "core/base/bits.h"
#include "core/base/bytes.h"
#include "core/base/make.h"

namespace umk::iso9660 {

inline constexpr uint32_t kSectorBytes = 2048;

inline std::string_view text_of(ConstBytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace umk::iso9660
