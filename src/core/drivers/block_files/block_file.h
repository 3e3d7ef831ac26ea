// BlockFile: an open block device file.
//
// Reads and writes go through the device's pages in the page cache, which all who have it open share; O_DIRECT goes past them. The last close writes what is
// dirty. An open with O_EXCL claims the device for as long as the file is open: open(2).
#pragma once

#include "core/drivers/block_files/block_files.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::block_files {

class BlockFile final : public vfs::OpenFile {
 public:
  static Result<RefPtr<vfs::OpenFile>> open(BlockFiles& files, RefPtr<block::BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags);

  bool is_seekable() const override { return true; }
  bool is_pollable() const override { return false; }
  uint32_t poll(vfs::PollTable*) override { return vfs::poll_bits::kAlwaysReady; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override;
  Result<void> sync(bool data_only) override;

  mm::PageSource* page_source() override { return pages_.get(); }

  BlockFile(BlockFiles& files, RefPtr<block::DevicePages> pages, RefPtr<vfs::Inode> inode, uint32_t flags);

 protected:
  ~BlockFile() override;

 private:
  /// O_DIRECT in whole sectors; what is not in pages is done by the cache.
  bool is_direct() const { return flags() & vfs::open_flags::kDirect; }
  /// EINVAL unless O_DIRECT's alignment is kept.
  Result<void> check_direct(uint64_t offset, const BufferCursor& buffer) const;
  Result<void> report_errors();
  /// Of a mounted device: what its filesystem has changed is seen, and what it is told at once of what is written.
  void follow_mounted_user();
  Result<size_t> write_beside(block::MountedUser& user, uint64_t offset, UserInBuffer& buffer);
  Result<void> change_partition(Task& task, uint64_t argument);
  Result<int64_t> discard_or_zero(uint32_t request, uint64_t argument);

  BlockFiles& files_;
  const RefPtr<block::DevicePages> pages_;
  block::BlockDevice& device_;
  std::atomic<mm::ErrorSequence::Position> errors_seen_;
  block::BlockDevice::Claim claim_;
};

}  // namespace umk::block_files
