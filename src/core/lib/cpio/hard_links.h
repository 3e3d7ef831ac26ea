// Which entries of an archive are names of one file.
//
// Names of a file with several links have the same inode and device numbers. The first one makes the file; each further
// one is a link to the first, and whichever has data brings the content of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/result.h"
#include "core/base/vector.h"
#include "core/lib/cpio/cpio_reader.h"

namespace umk::cpio {

class HardLinks {
 public:
  /// The name under which the file of `entry` was seen first; empty if that is now. Names refer to the reader's input.
  /// Fails with ENOMEM.
  Result<std::string_view> first_name(const Entry& entry);

 private:
  struct Seen {
    uint32_t archive, inode, device_major, device_minor, type;
    std::string_view name;
    bool is_same_file(const Entry& entry) const;
  };
  static size_t hash(const Entry& entry);
  Result<void> grow();
  Seen& slot(const Entry& entry);

  // A hash table with linear probing, a power of two in size and at most half full. Free slots have an empty name.
  Vector<Seen> slots_;
  size_t used_ = 0;
};

}  // namespace umk::cpio
