#include "core/drivers/ubd/transfer.h"

#include <algorithm>
#include <cstring>

namespace umk::ubd {

std::span<const host::IoVector> MemoryCursor::next(uint64_t limit) {
  size_t count = 0, index = index_, skipped = skipped_;
  while (count < kVectors && index < segments_.size() && limit != 0) {
    const block::Segment& segment = segments_[index];
    const size_t bytes = static_cast<size_t>(std::min<uint64_t>(segment.bytes - skipped, limit));
    if (bytes != 0) vectors_[count++] = {segment.data + skipped, bytes};
    limit -= bytes;
    skipped = 0;
    ++index;
  }
  return std::span(vectors_).first(count);
}

void MemoryCursor::advance(uint64_t bytes) {
  while (bytes != 0) {
    const uint64_t here = std::min<uint64_t>(bytes, segments_[index_].bytes - skipped_);
    skipped_ += static_cast<size_t>(here);
    bytes -= here;
    if (skipped_ == segments_[index_].bytes) {
      ++index_;
      skipped_ = 0;
    }
  }
}

void MemoryCursor::zero(uint64_t bytes) {
  while (bytes != 0) {
    uint64_t done = 0;
    for (const host::IoVector& piece : next(bytes)) {
      memset(piece.data, 0, piece.bytes);
      done += piece.bytes;
    }
    advance(done);
    bytes -= done;
  }
}

void Transfer::advance(uint64_t count) {
  memory.advance(count);
  offset += count;
  bytes -= count;
}

Result<void> Transfer::finish() {
  while (bytes != 0) {
    const std::span<const host::IoVector> pieces = memory.next(bytes);
    const Result<size_t> moved = is_write ? host::pwrite_vector(fd, pieces, offset) : host::pread_vector(fd, pieces, offset);
    if (!moved.ok() && moved.code() == EINTR) continue;
    if (!moved.ok()) return moved.failure();
    if (moved.value() == 0) {
      if (is_write || offset < must_have) return error(EIO);
      memory.zero(bytes);
      bytes = 0;
      break;
    }
    advance(moved.value());
  }
  return {};
}

}  // namespace umk::ubd
