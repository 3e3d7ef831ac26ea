// FileNode: a regular file. Its pages lie in the page cache (mm/cached_file.h); this class knows where their blocks are.
//
// Delayed allocation: a write only promises blocks for pages that have none; they are allocated when the pages are written out, many at once. The size on the
// disk follows what was written out, so that a crash shows no file that is longer than its data.
//
// Locks: `data_mutex_` (LockRank::FileData) is held by writers and whoever changes the size; the map mutex guards block map and promises.
#pragma once

#include "core/fs/ext4/node.h"
#include "core/kernel/mm/cached_file.h"

namespace umk::ext4 {

class FileNode final : public Node, public mm::FileBacking {
 public:
  FileNode(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record);

  // vfs::Inode
  Result<vfs::Metadata> metadata() override;
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override { return write(offset, buffer, append, Way::Cached); }
  Result<size_t> read_direct(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_direct(uint64_t& offset, UserInBuffer& buffer, bool append) override { return write(offset, buffer, append, Way::Direct); }
  Result<void> allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek_data_or_hole(uint64_t offset, bool hole) override;
  mm::PageSource* page_source() override { return this; }

  // mm::FileBacking
  Result<void> read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) override;
  mm::FixedExtent fixed_extent(uint64_t first_page, uint64_t count) override;
  void start_reading(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::ReadDone& done) override;
  Result<void> write_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason reason) override;
  Result<std::unique_ptr<mm::PageWrite>> start_writing(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason reason,
                                                        WhenBusy when_busy) override;
  Result<void> reserve(uint64_t first_page, uint64_t count) override;
  void release(uint64_t first_page, uint64_t count) override;
  bool is_hole(uint64_t page) override;
  bool try_add_mapping_reference() override { return try_add_reference(); }
  mm::CachedFile& cached_file() override { return cached_; }
  uint64_t mappable_bytes() const override { return size_bytes(); }
  void add_mapping_reference() override { add_reference(); }
  void drop_mapping_reference() override { drop_reference(); }
  void on_shared_write() override { touch_modify_and_change_time(); }

  // Node
  void discard_data() override;
  void sync_data() override { cached_.sync(); }
  /// Frees blocks beyond the end, which an interrupted truncation left.
  Result<void> drop_beyond_end();

 private:
  enum class Way { Cached, Direct };
  Result<size_t> write(uint64_t& offset, UserInBuffer& buffer, bool append, Way way);

  /// Promised blocks of the file, as sorted ranges.
  class Promises {
   public:
    /// How many blocks of [first, end) are in none.
    uint64_t missing(uint64_t first, uint64_t end) const;
    Result<void> add(uint64_t first, uint64_t end);
    /// Returns how many were in.
    uint64_t remove(uint64_t first, uint64_t end);
    bool contains(uint64_t block) const { return missing(block, block + 1) == 0; }
    uint64_t next(uint64_t block) const;  // the first promised block at or after it; UINT64_MAX
    uint64_t count() const { return count_; }

   private:
    struct Range {
      uint64_t first, end;
    };
    Vector<Range> ranges_;
    uint64_t count_ = 0;
  };

  uint32_t block_bits() const { return volume().geometry().block_bits; }
  uint64_t block_up(uint64_t bytes) const { return (bytes + volume().geometry().block_size - 1) >> block_bits(); }
  uint64_t maximum_size() const { return volume().geometry().maximum_file_size(uses_extents()); }
  // file_writing.cpp
  /// Blocks in a row, of the file and on the disk.
  struct Placement {
    enum Kind : uint8_t {
      Final,   // no metadata change when they are written
      Mapped,  // the map leads to them; they may have to be marked as written to, or the size on the disk grows
      Chosen,  // allocated, and not in the map yet
    };
    uint32_t block, count;
    uint64_t physical;
    Kind kind;
  };
  class BlockWrite;
  Result<Placement> place_blocks(uint64_t block, uint64_t end, std::optional<Journal::Handle>& handle, Journal::WhenBusy when_busy);
  Result<bool> settle(Journal::Handle& handle, const Placement& place, Result<void> written);
  Result<void> write_run(uint64_t block, uint64_t end, uint64_t first_block, std::span<const mm::PageMemory> pieces, uint64_t& done);
  Result<void> write_device(const Placement& place, uint64_t first_block, std::span<const mm::PageMemory> pieces);
  uint64_t end_of_write(uint64_t first_block, std::span<const mm::PageMemory> pieces);
  // file_reading.cpp
  class DiskParts;
  class BackgroundRead;
  Result<void> locate_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, DiskParts& parts);
  Result<void> grow_size_on_disk_locked(Journal::Handle& handle, uint64_t size) REQUIRES(map_mutex_);
  Result<void> resize(uint64_t size) REQUIRES(data_mutex_);
  Result<void> allocate_range(uint64_t first, uint64_t end) REQUIRES(data_mutex_);
  // journaled_data.cpp
  Result<void> set_journaled(bool on) override;
  Result<void> write_journaled(uint64_t block, uint64_t end, uint64_t first_block, std::span<const mm::PageMemory> pieces, uint64_t& done);
  Result<void> put_journaled(Journal::Handle& handle, uint64_t physical, uint64_t skip_blocks, uint32_t count, std::span<const mm::PageMemory> pieces);
  // file_shift.cpp
  enum class Shift { Collapse, Insert };
  Result<void> shift(Shift way, uint64_t offset, uint64_t length);
  Result<void> shift_blocks(Shift way, uint64_t offset, uint64_t length) REQUIRES(data_mutex_);
  void contents_changed() {
    if (has_text_copies()) [[unlikely]] drop_text_copies();
  }

  mm::CachedFile cached_;
  Mutex data_mutex_{LockRank::FileData};
  Promises promises_ GUARDED_BY(map_mutex_);
  /// Where the blocks end that were last chosen for the file.
  struct ChosenEnd {
    uint32_t block = 0;
    uint64_t physical = 0;
  };
  ChosenEnd chosen_end_ GUARDED_BY(map_mutex_);
};

}  // namespace umk::ext4
