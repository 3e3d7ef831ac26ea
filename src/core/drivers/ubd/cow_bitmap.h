// CowBitmap: which sectors of a disk are in its copy-on-write file.
//
// A sector whose bit is set on the host's disk must have its data there. So new bits live in memory only until the next flush, which makes the data durable
// first, then writes the bits, then makes these durable: a kill at any moment loses what was not flushed and nothing else.
//
// The bitmap is read in pieces, when first looked at. `flush_mutex_` lets one flush go on at a time; `mutex_` guards the pieces and is held while one is read.
#pragma once

#include <memory>

#include "core/base/vector.h"
#include "core/lib/cow_format/cow_format.h"
#include "core/sync/mutex.h"

namespace umk::ubd {

class CowBitmap {
 public:
  static Result<std::unique_ptr<CowBitmap>> create(int fd, const cow_format::Layout& layout);
  CowBitmap(int fd, const cow_format::Layout& layout) : fd_(fd), layout_(layout) {}

  /// A run of sectors from `first` on that are alike, at most `count`.
  struct Run {
    uint64_t sectors = 0;
    bool is_here = false;
  };
  Result<Run> run_at(uint64_t first, uint64_t count);
  /// Before data of sectors are written: EIO when one has no bit in the format; EIO and ENOMEM when the bits cannot be read.
  Result<void> prepare(uint64_t first, uint64_t count);
  /// Notes sectors whose data have been written, which cannot fail after prepare().
  Result<void> mark(uint64_t first, uint64_t count);
  /// Makes what was written to the file durable, the bits after the data.
  Result<void> flush();

 private:
  static constexpr size_t kPieceBytes = 4096;
  static constexpr uint64_t kPieceSectors = kPieceBytes * 8;
  struct Piece {
    std::byte bits[kPieceBytes];
    bool is_dirty = false;
  };
  struct Snapshot {
    size_t piece;
    std::unique_ptr<Piece> copy;
  };

  Result<Piece*> piece_locked(size_t index) REQUIRES(mutex_);
  size_t bytes_of(size_t piece) const;
  uint64_t offset_of(size_t piece) const { return layout_.bitmap_offset + uint64_t{piece} * kPieceBytes; }
  Result<void> take_dirty(Vector<Snapshot>& into);
  void give_back(const Vector<Snapshot>& snapshots);

  const int fd_;
  const cow_format::Layout layout_;
  Mutex flush_mutex_{LockRank::Block};
  Mutex mutex_{LockRank::Block};
  Vector<std::unique_ptr<Piece>> pieces_ GUARDED_BY(mutex_);  // null: not read yet
};

}  // namespace umk::ubd
