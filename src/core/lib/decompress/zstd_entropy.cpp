#include "core/lib/decompress/zstd_entropy.h"

#include <algorithm>
#include <bit>

#include "core/lib/decompress/methods.h"

namespace umk::decompress::zstd {

namespace {

/// Bits from the start of a description, the lowest of each byte first.
class ForwardBits {
 public:
  explicit ForwardBits(ConstBytes from) : from_(from) {}
  uint32_t peek(unsigned count) const {
    uint32_t value = 0;
    for (size_t i = 0; i < 4 && at_ / 8 + i < from_.size(); ++i) value |= static_cast<uint32_t>(from_[at_ / 8 + i]) << (8 * i);
    return value >> at_ % 8 & ((1u << count) - 1);
  }
  void drop(unsigned count) { at_ += count; }
  bool is_overrun() const { return at_ > from_.size() * 8; }
  ConstBytes rest() const { return from_.subspan((at_ + 7) / 8); }

 private:
  ConstBytes from_;
  size_t at_ = 0;
};

}  // namespace

bool BackwardBits::open(ConstBytes stream, const std::byte* limit) {
  if (stream.empty() || stream.back() == std::byte{0}) return false;
  data_ = stream.data();
  limit_ = limit;
  left_ = static_cast<int64_t>(stream.size()) * 8 - 1 - std::countl_zero(static_cast<uint8_t>(stream.back()));
  return true;
}

bool FseTable::build(std::span<const int16_t> probabilities, unsigned accuracy) {
  is_valid = false;
  log = accuracy;
  const uint32_t size = 1u << log, step = (size >> 1) + (size >> 3) + 3;
  uint32_t high = size, at = 0;
  uint16_t next[kMaximumSymbols];
  for (size_t symbol = 0; symbol < probabilities.size(); ++symbol) {
    next[symbol] = static_cast<uint16_t>(std::max<int16_t>(probabilities[symbol], 1));
    if (probabilities[symbol] != -1) continue;
    if (high == 0) return false;
    cells[--high].symbol = static_cast<uint8_t>(symbol);
  }
  for (size_t symbol = 0; symbol < probabilities.size(); ++symbol) {
    for (int i = 0; i < probabilities[symbol]; ++i) {
      if (high == 0) return false;
      cells[at].symbol = static_cast<uint8_t>(symbol);
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  }
  if (at != 0) return false;
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t state = next[cells[i].symbol]++;
    const unsigned bits = log - (31u - static_cast<unsigned>(std::countl_zero(state)));
    cells[i].bits = static_cast<uint8_t>(bits);
    cells[i].base = static_cast<uint16_t>((state << bits) - size);
  }
  is_valid = true;
  return true;
}

bool FseTable::read(ConstBytes& from, unsigned maximum_log, unsigned maximum_symbol) {
  is_valid = false;
  ForwardBits bits(from);
  const unsigned accuracy = bits.peek(4) + 5;
  bits.drop(4);
  if (accuracy > maximum_log) return false;
  int16_t probabilities[kMaximumSymbols] = {};
  unsigned symbol = 0;
  for (uint32_t remaining = 1u << accuracy; remaining != 0;) {
    if (symbol > maximum_symbol || bits.is_overrun()) return false;
    // A value from 0 to remaining + 1; the lower ones take one bit less.
    const unsigned width = 32u - static_cast<unsigned>(std::countl_zero(remaining + 1));
    const uint32_t short_values = (1u << width) - 1 - (remaining + 1), low_mask = (1u << (width - 1)) - 1;
    uint32_t value = bits.peek(width);
    if ((value & low_mask) < short_values) {
      value &= low_mask;
      bits.drop(width - 1);
    } else {
      if (value > low_mask) value -= short_values;
      bits.drop(width);
    }
    const int probability = static_cast<int>(value) - 1;
    const uint32_t taken = probability < 0 ? 1 : static_cast<uint32_t>(probability);
    if (taken > remaining) return false;
    remaining -= taken;
    probabilities[symbol++] = static_cast<int16_t>(probability);
    if (probability != 0) continue;
    // How many more are zero, by twos of bits.
    for (uint32_t repeat = 3; repeat == 3;) {
      repeat = bits.peek(2);
      bits.drop(2);
      symbol += repeat;
      if (symbol > maximum_symbol + 1) return false;
    }
  }
  if (bits.is_overrun()) return false;
  from = bits.rest();
  return build(std::span(probabilities).first(symbol), accuracy);
}

void FseTable::build_single(uint8_t symbol) {
  log = 0;
  cells[0] = {0, 0, symbol};
  is_valid = true;
}

bool HuffmanTable::build(uint8_t* weights, unsigned count) {
  uint32_t total = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (weights[i] > kMaximumBits) return false;
    total += (1u << weights[i]) >> 1;
  }
  if (total == 0) return false;
  // What is missing to a power of two is the weight of the last symbol, which is not written.
  bits_ = 32u - static_cast<unsigned>(std::countl_zero(total));
  const uint32_t missing = (1u << bits_) - total;
  if (bits_ > kMaximumBits || (missing & (missing - 1)) != 0) return false;
  weights[count++] = static_cast<uint8_t>(32 - std::countl_zero(missing));
  uint32_t at = 0;
  for (unsigned weight = 1; weight <= bits_; ++weight) {
    for (unsigned symbol = 0; symbol < count; ++symbol) {
      if (weights[symbol] != weight) continue;
      const Cell cell{static_cast<uint8_t>(symbol), static_cast<uint8_t>(bits_ + 1 - weight)};
      std::fill_n(cells_ + at, (1u << weight) >> 1, cell);
      at += (1u << weight) >> 1;
    }
  }
  return at == 1u << bits_;
}

bool HuffmanTable::read(ConstBytes& from, FseTable& table) {
  is_valid_ = false;
  if (from.empty()) return false;
  const unsigned header = static_cast<unsigned>(from[0]);
  from = from.subspan(1);
  uint8_t weights[256] = {};
  unsigned count = 0;
  if (header >= 128) {
    count = header - 127;
    const size_t bytes = (count + 1) / 2;
    if (bytes > from.size()) return false;
    for (unsigned i = 0; i < count; ++i) weights[i] = static_cast<uint8_t>(static_cast<unsigned>(from[i / 2]) >> (i % 2 ? 0 : 4) & 15);
    from = from.subspan(bytes);
  } else {
    if (header > from.size()) return false;
    ConstBytes coded = from.first(header);
    from = from.subspan(header);
    if (!table.read(coded, 6, 12)) return false;
    BackwardBits bits;
    if (!bits.open(coded, coded.data() + coded.size())) return false;
    // Two states take turns; when one cannot be moved on the other's symbol is the last.
    unsigned states[2] = {table.start(bits), 0};
    states[1] = table.start(bits);
    if (bits.left() < 0) return false;
    for (unsigned turn = 0;; turn ^= 1) {
      if (count >= 254) return false;
      weights[count++] = table.cells[states[turn]].symbol;
      states[turn] = table.next(states[turn], bits);
      if (bits.left() >= 0) continue;
      weights[count++] = table.cells[states[turn ^ 1]].symbol;
      break;
    }
  }
  is_valid_ = build(weights, count);
  return is_valid_;
}

inline void HuffmanTable::decode_some(BackwardBits& bits, std::byte* out) const {
  constexpr unsigned kBits = kAtOnce * kMaximumBits;
  const uint64_t word = bits.peek(kBits);
  const uint32_t mask = (1u << bits_) - 1;
  unsigned used = 0;
  for (unsigned i = 0; i < kAtOnce; ++i) {
    const Cell cell = cells_[word >> (kBits - used - bits_) & mask];
    out[i] = static_cast<std::byte>(cell.symbol);
    used += cell.bits;
  }
  bits.drop(used);
}

bool HuffmanTable::decode_rest(BackwardBits& bits, std::byte* out, std::byte* end) const {
  for (; end - out >= kAtOnce && bits.left() >= static_cast<int64_t>(kAtOnce * kMaximumBits); out += kAtOnce) decode_some(bits, out);
  while (out != end) {
    const Cell cell = cells_[bits.peek(bits_)];
    *out++ = static_cast<std::byte>(cell.symbol);
    bits.drop(cell.bits);
    if (bits.left() < 0) return false;
  }
  return bits.left() == 0;
}

bool HuffmanTable::decode(ConstBytes stream, Bytes into) const {
  BackwardBits bits;
  return bits.open(stream, stream.data() + stream.size()) && decode_rest(bits, into.data(), into.data() + into.size());
}

bool HuffmanTable::decode_four(const ConstBytes (&streams)[4], Bytes into, size_t part) const {
  BackwardBits bits[4];
  for (unsigned i = 0; i < 4; ++i)
    if (!bits[i].open(streams[i], streams[i].data() + streams[i].size())) return false;
  // In step, so that a processor works on all of them at once. The last part is the shortest.
  const size_t shortest = into.size() - 3 * part;
  size_t at = 0;
  const auto have_enough = [&] {
    for (const BackwardBits& each : bits)
      if (each.left() < static_cast<int64_t>(kAtOnce * kMaximumBits)) return false;
    return true;
  };
  for (; shortest - at >= kAtOnce && have_enough(); at += kAtOnce)
    for (unsigned i = 0; i < 4; ++i) decode_some(bits[i], into.data() + i * part + at);
  for (unsigned i = 0; i < 4; ++i) {
    std::byte* const start = into.data() + i * part;
    if (!decode_rest(bits[i], start + at, i < 3 ? start + part : into.data() + into.size())) return false;
  }
  return true;
}

}  // namespace umk::decompress::zstd
