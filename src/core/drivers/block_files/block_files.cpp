#include "core/drivers/block_files/block_files.h"

#include "core/drivers/block_files/block_file.h"
#include "core/kernel/block/description.h"

namespace umk::block_files {

namespace {

constexpr GroupId kDiskGroup = 6;  // of Debian

device::Node node_of(const block::BlockDevice& device) {
  return {.name = device.name(), .type = vfs::FileType::BlockDevice, .number = device.number(), .permissions = 0660, .gid = kDiskGroup};
}

}  // namespace

Result<void> BlockFiles::add_major(uint32_t major, std::string_view name) {
  TRY(majors_.push_back(TRY(umk::make_unique<Major>(*this, name))));
  return registry_.add_driver(vfs::FileType::BlockDevice, major, 0, 1 << 20, *majors_.back());
}

Result<RefPtr<vfs::OpenFile>> BlockFiles::open(const vfs::Caller&, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path&, uint32_t flags) {
  RefPtr<block::BlockDevice> device = devices_.find(number);
  if (!device) return error(ENXIO);
  return BlockFile::open(*this, std::move(device), std::move(inode), flags);
}

Result<RefPtr<block::DevicePages>> BlockFiles::pages_of(block::BlockDevice& device) {
  MutexLock lock(pages_mutex_);
  for (block::DevicePages* pages : pages_)
    // One that is about to go takes itself off the list.
    if (&pages->device() == &device && pages->try_add_reference()) return adopt_ref(pages);
  TRY(pages_.reserve(pages_.size() + 1));
  RefPtr<block::DevicePages> fresh = TRY(make_ref<block::DevicePages>(cache_, device, *this));
  TRY(pages_.push_back(fresh.get()));
  return fresh;
}

void BlockFiles::forget(block::DevicePages& pages) {
  MutexLock lock(pages_mutex_);
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (pages_[i] != &pages) continue;
    pages_.erase(i);
    return;
  }
}

Result<void> BlockFiles::on_added(block::BlockDevice& device) { return registry_.announce(node_of(device)); }

void BlockFiles::on_removed(block::BlockDevice& device) { registry_.withdraw(node_of(device)); }

void BlockFiles::announce(const block::BlockDevice& device, block::BlockDevices::Event event) {
  using Event = block::BlockDevices::Event;
  StringSink properties;
  block::put_properties(properties, device);
  const Result<String> place = block::place_of(device);
  // Without memory for it an event is lost, as it is on Linux.
  if (!place.ok() || properties.failed()) return;
  device::Uevent told{
      .action = device::UeventAction::Change, .place = place.value(), .subsystem = "block", .properties = properties.view(), .remarks = {}};
  if (event == Event::Added) told.action = device::UeventAction::Add;
  if (event == Event::Removed) told.action = device::UeventAction::Remove;
  if (event == Event::MediumChanged) told.remarks = "DISK_MEDIA_CHANGE=1\n";
  (void)registry_.uevents().send(told);
}

}  // namespace umk::block_files
