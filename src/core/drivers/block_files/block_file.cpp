#include "core/drivers/block_files/block_file.h"

#include <algorithm>

#include "core/abi/block_ioctl.h"
#include "core/base/bits.h"
#include "core/kernel/task/task.h"

namespace umk::block_files {

using block::BlockDevice;
using vfs::OpenFile;

namespace {

/// What is moved at once.
constexpr size_t kPieceBytes = 128 * 1024;

Result<Vector<std::byte>> make_memory(size_t bytes) {
  Vector<std::byte> memory;
  TRY(memory.resize(bytes));
  return memory;
}

}  // namespace

BlockFile::BlockFile(block::BlockDevices& devices, RefPtr<BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags)
    : OpenFile(std::move(inode), flags & ~vfs::open_flags::kExclusive), devices_(devices), device_(std::move(device)) {
  device_->add_opener();
}

BlockFile::~BlockFile() {
  claim_ = BlockDevice::Claim();
  device_->drop_opener();
}

Result<RefPtr<OpenFile>> BlockFile::open(block::BlockDevices& devices, RefPtr<BlockDevice> device, RefPtr<vfs::Inode> inode, uint32_t flags) {
  const bool writes = (flags & vfs::open_flags::kAccessMask) != vfs::open_flags::kReadOnly;
  BlockDevice& driven = device->disk() ? *device->disk() : *device;
  TRY(driven.check_open(writes));
  RefPtr<BlockFile> file = TRY(make_ref<BlockFile>(devices, std::move(device), std::move(inode), flags));
  if (flags & vfs::open_flags::kExclusive) file->claim_ = TRY(file->device_->claim(file.get()));
  return RefPtr<OpenFile>(std::move(file));
}

Result<void> BlockFile::check_direct(uint64_t offset, const BufferCursor& buffer) const {
  if (!(flags() & vfs::open_flags::kDirect)) return {};
  if (!is_aligned(offset | buffer.remaining() | buffer.next_piece().address, device_->logical_block_bytes())) return error(EINVAL);
  return {};
}

Result<size_t> BlockFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  TRY(check_direct(offset, buffer));
  const uint64_t size = device_->size_bytes();
  if (offset >= size) return size_t{0};
  buffer.limit(static_cast<size_t>(std::min<uint64_t>(buffer.remaining(), size - offset)));
  const uint64_t sector = device_->logical_block_bytes();
  Vector<std::byte> memory = TRY(make_memory(static_cast<size_t>(std::min<uint64_t>(kPieceBytes, round_up(buffer.remaining() + sector, sector)))));
  size_t total = 0;
  while (buffer.remaining() != 0) {
    const uint64_t first = round_down(offset, sector);
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(memory.size(), round_up(offset + buffer.remaining(), sector) - first));
    const Result<void> done = device_->read(first, std::span(memory).first(wanted));
    if (!done.ok()) return total != 0 ? Result<size_t>(total) : done.failure();
    const size_t skipped = static_cast<size_t>(offset - first);
    const size_t usable = std::min(wanted - skipped, buffer.remaining());
    const Result<size_t> put = buffer.put(std::span(memory).subspan(skipped, usable));
    if (!put.ok()) return total != 0 ? Result<size_t>(total) : put.failure();
    total += put.value();
    offset += put.value();
    if (put.value() < usable) break;
  }
  return total;
}

// `sectors` is the memory of the sectors from `first` on, in which [offset, offset + bytes) is already what is to be written.
Result<void> BlockFile::write_part(uint64_t first, uint64_t offset, size_t bytes, std::span<std::byte> sectors) {
  const size_t sector = device_->logical_block_bytes();
  const uint64_t end = offset + bytes;
  if (offset == first && is_aligned(end, sector)) return device_->write(first, sectors);
  MutexLock lock(device_->part_mutex);
  Vector<std::byte> old = TRY(make_memory(sector));
  if (offset != first) {
    TRY(device_->read(first, old));
    std::copy_n(old.begin(), static_cast<size_t>(offset - first), sectors.begin());
  }
  if (const size_t used = static_cast<size_t>(end % sector); used != 0) {
    TRY(device_->read(end - used, old));
    std::copy(old.begin() + used, old.end(), sectors.end() - static_cast<ptrdiff_t>(sector - used));
  }
  return device_->write(first, sectors);
}

Result<size_t> BlockFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool) {
  TRY(check_direct(offset, buffer));
  if (device_->is_read_only()) return error(EPERM);
  const uint64_t size = device_->size_bytes();
  if (buffer.remaining() == 0) return size_t{0};
  if (offset >= size) return error(ENOSPC);
  buffer.limit(static_cast<size_t>(std::min<uint64_t>(buffer.remaining(), size - offset)));
  const uint64_t sector = device_->logical_block_bytes();
  Vector<std::byte> memory = TRY(make_memory(static_cast<size_t>(std::min<uint64_t>(kPieceBytes, round_up(buffer.remaining() + sector, sector)))));
  size_t total = 0;
  uint64_t at = offset;
  Result<void> failure;
  while (buffer.remaining() != 0) {
    const uint64_t first = round_down(at, sector);
    const size_t skipped = static_cast<size_t>(at - first);
    const size_t wanted = std::min(memory.size() - skipped, buffer.remaining());
    const Result<size_t> got = buffer.get(std::span(memory).subspan(skipped, wanted));
    if (!got.ok()) {
      failure = got.failure();
      break;
    }
    const size_t whole = static_cast<size_t>(round_up(skipped + got.value(), sector));
    failure = write_part(first, at, got.value(), std::span(memory).first(whole));
    if (!failure.ok()) break;
    total += got.value();
    at += got.value();
    if (got.value() < wanted) break;
  }
  if (total == 0 && !failure.ok()) return failure.failure();
  if (flags() & vfs::open_flags::kDataSync) TRY(device_->flush());
  return total;
}

Result<uint64_t> BlockFile::seek(int64_t offset, int whence) {
  enum { kSet, kCurrent, kEnd, kData, kHole };
  const uint64_t size = device_->size_bytes();
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

Result<void> BlockFile::sync(bool) { return device_->flush(); }

Result<int64_t> BlockFile::discard_or_zero(uint32_t request, uint64_t argument) {
  if (!is_writable()) return error(EBADF);
  if (request == block_ioctl::kSecureDiscard || (request == block_ioctl::kDiscard && device_->discard_bytes() == 0)) return error(EOPNOTSUPP);
  const std::array<uint64_t, 2> range = TRY((UserPtr<std::array<uint64_t, 2>>(argument).read()));
  const uint64_t size = device_->size_bytes();
  if (!is_aligned(range[0] | range[1], device_->logical_block_bytes())) return error(EINVAL);
  if (range[0] > size || range[1] > size - range[0]) return error(EINVAL);
  if (device_->is_read_only()) return error(EPERM);
  if (request == block_ioctl::kDiscard) {
    TRY(device_->discard(range[0], range[1]));
  } else {
    TRY(device_->write_zeroes(range[0], range[1]));
  }
  return int64_t{0};
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
    case kGetBytes: return give_long(device_->size_bytes());
    case kGetSectors: return give_long(device_->sectors());
    case kGetLogicalBlock: return give_int(static_cast<int32_t>(device_->logical_block_bytes()));
    case kGetPhysicalBlock:
    case kGetLeastTransfer: return give_int(static_cast<int32_t>(device_->physical_block_bytes()));
    case kGetBestTransfer:
    case kGetAlignment:
    case kGetDiscardZeroes: return give_int(0);
    case kGetCacheBlock: return give_int(static_cast<int32_t>(device_->cache_block_bytes.load()));
    case kGetReadAhead: return give_long(256);
    case kGetMaximumSectors: return give_short(static_cast<uint16_t>(2 * kPieceBytes / block::kSectorBytes));
    case kGetRotational: return give_short(0);
    case kGetReadOnly: return give_int(device_->is_read_only());
    case kSetReadOnly: {
      if (!is_administrator) return error(EACCES);
      const int32_t wanted = TRY(UserPtr<int32_t>(argument).read());
      TRY(device_->set_read_only(wanted != 0));
      return int64_t{0};
    }
    case kSetCacheBlock: {
      if (!is_administrator) return error(EACCES);
      if (argument == 0) return error(EINVAL);
      const int32_t wanted = TRY(UserPtr<int32_t>(argument).read());
      if (wanted < static_cast<int32_t>(device_->logical_block_bytes()) || wanted > static_cast<int32_t>(kPageSize) || (wanted & (wanted - 1)) != 0)
        return error(EINVAL);
      device_->cache_block_bytes.store(static_cast<uint32_t>(wanted));
      return int64_t{0};
    }
    case kFlushBuffers:
      if (!is_administrator) return error(EACCES);
      TRY(device_->flush());
      return int64_t{0};
    case kRereadPartitions:
      if (!is_administrator) return error(EACCES);
      if (device_->disk()) return error(EINVAL);
      TRY(devices_.rescan(*device_));
      return int64_t{0};
    case kDiscard:
    case kSecureDiscard:
    case kWriteZeroes: return discard_or_zero(request, argument);
    case kGetGeometry: {
      if (argument == 0) return error(EINVAL);
      const std::optional<BlockDevice::Shape> shape = device_->shape();
      if (!shape) return error(ENOTTY);
      const BlockDevice& disk = device_->disk() ? *device_->disk() : *device_;
      const uint64_t cylinders = disk.sectors() / (uint64_t{shape->heads} * shape->sectors);
      TRY(UserPtr<DiskGeometry>(argument).write(
          {shape->heads, shape->sectors, static_cast<uint16_t>(cylinders), 0, device_->first_byte() / block::kSectorBytes}));
      return int64_t{0};
    }
    default: return device_->ioctl(task, request, argument, is_writable());
  }
}

}  // namespace umk::block_files
