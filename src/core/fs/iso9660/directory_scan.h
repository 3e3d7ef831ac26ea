// DirectoryScan: the files of a directory in the order of the disk, each with its name and all its extents.
#pragma once

#include "core/fs/iso9660/volume.h"

namespace umk::iso9660 {

struct ScannedFile {
  uint64_t position = 0;  // of its first record in the directory
  uint64_t place = 0;     // of its first record on the device
  DirectoryRecord record;  // without name and system use, which are gone
  RockRidge fields;
  bool is_damaged = false;  // the fields are; the file has a name and no more
  Vector<Extent> extents;
  char name_text[256];
  std::string_view name;

  bool is_directory() const { return record.is_directory() || fields.child; }
  vfs::FileType type() const;
};

class DirectoryScan {
 public:
  /// Of a directory's bytes at `place`, from `position` on.
  DirectoryScan(Volume& volume, uint64_t place, uint64_t bytes, uint64_t position)
      : volume_(volume), place_(place), bytes_(bytes), position_(position) {}

  /// The next one that is shown; false at the end. Leaves out `.` and `..`, relocated directories at the place where they lie, and what options hide.
  /// EIO, ENOMEM.
  Result<bool> next(ScannedFile& into);
  /// Behind what came last.
  uint64_t position() const { return position_; }

 private:
  /// The next record, and where it is; a null size at the end. Good until the one after it.
  Result<DirectoryRecord> next_record(uint64_t& position);
  Result<void> read_name(const DirectoryRecord& record, ScannedFile& into);

  Volume& volume_;
  const uint64_t place_, bytes_;
  uint64_t position_;
  uint64_t sector_position_ = UINT64_MAX;
  size_t sector_bytes_ = 0;
  std::byte sector_[kSectorBytes];
};

}  // namespace umk::iso9660
