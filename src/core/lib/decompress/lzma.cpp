#include "core/lib/decompress/lzma.h"

#include <algorithm>

#include "core/lib/decompress/methods.h"

namespace umk::decompress {

namespace {
constexpr unsigned kProbabilityBits = 11, kMoveBits = 5;
constexpr uint32_t kTop = uint32_t{1} << 24;
constexpr unsigned kLeastMatch = 2;
constexpr unsigned kFirstStateAfterMatch = 7;  // below it the last thing was a literal
}  // namespace

bool Lzma2::RangeDecoder::start() {
  if (end - at < 5 || *at != std::byte{0}) return false;
  range = UINT32_MAX;
  code = __builtin_bswap32(load<uint32_t>(at + 1));
  at += 5;
  return true;
}

inline void Lzma2::RangeDecoder::normalise() {
  if (range >= kTop) return;
  range <<= 8;
  code <<= 8;
  if (at != end) [[likely]]
    code |= static_cast<uint32_t>(*at++);
  else ran_out = true;
}

inline unsigned Lzma2::RangeDecoder::bit(Probability& probability) {
  normalise();
  const uint32_t bound = (range >> kProbabilityBits) * probability;
  if (code < bound) {
    range = bound;
    probability = static_cast<Probability>(probability + (((1u << kProbabilityBits) - probability) >> kMoveBits));
    return 0;
  }
  range -= bound;
  code -= bound;
  probability = static_cast<Probability>(probability - (probability >> kMoveBits));
  return 1;
}

inline unsigned Lzma2::RangeDecoder::tree(Probability* probabilities, unsigned bits) {
  unsigned symbol = 1;
  for (unsigned i = 0; i < bits; ++i) symbol = symbol << 1 | bit(probabilities[symbol]);
  return symbol - (1u << bits);
}

inline unsigned Lzma2::RangeDecoder::reverse_tree(Probability* probabilities, unsigned bits) {
  unsigned symbol = 1, value = 0;
  for (unsigned i = 0; i < bits; ++i) {
    const unsigned one = bit(probabilities[symbol]);
    symbol = symbol << 1 | one;
    value |= one << i;
  }
  return value;
}

inline uint32_t Lzma2::RangeDecoder::direct(unsigned bits) {
  uint32_t value = 0;
  for (; bits > 0; --bits) {
    normalise();
    range >>= 1;
    const bool one = code >= range;
    if (one) code -= range;
    value = value << 1 | one;
  }
  return value;
}

void Lzma2::reset_state() {
  Probability* const all = reinterpret_cast<Probability*>(&model_);
  std::fill_n(all, sizeof(Model) / sizeof(Probability), Probability{1u << (kProbabilityBits - 1)});
  state_ = 0;
  std::fill_n(distances_, 4, 0u);
}

bool Lzma2::set_properties(unsigned byte) {
  if (byte >= 9 * 5 * 5) return false;
  const unsigned literal_position_bits = byte / 9 % 5;
  literal_context_bits_ = byte % 9;
  // LZMA2 has no more.
  if (literal_context_bits_ + literal_position_bits > 4) return false;
  literal_position_mask_ = (1u << literal_position_bits) - 1;
  position_mask_ = (1u << byte / 45) - 1;
  return true;
}

unsigned Lzma2::read_length(RangeDecoder& coder, LengthCoder& lengths, unsigned position) {
  if (!coder.bit(lengths.choice[0])) return kLeastMatch + coder.tree(lengths.low[position], 3);
  if (!coder.bit(lengths.choice[1])) return kLeastMatch + 8 + coder.tree(lengths.middle[position], 3);
  return kLeastMatch + 16 + coder.tree(lengths.high, 8);
}

bool Lzma2::read_chunk(ConstBytes chunk, std::byte* out, size_t made, size_t end) {
  RangeDecoder coder{chunk.data(), chunk.data() + chunk.size(), 0, 0};
  if (!coder.start()) return false;
  unsigned state = state_;
  while (made < end && !coder.ran_out) {
    const size_t place = made - dictionary_start_;
    const unsigned position = static_cast<unsigned>(place) & position_mask_;
    if (!coder.bit(model_.is_match[state][position])) {
      const unsigned before = place == 0 ? 0 : static_cast<unsigned>(out[made - 1]);
      const unsigned index =
          ((static_cast<unsigned>(place) & literal_position_mask_) << literal_context_bits_) + (before >> (8 - literal_context_bits_));
      Probability* const literal = model_.literals[index];
      unsigned symbol = 1;
      if (state >= kFirstStateAfterMatch) {
        // After a match the byte that it would have gone on with tells something.
        if (distances_[0] >= place) return false;
        unsigned match = static_cast<unsigned>(out[made - distances_[0] - 1]);
        unsigned offset = 0x100;
        do {
          match <<= 1;
          const unsigned match_bit = match & offset;
          const unsigned one = coder.bit(literal[offset + match_bit + symbol]);
          symbol = symbol << 1 | one;
          offset &= one ? match_bit : ~match_bit;
        } while (symbol < 0x100);
      } else {
        while (symbol < 0x100) symbol = symbol << 1 | coder.bit(literal[symbol]);
      }
      out[made++] = static_cast<std::byte>(symbol);
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    unsigned length;
    if (!coder.bit(model_.is_repeat[state])) {
      distances_[3] = distances_[2];
      distances_[2] = distances_[1];
      distances_[1] = distances_[0];
      length = read_length(coder, model_.match_length, position);
      const unsigned slot = coder.tree(model_.slots[std::min(length - kLeastMatch, 3u)], 6);
      uint32_t distance = slot;
      if (slot >= 4) {
        const unsigned bits = (slot >> 1) - 1;
        distance = (2 | (slot & 1)) << bits;
        if (slot < 14) distance += coder.reverse_tree(model_.special + distance - slot, bits);
        else distance += (coder.direct(bits - 4) << 4) + coder.reverse_tree(model_.align, 4);
      }
      distances_[0] = distance;
      state = state < kFirstStateAfterMatch ? 7 : 10;
    } else if (!coder.bit(model_.is_repeat0[state])) {
      // The last distance again, for one byte or for more.
      if (!coder.bit(model_.is_long_repeat0[state][position])) {
        length = 1;
        state = state < kFirstStateAfterMatch ? 9 : 11;
      } else {
        length = read_length(coder, model_.repeat_length, position);
        state = state < kFirstStateAfterMatch ? 8 : 11;
      }
    } else {
      unsigned which = 1;
      if (coder.bit(model_.is_repeat1[state])) which = 2 + coder.bit(model_.is_repeat2[state]);
      const uint32_t distance = distances_[which];
      for (; which > 0; --which) distances_[which] = distances_[which - 1];
      distances_[0] = distance;
      length = read_length(coder, model_.repeat_length, position);
      state = state < kFirstStateAfterMatch ? 8 : 11;
    }
    if (distances_[0] >= place || length > end - made) return false;
    copy_match(out + made, size_t{distances_[0]} + 1, length, out + end);
    made += length;
  }
  state_ = state;
  coder.normalise();
  return !coder.ran_out && coder.at == coder.end && coder.code == 0;
}

Result<void> Lzma2::decompress(ConstBytes& from, Bytes into, size_t& made) {
  bool needs_dictionary = true, needs_properties = true, needs_state = true;
  for (;;) {
    if (from.empty()) return error(EIO);
    const unsigned control = static_cast<unsigned>(from[0]);
    if (control == 0) {
      from = from.subspan(1);
      return {};
    }
    const auto big16 = [&](size_t offset) { return static_cast<size_t>(from[offset]) << 8 | static_cast<size_t>(from[offset + 1]); };
    if (control < 0x80) {
      if (control > 2 || from.size() < 3) return error(EIO);
      const size_t size = big16(1) + 1;
      if (control == 1) {
        dictionary_start_ = made;
        needs_dictionary = false;
      }
      if (needs_dictionary || size > from.size() - 3 || size > into.size() - made) return error(EIO);
      __builtin_memcpy(into.data() + made, from.data() + 3, size);
      made += size;
      from = from.subspan(3 + size);
      continue;
    }
    const unsigned reset = control >> 5 & 3;
    const size_t header = reset >= 2 ? 6 : 5;
    if (from.size() < header) return error(EIO);
    const size_t unpacked = ((control & 0x1f) << 16) + big16(1) + 1, packed = big16(3) + 1;
    if (reset == 3) {
      dictionary_start_ = made;
      needs_dictionary = false;
    }
    if (reset >= 2) {
      if (!set_properties(static_cast<unsigned>(from[5]))) return error(EIO);
      needs_properties = false;
    }
    if (reset >= 1) {
      reset_state();
      needs_state = false;
    }
    if (needs_dictionary || needs_properties || needs_state) return error(EIO);
    if (packed > from.size() - header || unpacked > into.size() - made) return error(EIO);
    if (!read_chunk(from.subspan(header, packed), into.data(), made, made + unpacked)) return error(EIO);
    made += unpacked;
    from = from.subspan(header + packed);
  }
}

}  // namespace umk::decompress
