#include "core/drivers/ubd/cow_bitmap.h"

#include <algorithm>
#include <cstring>

#include "core/base/make.h"
#include "core/host/calls.h"

namespace umk::ubd {

namespace {

/// Reads all of `into`; what lies beyond the end of the file is zero.
Result<void> read_all(int fd, std::span<std::byte> into, uint64_t offset) {
  size_t done = 0;
  while (done < into.size()) {
    const Result<size_t> got = host::pread(fd, into.subspan(done), offset + done);
    if (!got.ok() && got.code() == EINTR) continue;
    if (!got.ok()) return got.failure();
    if (got.value() == 0) break;
    done += got.value();
  }
  if (done < into.size()) memset(into.data() + done, 0, into.size() - done);
  return {};
}

Result<void> write_all(int fd, std::span<const std::byte> from, uint64_t offset) {
  size_t done = 0;
  while (done < from.size()) {
    const Result<size_t> put = host::pwrite(fd, from.subspan(done), offset + done);
    if (!put.ok() && put.code() == EINTR) continue;
    if (!put.ok()) return put.failure();
    if (put.value() == 0) return error(EIO);
    done += put.value();
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<CowBitmap>> CowBitmap::create(int fd, const cow_format::Layout& layout) {
  std::unique_ptr<CowBitmap> bitmap = TRY(umk::make_unique<CowBitmap>(fd, layout));
  MutexLock lock(bitmap->mutex_);
  TRY(bitmap->pieces_.resize((layout.sectors + kPieceSectors - 1) / kPieceSectors));
  return bitmap;
}

size_t CowBitmap::bytes_of(size_t piece) const {
  const uint64_t start = uint64_t{piece} * kPieceBytes;
  if (start >= layout_.usable_bitmap_bytes) return 0;
  return static_cast<size_t>(std::min<uint64_t>(kPieceBytes, layout_.usable_bitmap_bytes - start));
}

Result<CowBitmap::Piece*> CowBitmap::piece_locked(size_t index) {
  std::unique_ptr<Piece>& slot = pieces_[index];
  if (slot) return slot.get();
  std::unique_ptr<Piece> piece = TRY(umk::make_unique<Piece>());
  memset(piece->bits, 0, sizeof piece->bits);
  TRY(read_all(fd_, std::span(piece->bits).first(bytes_of(index)), offset_of(index)));
  slot = std::move(piece);
  return slot.get();
}

Result<CowBitmap::Run> CowBitmap::run_at(uint64_t first, uint64_t count) {
  MutexLock lock(mutex_);
  Run run;
  while (run.sectors < count) {
    const uint64_t sector = first + run.sectors;
    const Piece& piece = *TRY(piece_locked(static_cast<size_t>(sector / kPieceSectors)));
    const uint64_t end = std::min(first + count, (sector / kPieceSectors + 1) * kPieceSectors);
    for (uint64_t at = sector; at < end; ++at) {
      // Many alike, usually.
      const std::byte alike = run.is_here ? std::byte{0xff} : std::byte{0};
      while (run.sectors != 0 && at % 8 == 0 && end - at >= 8 && piece.bits[at % kPieceSectors / 8] == alike) {
        run.sectors += 8;
        at += 8;
      }
      if (at == end) break;
      const bool is_here = cow_format::test_bit(piece.bits, at % kPieceSectors);
      if (run.sectors == 0) run.is_here = is_here;
      if (is_here != run.is_here) return run;
      ++run.sectors;
    }
  }
  return run;
}

Result<void> CowBitmap::prepare(uint64_t first, uint64_t count) {
  if (count == 0) return {};
  if (!layout_.has_bit(first + count - 1)) return error(EIO);
  MutexLock lock(mutex_);
  for (uint64_t piece = first / kPieceSectors; piece <= (first + count - 1) / kPieceSectors; ++piece) TRY(piece_locked(static_cast<size_t>(piece)));
  return {};
}

Result<void> CowBitmap::mark(uint64_t first, uint64_t count) {
  MutexLock lock(mutex_);
  for (uint64_t sector = first; sector < first + count; ++sector) {
    Piece& piece = *TRY(piece_locked(static_cast<size_t>(sector / kPieceSectors)));
    if (cow_format::test_bit(piece.bits, sector % kPieceSectors)) continue;
    cow_format::set_bit(piece.bits, sector % kPieceSectors);
    piece.is_dirty = true;
  }
  return {};
}

Result<void> CowBitmap::take_dirty(Vector<Snapshot>& into) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (!pieces_[i] || !pieces_[i]->is_dirty) continue;
    Snapshot snapshot{i, TRY(umk::make_unique<Piece>(*pieces_[i]))};
    TRY(into.push_back(std::move(snapshot)));
  }
  // Only now that nothing can fail any more.
  for (const Snapshot& snapshot : into) pieces_[snapshot.piece]->is_dirty = false;
  return {};
}

void CowBitmap::give_back(const Vector<Snapshot>& snapshots) {
  MutexLock lock(mutex_);
  for (const Snapshot& snapshot : snapshots) pieces_[snapshot.piece]->is_dirty = true;
}

Result<void> CowBitmap::flush() {
  MutexLock flush_lock(flush_mutex_);
  Vector<Snapshot> snapshots;
  TRY(take_dirty(snapshots));
  const auto write_out = [&]() -> Result<void> {
    // The data of all bits of the snapshots were written before these were taken.
    TRY(host::fsync(fd_, true));
    if (snapshots.empty()) return {};
    for (const Snapshot& snapshot : snapshots)
      TRY(write_all(fd_, std::span<const std::byte>(snapshot.copy->bits).first(bytes_of(snapshot.piece)), offset_of(snapshot.piece)));
    return host::fsync(fd_, true);
  };
  Result<void> written = write_out();
  if (!written.ok()) give_back(snapshots);
  return written;
}

}  // namespace umk::ubd
