// Request numbers of ioctl(2) that files of many kinds answer. Terminals have theirs in termios.h.
#pragma once

#include <cstdint>

namespace umk::ioctls {

inline constexpr uint32_t kBytesReadable = 0x541b;   // FIONREAD, SIOCINQ, TIOCINQ
inline constexpr uint32_t kBytesUnsent = 0x5411;     // SIOCOUTQ, TIOCOUTQ
inline constexpr uint32_t kNonBlocking = 0x5421;     // FIONBIO
inline constexpr uint32_t kAsync = 0x5452;           // FIOASYNC
// Sockets only: F_SETOWN and F_GETOWN by other names. FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP.
inline constexpr uint32_t kSetOwner = 0x8901, kSocketSetOwner = 0x8902, kGetOwner = 0x8903, kSocketGetOwner = 0x8904;
inline constexpr uint32_t kSetCloseOnExec = 0x5451;  // FIOCLEX
inline constexpr uint32_t kClearCloseOnExec = 0x5450;  // FIONCLEX

}  // namespace umk::ioctls
