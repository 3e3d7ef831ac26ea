#include <cstring>

#include "core/base/check.h"
#include "core/kernel/guest/user_memory.h"

namespace umk {

Result<String> UserString::read(size_t limit) const {
  // Most strings are short; only a long one needs memory of its own before its length is known.
  char small[256];
  const size_t first = limit + 1 < sizeof small ? limit + 1 : sizeof small;
  Result<size_t> length = copy_string_from_user(small, address_, first);
  if (length.ok()) return String::from(std::string_view(small, length.value()));
  if (length.code() != ENAMETOOLONG || first > limit) return length.failure();

  Vector<char> large;
  TRY(large.reserve(limit + 1));
  const size_t size = TRY(copy_string_from_user(large.data(), address_, limit + 1));
  return String::from(std::string_view(large.data(), size));
}

BufferCursor::BufferCursor(std::span<const BufferPiece> pieces, bool kernel) : pieces_(pieces), kernel_(kernel) {
  for (const BufferPiece& piece : pieces) remaining_ += piece.length;
}

BufferPiece BufferCursor::next_piece() const {
  if (remaining_ == 0) return {0, 0};
  size_t index = piece_;
  size_t offset = piece_offset_;
  const std::span<const BufferPiece> all = pieces();
  while (offset == all[index].length) ++index, offset = 0;
  const uint64_t length = all[index].length - offset;
  return {all[index].address + offset, length < remaining_ ? length : remaining_};
}

void BufferCursor::advance(size_t size) {
  CHECK(size <= remaining_, "a buffer is not passed beyond its end");
  remaining_ -= size;
  done_ += size;
  const std::span<const BufferPiece> all = pieces();
  while (size > 0) {
    const uint64_t length = all[piece_].length - piece_offset_;
    if (size < length) {
      piece_offset_ += size;
      return;
    }
    size -= length;
    ++piece_;
    piece_offset_ = 0;
  }
}

namespace {

/// Goes through `buffer` piece by piece for up to `size` bytes. `copy(piece, bytes, done)` moves bytes and says how that went.
template <typename Copy>
Result<size_t> for_each_piece(BufferCursor& buffer, size_t size, Copy&& copy) {
  size_t total = 0;
  if (size > buffer.remaining()) size = buffer.remaining();
  while (total < size) {
    const BufferPiece piece = buffer.next_piece();
    const size_t bytes = piece.length < size - total ? piece.length : size - total;
    const CopyOutcome outcome = copy(piece.address, bytes, total);
    buffer.advance(outcome.copied);
    total += outcome.copied;
    if (outcome.faulted) {
      if (total == 0) return error(EFAULT);
      break;
    }
  }
  return total;
}

}  // namespace

Result<size_t> UserOutBuffer::put(std::span<const std::byte> data) {
  return for_each_piece(*this, data.size(), [&](uint64_t address, size_t bytes, size_t done) -> CopyOutcome {
    if (!is_kernel()) return copy_to_user(address, data.data() + done, bytes);
    memcpy(reinterpret_cast<void*>(address), data.data() + done, bytes);
    return {bytes, false};
  });
}

Result<size_t> UserOutBuffer::put_zeroes(size_t size) {
  return for_each_piece(*this, size, [&](uint64_t address, size_t bytes, size_t) -> CopyOutcome {
    if (!is_kernel()) return zero_user(address, bytes);
    memset(reinterpret_cast<void*>(address), 0, bytes);
    return {bytes, false};
  });
}

Result<size_t> UserInBuffer::get(std::span<std::byte> into) {
  return for_each_piece(*this, into.size(), [&](uint64_t address, size_t bytes, size_t done) -> CopyOutcome {
    if (!is_kernel()) return copy_from_user(into.data() + done, address, bytes);
    memcpy(into.data() + done, reinterpret_cast<const void*>(address), bytes);
    return {bytes, false};
  });
}

}  // namespace umk
