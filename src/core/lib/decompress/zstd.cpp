// Zstandard: RFC 8878. One frame; its window is all that was unpacked, as that lies in one piece. A checksum of the contents is not compared.
#include <algorithm>
#include <optional>

#include "core/lib/decompress/methods.h"
#include "core/lib/decompress/zstd_entropy.h"

namespace umk::decompress {

namespace {

using namespace zstd;

constexpr uint32_t kMagic = 0xfd2fb528;
constexpr size_t kLargestBlock = 128 * 1024;

struct Code {
  uint32_t base;
  uint8_t bits;
};
constexpr unsigned kLiteralCodes = 36, kMatchCodes = 53, kOffsetCodes = 32;
constexpr Code kLiteralLengths[kLiteralCodes] = {
    {0, 0},  {1, 0},  {2, 0},   {3, 0},   {4, 0},   {5, 0},     {6, 0},     {7, 0},     {8, 0},     {9, 0},      {10, 0},     {11, 0},
    {12, 0}, {13, 0}, {14, 0},  {15, 0},  {16, 1},  {18, 1},    {20, 1},    {22, 1},    {24, 2},    {28, 2},     {32, 3},     {40, 3},
    {48, 4}, {64, 6}, {128, 7}, {256, 8}, {512, 9}, {1024, 10}, {2048, 11}, {4096, 12}, {8192, 13}, {16384, 14}, {32768, 15}, {65536, 16}};
constexpr Code kMatchLengths[kMatchCodes] = {
    {3, 0},   {4, 0},   {5, 0},     {6, 0},     {7, 0},     {8, 0},     {9, 0},      {10, 0},     {11, 0},    {12, 0}, {13, 0},
    {14, 0},  {15, 0},  {16, 0},    {17, 0},    {18, 0},    {19, 0},    {20, 0},     {21, 0},     {22, 0},    {23, 0}, {24, 0},
    {25, 0},  {26, 0},  {27, 0},    {28, 0},    {29, 0},    {30, 0},    {31, 0},     {32, 0},     {33, 0},    {34, 0}, {35, 1},
    {37, 1},  {39, 1},  {41, 1},    {43, 2},    {47, 2},    {51, 3},    {59, 3},     {67, 4},     {83, 4},    {99, 5}, {131, 7},
    {259, 8}, {515, 9}, {1027, 10}, {2051, 11}, {4099, 12}, {8195, 13}, {16387, 14}, {32771, 15}, {65539, 16}};
constexpr int16_t kLiteralDefault[kLiteralCodes] = {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
                                                    2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
constexpr int16_t kMatchDefault[kMatchCodes] = {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
                                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};
constexpr int16_t kOffsetDefault[29] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};

/// The rest of a frame.
struct Input {
  ConstBytes rest;
  /// A little-endian number; nothing at the end.
  std::optional<uint64_t> number(size_t bytes) {
    if (bytes > rest.size()) return std::nullopt;
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<uint64_t>(rest[i]);
    rest = rest.subspan(bytes);
    return value;
  }
};

class Zstd final : public Decompressor {
 public:
  Result<size_t> decompress(ConstBytes from, Bytes into) override {
    Input input{from};
    if (input.number(4) != kMagic || !read_header(input)) return error(EIO);
    huffman_.forget();
    literal_lengths_.is_valid = offsets_.is_valid = match_lengths_.is_valid = false;
    repeats_[0] = 1;
    repeats_[1] = 4;
    repeats_[2] = 8;
    size_t made = 0;
    for (bool is_last = false; !is_last;) {
      const std::optional<uint64_t> header = input.number(3);
      if (!header) return error(EIO);
      is_last = *header & 1;
      const size_t size = *header >> 3;
      if (size > kLargestBlock) return error(EIO);
      switch (*header >> 1 & 3) {
        case 0:
          if (size > input.rest.size() || size > into.size() - made) return error(EIO);
          if (size != 0) __builtin_memcpy(into.data() + made, input.rest.data(), size);
          input.rest = input.rest.subspan(size);
          made += size;
          break;
        case 1:
          if (input.rest.empty() || size > into.size() - made) return error(EIO);
          if (size != 0) __builtin_memset(into.data() + made, static_cast<int>(input.rest[0]), size);
          input.rest = input.rest.subspan(1);
          made += size;
          break;
        case 2:
          if (size > input.rest.size() || !coded_block(input.rest.first(size), into, made)) return error(EIO);
          input.rest = input.rest.subspan(size);
          break;
        default: return error(EIO);
      }
    }
    if (has_checksum_ && !input.number(4)) return error(EIO);
    if (content_size_ && *content_size_ != made) return error(EIO);
    return made;
  }

 private:
  bool read_header(Input& input) {
    const std::optional<uint64_t> descriptor = input.number(1);
    if (!descriptor || (*descriptor & 0x08)) return false;
    const bool is_single_segment = *descriptor & 0x20;
    has_checksum_ = *descriptor & 0x04;
    // The window tells how much memory a stream needs; here it is all there anyway.
    if (!is_single_segment && !input.number(1)) return false;
    static constexpr size_t kDictionaryBytes[4] = {0, 1, 2, 4};
    if (const std::optional<uint64_t> dictionary = input.number(kDictionaryBytes[*descriptor & 3]); !dictionary || *dictionary != 0)
      return false;
    const unsigned form = *descriptor >> 6 & 3;
    const size_t bytes = form == 0 ? (is_single_segment ? 1 : 0) : size_t{1} << form;
    content_size_ = std::nullopt;
    if (bytes == 0) return true;
    content_size_ = input.number(bytes);
    if (content_size_ && form == 1) *content_size_ += 256;
    return content_size_.has_value();
  }

  bool coded_block(ConstBytes block, Bytes into, size_t& made) {
    Input input{block};
    ConstBytes literals;
    if (!read_literals(input, literals)) return false;
    return run_sequences(input, literals, into, made);
  }

  /// The literals section: as they are, one byte many times, or by a Huffman code.
  bool read_literals(Input& input, ConstBytes& literals) {
    if (input.rest.empty()) return false;
    const unsigned first = static_cast<unsigned>(input.rest[0]), type = first & 3, form = first >> 2 & 3;
    if (type < 2) {
      const unsigned bytes = form % 2 == 0 ? 1 : form == 1 ? 2 : 3;
      const std::optional<uint64_t> header = input.number(bytes);
      if (!header) return false;
      const size_t size = *header >> (bytes == 1 ? 3 : 4);
      if (size > kLargestBlock) return false;
      if (type == 0) {
        if (size > input.rest.size()) return false;
        literals = input.rest.first(size);
        input.rest = input.rest.subspan(size);
        return true;
      }
      if (input.rest.empty()) return false;
      __builtin_memset(literals_, static_cast<int>(input.rest[0]), size);
      input.rest = input.rest.subspan(1);
      literals = ConstBytes(literals_, size);
      return true;
    }
    const unsigned bytes = form < 2 ? 3 : form == 2 ? 4 : 5, width = form < 2 ? 10 : form == 2 ? 14 : 18;
    const std::optional<uint64_t> header = input.number(bytes);
    if (!header) return false;
    const size_t mask = (size_t{1} << width) - 1;
    const size_t size = *header >> 4 & mask, coded = *header >> (4 + width) & mask;
    if (size > kLargestBlock || coded > input.rest.size()) return false;
    ConstBytes stream = input.rest.first(coded);
    input.rest = input.rest.subspan(coded);
    if (type == 2 ? !huffman_.read(stream, scratch_) : !huffman_.is_valid()) return false;
    literals = ConstBytes(literals_, size);
    if (form == 0) return huffman_.decode(stream, Bytes(literals_, size));
    // Four streams, of which the first three say how long they are.
    if (stream.size() < 6) return false;
    const size_t part = (size + 3) / 4;
    if (3 * part > size) return false;
    size_t sizes[4];
    size_t sum = 6;
    for (size_t i = 0; i < 3; ++i) sum += sizes[i] = load<uint16_t>(stream.data() + 2 * i);
    if (sum > stream.size()) return false;
    sizes[3] = stream.size() - sum;
    stream = stream.subspan(6);
    ConstBytes streams[4];
    for (size_t i = 0; i < 4; ++i) {
      streams[i] = stream.first(sizes[i]);
      stream = stream.subspan(sizes[i]);
    }
    return huffman_.decode_four(streams, Bytes(literals_, size), part);
  }

  static bool read_table(Input& input, unsigned mode, FseTable& table, std::span<const int16_t> usual, unsigned usual_log,
                         unsigned maximum_log, unsigned maximum_symbol) {
    switch (mode) {
      case 0: return table.build(usual, usual_log);
      case 1: {
        const std::optional<uint64_t> symbol = input.number(1);
        if (!symbol || *symbol > maximum_symbol) return false;
        table.build_single(static_cast<uint8_t>(*symbol));
        return true;
      }
      case 2: return table.read(input.rest, maximum_log, maximum_symbol);
      default: return table.is_valid;
    }
  }

  /// The distance that an offset's value stands for; 0 for none. Small values are those used before.
  size_t distance_of(size_t value, bool has_literals) {
    if (value > 3) {
      repeats_[2] = repeats_[1];
      repeats_[1] = repeats_[0];
      return repeats_[0] = value - 3;
    }
    const size_t which = value - 1 + (has_literals ? 0 : 1);
    if (which == 0) return repeats_[0];
    const size_t distance = which == 3 ? repeats_[0] - 1 : repeats_[which];
    if (which != 1) repeats_[2] = repeats_[1];
    repeats_[1] = repeats_[0];
    return repeats_[0] = distance;
  }

  bool run_sequences(Input& input, ConstBytes literals, Bytes into, size_t& made) {
    std::optional<uint64_t> count = input.number(1);
    if (count && *count >= 128) {
      const std::optional<uint64_t> more = input.number(*count == 255 ? 2 : 1);
      if (!more) return false;
      count = *count == 255 ? *more + 0x7f00 : ((*count - 128) << 8) + *more;
    }
    if (!count) return false;
    const size_t block_end = std::min(into.size(), made + kLargestBlock);
    if (*count != 0) {
      const std::optional<uint64_t> modes = input.number(1);
      if (!modes || (*modes & 3)) return false;
      if (!read_table(input, *modes >> 6 & 3, literal_lengths_, kLiteralDefault, 6, 9, kLiteralCodes - 1)) return false;
      if (!read_table(input, *modes >> 4 & 3, offsets_, kOffsetDefault, 5, 8, kOffsetCodes - 1)) return false;
      if (!read_table(input, *modes >> 2 & 3, match_lengths_, kMatchDefault, 6, 9, kMatchCodes - 1)) return false;
      BackwardBits bits;
      if (!bits.open(input.rest, input.rest.data() + input.rest.size())) return false;
      unsigned literal_state = literal_lengths_.start(bits), offset_state = offsets_.start(bits), match_state = match_lengths_.start(bits);
      for (uint64_t left = *count; left > 0; --left) {
        const unsigned offset_bits = offsets_.cells[offset_state].symbol;
        const Code match_code = kMatchLengths[match_lengths_.cells[match_state].symbol];
        const Code literal_code = kLiteralLengths[literal_lengths_.cells[literal_state].symbol];
        // In this order, and mostly few enough to be read at once.
        size_t value = size_t{1} << offset_bits, length = match_code.base, literal_count = literal_code.base;
        const unsigned extra_bits = offset_bits + match_code.bits + literal_code.bits;
        if (extra_bits <= BackwardBits::kMostAtOnce) [[likely]] {
          const uint64_t extra = bits.read(extra_bits);
          value += extra >> (match_code.bits + literal_code.bits);
          length += extra >> literal_code.bits & ((uint64_t{1} << match_code.bits) - 1);
          literal_count += extra & ((uint64_t{1} << literal_code.bits) - 1);
        } else {
          value += bits.read(offset_bits);
          length += bits.read(match_code.bits);
          literal_count += bits.read(literal_code.bits);
        }
        if (left > 1) {
          const FseCell literal_cell = literal_lengths_.cells[literal_state], match_cell = match_lengths_.cells[match_state],
                        offset_cell = offsets_.cells[offset_state];
          const uint64_t next = bits.read(literal_cell.bits + match_cell.bits + offset_cell.bits);
          literal_state = literal_cell.base + static_cast<unsigned>(next >> (match_cell.bits + offset_cell.bits));
          match_state = match_cell.base + (static_cast<unsigned>(next >> offset_cell.bits) & ((1u << match_cell.bits) - 1));
          offset_state = offset_cell.base + (static_cast<unsigned>(next) & ((1u << offset_cell.bits) - 1));
        }
        if (bits.left() < 0 || literal_count > literals.size() || literal_count > block_end - made) return false;
        copy_bytes(into.data() + made, literals.data(), literal_count, std::min(literals.size(), into.size() - made) - literal_count);
        literals = literals.subspan(literal_count);
        made += literal_count;
        const size_t distance = distance_of(value, literal_count != 0);
        if (distance == 0 || distance > made || length > block_end - made) return false;
        copy_match(into.data() + made, distance, length, into.data() + into.size());
        made += length;
      }
      if (bits.left() != 0) return false;
    } else if (!input.rest.empty()) {
      return false;
    }
    if (literals.size() > block_end - made) return false;
    if (!literals.empty()) __builtin_memcpy(into.data() + made, literals.data(), literals.size());
    made += literals.size();
    return true;
  }

  bool has_checksum_ = false;
  std::optional<uint64_t> content_size_;
  size_t repeats_[3] = {};
  HuffmanTable huffman_;
  FseTable literal_lengths_, offsets_, match_lengths_, scratch_;
  std::byte literals_[kLargestBlock];
};

}  // namespace

Result<std::unique_ptr<Decompressor>> make_zstd() { return std::unique_ptr<Decompressor>(TRY(make_unique<Zstd>())); }

}  // namespace umk::decompress
