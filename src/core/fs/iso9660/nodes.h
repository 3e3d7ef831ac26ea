// Files and directories of ISO 9660. Symlinks are vfs::ReadOnlyLink, whatever else there is plain vfs::ReadOnlyInode.
#pragma once

#include "core/fs/iso9660/directory_scan.h"

namespace umk::iso9660 {

/// A directory. A position is 0 and 1 for `.` and `..`, then 2 and the place of a record in it.
class DirectoryNode final : public vfs::ReadOnlyInode {
 public:
  DirectoryNode(Volume& volume, const Description& description, uint64_t place) : ReadOnlyInode(volume, description), place_(place) {}
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 private:
  Volume& home() const { return static_cast<Volume&>(volume()); }
  bool is_same(std::string_view name, std::string_view wanted) const;

  const uint64_t place_;
};

class FileNode final : public vfs::ReadOnlyFile {
 public:
  FileNode(Volume& volume, const Description& description, Vector<Extent> extents)
      : ReadOnlyFile(volume, description), extents_(std::move(extents)) {}
  Result<void> read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) override;

 private:
  Result<void> read_extent(const Extent& extent, uint64_t offset, std::span<std::byte> into);

  const Vector<Extent> extents_;
};

}  // namespace umk::iso9660
