// Requests of ioctl(2) to block devices, and what they pass. As linux/fs.h and linux/hdreg.h number them.
#pragma once

#include <cstdint>

namespace umk::block_ioctl {

inline constexpr uint32_t kSetReadOnly = 0x125d;         // BLKROSET: int
inline constexpr uint32_t kGetReadOnly = 0x125e;         // BLKROGET: int
inline constexpr uint32_t kRereadPartitions = 0x125f;    // BLKRRPART
inline constexpr uint32_t kGetSectors = 0x1260;          // BLKGETSIZE: unsigned long
inline constexpr uint32_t kFlushBuffers = 0x1261;        // BLKFLSBUF
inline constexpr uint32_t kGetReadAhead = 0x1263;        // BLKRAGET: long, in sectors
inline constexpr uint32_t kGetMaximumSectors = 0x1267;   // BLKSECTGET: unsigned short
inline constexpr uint32_t kGetLogicalBlock = 0x1268;     // BLKSSZGET: int
inline constexpr uint32_t kPartitions = 0x1269;          // BLKPG: PartitionChange
inline constexpr uint32_t kDiscard = 0x1277;             // BLKDISCARD: two uint64_t, start and length
inline constexpr uint32_t kGetLeastTransfer = 0x1278;    // BLKIOMIN: unsigned
inline constexpr uint32_t kGetBestTransfer = 0x1279;     // BLKIOOPT: unsigned
inline constexpr uint32_t kGetAlignment = 0x127a;        // BLKALIGNOFF: int
inline constexpr uint32_t kGetPhysicalBlock = 0x127b;    // BLKPBSZGET: unsigned
inline constexpr uint32_t kGetDiscardZeroes = 0x127c;    // BLKDISCARDZEROES: unsigned, always 0
inline constexpr uint32_t kSecureDiscard = 0x127d;       // BLKSECDISCARD
inline constexpr uint32_t kGetRotational = 0x127e;       // BLKROTATIONAL: unsigned short
inline constexpr uint32_t kWriteZeroes = 0x127f;         // BLKZEROOUT: as BLKDISCARD
inline constexpr uint32_t kGetCacheBlock = 0x80081270;   // BLKBSZGET: int
inline constexpr uint32_t kSetCacheBlock = 0x40081271;   // BLKBSZSET: int
inline constexpr uint32_t kGetBytes = 0x80081272;        // BLKGETSIZE64: uint64_t
inline constexpr uint32_t kGetGeometry = 0x0301;         // HDIO_GETGEO: DiskGeometry

/// struct hd_geometry.
struct DiskGeometry {
  uint8_t heads, sectors;
  uint16_t cylinders;
  uint32_t padding;
  uint64_t first_sector;
};
static_assert(sizeof(DiskGeometry) == 16);

/// struct blkpg_ioctl_arg and what its data points to, struct blkpg_partition.
struct PartitionChange {
  int32_t operation, flags, data_bytes, padding;
  uint64_t data;
};
static_assert(sizeof(PartitionChange) == 24);
inline constexpr int32_t kAddPartition = 1, kRemovePartition = 2, kResizePartition = 3;
struct PartitionPlace {
  int64_t start, length;  // bytes
  int32_t number;
  char unused[132];
};
static_assert(sizeof(PartitionPlace) == 152);

}  // namespace umk::block_ioctl
