#include "core/drivers/block_files/block_file.h"

#include <algorithm>

#include "core/abi/block_ioctl.h"
#include "core/base/bits.h"
#include "core/kernel/task/task.h"

namespace umk::block_files {

using block::BlockDevice;
using vfs::OpenFile;

namespace {

/// What one request takes at most, for those who ask.
constexpr size_t kPieceBytes = 128 * 1024;

}  // namespace

BlockFile::BlockFile(BlockFiles& files, RefPtr<block::DevicePages> pages, RefPtr<vfs::Inode> inode, uint32_t flags)
    : OpenFile(std::move(inode), flags & ~vfs::open_flags::kExclusive), files_(files), pages_(std::move(pages)), device_(pages_->device()), errors_seen_(pages_->cached_file().errors().sample()) {
  device_.add_opener();
}

BlockFile::~BlockFile() {
  claim_ = BlockDevice::Claim();
  // As Linux: who closes last has everything written, whoever wrote it.
  if (device_.openers.load(std::memory_order_acquire) == 1) pages_->cached_file().sync();
  device_.drop_opener();
}

Result<RefPtr<OpenFile>> BlockFile::open(BlockFiles& files, RefPtr<BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags) {
  const bool writes = (flags & vfs::open_flags::kAccessMask) != vfs::open_flags::kReadOnly;
  BlockDevice& driven = device->disk() ? *device->disk() : *device;
  TRY(driven.check_open(writes));
  RefPtr<BlockFile> file = TRY(make_ref<BlockFile>(files, TRY(files.pages_of(*device)), std::move(inode), flags));
  if (flags & vfs::open_flags::kExclusive) file->claim_ = TRY(device->claim(file.get()));
  return RefPtr<OpenFile>(std::move(file));
}

Result<void> BlockFile::check_direct(uint64_t offset, const BufferCursor& buffer) const {
  if (!is_aligned(offset | buffer.remaining() | buffer.next_piece().address, device_.logical_block_bytes())) return error(EINVAL);
  return {};
}

Result<size_t> BlockFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  if (is_direct()) TRY(check_direct(offset, buffer));
  const uint64_t size = device_.size_bytes();
  if (offset >= size) return size_t{0};
  buffer.limit(static_cast<size_t>(std::min<uint64_t>(buffer.remaining(), size - offset)));
  follow_mounted_user();
  mm::CachedFile& cached = pages_->cached_file();
  return is_direct() ? cached.read_direct(offset, buffer) : cached.read(offset, buffer);
}

void BlockFile::follow_mounted_user() {
  device_.with_mounted_user([&](block::MountedUser& user) {
    const uint64_t version = user.bring_up_to_date();
    if (device_.shown_version.exchange(version) != version) pages_->write_and_drop();
  });
}

// Not by pages, which hold more than what is written: the filesystem may be changing the rest of them.
Result<size_t> BlockFile::write_beside(block::MountedUser& user, uint64_t offset, UserInBuffer& buffer) {
  std::unique_ptr<std::byte[]> piece(new (std::nothrow) std::byte[kPieceBytes]);
  if (!piece) return error(ENOMEM);
  MutexLock lock(pages_->writers);
  const uint32_t sector = device_.logical_block_bytes();
  size_t written = 0;
  while (buffer.remaining() != 0) {
    // Whole sectors; tune2fs(8) writes the two bytes that it changes.
    const uint64_t first = round_down(offset, sector);
    const size_t before = static_cast<size_t>(offset - first), here = std::min(buffer.remaining(), kPieceBytes - sector - before);
    const size_t whole = round_up(before + here, sector);
    mm::CachedFile& cached = pages_->cached_file();
    cached.sync(first, first + whole);
    Result<void> outcome;
    if (whole != here) outcome = device_.read(first, std::span<std::byte>(piece.get(), whole));
    if (outcome.ok()) {
      const Result<size_t> got = buffer.get(std::span(piece.get() + before, here));
      if (!got.ok() || got.value() < here) outcome = got.ok() ? error(EFAULT) : got.failure();
    }
    if (outcome.ok()) outcome = device_.write(first, std::span<const std::byte>(piece.get(), whole));
    (void)cached.invalidate(first >> kPageShift, (page_up(first + whole) >> kPageShift) - (first >> kPageShift));
    if (!outcome.ok()) {
      if (written != 0) break;
      return outcome.failure();
    }
    user.device_changed(offset, here);
    offset += here;
    written += here;
  }
  return written;
}

Result<size_t> BlockFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool) {
  if (is_direct()) TRY(check_direct(offset, buffer));
  if (device_.is_read_only()) return error(EPERM);
  const uint64_t size = device_.size_bytes();
  if (buffer.remaining() == 0) return size_t{0};
  if (offset >= size) return error(ENOSPC);
  buffer.limit(static_cast<size_t>(std::min<uint64_t>(buffer.remaining(), size - offset)));
  mm::CachedFile& cached = pages_->cached_file();
  Result<size_t> outcome = size_t{0};
  if (device_.with_mounted_user([&](block::MountedUser& user) { outcome = write_beside(user, offset, buffer); })) {
    if (outcome.ok() && (flags() & vfs::open_flags::kDataSync)) TRY(device_.flush());
    return outcome;
  }
  size_t written;
  {
    MutexLock lock(pages_->writers);
    written = TRY(is_direct() ? cached.write_direct(offset, buffer) : cached.write(offset, buffer));
  }
  if (is_direct()) {
    cached.sync(offset, offset + written);
    if (written != 0) (void)cached.invalidate(offset >> kPageShift, ((offset + written - 1) >> kPageShift) - (offset >> kPageShift) + 1);
  }
  pages_->cache().throttle();
  if (flags() & vfs::open_flags::kDataSync) {
    cached.sync(offset, offset + written);
    TRY(report_errors());
    TRY(device_.flush());
  }
  return written;
}

Result<void> BlockFile::report_errors() { return pages_->cached_file().errors().check_and_advance(errors_seen_); }

Result<uint64_t> BlockFile::seek(int64_t offset, int whence) {
  enum { kSet, kCurrent, kEnd, kData, kHole };
  const uint64_t size = device_.size_bytes();
  MutexLock lock(position_mutex_);
  uint64_t base = 0;
  switch (whence) {
    case kSet: break;
    case kCurrent: base = position(); break;
    case kEnd: base = size; break;
    case kData:
    case kHole:
      if (offset < 0 || static_cast<uint64_t>(offset) >= size) return error(ENXIO);
      set_position(whence == kData ? static_cast<uint64_t>(offset) : size);
      return position();
    default: return error(EINVAL);
  }
  int64_t target;
  // A device ends where it ends: nothing is behind it.
  if (__builtin_add_overflow(static_cast<int64_t>(base), offset, &target) || target < 0 || static_cast<uint64_t>(target) > size) return error(EINVAL);
  set_position(static_cast<uint64_t>(target));
  return position();
}

Result<void> BlockFile::sync(bool) {
  const Result<void> flushed = pages_->sync();
  TRY(report_errors());
  return flushed;
}

Result<int64_t> BlockFile::discard_or_zero(uint32_t request, uint64_t argument) {
  if (!is_writable()) return error(EBADF);
  if (request == block_ioctl::kSecureDiscard || (request == block_ioctl::kDiscard && device_.discard_bytes() == 0)) return error(EOPNOTSUPP);
  const std::array<uint64_t, 2> range = TRY((UserPtr<std::array<uint64_t, 2>>(argument).read()));
  const uint64_t size = device_.size_bytes();
  if (!is_aligned(range[0] | range[1], device_.logical_block_bytes())) return error(EINVAL);
  if (range[0] > size || range[1] > size - range[0]) return error(EINVAL);
  if (device_.is_read_only()) return error(EPERM);
  // What the cache has of the range is of no use any more, also if it was never written.
  MutexLock lock(pages_->writers);
  mm::CachedFile& cached = pages_->cached_file();
  mm::CachedFile::NoFills hold(cached);
  TRY(cached.punch(range[0], range[1]));
  if (request == block_ioctl::kDiscard) {
    TRY(device_.discard(range[0], range[1]));
  } else {
    TRY(device_.write_zeroes(range[0], range[1]));
  }
  return int64_t{0};
}

// BLKPG of partx(8), addpart(8), delpart(8), resizepart(8).
Result<void> BlockFile::change_partition(Task& task, uint64_t argument) {
  using namespace block_ioctl;
  const PartitionChange change = TRY(UserPtr<PartitionChange>(argument).read());
  if (!task.credentials().has(Capability::SysAdmin)) return error(EACCES);
  const PartitionPlace place = TRY(UserPtr<PartitionPlace>(change.data).read());
  if (device_.disk() || place.number <= 0) return error(EINVAL);
  const uint32_t number = static_cast<uint32_t>(place.number);
  block::BlockDevices& devices = files_.devices();
  if (change.operation == kRemovePartition) return devices.remove_partition(device_, number);
  if (change.operation != kAddPartition && change.operation != kResizePartition) return error(EINVAL);
  if (place.start < 0 || place.length <= 0) return error(EINVAL);
  const uint64_t start = static_cast<uint64_t>(place.start), length = static_cast<uint64_t>(place.length);
  return change.operation == kAddPartition ? devices.add_partition(device_, number, start, length) : devices.resize_partition(device_, number, start, length);
}

Result<int64_t> BlockFile::ioctl(Task& task, uint32_t request, uint64_t argument) {
  using namespace block_ioctl;
  const bool is_administrator = task.credentials().has(Capability::SysAdmin);
  const auto give_int = [&](int32_t value) -> Result<int64_t> {
    TRY(UserPtr<int32_t>(argument).write(value));
    return int64_t{0};
  };
  const auto give_long = [&](uint64_t value) -> Result<int64_t> {
    TRY(UserPtr<uint64_t>(argument).write(value));
    return int64_t{0};
  };
  const auto give_short = [&](uint16_t value) -> Result<int64_t> {
    TRY(UserPtr<uint16_t>(argument).write(value));
    return int64_t{0};
  };
  switch (request) {
    case kGetBytes: return give_long(device_.size_bytes());
    case kGetSectors: return give_long(device_.sectors());
    case kGetLogicalBlock: return give_int(static_cast<int32_t>(device_.logical_block_bytes()));
    case kGetPhysicalBlock:
    case kGetLeastTransfer: return give_int(static_cast<int32_t>(device_.physical_block_bytes()));
    case kGetBestTransfer:
    case kGetAlignment:
    case kGetDiscardZeroes: return give_int(0);
    case kGetCacheBlock: return give_int(static_cast<int32_t>(device_.cache_block_bytes.load()));
    case kGetReadAhead: return give_long(256);
    case kGetMaximumSectors: return give_short(static_cast<uint16_t>(2 * kPieceBytes / block::kSectorBytes));
    case kGetRotational: return give_short(0);
    case kGetReadOnly: return give_int(device_.is_read_only());
    case kSetReadOnly: {
      if (!is_administrator) return error(EACCES);
      const int32_t wanted = TRY(UserPtr<int32_t>(argument).read());
      TRY(device_.set_read_only(wanted != 0));
      return int64_t{0};
    }
    case kSetCacheBlock: {
      if (!is_administrator) return error(EACCES);
      if (argument == 0) return error(EINVAL);
      const int32_t wanted = TRY(UserPtr<int32_t>(argument).read());
      if (wanted < static_cast<int32_t>(device_.logical_block_bytes()) || wanted > static_cast<int32_t>(kPageSize) || (wanted & (wanted - 1)) != 0)
        return error(EINVAL);
      device_.cache_block_bytes.store(static_cast<uint32_t>(wanted));
      return int64_t{0};
    }
    case kFlushBuffers:
      if (!is_administrator) return error(EACCES);
      pages_->write_and_drop();
      TRY(device_.flush());
      return int64_t{0};
    case kRereadPartitions:
      if (!is_administrator) return error(EACCES);
      if (device_.disk()) return error(EINVAL);
      // The table is read from the device.
      pages_->cached_file().sync();
      TRY(files_.devices().rescan(device_));
      return int64_t{0};
    case kPartitions:
      TRY(change_partition(task, argument));
      return int64_t{0};
    case kDiscard:
    case kSecureDiscard:
    case kWriteZeroes: return discard_or_zero(request, argument);
    case kGetGeometry: {
      if (argument == 0) return error(EINVAL);
      const std::optional<BlockDevice::Shape> shape = device_.shape();
      if (!shape) return error(ENOTTY);
      const BlockDevice& disk = device_.disk() ? *device_.disk() : device_;
      const uint64_t cylinders = disk.sectors() / (uint64_t{shape->heads} * shape->sectors);
      TRY(UserPtr<DiskGeometry>(argument).write(
          {shape->heads, shape->sectors, static_cast<uint16_t>(cylinders), 0, device_.first_byte() / block::kSectorBytes}));
      return int64_t{0};
    }
    default: return device_.ioctl(task, request, argument, is_writable());
  }
}

}  // namespace umk::block_files
