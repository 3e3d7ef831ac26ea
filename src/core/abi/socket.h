// What socket calls exchange with guests: socket(2), unix(7), sendmsg(2), recvmsg(2), getsockopt(2), cmsg(3).
//
// The names are our own since the usual ones are macros and structures of <sys/socket.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

namespace address_families {
inline constexpr int kUnspecified = 0, kUnix = 1, kNetlink = 16, kMaximum = 46;
}

namespace socket_types {
inline constexpr int kStream = 1, kDatagram = 2, kRaw = 3, kSequencedPacket = 5, kMaximum = 11, kMask = 0xf;
}

/// The largest address of any family: struct sockaddr_storage.
inline constexpr size_t kMaximumSocketAddress = 128;
/// offsetof(struct sockaddr_un, sun_path), and its size.
inline constexpr size_t kUnixPathOffset = 2;
inline constexpr size_t kUnixPathBytes = 108;

namespace message_flags {
inline constexpr uint32_t kOutOfBand = 0x1, kPeek = 0x2, kControlTruncated = 0x8, kTruncated = 0x20, kDontWait = 0x40, kEndOfRecord = 0x80, kWaitAll = 0x100,
                          kErrorQueue = 0x2000, kNoSignal = 0x4000, kMore = 0x8000, kWaitForOne = 0x10000, kCloseOnExec = 0x40000000;
}

struct KernelMessageHeader {
  uint64_t name;
  int32_t name_length;
  uint32_t padding;
  uint64_t vector;
  uint64_t vector_count;
  uint64_t control;
  uint64_t control_length;
  uint32_t flags;
  uint32_t padding2;
};
static_assert(sizeof(KernelMessageHeader) == 56);

/// One message of sendmmsg and recvmmsg.
struct KernelMultiMessage {
  KernelMessageHeader header;
  uint32_t length;
  uint32_t padding;
};
static_assert(sizeof(KernelMultiMessage) == 64);

/// Before each control message; the next begins at the following multiple of 8.
struct KernelControlHeader {
  uint64_t length;  // with the header
  int32_t level;
  int32_t type;
};
static_assert(sizeof(KernelControlHeader) == 16);

namespace control_types {
inline constexpr int kRights = 1, kCredentials = 2;
}
/// SCM_MAX_FD: descriptors in one message.
inline constexpr size_t kMaximumPassedFiles = 253;

/// struct ucred
struct KernelSocketCredentials {
  int32_t pid;
  uint32_t uid;
  uint32_t gid;
};
static_assert(sizeof(KernelSocketCredentials) == 12);

struct KernelLinger {
  int32_t is_on;
  int32_t seconds;
};
static_assert(sizeof(KernelLinger) == 8);

/// struct sock_fprog: a program of packet_filter/.
struct KernelFilterProgram {
  uint16_t length;  // in instructions
  uint16_t padding[3];
  uint64_t instructions;
};
static_assert(sizeof(KernelFilterProgram) == 16);

inline constexpr int kSocketLevel = 1;  // SOL_SOCKET

namespace socket_options {
inline constexpr int kDebug = 1, kReuseAddress = 2, kType = 3, kError = 4, kDontRoute = 5, kBroadcast = 6, kSendBuffer = 7, kReceiveBuffer = 8, kKeepAlive = 9,
                     kOutOfBandInline = 10, kPriority = 12, kLinger = 13, kReusePort = 15, kPassCredentials = 16, kPeerCredentials = 17, kReceiveLowWater = 18,
                     kSendLowWater = 19, kReceiveTimeout = 20, kSendTimeout = 21, kAttachFilter = 26, kDetachFilter = 27, kPeerName = 28, kTimestamp = 29, kIsListening = 30, kPeerSecurity = 31,
                     kSendBufferForce = 32, kReceiveBufferForce = 33, kProtocol = 38, kDomain = 39, kPeekOffset = 42, kPeerGroups = 59;
}

}  // namespace umk
