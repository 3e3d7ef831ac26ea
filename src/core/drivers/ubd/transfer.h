// Transfer: bytes between the memory of a request and one place in a file of the host, done by plain calls; what a ring did not do is done so too.
#pragma once

#include <cstdint>
#include <span>

#include "core/host/file_calls.h"
#include "core/kernel/block/request.h"

namespace umk::ubd {

/// Walks the memory of a request.
class MemoryCursor {
 public:
  explicit MemoryCursor(std::span<const block::Segment> segments) : segments_(segments) {}
  // Without the vectors, which are of the moment.
  MemoryCursor(const MemoryCursor& other) : segments_(other.segments_), index_(other.index_), skipped_(other.skipped_) {}
  MemoryCursor& operator=(const MemoryCursor&) = delete;

  /// The next pieces, of at most `limit` bytes together; perhaps not all, when they are many. Good until the next call.
  std::span<const host::IoVector> next(uint64_t limit);
  void advance(uint64_t bytes);
  void zero(uint64_t bytes);

 private:
  static constexpr size_t kVectors = 64;
  std::span<const block::Segment> segments_;
  size_t index_ = 0, skipped_ = 0;
  host::IoVector vectors_[kVectors];
};

struct Transfer {
  explicit Transfer(const block::Request& request) : is_write(request.operation == block::Operation::Write), memory(request.segments) {}

  const bool is_write;
  int fd = -1;
  uint64_t offset = 0, bytes = 0;
  /// A read's: what lies beyond the end of the file is zero if it is not below this; else the file has become shorter than it was, EIO.
  uint64_t must_have = 0;
  MemoryCursor memory;

  /// `count` bytes are done.
  void advance(uint64_t count);
  /// Does what is left, in the calling context.
  Result<void> finish();
};

}  // namespace umk::ubd
