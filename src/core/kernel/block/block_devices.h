// BlockDevices: all disks and partitions of a machine, by number and by name.
//
// Drivers add disks, at boot or later; the partitions on a disk are found when it is added and again on BLKRRPART. A device that is removed is found no more,
// and fails whatever its users still ask of it. Watchers (device files, sysfs) hear of both; the announcer hears when they are done, and tells programs.
//
// Locks: `mutex_` (LockRank::Block) guards the list. `changes_` keeps additions, removals and rescans apart; watchers and announcer are called with it held.
#pragma once

#include "core/base/vector.h"
#include "core/kernel/block/block_device.h"

namespace umk::block {

class BlockDevices {
 public:
  static constexpr uint32_t kMinorsOfDisk = block::kMinorsOfDisk;
  /// The highest number of a partition, as on Linux.
  static constexpr uint32_t kMaximumPartition = 255;

  class Watcher {
   public:
    virtual Result<void> on_added(BlockDevice& device) = 0;
    /// The device fails all requests from now on.
    virtual void on_removed(BlockDevice& device) = 0;

   protected:
    ~Watcher() = default;
  };

  enum class Event : uint8_t { Added, Removed, Changed, MediumChanged };
  class Announcer {
   public:
    virtual void announce(const BlockDevice& device, Event event) = 0;

   protected:
    ~Announcer() = default;
  };

  BlockDevices() = default;
  BlockDevices(const BlockDevices&) = delete;
  BlockDevices& operator=(const BlockDevices&) = delete;

  enum class Partitions { Scan, None };
  /// EBUSY when number or name is taken. A table that cannot be read leaves the disk without partitions, with a line in the log.
  Result<void> add(RefPtr<BlockDevice> disk, Partitions partitions = Partitions::Scan);
  /// Takes out a disk with its partitions. EBUSY while it or one of them is open or claimed.
  Result<void> remove(BlockDevice& disk);
  /// Reads the partition table anew. EBUSY while a partition is open or claimed, EINVAL for what is no disk or is not scanned.
  Result<void> rescan(BlockDevice& disk);

  // BLKPG: what partx(8) and its kin say of partitions, whatever the table says. Bytes, in whole blocks of the disk.
  /// EBUSY when the number is taken or the place is, EINVAL for a place that is not on the disk.
  Result<void> add_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes);
  /// ENXIO when there is none; EBUSY while it is open or claimed.
  Result<void> remove_partition(BlockDevice& disk, uint32_t number);
  /// Another size at the same place; errors as above.
  Result<void> resize_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes);
  /// All of them, for a disk whose medium goes. EBUSY.
  Result<void> remove_partitions(BlockDevice& disk);

  RefPtr<BlockDevice> find(DeviceNumber number);
  RefPtr<BlockDevice> find(std::string_view name);
  /// All, each disk before its partitions, in the order of numbers.
  Result<void> list(Vector<RefPtr<BlockDevice>>& into);

  /// At boot, before the first disk.
  void set_announcer(Announcer& announcer) { announcer_ = &announcer; }
  /// A disk that stays has another size or another medium.
  void announce_change(const BlockDevice& device, Event event);

  /// Hears of what is there already as well.
  Result<void> add_watcher(Watcher& watcher);

 private:
  Result<void> insert(RefPtr<BlockDevice> device) REQUIRES(changes_);
  void take_out(BlockDevice& device) REQUIRES(changes_);
  enum class Scan : uint8_t { First, Again };
  Result<void> scan(BlockDevice& disk, Scan which) REQUIRES(changes_);
  void announce(const BlockDevice& device, Event event) REQUIRES(changes_);
  /// The partitions of a disk, each with its number.
  Result<Vector<RefPtr<BlockDevice>>> partitions_of(BlockDevice& disk);
  Result<void> drop_partitions(BlockDevice& disk) REQUIRES(changes_);
  Result<RefPtr<BlockDevice>> insert_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes) REQUIRES(changes_);
  /// A number for a partition for which its disk has none; nothing when all are taken.
  std::optional<DeviceNumber> extended_number();
  /// What add_partition and resize_partition ask for; `number` itself may be there.
  Result<void> check_place(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes);

  Mutex changes_{LockRank::None};
  Mutex mutex_{LockRank::Block};
  Vector<RefPtr<BlockDevice>> devices_ GUARDED_BY(mutex_);
  Vector<Watcher*> watchers_ GUARDED_BY(changes_);
  Announcer* announcer_ = nullptr;
};

}  // namespace umk::block
