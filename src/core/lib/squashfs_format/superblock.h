// The superblock of squashfs 4.0: where the tables of an image are. Documentation/filesystems/squashfs.rst; "Squashfs Binary Format" of squashfs-tools-ng.
#pragma once

#include <optional>
#include <string_view>

#include "core/lib/squashfs_format/stream.h"

namespace umk::squashfs {

inline constexpr size_t kSuperblockBytes = 96;
inline constexpr size_t kMetadataBytes = 8192;  // of an unpacked metadata block
inline constexpr uint64_t kNoTable = UINT64_MAX;

enum class Compressor : uint16_t { Gzip = 1, Lzma, Lzo, Xz, Lz4, Zstd };
std::string_view name_of(Compressor compressor);

struct Layout {
  uint32_t inodes = 0;
  uint32_t made_at = 0;  // seconds
  uint32_t block_size = 0;
  uint32_t block_bits = 0;
  uint32_t fragments = 0;
  uint32_t ids = 0;
  Compressor compressor = Compressor::Gzip;
  uint64_t root = 0;  // a reference
  uint64_t bytes_used = 0;
  uint64_t id_table = 0, attribute_table = kNoTable, inode_table = 0, directory_table = 0, fragment_table = kNoTable;

  /// EINVAL; `reason` tells why, and is empty when the bytes are of no squashfs at all.
  static Result<Layout> parse(ConstBytes raw, uint64_t device_bytes, std::string_view& reason);
};

/// The size of a block of data or of a fragment, as tables have it: bit 24 says that it is not packed. 0 is a block of zeroes.
struct BlockSize {
  uint32_t raw = 0;
  bool is_packed() const { return !(raw & 1 << 24); }
  uint32_t bytes() const { return raw & 0xffffff; }
  bool is_hole() const { return raw == 0; }
};

/// The head of a metadata block.
struct MetadataHead {
  uint16_t raw = 0;
  bool is_packed() const { return !(raw & 0x8000); }
  uint32_t bytes() const { return raw & 0x7fff; }
};

/// A reference to an inode or a list of attributes: a metadata block, from the start of its table, and a place in it.
struct Reference {
  uint64_t raw = 0;
  uint64_t block() const { return raw >> 16; }
  uint32_t offset() const { return raw & 0xffff; }
};

}  // namespace umk::squashfs
