// BlockDevices: all disks and partitions of a machine, by number and by name.
//
// Drivers add disks, at boot or later; the partitions on a disk are found when it is added and again on BLKRRPART. A device that is removed is found no more,
// and fails whatever its users still ask of it. Watchers (device files, sysfs) hear of both.
//
// Locks: `mutex_` (LockRank::Block) guards the list. `changes_` keeps additions, removals and rescans apart; watchers are called with it held.
#pragma once

#include "core/base/vector.h"
#include "core/kernel/block/block_device.h"

namespace umk::block {

class BlockDevices {
 public:
  /// The minors of a disk that its partitions take: ubda is 98:0, its partitions 98:1 to 98:15.
  static constexpr uint32_t kMinorsOfDisk = 16;

  class Watcher {
   public:
    virtual Result<void> on_added(BlockDevice& device) = 0;
    /// The device fails all requests from now on.
    virtual void on_removed(BlockDevice& device) = 0;

   protected:
    ~Watcher() = default;
  };

  BlockDevices() = default;
  BlockDevices(const BlockDevices&) = delete;
  BlockDevices& operator=(const BlockDevices&) = delete;

  enum class Partitions { Scan, None };
  /// EBUSY when number or name is taken. A table that cannot be read leaves the disk without partitions, with a line in the log.
  Result<void> add(RefPtr<BlockDevice> disk, Partitions partitions = Partitions::Scan);
  /// Takes out a disk with its partitions. EBUSY while it or one of them is open or claimed.
  Result<void> remove(BlockDevice& disk);
  /// Reads the partition table anew. EBUSY while a partition is open or claimed, EINVAL for what is no disk.
  Result<void> rescan(BlockDevice& disk);

  RefPtr<BlockDevice> find(DeviceNumber number);
  RefPtr<BlockDevice> find(std::string_view name);
  /// All, each disk before its partitions, in the order of numbers.
  Result<void> list(Vector<RefPtr<BlockDevice>>& into);

  /// Hears of what is there already as well.
  Result<void> add_watcher(Watcher& watcher);

 private:
  Result<void> insert(RefPtr<BlockDevice> device) REQUIRES(changes_);
  void take_out(BlockDevice& device) REQUIRES(changes_);
  Result<void> scan(BlockDevice& disk) REQUIRES(changes_);
  /// The partitions of a disk, each with its number.
  Result<Vector<RefPtr<BlockDevice>>> partitions_of(BlockDevice& disk);

  Mutex changes_{LockRank::None};
  Mutex mutex_{LockRank::Block};
  Vector<RefPtr<BlockDevice>> devices_ GUARDED_BY(mutex_);
  Vector<Watcher*> watchers_ GUARDED_BY(changes_);
};

}  // namespace umk::block
