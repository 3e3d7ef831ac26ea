#include "core/drivers/block_files/block_files.h"

#include "core/drivers/block_files/block_file.h"

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
  return BlockFile::open(devices_, std::move(device), std::move(inode), flags);
}

Result<void> BlockFiles::on_added(block::BlockDevice& device) { return registry_.announce(node_of(device)); }

void BlockFiles::on_removed(block::BlockDevice& device) { registry_.withdraw(node_of(device)); }

}  // namespace umk::block_files
