// Partition tables: what of a disk is which partition. Pure: sectors come from the caller's reader, nothing is kept.
//
// MBR with extended partitions, and GPT. What counts as a table, and what a damaged one yields, is as Linux decides it: a GPT needs its protective MBR, a right
// header and right checksums; a broken link in the chain of extended partitions ends the chain; what reaches past the end of the disk is left out.
// Sources: UEFI Specification 2.10, chapter 5; the MBR has no standard, but many descriptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/vector.h"

namespace umk::partition_table {

/// How the table's sectors are read.
class SectorReader {
 public:
  /// Fills `into` from `offset` on, both multiples of the sector size.
  virtual Result<void> read(uint64_t offset, std::span<std::byte> into) = 0;

 protected:
  ~SectorReader() = default;
};

enum class Kind : uint8_t { None, Mbr, Gpt };

struct Partition {
  uint32_t number = 0;  // 1 for the first: ubda1
  uint64_t first_byte = 0;
  uint64_t bytes = 0;
};

struct Table {
  Kind kind = Kind::None;
  Vector<Partition> partitions;  // by number
};

/// The most partitions of one disk that are looked for, as on Linux.
inline constexpr uint32_t kMaximumPartitions = 255;

/// Reads the table of a disk. A disk without one is no failure; EIO when the reader fails, ENOMEM.
/// `sector_bytes`: the disk's logical sectors, 512 to 4096.
Result<Table> read_table(SectorReader& reader, uint64_t disk_bytes, uint32_t sector_bytes);

}  // namespace umk::partition_table
