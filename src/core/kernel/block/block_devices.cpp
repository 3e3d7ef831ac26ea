#include "core/kernel/block/block_devices.h"

#include "core/base/log.h"
#include "core/lib/partition_table/partition_table.h"

namespace umk::block {

namespace {

class Partition final : public BlockDevice {
 public:
  Partition(String name, DeviceNumber number, BlockDevice& disk, const partition_table::Partition& place)
      : BlockDevice(std::move(name), number, RefPtr<BlockDevice>(disk), place.first_byte, place.bytes, place.number) {}

 protected:
  void start(Request&, uint64_t) override { CHECK(false, "requests to a partition start on its disk"); }
};

struct DiskReader final : partition_table::SectorReader {
  explicit DiskReader(BlockDevice& device) : disk(device) {}
  Result<void> read(uint64_t offset, std::span<std::byte> into) override { return disk.read(offset, into); }
  BlockDevice& disk;
};

/// "ubda" and 1 make "ubda1"; a name that ends in a digit gets a p between: "loop0p1".
Result<String> partition_name(std::string_view disk, uint32_t number) {
  const bool ends_in_digit = !disk.empty() && disk.back() >= '0' && disk.back() <= '9';
  return format_string("{}{}{}", disk, ends_in_digit ? "p" : "", number);
}

bool is_in_use(const BlockDevice& device) { return device.openers.load(std::memory_order_acquire) != 0 || device.is_claimed(); }

bool comes_before(DeviceNumber a, DeviceNumber b) { return a.major != b.major ? a.major < b.major : a.minor < b.minor; }

}  // namespace

Result<void> BlockDevices::insert(RefPtr<BlockDevice> device) {
  {
    MutexLock lock(mutex_);
    size_t place = devices_.size();
    for (size_t i = 0; i < devices_.size(); ++i) {
      if (devices_[i]->number() == device->number() || devices_[i]->name() == device->name()) return error(EBUSY);
      if (place == devices_.size() && comes_before(device->number(), devices_[i]->number())) place = i;
    }
    TRY(devices_.insert(place, device));
  }
  for (Watcher* watcher : watchers_) {
    Result<void> told = watcher->on_added(*device);
    if (told.ok()) continue;
    take_out(*device);
    return told;
  }
  return {};
}

void BlockDevices::take_out(BlockDevice& device) {
  RefPtr<BlockDevice> removed;
  {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < devices_.size(); ++i) {
      if (devices_[i] != &device) continue;
      removed = devices_[i];
      devices_.erase(i);
      break;
    }
  }
  if (!removed) return;
  removed->mark_removed();
  for (Watcher* watcher : watchers_) watcher->on_removed(*removed);
}

Result<Vector<RefPtr<BlockDevice>>> BlockDevices::partitions_of(BlockDevice& disk) {
  Vector<RefPtr<BlockDevice>> partitions;
  MutexLock lock(mutex_);
  for (const RefPtr<BlockDevice>& device : devices_)
    if (device->disk() == &disk) TRY(partitions.push_back(device));
  return partitions;
}

Result<void> BlockDevices::scan(BlockDevice& disk) {
  DiskReader reader(disk);
  Result<partition_table::Table> table = partition_table::read_table(reader, disk.size_bytes(), disk.logical_block_bytes());
  if (!table.ok()) {
    log(LogLevel::Error, "{}: the partition table cannot be read: errno {}", disk.name(), table.code());
    return {};
  }
  uint32_t left_out = 0;
  StringSink found;
  for (const partition_table::Partition& place : table.value().partitions) {
    // A device has as many partitions as it has minors.
    if (place.number >= kMinorsOfDisk) {
      ++left_out;
      continue;
    }
    String name = TRY(partition_name(disk.name(), place.number));
    format(found, " {}", name);
    const DeviceNumber number{disk.number().major, disk.number().minor + place.number};
    TRY(insert(TRY(make_ref<Partition>(std::move(name), number, disk, place))));
  }
  if (!found.view().empty()) log(LogLevel::Info, " {}:{}", disk.name(), found.view());
  if (left_out != 0) log(LogLevel::Warning, "{}: {} partitions have no device number and are left out", disk.name(), left_out);
  return {};
}

Result<void> BlockDevices::add(RefPtr<BlockDevice> disk, Partitions partitions) {
  MutexLock changes(changes_);
  TRY(insert(disk));
  if (partitions == Partitions::None) return {};
  return scan(*disk);
}

Result<void> BlockDevices::remove(BlockDevice& disk) {
  MutexLock changes(changes_);
  const RefPtr<BlockDevice> keep(disk);
  const Vector<RefPtr<BlockDevice>> partitions = TRY(partitions_of(disk));
  if (is_in_use(disk)) return error(EBUSY);
  for (const RefPtr<BlockDevice>& partition : partitions)
    if (is_in_use(*partition)) return error(EBUSY);
  for (const RefPtr<BlockDevice>& partition : partitions) take_out(*partition);
  take_out(disk);
  return {};
}

Result<void> BlockDevices::rescan(BlockDevice& disk) {
  if (disk.disk()) return error(EINVAL);
  MutexLock changes(changes_);
  const Vector<RefPtr<BlockDevice>> partitions = TRY(partitions_of(disk));
  for (const RefPtr<BlockDevice>& partition : partitions)
    if (is_in_use(*partition)) return error(EBUSY);
  for (const RefPtr<BlockDevice>& partition : partitions) take_out(*partition);
  return scan(disk);
}

RefPtr<BlockDevice> BlockDevices::find(DeviceNumber number) {
  MutexLock lock(mutex_);
  for (const RefPtr<BlockDevice>& device : devices_)
    if (device->number() == number) return device;
  return {};
}

RefPtr<BlockDevice> BlockDevices::find(std::string_view name) {
  MutexLock lock(mutex_);
  for (const RefPtr<BlockDevice>& device : devices_)
    if (device->name() == name) return device;
  return {};
}

Result<void> BlockDevices::list(Vector<RefPtr<BlockDevice>>& into) {
  MutexLock lock(mutex_);
  for (const RefPtr<BlockDevice>& device : devices_) TRY(into.push_back(device));
  return {};
}

Result<void> BlockDevices::add_watcher(Watcher& watcher) {
  MutexLock changes(changes_);
  Vector<RefPtr<BlockDevice>> present;
  TRY(list(present));
  TRY(watchers_.push_back(&watcher));
  for (const RefPtr<BlockDevice>& device : present) TRY(watcher.on_added(*device));
  return {};
}

}  // namespace umk::block
