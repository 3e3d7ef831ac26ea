// The iovec arrays of readv(2), sendmsg(2) and their kin, copied in and checked.
#pragma once

#include <array>
#include <span>

#include "core/base/vector.h"
#include "core/kernel/guest/user_memory.h"

namespace umk {

/// Lives as long as the user buffers made from its pieces.
class IoVector {
 public:
  static constexpr size_t kMaximumPieces = 1024;        // UIO_MAXIOV
  static constexpr uint64_t kMaximumBytes = 0x7ffff000;  // MAX_RW_COUNT: longer transfers are cut

  /// EINVAL: more than kMaximumPieces, or a length that is negative as ssize_t. EFAULT.
  Result<void> read(uint64_t address, uint64_t count) {
    if (count > kMaximumPieces) return error(EINVAL);
    BufferPiece* pieces = inline_.data();
    if (count > inline_.size()) {
      TRY(more_.resize(count));
      pieces = more_.data();
    }
    if (copy_from_user(pieces, address, count * sizeof(BufferPiece)).faulted) return error(EFAULT);
    uint64_t left = kMaximumBytes;
    for (size_t i = 0; i < count; ++i) {
      if (static_cast<int64_t>(pieces[i].length) < 0) return error(EINVAL);
      if (!is_user_range(pieces[i].address, pieces[i].length)) return error(EFAULT);
      if (pieces[i].length > left) pieces[i].length = left;
      left -= pieces[i].length;
    }
    pieces_ = {pieces, count};
    return {};
  }

  std::span<const BufferPiece> pieces() const { return pieces_; }

 private:
  std::array<BufferPiece, 8> inline_{};
  Vector<BufferPiece> more_;
  std::span<const BufferPiece> pieces_;
};

}  // namespace umk
