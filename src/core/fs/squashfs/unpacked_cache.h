// UnpackedCache: blocks of an image that were unpacked lately: metadata, fragments, and data of which only a part was wanted.
//
// A block lives as long as somebody holds it; the cache holds the last few. Two who want the same at once may both unpack it.
//
// Lock: `mutex_` (LockRank::DiskFilesystem); nothing is called while it is held.
#pragma once

#include <memory>

#include "core/base/make.h"
#include "core/base/vector.h"
#include "core/lib/squashfs_format/stream.h"
#include "core/sync/mutex.h"

namespace umk::squashfs {

struct UnpackedBlock final : RefCounted {
  uint64_t place = 0;  // on the device
  uint64_t next = 0;   // of metadata: where the next block is
  size_t size = 0;
  std::unique_ptr<std::byte[]> memory;
  ConstBytes bytes() const { return {memory.get(), size}; }

  /// With room for this many bytes.
  static Result<RefPtr<UnpackedBlock>> create(uint64_t place, size_t room);
  UnpackedBlock() = default;
  ~UnpackedBlock() override = default;
};

class UnpackedCache {
 public:
  /// Keeps up to so many blocks.
  Result<void> create(size_t blocks);
  RefPtr<UnpackedBlock> find(uint64_t place);
  void keep(const RefPtr<UnpackedBlock>& block);

 private:
  struct Slot {
    RefPtr<UnpackedBlock> block;
    uint64_t used_at = 0;
  };
  Mutex mutex_{LockRank::DiskFilesystem};
  Vector<Slot> slots_ GUARDED_BY(mutex_);
  uint64_t clock_ GUARDED_BY(mutex_) = 0;
};

}  // namespace umk::squashfs
