// Loop devices, as linux/loop.h has them: loop(4).
#pragma once

#include <cstdint>

namespace umk::loop_abi {

inline constexpr uint32_t kSetFile = 0x4c00, kClearFile = 0x4c01, kSetStatus64 = 0x4c04, kGetStatus64 = 0x4c05, kChangeFile = 0x4c06;
inline constexpr uint32_t kSetCapacity = 0x4c07, kSetDirect = 0x4c08, kSetBlockSize = 0x4c09, kConfigure = 0x4c0a;
inline constexpr uint32_t kControlAdd = 0x4c80, kControlRemove = 0x4c81, kControlGetFree = 0x4c82;

inline constexpr uint32_t kReadOnly = 1, kAutoClear = 4, kPartitionScan = 8, kDirect = 16;

/// struct loop_info64.
struct Status {
  uint64_t device, inode, node_device;
  uint64_t offset, size_limit;
  uint32_t number, encryption, key_size, flags;
  char file_name[64], cipher_name[64];
  uint8_t key[32];
  uint64_t extra[2];
};
static_assert(sizeof(Status) == 232);

/// struct loop_config.
struct Configuration {
  uint32_t fd, block_size;
  Status status;
  uint64_t reserved[8];
};
static_assert(sizeof(Configuration) == 304);

}  // namespace umk::loop_abi
