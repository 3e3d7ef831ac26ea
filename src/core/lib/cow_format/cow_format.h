// The copy-on-write files of User Mode Linux: a header that names a backing file, a bitmap of the sectors that differ from it, and those sectors at their own
// positions, so that the file is sparse.
//
//   0          header
//   bitmap     one bit a sector, the lowest bit of a byte first: set when the sector is here
//   data       sector k at data + k * sector size
//
// Versions 1 and 2 are read and written in place; new files have version 3. "Wide" files of version 3 were made for a while by programs whose compiler laid the
// header out with 64-bit fields. All fields are big-endian but those of version 1, which are in the order of the machine that made it.
//
// The bitmap of versions 1 and 2 may be one byte shorter than its sectors need. The byte is then taken from the gap before the data if there is one; sectors
// that have no bit at all cannot be stored.
//
// Pure: bytes in, bytes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/result.h"

namespace umk::cow_format {

/// What to read of a file to know its header.
inline constexpr size_t kMaximumHeaderBytes = 4136;
/// What is written: a header of version 3.
inline constexpr size_t kHeaderBytes = 4128;
inline constexpr size_t kBackingNameLimit = 4095;
inline constexpr uint32_t kSectorBytes = 512;
inline constexpr uint32_t kAlignment = 4096;

struct Header {
  uint32_t version = 3;
  bool is_wide = false;
  std::string_view backing_name;  // in the bytes that were parsed
  uint32_t backing_time = 0;      // seconds, modulo 2^32
  uint64_t backing_bytes = 0;
  uint32_t sector_bytes = kSectorBytes;
  uint32_t alignment = kAlignment;
};

/// Where things lie in the file.
struct Layout {
  uint32_t sector_bytes = kSectorBytes;
  uint64_t sectors = 0;         // of the backing file, the last perhaps in part
  uint64_t bitmap_offset = 0;
  uint64_t bitmap_bytes = 0;    // as the format counts them
  uint64_t usable_bitmap_bytes = 0;  // with what the gap before the data gives
  uint64_t data_offset = 0;

  uint64_t offset_of(uint64_t sector) const { return data_offset + sector * sector_bytes; }
  bool has_bit(uint64_t sector) const { return sector / 8 < usable_bitmap_bytes; }
};

struct Parsed {
  enum class Kind { Plain, Cow, Damaged };  // Plain: no copy-on-write file at all
  Kind kind = Kind::Plain;
  std::string_view problem;  // Damaged: why
  Header header;             // Cow
  Layout layout;             // Cow
};

/// Looks at the first bytes of a file, kMaximumHeaderBytes or all there are.
Parsed parse(std::span<const std::byte> bytes);

/// The layout that a header asks for. EINVAL for sizes that no file can have.
Result<Layout> layout_of(const Header& header);

/// Writes a header of version 3; `into` has kHeaderBytes. ENAMETOOLONG for a name beyond kBackingNameLimit, EINVAL for one with a NUL or an empty one.
Result<void> write_header(std::span<std::byte> into, const Header& header);

inline bool test_bit(std::span<const std::byte> bitmap, uint64_t sector) {
  return (std::to_integer<unsigned>(bitmap[sector / 8]) >> (sector % 8) & 1) != 0;
}
inline void set_bit(std::span<std::byte> bitmap, uint64_t sector) { bitmap[sector / 8] |= static_cast<std::byte>(1u << (sector % 8)); }
inline void clear_bit(std::span<std::byte> bitmap, uint64_t sector) { bitmap[sector / 8] &= static_cast<std::byte>(~(1u << (sector % 8))); }

}  // namespace umk::cow_format
