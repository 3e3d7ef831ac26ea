// What filesystems that are never written have in common: iso9660, squashfs.
//
// ReadOnlyVolume is the mounted filesystem, on a block device that it claims. ReadOnlyInode is one of its files, of any type; ReadOnlyLink holds a target in
// memory; ReadOnlyFile has its bytes in the page cache. A filesystem adds directories, and how a file's pages are read.
//
// Life: a volume finds inodes in use by number and holds no reference (InodeTable). The last reference of an inode takes it out and frees it.
//
// Directories of such a filesystem have one name each. One that is found under two parents is a damaged image which might contain itself: found_under()
// refuses it, so a walk down a tree comes to an end.
//
// Locks: the table has one of LockRank::DiskFilesystem, under which nothing is called. Inodes never change, so nothing else is locked.
#pragma once

#include "core/kernel/block/block_device.h"
#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::vfs {

class ReadOnlyInode;

/// Inodes in use, by number.
class InodeTable {
 public:
  Result<void> create(size_t buckets);
  RefPtr<ReadOnlyInode> find(InodeNumber number);
  /// Enters a fresh inode. When another one with its number has come in between, that one is returned.
  RefPtr<ReadOnlyInode> enter(RefPtr<ReadOnlyInode> fresh);
  void forget(ReadOnlyInode& inode);

 private:
  ReadOnlyInode** place_of(InodeNumber number) REQUIRES(mutex_);

  Mutex mutex_{LockRank::DiskFilesystem};
  Vector<ReadOnlyInode*> buckets_ GUARDED_BY(mutex_);
};

class ReadOnlyVolume : public Superblock {
 public:
  bool is_never_written() const final { return true; }
  RefPtr<Inode> root() final { return root_; }
  void unmounted() final;
  /// Options that a mount takes are taken by a remount as well, and change nothing.
  Result<void> remount(std::string_view, bool) override { return {}; }

  block::BlockDevice& device() const { return *device_; }
  mm::PageCache& page_cache() const { return page_cache_; }
  mm::WriteBackGroup& write_back_group() { return write_back_group_; }
  InodeTable& inodes() { return inodes_; }

  /// Reads bytes at any place of the device, by way of the page cache: for metadata. EIO beyond the end.
  Result<void> read_bytes(uint64_t offset, std::span<std::byte> into);
  /// Says in the log what is wrong with the image. Returns EIO for the caller.
  Error damaged(std::string_view what, uint64_t place, const char* file = __builtin_FILE(), int line = __builtin_LINE());

  /// Extended attributes of an inode whose `attributes_place` this is. EOPNOTSUPP where there can be none.
  virtual Result<String> attribute_of(uint64_t attributes_place, std::string_view name);
  virtual Result<String> attributes_of(uint64_t attributes_place);

 protected:
  ReadOnlyVolume(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache);
  ~ReadOnlyVolume() override;
  /// Claims the device: EBUSY.
  Result<void> start();
  /// EIO when the image has the directory elsewhere as well.
  Result<void> set_root(RefPtr<ReadOnlyInode> root);

 private:
  /// The device's bytes in the page cache.
  class Metadata final : public mm::FileBacking {
   public:
    explicit Metadata(ReadOnlyVolume& volume) : volume_(volume), cached_(volume.page_cache_, volume.write_back_group_, *this) {}
    ~Metadata() { cached_.discard(); }
    Result<void> read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) override;
    Result<void> write_pages(uint64_t, std::span<const mm::PageMemory>, mm::WriteReason) override { return error(EROFS); }
    uint64_t mappable_bytes() const override { return volume_.device_->size_bytes(); }
    bool try_add_mapping_reference() override { return true; }
    void add_mapping_reference() override {}
    void drop_mapping_reference() override {}
    mm::CachedFile& cached_file() override { return cached_; }

   private:
    ReadOnlyVolume& volume_;
    mm::CachedFile cached_;
  };

  const RefPtr<block::BlockDevice> device_;
  mm::PageCache& page_cache_;
  mm::WriteBackGroup write_back_group_;
  block::BlockDevice::Claim claim_;
  InodeTable inodes_;
  Metadata metadata_;
  RefPtr<Inode> root_;
};

class ReadOnlyInode : public Inode {
 public:
  /// What an image says of a file.
  struct Description {
    InodeNumber number = 0;
    uint32_t mode = 0;
    uint32_t links = 1;
    UserId uid = 0;
    GroupId gid = 0;
    DeviceNumber device;
    uint64_t size_bytes = 0;
    uint64_t blocks = 0;  // of 512 bytes
    uint32_t block_size = 1024;
    Timestamp access_time, modify_time, change_time;
    uint64_t attributes_place = 0;
  };
  ReadOnlyInode(ReadOnlyVolume& volume, const Description& description);

  ReadOnlyVolume& volume() const { return static_cast<ReadOnlyVolume&>(superblock_); }
  Result<Metadata> metadata() override;
  Result<void> change(const MetadataChange&) override { return error(EROFS); }
  Result<String> get_attribute(std::string_view name) override { return volume().attribute_of(attributes_place_, name); }
  Result<void> set_attribute(std::string_view, std::string_view, int) override { return error(EROFS); }
  Result<void> remove_attribute(std::string_view) override { return error(EROFS); }
  Result<String> list_attributes() override { return volume().attributes_of(attributes_place_); }

  /// Notes of a directory that it was found in another. EIO when it is known to be elsewhere.
  Result<void> found_under(InodeNumber parent);

 protected:
  void last_reference_dropped() override;

 private:
  friend class InodeTable;
  const uint32_t block_size_;
  const uint64_t attributes_place_;
  std::atomic<InodeNumber> parent_{0};  // 0: not known yet
  ReadOnlyInode* next_in_bucket_ = nullptr;
  bool is_entered_ = false;
};

class ReadOnlyLink final : public ReadOnlyInode {
 public:
  ReadOnlyLink(ReadOnlyVolume& volume, const Description& description, String target)
      : ReadOnlyInode(volume, description), target_(std::move(target)) {}
  Result<String> read_link() override { return target_.clone(); }
  std::string_view link_in_memory() const override { return target_; }

 private:
  const String target_;
};

/// A regular file. The filesystem says how its pages are read (mm::FileBacking::read_pages).
class ReadOnlyFile : public ReadOnlyInode, public mm::FileBacking {
 public:
  ReadOnlyFile(ReadOnlyVolume& volume, const Description& description);

  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  mm::PageSource* page_source() override { return this; }

  Result<void> write_pages(uint64_t, std::span<const mm::PageMemory>, mm::WriteReason) override { return error(EROFS); }
  bool try_add_mapping_reference() override { return try_add_reference(); }
  mm::CachedFile& cached_file() override { return cached_; }
  uint64_t mappable_bytes() const override { return size_bytes(); }
  void add_mapping_reference() override { add_reference(); }
  void drop_mapping_reference() override { drop_reference(); }

 protected:
  ~ReadOnlyFile() override;
  mm::CachedFile cached_;
};

}  // namespace umk::vfs
