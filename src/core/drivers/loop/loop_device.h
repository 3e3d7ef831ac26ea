// LoopDevice: a block device whose sectors are bytes of a file of this machine: loop(4), losetup(8), mount -o loop.
//
// Life: there are a few from the start, without a file; LOOP_SET_FD or LOOP_CONFIGURE binds one, LOOP_CLR_FD, or the last close of one that clears itself, sets it
// free. An unbound device has no sectors.
//
// Requests are done in the caller's context by reading and writing the file, through its filesystem's cache. What the caller holds are locks of whatever lies on the
// device; the file lies on something that knows nothing of the device, so no circle of locks can arise, although ranks repeat.
//
// Lock: `mutex_` (LockRank::Block) guards the binding; nothing is called while it is held.
#pragma once

#include "core/abi/loop.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::loop {

inline constexpr uint32_t kMajor = 7;

class LoopDevice final : public block::BlockDevice {
 public:
  /// To be added to `devices`.
  static Result<RefPtr<LoopDevice>> create(uint32_t number, block::BlockDevices& devices);
  LoopDevice(String name, uint32_t number, const block::Geometry& geometry, block::BlockDevices& devices)
      : BlockDevice(std::move(name), DeviceNumber{kMajor, number}, geometry), loop_number_(number), devices_(devices) {}

  uint32_t loop_number() const { return loop_number_; }
  bool is_bound() const;
  AttributeGroup attributes() const override;
  bool has_attributes() const override { return is_bound(); }

  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument, bool for_writing) override;
  void on_last_close() override;
  // The next number is the next device's, so all partitions have numbers of kExtendedMajor.
  uint32_t minors() const override { return 1; }
  bool is_scanned_for_partitions() const override { return is_scanned_.load(std::memory_order_relaxed); }

  /// `path` is what /sys shows as the file's name, `block_bytes` the size of sectors, 0 for 512. EBUSY when a file is bound already, EINVAL for what is no file or
  /// block device, or flags and sizes that are not known.
  Result<void> bind(RefPtr<vfs::OpenFile> file, const loop_abi::Status& wanted, bool for_writing, String path, uint32_t block_bytes = 0);
  /// ENXIO when none is bound. In use by others than the caller it clears itself when they are done.
  Result<void> unbind(uint32_t own_openers);
  Result<loop_abi::Status> status();
  Result<void> change(const loop_abi::Status& wanted);
  /// The file's size has changed.
  Result<void> update_size();
  /// LOOP_SET_BLOCK_SIZE: EBUSY while there are partitions.
  Result<void> change_block_size(uint64_t bytes);
  /// LOOP_SET_DIRECT_IO: past the cache of the file's filesystem. EINVAL where that cannot be.
  Result<void> set_direct(bool is_wanted);

 protected:
  void start(block::Request& request, uint64_t offset) override;

 private:
  struct Binding {
    RefPtr<vfs::OpenFile> file;
    uint64_t offset = 0, size_limit = 0;
    uint32_t flags = 0;
    uint32_t block_bytes = block::kSectorBytes;
    char file_name[64] = {};
  };
  Binding binding() const;
  template <uint64_t (*kValue)(const Binding&)>
  static void show_value(const BlockDevice& device, TextSink& sink);
  static void show_path(const BlockDevice& device, TextSink& sink);
  static const Attribute kAttributes[6];
  Result<void> do_request(block::Request& request, uint64_t offset);
  static Result<uint64_t> size_of(const Binding& binding);
  void release(RefPtr<vfs::OpenFile> file);
  void look_for_partitions();
  static bool can_be_direct(const Binding& binding);

  const uint32_t loop_number_;
  block::BlockDevices& devices_;
  std::atomic<bool> is_scanned_{false};  // LO_FLAGS_PARTSCAN
  mutable Mutex mutex_{LockRank::Block};
  Binding binding_ GUARDED_BY(mutex_);
  String path_ GUARDED_BY(mutex_);
};

}  // namespace umk::loop
