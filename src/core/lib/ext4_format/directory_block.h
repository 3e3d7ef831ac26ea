// A block of directory entries.
//
// Entries follow each other, each with the distance to the next; the last one reaches the block's end, or that of the tail which holds the checksum.
// An entry whose inode is 0 is free. Room behind an entry's name belongs to it until somebody needs it.
//
// Linux, Documentation/filesystems/ext4/directory.rst, "Linear (Classic) Directories".
#pragma once

#include <optional>
#include <string_view>

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

inline constexpr size_t kNameLimit = 255;

struct DirectoryEntry {
  uint32_t inode = 0;
  uint8_t type = 0;  // as in file_type_code; 0 unknown
  std::string_view name;
  uint32_t offset = 0;
  uint32_t record_length = 0;
};

/// The code of a file type (S_IFMT bits) in an entry, and back; 0 for none.
uint8_t file_type_code(uint32_t mode);
uint32_t mode_of_type_code(uint8_t code);

class DirectoryBlock {
 public:
  static constexpr size_t kTailSize = 12;

  DirectoryBlock(const Geometry& geometry, Bytes bytes)
      : bytes_(bytes), has_tail_(geometry.has_checksums()), has_types_(geometry.has_incompat(incompat::kFileType)) {}

  /// Whether the entries fill the block as they should; all other functions need that.
  bool is_sane(uint32_t inode_count) const;
  /// Where entries end.
  uint32_t entries_end() const { return static_cast<uint32_t>(bytes_.size() - (has_tail_ ? kTailSize : 0)); }

  /// The entry at `offset`, free or not.
  DirectoryEntry at(uint32_t offset) const;
  /// The first entry in use at or behind `offset`, where an entry need not begin: the block may have changed since.
  std::optional<DirectoryEntry> next(uint32_t offset) const;
  /// The first one behind an entry that has just been found.
  std::optional<DirectoryEntry> after(const DirectoryEntry& entry) const { return first_used(entry.offset + entry.record_length, 0); }
  std::optional<DirectoryEntry> find(std::string_view name) const;
  /// False when there is no room.
  bool insert(uint32_t inode, uint8_t type, std::string_view name);
  /// Frees the entry: joins it to the one before.
  void remove(uint32_t offset);
  void set_target(uint32_t offset, uint32_t inode, uint8_t type);

  /// One free entry.
  void initialise();
  /// `.` and `..`.
  void initialise_first(uint32_t self, uint32_t parent);
  /// Whether the first block of a directory begins with `.` and `..`.
  bool begins_with_dots() const;
  /// Nothing but `.` and `..`.
  bool is_empty() const;

  bool is_intact(uint32_t seed) const;
  void seal(uint32_t seed);

  static uint32_t entry_size(size_t name_length) { return static_cast<uint32_t>((8 + name_length + 3) & ~size_t{3}); }

 private:
  bool is_entry_sane(uint32_t offset) const;
  /// Walks from the entry at `offset` to the first in use at or behind `from`.
  std::optional<DirectoryEntry> first_used(uint32_t offset, uint32_t from) const;
  void put_entry(uint32_t offset, uint32_t record_length, uint32_t inode, uint8_t type, std::string_view name);

  Bytes bytes_;
  bool has_tail_, has_types_;
};

}  // namespace umk::ext4
