// Lists of directory entries: runs with a common head, of entries that are sorted by name.
#pragma once

#include "core/lib/squashfs_format/inode_record.h"

namespace umk::squashfs {

struct DirectoryEntry {
  Reference inode;
  uint32_t number = 0;    // the inode's
  Kind kind = Kind::Regular;  // extended or not
  uint64_t position = 0;  // of the entry in the list, in bytes
  std::string_view name;  // in the reader
};

class DirectoryReader {
 public:
  /// `stream` is at `position` of a list of `size` bytes, where a run begins.
  DirectoryReader(Stream& stream, uint64_t position, uint64_t size) : stream_(stream), position_(position), size_(size) {}

  /// The next entry; false at the end of the list. EIO for entries that cannot be, among them names that are no names of files.
  Result<bool> next(DirectoryEntry& into);
  /// Behind the entry that came last.
  uint64_t position() const { return position_; }

 private:
  Stream& stream_;
  uint64_t position_;
  const uint64_t size_;
  uint32_t left_in_run_ = 0, run_block_ = 0, run_number_ = 0;
  char name_[256];
};

/// Whether text can be the name of a file: not empty, no `/`, no NUL, neither `.` nor `..`.
bool is_file_name(std::string_view name);

}  // namespace umk::squashfs
