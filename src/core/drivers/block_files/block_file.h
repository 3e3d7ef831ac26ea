// BlockFile: an open block device file.
//
// Reads and writes are of any size and go through sectors in kernel memory; writes are on the device when they return, so filesystems and device files see
// each other's changes. An open with O_EXCL claims the device for as long as the file is open: open(2).
#pragma once

#include "core/kernel/block/block_devices.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::block_files {

class BlockFile final : public vfs::OpenFile {
 public:
  static Result<RefPtr<vfs::OpenFile>> open(block::BlockDevices& devices, RefPtr<block::BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags);

  bool is_seekable() const override { return true; }
  bool is_pollable() const override { return false; }
  uint32_t poll(vfs::PollTable*) override { return vfs::poll_bits::kAlwaysReady; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override;
  Result<void> sync(bool data_only) override;

  BlockFile(block::BlockDevices& devices, RefPtr<block::BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags);

 protected:
  ~BlockFile() override;

 private:
  /// EINVAL unless O_DIRECT's alignment is kept.
  Result<void> check_direct(uint64_t offset, const BufferCursor& buffer) const;
  Result<void> write_part(uint64_t first, uint64_t offset, size_t bytes, std::span<std::byte> sectors);
  Result<int64_t> discard_or_zero(uint32_t request, uint64_t argument);

  block::BlockDevices& devices_;
  const RefPtr<block::BlockDevice> device_;
  block::BlockDevice::Claim claim_;
};

}  // namespace umk::block_files
