// What was typed and not yet read: a ring of 4096 bytes in which some bytes end a line.
//
// Positions only grow; a byte's place in the ring is its position modulo the capacity. tail <= line_head <= head: what lies
// before `line_head` belongs to finished lines, what follows it can still be edited. A line end whose byte is zero is an end
// of file: it ends a line without being part of it. Copies nothing, allocates nothing; its owner locks it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace umk {

class InputQueue {
 public:
  static constexpr size_t kCapacity = 4096;

  size_t size() const { return head_ - tail_; }
  size_t tail() const { return tail_; }
  size_t head() const { return head_; }
  size_t line_head() const { return line_head_; }
  bool has_line() const { return line_head_ != tail_; }
  bool is_line_empty() const { return head_ == line_head_; }
  uint8_t at(size_t position) const { return bytes_[position % kCapacity]; }

  /// Appends; the last byte of a full queue is replaced.
  void put(uint8_t byte);
  /// Appends the last byte of a line, which can now be read.
  void put_line_end(uint8_t byte);
  /// Forgets what follows `position` in the unfinished line.
  void cut(size_t position) { head_ = position; }

  /// Takes up to `out.size()` bytes, wherever lines end.
  size_t take(std::span<uint8_t> out);
  /// Takes bytes of the first line, up to and with its end.
  size_t take_line(std::span<uint8_t> out);
  /// How many bytes reading all finished lines would give.
  size_t line_bytes() const;

  /// Forgets where lines end. With `finish`, what is there becomes one line; without it, an unfinished one.
  void forget_lines(bool finish);
  void clear();

 private:
  bool is_line_end(size_t position) const { return (ends_[position % kCapacity / 64] >> (position % 64)) & 1; }
  void set_line_end(size_t position, bool is_end);

  uint8_t bytes_[kCapacity] = {};
  uint64_t ends_[kCapacity / 64] = {};
  size_t head_ = 0;
  size_t tail_ = 0;
  size_t line_head_ = 0;
};

}  // namespace umk
