// Inodes as the inode table has them.
#pragma once

#include "core/lib/squashfs_format/superblock.h"

namespace umk::squashfs {

enum class Kind : uint8_t { Directory = 1, Regular, Symlink, BlockDevice, CharacterDevice, Fifo, Socket };

inline constexpr uint32_t kNone = UINT32_MAX;  // no fragment, no attributes

struct InodeRecord {
  Kind kind = Kind::Regular;
  uint32_t permissions = 0;
  uint32_t uid_index = 0, gid_index = 0;  // into the table of ids
  uint32_t modified = 0;                  // seconds
  uint32_t number = 0;
  uint32_t links = 1;
  uint64_t size = 0;             // of a file, of a symlink's target; as stat(2) tells it of a directory
  uint32_t attributes = kNone;   // index of its list
  uint32_t device = 0;           // of devices, as Linux encodes it
  // Directories: where the entries are in the directory table; how many index entries follow.
  uint32_t directory_block = 0, directory_offset = 0, index_count = 0;
  // Files: where the blocks are, one after the other, how many are not there, and the fragment with what is left. The sizes of the blocks follow.
  uint64_t first_block = 0, sparse_bytes = 0;
  uint32_t fragment = kNone, fragment_offset = 0;

  /// Bytes of entries; the stat size counts `.` and `..`, which are not there, as three.
  uint64_t directory_bytes() const { return size > 3 ? size - 3 : 0; }
  bool has_fragment() const { return fragment != kNone; }
  uint64_t block_count(const Layout& s) const { return (size >> s.block_bits) + (!has_fragment() && size % s.block_size != 0 ? 1 : 0); }
};

/// Reads one. Afterwards the stream is at what follows: a file's list of sizes, a symlink's target, a directory's index. An extended symlink has the index of
/// its attributes behind the target. EIO for what is no inode.
Result<InodeRecord> read_inode(Stream& stream, bool* is_extended = nullptr);

inline constexpr size_t kLinkLimit = 4096;

/// Where an entry of a directory's index leads: to the entry at `position` of the list, in this metadata block of the directory table.
struct IndexEntry {
  uint32_t position = 0, block = 0;
  size_t name_bytes = 0;
  char name[256];
  std::string_view name_view() const { return {name, name_bytes}; }
};
Result<void> read_index_entry(Stream& stream, IndexEntry& into);

}  // namespace umk::squashfs
