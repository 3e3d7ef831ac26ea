#include "core/lib/ext4_format/htree.h"

#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr uint32_t rotate(uint32_t value, unsigned bits) { return value << bits | value >> (32 - bits); }

/// A character as the hash sees it: machines on which char is signed hash other values for bytes above 127.
uint32_t widen(char character, bool is_signed) {
  return is_signed ? static_cast<uint32_t>(static_cast<int32_t>(static_cast<signed char>(character))) : static_cast<unsigned char>(character);
}

/// Packs a piece of the name into words, four bytes a word; what is missing is filled with the length of what is left.
void pack(std::string_view text, std::span<uint32_t> words, bool is_signed) {
  uint32_t filler = static_cast<uint32_t>(text.size()) | static_cast<uint32_t>(text.size()) << 8;
  filler |= filler << 16;
  const size_t used = text.size() < words.size() * 4 ? text.size() : words.size() * 4;
  for (size_t i = 0; i < words.size(); ++i) {
    uint32_t word = filler;
    for (size_t k = 4 * i; k < 4 * i + 4 && k < used; ++k) word = widen(text[k], is_signed) + (word << 8);
    words[i] = word;
  }
}

uint32_t choose(uint32_t x, uint32_t y, uint32_t z) { return z ^ (x & (y ^ z)); }
uint32_t majority(uint32_t x, uint32_t y, uint32_t z) { return (x & y) + ((x ^ y) & z); }
uint32_t parity(uint32_t x, uint32_t y, uint32_t z) { return x ^ y ^ z; }

// MD4 with half of its words: RFC 1320's rounds over eight words each.
void half_md4(std::array<uint32_t, 4>& state, const std::array<uint32_t, 8>& in) {
  using Mix = uint32_t (*)(uint32_t, uint32_t, uint32_t);
  struct Round {
    Mix mix;
    uint32_t constant;
    uint8_t order[8];
    uint8_t shifts[4];
  };
  constexpr Round kRounds[3] = {{choose, 0, {0, 1, 2, 3, 4, 5, 6, 7}, {3, 7, 11, 19}},
                                {majority, 0x5a827999, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 5, 9, 13}},
                                {parity, 0x6ed9eba1, {3, 7, 2, 6, 1, 5, 0, 4}, {3, 9, 11, 15}}};
  std::array<uint32_t, 4> s = state;
  for (const Round& round : kRounds)
    for (size_t i = 0; i < 8; ++i) {
      const uint32_t mixed = s[0] + round.mix(s[1], s[2], s[3]) + in[round.order[i]] + round.constant;
      s = {s[3], rotate(mixed, round.shifts[i % 4]), s[1], s[2]};
    }
  for (size_t i = 0; i < 4; ++i) state[i] += s[i];
}

// The Tiny Encryption Algorithm, sixteen cycles.
void tea(std::array<uint32_t, 4>& state, const std::array<uint32_t, 4>& key) {
  constexpr uint32_t kDelta = 0x9e3779b9;
  uint32_t a = state[0], b = state[1];
  for (uint32_t cycle = 1; cycle <= 16; ++cycle) {
    const uint32_t sum = cycle * kDelta;
    a += ((b << 4) + key[0]) ^ (b + sum) ^ ((b >> 5) + key[1]);
    b += ((a << 4) + key[2]) ^ (a + sum) ^ ((a >> 5) + key[3]);
  }
  state[0] += a;
  state[1] += b;
}

uint32_t legacy(std::string_view name, bool is_signed) {
  uint32_t newer = 0x12a3fe2d, older = 0x37abe8f9;
  for (const char character : name) {
    uint32_t hash = older + (newer ^ (widen(character, is_signed) * 7152373));
    if (hash & 0x80000000) hash -= 0x7fffffff;
    older = newer;
    newer = hash;
  }
  return newer << 1;
}

}  // namespace

NameHash hash_name(std::string_view name, uint8_t version, const std::array<uint32_t, 4>& seed) {
  const bool is_signed = version < hash_version::kLegacyUnsigned;
  std::array<uint32_t, 4> state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  if (seed[0] | seed[1] | seed[2] | seed[3]) state = seed;
  NameHash hash;
  switch (version) {
    case hash_version::kHalfMd4:
    case hash_version::kHalfMd4Unsigned: {
      for (std::string_view rest = name; !rest.empty(); rest.remove_prefix(rest.size() < 32 ? rest.size() : 32)) {
        std::array<uint32_t, 8> words;
        pack(rest, words, is_signed);
        half_md4(state, words);
      }
      hash = {state[1], state[2]};
      break;
    }
    case hash_version::kTea:
    case hash_version::kTeaUnsigned: {
      for (std::string_view rest = name; !rest.empty(); rest.remove_prefix(rest.size() < 16 ? rest.size() : 16)) {
        std::array<uint32_t, 4> words;
        pack(rest, words, is_signed);
        tea(state, words);
      }
      hash = {state[0], state[1]};
      break;
    }
    default: hash = {legacy(name, is_signed), 0};
  }
  // The lowest bit marks continued blocks in the tree, and the highest hash the end of a listing.
  hash.major &= ~1u;
  if (hash.major == 0xfffffffe) hash.major = 0xfffffffc;
  return hash;
}

bool HtreeNode::is_sane(uint32_t directory_blocks) const {
  if (limit() != room() || count() == 0 || count() > limit()) return false;
  for (uint32_t i = 0; i < count(); ++i) {
    if (block(i) == 0 || block(i) >= directory_blocks) return false;
    if (i > 1 && hash(i) < hash(i - 1)) return false;
  }
  return true;
}

bool HtreeNode::is_sane_root(bool has_three_levels) const {
  return bytes_.size() >= 1024 && get32(bytes_, 0x18) == 0 && version() <= 2 && get8(bytes_, 0x1d) == 8 && levels() <= (has_three_levels ? 2u : 1u);
}

uint32_t HtreeNode::find(uint32_t wanted) const {
  uint32_t low = 1, high = count();
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (hash(middle) <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

void HtreeNode::insert(uint32_t i, uint32_t hash, uint32_t block) {
  CHECK(i >= 1 && i <= count() && !is_full(), "there is room in the node");
  const size_t size = 8 * (count() - i);
  if (size != 0) __builtin_memmove(bytes_.subspan(start_ + 8 * (i + 1), size).data(), bytes_.subspan(start_ + 8 * i, size).data(), size);
  put32(bytes_, start_ + 8 * i, hash);
  set_block(i, block);
  set_count(count() + 1);
}

void HtreeNode::move_tail(uint32_t i, HtreeNode& other) {
  const uint32_t moved = count() - i;
  CHECK(moved <= other.limit(), "there is room in the other node");
  for (uint32_t k = 0; k < moved; ++k) {
    if (k != 0) put32(other.bytes_, other.start_ + 8 * k, hash(i + k));
    other.set_block(k, block(i + k));
  }
  other.set_count(moved);
  set_count(i);
}

void HtreeNode::take_all(const HtreeNode& from) {
  CHECK(from.count() <= limit(), "there is room in the node");
  for (uint32_t k = 0; k < from.count(); ++k) {
    if (k != 0) put32(bytes_, start_ + 8 * k, from.hash(k));
    set_block(k, from.block(k));
  }
  set_count(from.count());
}

void HtreeNode::initialise_inner() {
  fill_zero(bytes_);
  put16(bytes_, 4, static_cast<uint16_t>(bytes_.size()));
  put16(bytes_, start_, static_cast<uint16_t>(room()));
}

void HtreeNode::initialise_root(uint8_t version) {
  fill_zero(bytes_.subspan(0x18));
  put16(bytes_, 0x10, static_cast<uint16_t>(bytes_.size() - 12));
  put8(bytes_, 0x1c, version >= 3 ? static_cast<uint8_t>(version - 3) : version);
  put8(bytes_, 0x1d, 8);
  put16(bytes_, start_, static_cast<uint16_t>(room()));
}

uint32_t HtreeNode::sum(uint32_t seed) const {
  const size_t tail = start_ + size_t{limit()} * 8;
  const uint32_t zero = 0;
  uint32_t crc = crc32c(seed, ConstBytes(bytes_).first(start_ + size_t{count()} * 8));
  crc = crc32c(crc, ConstBytes(bytes_).subspan(tail, 4));
  return crc32c_number(crc, zero);
}

bool HtreeNode::is_intact(uint32_t seed) const {
  if (!has_tail_) return true;
  const size_t tail = start_ + size_t{limit()} * 8;
  return count() <= limit() && tail + 8 <= bytes_.size() && get32(bytes_, tail + 4) == sum(seed);
}

void HtreeNode::seal(uint32_t seed) {
  if (has_tail_) put32(bytes_, start_ + size_t{limit()} * 8 + 4, sum(seed));
}

}  // namespace umk::ext4
