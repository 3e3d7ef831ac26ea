// Volume: a mounted squashfs image.
//
// Mounting reads the superblock and the small tables: owners, and where the tables of fragments and attributes have their blocks. Everything else is read when
// it is asked for. Inodes are found by number among those in use, else by the reference that a directory has: the inode must then have that number.
//
// All places are offsets on the device and are checked against the bytes that the image says it has.
#pragma once

#include "core/fs/squashfs/metadata_stream.h"
#include "core/fs/squashfs/unpacker.h"
#include "core/kernel/vfs/read_only_volume.h"
#include "core/lib/squashfs_format/directory.h"
#include "core/lib/squashfs_format/inode_record.h"

namespace umk::squashfs {

class Volume final : public vfs::ReadOnlyVolume {
 public:
  /// EINVAL for what is no squashfs image, or has a form that is not supported, which the log tells; EIO, ENOMEM, EBUSY.
  static Result<RefPtr<Volume>> mount(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view options);
  Volume(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const Layout& layout);

  // vfs::Superblock
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void show_options(TextSink& sink) override;

  // vfs::ReadOnlyVolume
  Result<String> attribute_of(uint64_t attributes_place, std::string_view name) override;
  Result<String> attributes_of(uint64_t attributes_place) override;

  const Layout& layout() const { return layout_; }
  /// The inode that a directory names.
  Result<RefPtr<vfs::ReadOnlyInode>> inode(Reference place, uint32_t number);

  Result<RefPtr<UnpackedBlock>> metadata_block(uint64_t place);
  /// A block of data or a fragment, whole. `room`: the most that it may become.
  Result<RefPtr<UnpackedBlock>> data_block(uint64_t place, BlockSize size);
  /// The same, unpacked to where it is wanted; EIO when it is not just that long.
  Result<void> read_data_block(uint64_t place, BlockSize size, Bytes into);
  struct Fragment {
    uint64_t place;
    BlockSize size;
  };
  Result<Fragment> fragment(uint32_t index);

 private:
  static Result<void> parse_options(std::string_view text);
  Result<void> load();
  Result<void> load_index(uint64_t place, uint64_t entries, size_t entry_bytes, Vector<uint64_t>& into);
  MetadataStream entry_of(const Vector<uint64_t>& index, uint64_t entry, size_t entry_bytes);
  struct AttributeList {
    Reference place;
    uint32_t count;
  };
  Result<AttributeList> attribute_list(uint64_t attributes_place);
  Result<RefPtr<vfs::ReadOnlyInode>> make_inode(MetadataStream& stream, uint32_t number);

  const Layout layout_;
  Unpacker unpacker_;
  UnpackedCache metadata_, data_;
  Vector<uint32_t> ids_;
  Vector<uint64_t> fragment_index_, attribute_index_;
  uint64_t attribute_lists_ = 0, attribute_count_ = 0;
};

class Type final : public vfs::FilesystemType {
 public:
  explicit Type(mm::PageCache& page_cache) : page_cache_(page_cache) {}
  std::string_view name() const override { return "squashfs"; }
  bool needs_device() const override { return true; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  mm::PageCache& page_cache_;
};

}  // namespace umk::squashfs
