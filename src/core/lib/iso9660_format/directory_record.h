// Directory records of ISO 9660 (ECMA-119, 9.1), and the names in them: as they are, for other systems' taste, and those of Joliet.
#pragma once

#include <optional>
#include <string_view>

#include "core/lib/iso9660_format/bytes.h"

namespace umk::iso9660 {

/// Seconds since 1970.
using Seconds = int64_t;
/// The date of a directory record, 7 bytes (9.1.5), and the one of volume descriptors, 17 bytes of text (8.4.26.1).
Seconds short_date(ConstBytes bytes);
Seconds long_date(ConstBytes bytes);

struct DirectoryRecord {
  static constexpr size_t kLeastBytes = 34;
  static constexpr uint8_t kHidden = 1, kDirectory = 2, kAssociated = 4, kMoreExtents = 128;

  size_t bytes = 0;      // of the record itself
  uint32_t extent = 0;   // logical block of the data, behind the attribute record
  uint32_t size = 0;     // bytes of data
  Seconds date = 0;
  uint8_t flags = 0;
  bool is_interleaved = false;
  ConstBytes name;
  ConstBytes system_use;

  bool is_directory() const { return flags & kDirectory; }
  bool is_dot() const { return name.size() == 1 && name[0] == std::byte{0}; }
  bool is_dot_dot() const { return name.size() == 1 && name[0] == std::byte{1}; }

  /// Parses the record at the start of `bytes`, which end with its sector. Null size: there are no more in the sector. EIO for one that cannot be.
  static Result<DirectoryRecord> parse(ConstBytes bytes);
};

enum class NameMap {
  Normal,  // lower case, without version and an empty extension
  Off,  // as it is
  Acorn  // Normal, and a leading `!` where Acorn's attribute says so, which is not looked at
};

/// The names that records give. The result lies in `into`, or is empty for a name that cannot be a file's; at most 255 bytes.
std::string_view plain_name(ConstBytes name, NameMap map, std::span<char> into);
std::string_view joliet_name(ConstBytes name, std::span<char> into);

/// Whether text can be the name of a file: not empty, no `/`, no NUL, neither `.` nor `..`, not too long.
bool is_file_name(std::string_view name);

}  // namespace umk::iso9660
