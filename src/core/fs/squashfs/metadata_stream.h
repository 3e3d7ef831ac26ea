// MetadataStream: unpacked metadata from a place on, through as many blocks as are asked for. Blocks lie one behind the other.
#pragma once

#include "core/fs/squashfs/unpacked_cache.h"
#include "core/lib/squashfs_format/superblock.h"

namespace umk::squashfs {

class Volume;

class MetadataStream final : public Stream {
 public:
  /// From `offset` in the block at `block`, a place on the device.
  MetadataStream(Volume& volume, uint64_t block, uint32_t offset) : volume_(volume), block_(block), offset_(offset) {}
  Result<void> read(Bytes into) override;

  /// Where it is, to start another one from.
  uint64_t block() const { return block_; }
  uint32_t offset() const { return offset_; }

 private:
  Volume& volume_;
  uint64_t block_;
  uint32_t offset_;
  RefPtr<UnpackedBlock> current_;
};

}  // namespace umk::squashfs
