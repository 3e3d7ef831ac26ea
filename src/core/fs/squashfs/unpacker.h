// Unpacker: reads blocks of an image and unpacks them. Keeps the decompressors of a volume, one for each who unpacks at the same time.
//
// Lock: `mutex_` (LockRank::DiskFilesystem) guards the list of idle ones; nothing is called while it is held.
#pragma once

#include "core/base/vector.h"
#include "core/kernel/block/block_device.h"
#include "core/lib/decompress/decompressor.h"
#include "core/lib/squashfs_format/superblock.h"
#include "core/sync/mutex.h"

namespace umk::squashfs {

class Unpacker {
 public:
  explicit Unpacker(block::BlockDevice& device) : device_(device) {}
  ~Unpacker();
  /// EINVAL for a compressor that is not supported.
  Result<void> create(const Layout& layout);

  /// Fills `into` with what `bytes` at `place` become; returns how much that is. EIO.
  Result<size_t> unpack(uint64_t place, uint32_t bytes, bool is_packed, Bytes into);
  /// Bytes of the device as they are.
  Result<void> read(uint64_t place, Bytes into);

 private:
  /// Somebody's means of unpacking.
  struct Worker {
    std::unique_ptr<decompress::Decompressor> decompressor;
    std::unique_ptr<std::byte[]> input;
    std::unique_ptr<Worker> next;
  };
  Result<std::unique_ptr<Worker>> take_worker();
  void give_back(std::unique_ptr<Worker> worker);
  /// Reads whole sectors around bytes into `input`; returns where the bytes are.
  Result<ConstBytes> read_packed(uint64_t place, uint32_t bytes, Bytes input);
  size_t input_bytes() const { return largest_packed_ + 2 * size_t{device_.logical_block_bytes()}; }

  block::BlockDevice& device_;
  decompress::Method method_ = decompress::Method::Zlib;
  size_t largest_packed_ = 0;
  uint64_t end_ = 0;
  Mutex mutex_{LockRank::DiskFilesystem};
  std::unique_ptr<Worker> idle_ GUARDED_BY(mutex_);
};

}  // namespace umk::squashfs
