// What stat(2), statx(2), statfs(2) and getdents64(2) fill in.
#pragma once

#include <cstdint>

namespace umk::abi {

struct TimeSpec {
  int64_t seconds;
  int64_t nanoseconds;
};
static_assert(sizeof(TimeSpec) == 16);

struct TimeValue {
  int64_t seconds;
  int64_t microseconds;
};

/// struct stat of x86-64.
struct Stat {
  uint64_t device;
  uint64_t inode;
  uint64_t links;
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
  uint32_t padding;
  uint64_t special_device;
  int64_t size;
  int64_t block_size;
  int64_t blocks;
  TimeSpec access_time;
  TimeSpec modify_time;
  TimeSpec change_time;
  int64_t unused[3];
};
static_assert(sizeof(Stat) == 144);

struct StatxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t padding;
};

/// struct statx.
struct Statx {
  uint32_t mask;
  uint32_t block_size;
  uint64_t attributes;
  uint32_t links;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t padding;
  uint64_t inode;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  StatxTime access_time;
  StatxTime birth_time;
  StatxTime change_time;
  StatxTime modify_time;
  uint32_t special_device_major;
  uint32_t special_device_minor;
  uint32_t device_major;
  uint32_t device_minor;
  uint64_t mount_id;
  uint32_t direct_io_memory_alignment;
  uint32_t direct_io_offset_alignment;
  uint64_t reserved[12];
};
static_assert(sizeof(Statx) == 256);

namespace statx_bits {
inline constexpr uint32_t kBasic = 0x7ff, kBirthTime = 0x800, kMountId = 0x1000, kReserved = 0x80000000;
inline constexpr uint64_t kMountRoot = 0x2000;  // STATX_ATTR_MOUNT_ROOT
}  // namespace statx_bits

/// struct statfs of x86-64.
struct StatFs {
  int64_t type;
  int64_t block_size;
  uint64_t blocks;
  uint64_t blocks_free;
  uint64_t blocks_available;
  uint64_t files;
  uint64_t files_free;
  uint64_t identity;
  int64_t name_length;
  int64_t fragment_size;
  int64_t flags;
  int64_t spare[4];
};
static_assert(sizeof(StatFs) == 120);

}  // namespace umk::abi
