// The .xz file format: a header, blocks of filtered data, an index, a footer. The index is not read: the piece that is unpacked comes from its start.
#include <algorithm>
#include <optional>

#include "core/base/crc32.h"
#include "core/lib/decompress/lzma.h"
#include "core/lib/decompress/methods.h"

namespace umk::decompress {

namespace {

constexpr uint8_t kMagic[6] = {0xfd, '7', 'z', 'X', 'Z', 0};
constexpr size_t kHeaderBytes = 12;
constexpr unsigned kCrc32 = 1;
constexpr uint64_t kX86Filter = 4, kLzma2Filter = 0x21;

unsigned at(ConstBytes bytes, size_t offset) { return static_cast<unsigned>(bytes[offset]); }

bool read_number(ConstBytes& from, uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    if (from.empty()) return false;
    const uint64_t byte = at(from, 0);
    from = from.subspan(1);
    value |= (byte & 0x7f) << shift;
    if (!(byte & 0x80)) return byte != 0 || shift == 0;
  }
  return false;
}

/// Undoes the filter for x86 code. It replaced the distance in what looked like CALL and JMP (e8, e9 and four bytes of which the highest is 00 or ff) by the
/// target, unless an opcode in the three bytes before, itself left alone, made that ambiguous.
void undo_x86(Bytes code) {
  constexpr size_t kInstruction = 5;
  const auto is_sign = [&](unsigned byte) { return byte == 0 || byte == 0xff; };
  unsigned left_alone = 0;  // bit n: an opcode n + 1 bytes before here was left as it is
  for (size_t i = 0; i + kInstruction <= code.size(); ++i) {
    const bool is_opcode = (at(code, i) & 0xfe) == 0xe8;
    // How far back the one that matters is; more than one settle it.
    const unsigned back = left_alone == 4 ? 3 : left_alone;
    const bool is_clear = left_alone == 0 || (left_alone != 3 && left_alone < 5 && !is_sign(at(code, i + 4 - back)));
    if (!is_opcode || !is_clear || !is_sign(at(code, i + 4))) {
      left_alone = (left_alone << 1 | is_opcode) & 7;
      continue;
    }
    const uint32_t next = static_cast<uint32_t>(i + kInstruction);
    uint32_t distance = load<uint32_t>(&code[i + 1]) - next;
    // The byte that the earlier opcode would have taken for its highest must not look like one after the change either.
    if (back != 0)
      while (is_sign(distance >> (24 - 8 * back) & 0xff)) distance = (distance ^ ((uint32_t{1} << (32 - 8 * back)) - 1)) - next;
    // 25 bits with a sign.
    distance = distance & 0x01000000 ? distance | 0xff000000 : distance & 0x00ffffff;
    __builtin_memcpy(&code[i + 1], &distance, sizeof distance);
    i += kInstruction - 1;
    left_alone = 0;
  }
}

class Xz final : public Decompressor {
 public:
  Result<size_t> decompress(ConstBytes from, Bytes into) override {
    if (from.size() < kHeaderBytes || !std::equal(kMagic, kMagic + 6, reinterpret_cast<const uint8_t*>(from.data()))) return error(EIO);
    if (at(from, 6) != 0 || at(from, 7) > 15 || crc32(from.subspan(6, 2)) != load<uint32_t>(&from[8])) return error(EIO);
    const unsigned check = at(from, 7);
    // Check numbers come in groups of three with one size: 4, 8, 16, 32, 64 bytes.
    const size_t check_bytes = check == 0 ? 0 : size_t{4} << (check - 1) / 3;
    from = from.subspan(kHeaderBytes);
    size_t made = 0;
    // The index begins with a zero where a block has its header's size.
    while (!from.empty() && at(from, 0) != 0) {
      bool is_x86 = false;
      std::optional<uint64_t> packed, unpacked;
      TRY(read_block_header(from, is_x86, packed, unpacked));
      const size_t start = made, before = from.size();
      TRY(lzma2_.decompress(from, into, made));
      const size_t used = before - from.size();
      if ((packed && *packed != used) || (unpacked && *unpacked != made - start)) return error(EIO);
      const size_t padding = (4 - used % 4) % 4;
      if (from.size() < padding + check_bytes) return error(EIO);
      const Bytes block = into.subspan(start, made - start);
      if (is_x86) undo_x86(block);
      if (check == kCrc32 && crc32(block) != load<uint32_t>(&from[padding])) return error(EIO);
      from = from.subspan(padding + check_bytes);
    }
    if (from.empty()) return error(EIO);
    return made;
  }

 private:
  Result<void> read_block_header(ConstBytes& from, bool& is_x86, std::optional<uint64_t>& packed, std::optional<uint64_t>& unpacked) {
    const size_t size = (size_t{at(from, 0)} + 1) * 4;
    if (size > from.size() || crc32(from.first(size - 4)) != load<uint32_t>(&from[size - 4])) return error(EIO);
    const unsigned flags = at(from, 1), filters = (flags & 3) + 1;
    ConstBytes fields = from.subspan(2, size - 6);
    uint64_t value, properties;
    if (flags & 0x3c) return error(EIO);
    if (flags & 0x40) {
      if (!read_number(fields, value)) return error(EIO);
      packed = value;
    }
    if (flags & 0x80) {
      if (!read_number(fields, value)) return error(EIO);
      unpacked = value;
    }
    for (unsigned i = 0; i < filters; ++i) {
      if (!read_number(fields, value) || !read_number(fields, properties) || properties > fields.size()) return error(EIO);
      const bool is_last = i + 1 == filters;
      if (is_last ? value != kLzma2Filter : (value != kX86Filter || properties != 0 || is_x86)) return error(EIO);
      if (!is_last) is_x86 = true;
      fields = fields.subspan(properties);
    }
    from = from.subspan(size);
    return {};
  }

  Lzma2 lzma2_;
};

}  // namespace

Result<std::unique_ptr<Decompressor>> make_xz() { return std::unique_ptr<Decompressor>(TRY(make_unique<Xz>())); }

}  // namespace umk::decompress
