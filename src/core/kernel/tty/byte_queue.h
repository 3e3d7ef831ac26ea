// A bounded queue of bytes. Its owner locks it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace umk::tty {

template <size_t kCapacity>
class ByteQueue {
 public:
  ByteQueue() {}  // NOLINT: the bytes stay untouched until they are used

  size_t size() const { return head_ - tail_; }
  size_t room() const { return kCapacity - size(); }
  bool empty() const { return head_ == tail_; }

  /// Appends what fits; returns how much.
  size_t put(std::span<const uint8_t> bytes) {
    const size_t count = std::min(bytes.size(), room());
    const size_t first = std::min(count, kCapacity - head_ % kCapacity);
    std::memcpy(bytes_ + head_ % kCapacity, bytes.data(), first);
    std::memcpy(bytes_, bytes.data() + first, count - first);
    head_ += count;
    return count;
  }
  size_t take(std::span<uint8_t> into) {
    size_t count = 0;
    while (count < into.size() && !empty()) {
      const std::span<const uint8_t> piece = front();
      const size_t part = std::min(piece.size(), into.size() - count);
      std::memcpy(into.data() + count, piece.data(), part);
      drop(part);
      count += part;
    }
    return count;
  }
  /// The next bytes that lie in one piece.
  std::span<const uint8_t> front() const { return {bytes_ + tail_ % kCapacity, std::min(size(), kCapacity - tail_ % kCapacity)}; }
  void drop(size_t count) { tail_ += count; }
  void clear() { tail_ = head_; }
  /// Forgets all but the first `count` bytes.
  void cut(size_t count) { head_ = tail_ + std::min(count, size()); }

 private:
  size_t head_ = 0;
  size_t tail_ = 0;
  uint8_t bytes_[kCapacity];
};

}  // namespace umk::tty
