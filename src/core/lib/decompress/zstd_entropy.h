// The entropy coders of Zstandard: Huffman codes for literals, finite state entropy (FSE) for sequences and for the weights of Huffman codes.
// RFC 8878, sections 4 and 3.1.1.
#pragma once

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress::zstd {

/// A stream that is read from its end: the highest bit that is set in its last byte ends it.
class BackwardBits {
 public:
  static constexpr unsigned kMostAtOnce = 56;
  /// `limit`: where memory that may be read ends, at or behind the stream's end.
  bool open(ConstBytes stream, const std::byte* limit);
  /// The next bits, at most kMostAtOnce, the first one highest. Beyond the start are zeroes.
  uint64_t peek(unsigned count) const {
    const int64_t from = left_ - static_cast<int64_t>(count);
    if (from < 0) [[unlikely]]
      return left_ <= 0 ? 0 : extract(0, static_cast<unsigned>(left_)) << -from;
    return extract(static_cast<uint64_t>(from), count);
  }
  void drop(unsigned count) { left_ -= static_cast<int64_t>(count); }
  uint64_t read(unsigned count) {
    const uint64_t bits = peek(count);
    drop(count);
    return bits;
  }
  /// Bits that are left; negative when more was read than there was.
  int64_t left() const { return left_; }

 private:
  uint64_t extract(uint64_t from, unsigned count) const {
    const std::byte* const at = data_ + from / 8;
    uint64_t word = 0;
    if (limit_ - at >= 8) [[likely]]
      __builtin_memcpy(&word, at, 8);
    else
      for (ptrdiff_t i = limit_ - at; i-- > 0;) word = word << 8 | static_cast<uint64_t>(at[i]);
    return word >> from % 8 & ((uint64_t{1} << count) - 1);
  }

  const std::byte* data_ = nullptr;
  const std::byte* limit_ = nullptr;
  int64_t left_ = 0;
};

/// A state of a decoding table of FSE: what it stands for, and where it leads.
struct FseCell {
  uint16_t base;
  uint8_t bits, symbol;
};

struct FseTable {
  static constexpr unsigned kMaximumLog = 9;
  static constexpr unsigned kMaximumSymbols = 64;
  FseCell cells[1 << kMaximumLog];
  unsigned log = 0;
  bool is_valid = false;

  /// From probabilities; -1 stands for "less than 1".
  bool build(std::span<const int16_t> probabilities, unsigned accuracy);
  /// From the description at the start of `from`, which moves on.
  bool read(ConstBytes& from, unsigned maximum_log, unsigned maximum_symbol);
  /// One symbol alone.
  void build_single(uint8_t symbol);

  unsigned start(BackwardBits& bits) const { return static_cast<unsigned>(bits.read(log)); }
  unsigned next(unsigned state, BackwardBits& bits) const {
    return cells[state].base + static_cast<unsigned>(bits.read(cells[state].bits));
  }
};

class HuffmanTable {
 public:
  static constexpr unsigned kMaximumBits = 11;
  bool is_valid() const { return is_valid_; }
  void forget() { is_valid_ = false; }
  /// From the description at the start of `from`, which moves on. `weights` is scratch.
  bool read(ConstBytes& from, FseTable& weights);
  /// Decodes one stream into all of `into`; it must end exactly there.
  bool decode(ConstBytes stream, Bytes into) const;
  /// Four streams, each for a part of `into`; the last one for what is left of it.
  bool decode_four(const ConstBytes (&streams)[4], Bytes into, size_t part) const;

 private:
  static constexpr unsigned kAtOnce = 4;  // codes of which all bits can be had by one look
  void decode_some(BackwardBits& bits, std::byte* out) const;
  bool decode_rest(BackwardBits& bits, std::byte* out, std::byte* end) const;
  bool build(uint8_t* weights, unsigned count);

  struct Cell {
    uint8_t symbol, bits;
  };
  Cell cells_[1 << kMaximumBits];
  unsigned bits_ = 0;
  bool is_valid_ = false;
};

}  // namespace umk::decompress::zstd
