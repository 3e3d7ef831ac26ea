// Disks and partitions: devices/virtual/block/ubda with ubda1 in it, and the links to them. Documentation/ABI/stable/sysfs-block.
#include "core/fs/sysfs/tree.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/block/description.h"
#include "core/kernel/block/statistics_text.h"

namespace umk::sysfs {

namespace {

using block::BlockDevice;

void show_logical_block(const BlockDevice& device, TextSink& sink) { format(sink, "{}\n", device.logical_block_bytes()); }
void show_physical_block(const BlockDevice& device, TextSink& sink) { format(sink, "{}\n", device.physical_block_bytes()); }
void show_size(const BlockDevice& device, TextSink& sink) { format(sink, "{}\n", device.sectors()); }
void show_read_only(const BlockDevice& device, TextSink& sink) { format(sink, "{}\n", device.is_read_only() ? 1 : 0); }
void show_in_flight(const BlockDevice& device, TextSink& sink) { format(sink, "{8} {8}\n", device.statistics().in_flight.load(), 0); }
void show_statistics(const BlockDevice& device, TextSink& sink) {
  block::put_statistics(sink, device, 8);
  sink.put("\n");
}

Result<String> number_text(const BlockDevice& device) { return format_string("{}:{}", device.number().major, device.number().minor); }

Result<void> add_number(Directory& directory, std::string_view name, uint64_t value) {
  return directory.add_file(name, TRY(format_string("{}\n", value)));
}

Result<void> add_common(Directory& directory, BlockDevice& device, std::string_view place, device::Uevents& uevents) {
  TRY(directory.add_file("dev", TRY(format_string("{}\n", TRY(number_text(device))))));
  TRY(directory.add_block_file("size", device, show_size));
  TRY(directory.add_block_file("ro", device, show_read_only));
  TRY(directory.add_block_file("stat", device, show_statistics));
  TRY(directory.add_block_file("inflight", device, show_in_flight));
  TRY(directory.add_file("alignment_offset", "0\n"));
  TRY(directory.add_file("discard_alignment", "0\n"));
  StringSink properties;
  block::put_properties(properties, device);
  if (properties.failed()) return error(ENOMEM);
  TRY(directory.add_uevent_file(
      uevents,
      {.action = device::UeventAction::Add, .place = place, .subsystem = "block", .properties = properties.view(), .remarks = {}}));
  return directory.add_link("subsystem", device.disk() ? "../../../../../class/block" : "../../../../class/block");
}

Result<void> add_disk(Directory& directory, BlockDevice& device) {
  TRY(directory.add_file("removable", "0\n"));
  TRY(directory.add_file("hidden", "0\n"));
  TRY(add_number(directory, "range", device.minors()));
  TRY(add_number(directory, "ext_range", block::BlockDevices::kMaximumPartition + 1));
  if (!device.serial().empty()) TRY(directory.add_file("serial", TRY(format_string("{}\n", device.serial()))));
  if (const BlockDevice::AttributeGroup group = device.attributes(); !group.directory.empty()) {
    Directory& own = *TRY(directory.add_attribute_directory(group.directory, device));
    for (const BlockDevice::Attribute& attribute : group.attributes) TRY(own.add_block_file(attribute.name, device, attribute.show));
  }
  Directory& queue = *TRY(directory.directory("queue"));
  TRY(queue.add_block_file("logical_block_size", device, show_logical_block));
  TRY(queue.add_block_file("hw_sector_size", device, show_logical_block));
  TRY(queue.add_block_file("physical_block_size", device, show_physical_block));
  TRY(queue.add_block_file("minimum_io_size", device, show_physical_block));
  TRY(add_number(queue, "optimal_io_size", 0));
  TRY(add_number(queue, "discard_granularity", device.discard_bytes()));
  TRY(add_number(queue, "discard_max_bytes", device.discard_bytes() != 0 ? INT64_MAX & ~uint64_t{511} : 0));
  TRY(queue.add_file("rotational", "0\n"));
  TRY(queue.add_file("write_cache", "write back\n"));
  return queue.add_file("scheduler", "[none]\n");
}

Result<void> add_partition(Directory& directory, BlockDevice& device) {
  TRY(add_number(directory, "partition", device.partition_number()));
  return add_number(directory, "start", device.first_byte() / block::kSectorBytes);
}

}  // namespace

Result<void> add_block_device(Directory& root, BlockDevice& device, device::Uevents& uevents) {
  const String place = TRY(block::place_of(device));
  Directory& directory = *TRY(root.directory(place));
  TRY(add_common(directory, device, place, uevents));
  TRY(device.disk() ? add_partition(directory, device) : add_disk(directory, device));
  TRY(TRY(root.directory("class/block"))->add_link(device.name(), TRY(format_string("../../{}", place))));
  TRY(TRY(root.directory("dev/block"))->add_link(TRY(number_text(device)), TRY(format_string("../../{}", place))));
  if (!device.disk()) TRY(TRY(root.directory("block"))->add_link(device.name(), TRY(format_string("../{}", place))));
  return {};
}

void remove_block_device(Directory& root, BlockDevice& device) {
  const auto remove_from = [&](std::string_view path, std::string_view name) {
    const Result<Directory*> directory = root.directory(path);
    if (directory.ok()) directory.value()->remove(name);
  };
  if (const Result<String> number = number_text(device); number.ok()) remove_from("dev/block", number.value());
  remove_from("class/block", device.name());
  if (!device.disk()) {
    remove_from("block", device.name());
    remove_from("devices/virtual/block", device.name());
    return;
  }
  const Result<String> disk = block::place_of(*device.disk());
  if (disk.ok()) remove_from(disk.value(), device.name());
}

}  // namespace umk::sysfs
