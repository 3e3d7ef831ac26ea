// CRC-32 of ISO 3309, bits reflected: that of GPT, gzip, xz and Ethernet.
#pragma once

#include "core/base/bytes.h"

namespace umk {

uint32_t crc32(ConstBytes bytes);

}  // namespace umk
