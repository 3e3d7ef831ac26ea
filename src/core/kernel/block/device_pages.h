// DevicePages: the cached pages of a block device, shared by all who have its device file open or mapped.
//
// Life: made by the first open, gone after the last close and the last mapping, as on Linux; what is dirty then is written first. Filesystems do not use it: they
// have caches of their own, and see what device files have written when that was written back.
//
// Locks: `writers` (LockRank::FileData) keeps writers of the device apart.
#pragma once

#include "core/kernel/block/block_device.h"
#include "core/kernel/mm/page_cache.h"

namespace umk::block {

class DevicePages final : public RefCounted, public mm::FileBacking {
 public:
  /// Who finds the pages of a device for further opens.
  class Keeper {
   public:
    /// They go: they are not to be found any more when this returns.
    virtual void forget(DevicePages& pages) = 0;

   protected:
    ~Keeper() = default;
  };
  DevicePages(mm::PageCache& cache, BlockDevice& device, Keeper& keeper) : device_(device), cache_(cache), keeper_(keeper), cached_(cache, group_, *this) {}

  BlockDevice& device() const { return *device_; }
  mm::PageCache& cache() const { return cache_; }
  /// Writes what is dirty and makes it durable. Failures are told once to each who asks with his own position.
  Result<void> sync();
  /// Dirty pages are written, all others forgotten.
  void write_and_drop();

  Mutex writers{LockRank::FileData};

  // FileBacking.
  Result<void> read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) override;
  void start_reading(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::ReadDone& done) override;
  Result<void> write_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason reason) override;
  mm::FixedExtent fixed_extent(uint64_t first_page, uint64_t count) override { return device_->fixed_extent(first_page << kPageShift, count << kPageShift); }
  uint64_t mappable_bytes() const override { return device_->size_bytes(); }
  void add_mapping_reference() override { add_reference(); }
  void drop_mapping_reference() override { drop_reference(); }
  bool try_add_mapping_reference() override { return try_add_reference(); }
  mm::CachedFile& cached_file() override { return cached_; }

 protected:
  ~DevicePages() override = default;
  void last_reference_dropped() override;

 private:
  /// The part of the pages that lies on the device, as segments; `rest` is told of what lies behind its end.
  template <typename Rest>
  size_t segments_of(uint64_t first_page, std::span<const mm::PageMemory> pieces, std::span<Segment> into, Rest rest) const;

  const RefPtr<BlockDevice> device_;
  mm::PageCache& cache_;
  Keeper& keeper_;
  mm::WriteBackGroup group_;
  mm::CachedFile cached_;
};

}  // namespace umk::block
