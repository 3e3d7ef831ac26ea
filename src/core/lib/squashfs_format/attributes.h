// Extended attributes of squashfs.
#pragma once

#include "core/base/string.h"
#include "core/lib/squashfs_format/superblock.h"

namespace umk::squashfs {

inline constexpr size_t kAttributeIdBytes = 16;  // an entry of the table of lists
inline constexpr size_t kAttributeValueLimit = 65536;

struct AttributeName {
  /// As programs name it: "user.x".
  size_t bytes = 0;
  char text[512];
  bool is_elsewhere = false;  // the value is a reference to where it is
  std::string_view view() const { return {text, bytes}; }
};

/// Reads the name of the next attribute of a list. EIO for an unknown kind.
Result<void> read_attribute_name(Stream& stream, AttributeName& into);
/// Reads the value that follows; of one that is elsewhere, when the stream is there.
Result<String> read_attribute_value(Stream& stream);
/// Reads past it, or reads the reference that it is.
Result<Reference> skip_attribute_value(Stream& stream, bool is_elsewhere);

}  // namespace umk::squashfs
