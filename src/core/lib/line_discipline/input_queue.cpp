#include "core/lib/line_discipline/input_queue.h"

#include <algorithm>

#include "core/abi/termios.h"

namespace umk {

void InputQueue::set_line_end(size_t position, bool is_end) {
  const uint64_t bit = uint64_t{1} << (position % 64);
  uint64_t& word = ends_[position % kCapacity / 64];
  word = is_end ? word | bit : word & ~bit;
}

void InputQueue::put(uint8_t byte) {
  if (size() == kCapacity) --head_;
  set_line_end(head_, false);
  bytes_[head_++ % kCapacity] = byte;
}

void InputQueue::put_line_end(uint8_t byte) {
  put(byte);
  set_line_end(head_ - 1, true);
  line_head_ = head_;
}

size_t InputQueue::take(std::span<uint8_t> out) {
  const size_t count = std::min(out.size(), size());
  for (size_t i = 0; i < count; ++i) out[i] = at(tail_ + i);
  tail_ += count;
  if (line_head_ < tail_) line_head_ = tail_;
  return count;
}

size_t InputQueue::take_line(std::span<uint8_t> out) {
  size_t count = 0;
  while (has_line()) {
    const bool is_end = is_line_end(tail_);
    const bool is_end_of_file = is_end && at(tail_) == termios::kDisabledCharacter;
    // An end of file right behind a full buffer goes with it: else the next read would report it a second time.
    if (count == out.size() && !is_end_of_file) break;
    if (is_end) set_line_end(tail_, false);
    if (!is_end_of_file) out[count++] = at(tail_);
    ++tail_;
    if (is_end) break;
  }
  return count;
}

size_t InputQueue::line_bytes() const {
  size_t count = 0;
  for (size_t position = tail_; position != line_head_; ++position)
    if (!is_line_end(position) || at(position) != termios::kDisabledCharacter) ++count;
  return count;
}

void InputQueue::forget_lines(bool finish) {
  std::fill(std::begin(ends_), std::end(ends_), 0);
  line_head_ = tail_;
  if (!finish || size() == 0) return;
  set_line_end(head_ - 1, true);
  line_head_ = head_;
}

void InputQueue::clear() {
  std::fill(std::begin(ends_), std::end(ends_), 0);
  head_ = tail_ = line_head_ = 0;
}

}  // namespace umk
