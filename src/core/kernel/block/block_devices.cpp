#include "core/kernel/block/block_devices.h"

#include "core/base/bits.h"
#include "core/base/log.h"
#include "core/kernel/time/log_limit.h"
#include "core/lib/partition_table/partition_table.h"

namespace umk::block {

namespace {
// Tables can be read again in a loop; a machine that starts has many.
constexpr uint32_t kTablesInOneGo = 64;
constinit LogLimit log_limit(kTablesInOneGo);
}  // namespace

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
  announce(*device, Event::Added);
  return {};
}

void BlockDevices::announce(const BlockDevice& device, Event event) {
  if (announcer_) announcer_->announce(device, event);
}

void BlockDevices::announce_change(const BlockDevice& device, Event event) {
  MutexLock changes(changes_);
  announce(device, event);
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
  announce(*removed, Event::Removed);
}

Result<Vector<RefPtr<BlockDevice>>> BlockDevices::partitions_of(BlockDevice& disk) {
  Vector<RefPtr<BlockDevice>> partitions;
  MutexLock lock(mutex_);
  for (const RefPtr<BlockDevice>& device : devices_)
    if (device->disk() == &disk) TRY(partitions.push_back(device));
  return partitions;
}

Result<void> BlockDevices::scan(BlockDevice& disk, Scan which) {
  DiskReader reader(disk);
  Result<partition_table::Table> table = partition_table::read_table(reader, disk.size_bytes(), disk.logical_block_bytes());
  if (!table.ok()) {
    log_limited(log_limit, "partitions", LogLevel::Error, "{}: the partition table cannot be read: errno {}", disk.name(), table.code());
    return {};
  }
  // As Linux: programs hear that the table was read anew, where there is one.
  if (which == Scan::Again && table.value().kind != partition_table::Kind::None) announce(disk, Event::Changed);
  StringSink found;
  for (const partition_table::Partition& place : table.value().partitions) {
    const RefPtr<BlockDevice> partition = TRY(insert_partition(disk, place.number, place.first_byte, place.bytes));
    format(found, " {}", partition->name());
  }
  if (!found.view().empty()) log_limited(log_limit, "partitions", LogLevel::Info, " {}:{}", disk.name(), found.view());
  return {};
}

std::optional<DeviceNumber> BlockDevices::extended_number() {
  constexpr uint32_t kMinors = 1 << 20;
  MutexLock lock(mutex_);
  // Devices are sorted by number.
  uint32_t minor = 0;
  for (const RefPtr<BlockDevice>& device : devices_)
    if (device->number() == DeviceNumber{kExtendedMajor, minor}) ++minor;
  if (minor == kMinors) return std::nullopt;
  return DeviceNumber{kExtendedMajor, minor};
}

Result<RefPtr<BlockDevice>> BlockDevices::insert_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes) {
  std::optional<DeviceNumber> device_number = DeviceNumber{disk.number().major, disk.number().minor + number};
  if (number >= disk.minors()) device_number = extended_number();
  if (!device_number) return error(EBUSY);
  String name = TRY(partition_name(disk.name(), number));
  RefPtr<BlockDevice> partition =
      TRY(make_ref<Partition>(std::move(name), *device_number, disk, partition_table::Partition{number, first_byte, bytes}));
  TRY(insert(partition));
  return partition;
}

Result<void> BlockDevices::add(RefPtr<BlockDevice> disk, Partitions partitions) {
  MutexLock changes(changes_);
  TRY(insert(disk));
  if (partitions == Partitions::None) return {};
  return scan(*disk, Scan::First);
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

Result<void> BlockDevices::drop_partitions(BlockDevice& disk) {
  const Vector<RefPtr<BlockDevice>> partitions = TRY(partitions_of(disk));
  for (const RefPtr<BlockDevice>& partition : partitions)
    if (is_in_use(*partition)) return error(EBUSY);
  for (const RefPtr<BlockDevice>& partition : partitions) take_out(*partition);
  return {};
}

Result<void> BlockDevices::rescan(BlockDevice& disk) {
  if (!disk.is_scanned_for_partitions()) return error(EINVAL);
  MutexLock changes(changes_);
  TRY(drop_partitions(disk));
  return scan(disk, Scan::Again);
}

Result<void> BlockDevices::remove_partitions(BlockDevice& disk) {
  MutexLock changes(changes_);
  return drop_partitions(disk);
}

Result<void> BlockDevices::check_place(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes) {
  if (disk.disk() || number == 0) return error(EINVAL);
  if (bytes == 0 || !is_aligned(first_byte | bytes, disk.logical_block_bytes())) return error(EINVAL);
  if (first_byte > disk.size_bytes() || bytes > disk.size_bytes() - first_byte) return error(EINVAL);
  for (const RefPtr<BlockDevice>& other : TRY(partitions_of(disk)))
    if (other->partition_number() != number && first_byte < other->first_byte() + other->size_bytes() &&
        other->first_byte() < first_byte + bytes)
      return error(EBUSY);
  return {};
}

Result<void> BlockDevices::add_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes) {
  if (number > kMaximumPartition) return error(EINVAL);
  MutexLock changes(changes_);
  TRY(check_place(disk, number, first_byte, bytes));
  for (const RefPtr<BlockDevice>& other : TRY(partitions_of(disk)))
    if (other->partition_number() == number) return error(EBUSY);
  TRY(insert_partition(disk, number, first_byte, bytes));
  return {};
}

Result<void> BlockDevices::remove_partition(BlockDevice& disk, uint32_t number) {
  MutexLock changes(changes_);
  for (const RefPtr<BlockDevice>& partition : TRY(partitions_of(disk))) {
    if (partition->partition_number() != number) continue;
    if (is_in_use(*partition)) return error(EBUSY);
    take_out(*partition);
    return {};
  }
  return error(ENXIO);
}

Result<void> BlockDevices::resize_partition(BlockDevice& disk, uint32_t number, uint64_t first_byte, uint64_t bytes) {
  MutexLock changes(changes_);
  for (const RefPtr<BlockDevice>& partition : TRY(partitions_of(disk))) {
    if (partition->partition_number() != number) continue;
    if (partition->first_byte() != first_byte) return error(EINVAL);
    TRY(check_place(disk, number, first_byte, bytes));
    partition->set_size(bytes);
    return {};
  }
  return error(ENXIO);
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
