// Files and directories of squashfs. Symlinks are vfs::ReadOnlyLink, whatever else there is plain vfs::ReadOnlyInode.
#pragma once

#include "core/fs/squashfs/volume.h"

namespace umk::squashfs {

/// A directory: its entries are a stretch of the directory table. A position is 0 and 1 for `.` and `..`, then 2 and the place of an entry in the list.
class DirectoryNode final : public vfs::ReadOnlyInode {
 public:
  /// `index`: of the entries of its index, behind the inode.
  DirectoryNode(Volume& volume, const Description& description, const InodeRecord& record, const MetadataStream& index)
      : ReadOnlyInode(volume, description), record_(record), index_(index) {}
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 private:
  struct Start {
    uint64_t block, position;
    uint32_t offset;
  };
  Volume& home() const { return static_cast<Volume&>(volume()); }
  /// The last place of the index of which `is_before` holds, or the start of the list.
  template <typename IsBefore>
  Result<Start> find_start(IsBefore is_before);

  const InodeRecord record_;
  const MetadataStream index_;
};

/// A regular file: blocks that lie one after the other, whose packed sizes are behind the inode, and perhaps a part of a fragment.
///
/// Where a block is follows from the sizes of all before it; now and then a place is remembered, so that a big file is not summed up from its start.
class FileNode final : public vfs::ReadOnlyFile {
 public:
  FileNode(Volume& volume, const Description& description, const InodeRecord& record, const MetadataStream& sizes)
      : ReadOnlyFile(volume, description), record_(record), last_{0, record.first_block, sizes.block(), sizes.offset()}, first_(last_) {}

  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<void> read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) override;

 private:
  static constexpr uint64_t kBlocksBetweenMarks = 2048;
  /// A block: where it is, and where its size is.
  struct Mark {
    uint64_t block, place;
    uint64_t sizes_block;
    uint32_t sizes_offset;
  };
  struct Located {
    uint64_t place;
    BlockSize size;
  };
  Volume& home() const { return static_cast<Volume&>(volume()); }
  Result<Located> locate(uint64_t block);
  Result<void> read_part(uint64_t block, uint32_t offset, Bytes into);

  const InodeRecord record_;
  Mutex map_mutex_{LockRank::DiskFilesystem};
  Mark last_ GUARDED_BY(map_mutex_);
  const Mark first_;
  Vector<Mark> marks_ GUARDED_BY(map_mutex_);  // of blocks 2048, 4096...
};

}  // namespace umk::squashfs
