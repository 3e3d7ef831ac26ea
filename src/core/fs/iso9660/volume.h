// Volume: a mounted ISO 9660 filesystem.
//
// A volume may hold two trees: the primary one, whose records may have Rock Ridge fields, and the one of Joliet with its own records. As on Linux the first is
// shown when it has such fields, else the second, else the first as it is. Data is shared by both.
//
// A file has no inode on the disk. Its number is the place of its record, in units of 32 bytes, of which a record takes at least one; a directory's is that of its
// own first record, so it is the same however the directory is reached.
#pragma once

#include "core/fs/iso9660/mount_options.h"
#include "core/kernel/vfs/read_only_volume.h"
#include "core/lib/iso9660_format/rock_ridge.h"
#include "core/lib/iso9660_format/volume_descriptor.h"

namespace umk::iso9660 {

struct ScannedFile;

/// Bytes of a file that lie together.
struct Extent {
  uint64_t place;  // on the device
  uint64_t bytes;
};

class Volume final : public vfs::ReadOnlyVolume {
 public:
  /// EINVAL for what is no such filesystem, EACCES for writing; EIO, ENOMEM, EBUSY.
  static Result<RefPtr<Volume>> mount(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view options,
                                      bool read_only);
  Volume(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const MountOptions& options);

  // vfs::Superblock
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void show_options(TextSink& sink) override;

  const MountOptions& options() const { return options_; }
  uint32_t block_bits() const { return block_bits_; }
  bool has_rock_ridge() const { return fields_start_.has_value(); }
  bool has_joliet() const { return has_joliet_; }
  uint64_t size_of(const DirectoryRecord& record) const { return options_.cruft ? record.size & 0xffffff : record.size; }

  /// Reads what Rock Ridge says in a record and where that goes on. False for fields that are damaged, which the log tells; what came before them counts. EIO,
  /// ENOMEM.
  Result<bool> read_fields(const DirectoryRecord& record, RockRidge& into);
  /// The inode of what a directory has.
  Result<RefPtr<vfs::ReadOnlyInode>> inode(const ScannedFile& file);
  static vfs::InodeNumber number_at(uint64_t place) { return place >> 5; }

 private:
  Result<void> load();
  /// Chooses the tree; returns the block of its root.
  Result<uint32_t> choose_tree();
  Result<RefPtr<vfs::ReadOnlyInode>> directory(uint32_t block);
  void describe(const DirectoryRecord& record, const RockRidge& fields, bool is_directory, vfs::ReadOnlyInode::Description& into) const;

  const MountOptions options_;
  uint32_t block_bits_ = 11;
  uint64_t blocks_ = 0;
  std::optional<size_t> fields_start_;
  bool has_joliet_ = false;
};

class Type final : public vfs::FilesystemType {
 public:
  explicit Type(mm::PageCache& page_cache) : page_cache_(page_cache) {}
  std::string_view name() const override { return "iso9660"; }
  bool needs_device() const override { return true; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  mm::PageCache& page_cache_;
};

}  // namespace umk::iso9660
