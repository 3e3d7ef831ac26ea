// Deflate: RFC 1951, in zlib's wrapping: RFC 1950.
#include <algorithm>

#include "core/lib/decompress/methods.h"

namespace umk::decompress {

namespace {

constexpr unsigned kLongestCode = 15;
constexpr unsigned kFastBits = 10;

/// Bits in the order of deflate: the lowest of each byte first.
class BitReader {
 public:
  explicit BitReader(ConstBytes from) : at_(from.data()), end_(from.data() + from.size()) {}

  /// Afterwards there are at least 56 bits, as far as the input goes.
  void refill() {
    if (end_ - at_ >= 8) {
      bits_ |= load<uint64_t>(at_) << count_;
      at_ += (63 - count_) / 8;
      count_ |= 56;
      return;
    }
    while (count_ <= 56 && at_ != end_) {
      bits_ |= static_cast<uint64_t>(*at_++) << count_;
      count_ += 8;
    }
  }
  unsigned count() const { return count_; }
  uint64_t bits() const { return bits_; }
  void drop(unsigned count) {
    bits_ >>= count;
    count_ -= count;
  }
  /// At most 32 bits after a refill; false at the end of the input.
  bool take(unsigned count, uint32_t& value) {
    if (count_ < count) {
      refill();
      if (count_ < count) return false;
    }
    value = static_cast<uint32_t>(bits_ & ((uint64_t{1} << count) - 1));
    drop(count);
    return true;
  }
  /// Goes on with whole bytes.
  void align() {
    drop(count_ % 8);
    at_ -= count_ / 8;
    bits_ = 0;
    count_ = 0;
  }
  ConstBytes rest() const { return {at_, static_cast<size_t>(end_ - at_)}; }
  void skip(size_t bytes) { at_ += bytes; }

 private:
  const std::byte* at_;
  const std::byte* end_;
  uint64_t bits_ = 0;
  unsigned count_ = 0;  // of bits_ that are valid; above them are true bits or zeroes
};

/// A canonical code: short codes by a table, longer ones by counting.
class Huffman {
 public:
  bool build(std::span<const uint8_t> lengths) {
    std::fill_n(counts_, kLongestCode + 1, uint16_t{0});
    for (const uint8_t length : lengths) ++counts_[length];
    counts_[0] = 0;
    int left = 1;
    uint16_t offsets[kLongestCode + 2] = {}, codes[kLongestCode + 2] = {};
    for (unsigned length = 1; length <= kLongestCode; ++length) {
      left = 2 * left - counts_[length];
      if (left < 0) return false;
      offsets[length + 1] = static_cast<uint16_t>(offsets[length] + counts_[length]);
      codes[length + 1] = static_cast<uint16_t>((codes[length] + counts_[length]) << 1);
    }
    std::fill_n(fast_, size_t{1} << kFastBits, uint16_t{0});
    for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
      const unsigned length = lengths[symbol];
      if (length == 0) continue;
      symbols_[offsets[length]++] = static_cast<uint16_t>(symbol);
      unsigned code = codes[length]++;
      if (length > kFastBits) continue;
      unsigned reversed = 0;
      for (unsigned bit = 0; bit < length; ++bit, code >>= 1) reversed = reversed << 1 | (code & 1);
      for (size_t at = reversed; at < size_t{1} << kFastBits; at += size_t{1} << length)
        fast_[at] = static_cast<uint16_t>(symbol << 4 | length);
    }
    return true;
  }

  /// -1 for what is no code, or the end of the input. Needs no refill when 15 bits are there.
  int decode(BitReader& reader) const {
    const unsigned entry = fast_[reader.bits() & ((1u << kFastBits) - 1)];
    if (entry != 0) [[likely]] {
      if ((entry & 15) > reader.count()) return -1;
      reader.drop(entry & 15);
      return static_cast<int>(entry >> 4);
    }
    uint64_t bits = reader.bits();
    int code = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= kLongestCode && length <= reader.count(); ++length, bits >>= 1) {
      code |= static_cast<int>(bits & 1);
      const int count = counts_[length];
      if (code - count < first) {
        reader.drop(length);
        return symbols_[index + (code - first)];
      }
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    return -1;
  }

 private:
  uint16_t fast_[1 << kFastBits];  // symbol and length; 0: not a short code
  uint16_t counts_[kLongestCode + 1];
  uint16_t symbols_[288];
};

constexpr uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthBits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kDistanceBits[30] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

class Inflate final : public Decompressor {
 public:
  Result<size_t> decompress(ConstBytes from, Bytes into) override {
    // CMF and FLG: deflate, a window of at most 32 KiB, no dictionary.
    if (from.size() < 6) return error(EIO);
    const unsigned method = static_cast<unsigned>(from[0]), flags = static_cast<unsigned>(from[1]);
    if ((method & 15) != 8 || method >> 4 > 7 || (method << 8 | flags) % 31 != 0 || (flags & 0x20)) return error(EIO);
    BitReader reader(from.subspan(2));
    size_t made = 0;
    for (uint32_t is_last = 0; !is_last;) {
      uint32_t type;
      if (!reader.take(1, is_last) || !reader.take(2, type)) return error(EIO);
      bool is_good = false;
      switch (type) {
        case 0: is_good = stored_block(reader, into, made); break;
        case 1: is_good = build_fixed() && coded_block(reader, into, made); break;
        case 2: is_good = read_codes(reader) && coded_block(reader, into, made); break;
        default: break;
      }
      if (!is_good) return error(EIO);
    }
    reader.align();
    const ConstBytes rest = reader.rest();
    if (rest.size() < 4 || __builtin_bswap32(load<uint32_t>(rest.data())) != adler32(into.first(made))) return error(EIO);
    return made;
  }

 private:
  static bool stored_block(BitReader& reader, Bytes into, size_t& made) {
    reader.align();
    const ConstBytes rest = reader.rest();
    if (rest.size() < 4) return false;
    const size_t size = load<uint16_t>(rest.data());
    if ((size ^ 0xffff) != load<uint16_t>(rest.data() + 2) || size > rest.size() - 4 || size > into.size() - made) return false;
    __builtin_memcpy(into.data() + made, rest.data() + 4, size);
    reader.skip(4 + size);
    made += size;
    return true;
  }

  bool build_fixed() {
    uint8_t lengths[288];
    std::fill_n(lengths, 144, uint8_t{8});
    std::fill_n(lengths + 144, 112, uint8_t{9});
    std::fill_n(lengths + 256, 24, uint8_t{7});
    std::fill_n(lengths + 280, 8, uint8_t{8});
    uint8_t distances[30];
    std::fill_n(distances, 30, uint8_t{5});
    return literals_.build(lengths) && distances_.build(distances);
  }

  bool read_codes(BitReader& reader) {
    static constexpr uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint32_t literal_count, distance_count, length_count, value;
    if (!reader.take(5, literal_count) || !reader.take(5, distance_count) || !reader.take(4, length_count)) return false;
    literal_count += 257;
    distance_count += 1;
    length_count += 4;
    if (literal_count > 286 || distance_count > 30) return false;
    uint8_t lengths[286 + 30] = {};
    for (uint32_t i = 0; i < length_count; ++i) {
      if (!reader.take(3, value)) return false;
      lengths[kOrder[i]] = static_cast<uint8_t>(value);
    }
    if (!literals_.build(std::span(lengths).first(19))) return false;
    std::fill_n(lengths, 19, uint8_t{0});
    for (uint32_t i = 0; i < literal_count + distance_count;) {
      reader.refill();
      const int symbol = literals_.decode(reader);
      if (symbol < 0) return false;
      if (symbol < 16) {
        lengths[i++] = static_cast<uint8_t>(symbol);
        continue;
      }
      uint32_t repeat;
      uint8_t repeated = 0;
      if (symbol == 16) {
        if (i == 0 || !reader.take(2, repeat)) return false;
        repeated = lengths[i - 1];
        repeat += 3;
      } else if (symbol == 17) {
        if (!reader.take(3, repeat)) return false;
        repeat += 3;
      } else {
        if (!reader.take(7, repeat)) return false;
        repeat += 11;
      }
      if (repeat > literal_count + distance_count - i) return false;
      std::fill_n(lengths + i, repeat, repeated);
      i += repeat;
    }
    // Without a code for its end a block has none.
    if (lengths[256] == 0) return false;
    return literals_.build(std::span(lengths).first(literal_count)) &&
           distances_.build(std::span(lengths).subspan(literal_count, distance_count));
  }

  bool coded_block(BitReader& reader, Bytes into, size_t& made_so_far) const {
    std::byte* const out = into.data();
    const size_t room = into.size();
    size_t made = made_so_far;
    for (;;) {
      // A length and a distance with their extra bits take 48 bits at most.
      reader.refill();
      int symbol = literals_.decode(reader);
      if (symbol < 256) {
        if (symbol < 0 || made == room) return false;
        out[made++] = static_cast<std::byte>(symbol);
        continue;
      }
      if (symbol == 256) break;
      symbol -= 257;
      uint32_t extra;
      if (symbol >= 29 || !reader.take(kLengthBits[symbol], extra)) return false;
      const size_t length = kLengthBase[symbol] + extra;
      const int slot = distances_.decode(reader);
      if (slot < 0 || slot >= 30 || !reader.take(kDistanceBits[slot], extra)) return false;
      const size_t distance = kDistanceBase[slot] + extra;
      if (distance > made || length > room - made) return false;
      copy_match(out + made, distance, length, out + room);
      made += length;
    }
    made_so_far = made;
    return true;
  }

  Huffman literals_, distances_;
};

}  // namespace

Result<std::unique_ptr<Decompressor>> make_zlib() { return std::unique_ptr<Decompressor>(TRY(make_unique<Inflate>())); }

}  // namespace umk::decompress
