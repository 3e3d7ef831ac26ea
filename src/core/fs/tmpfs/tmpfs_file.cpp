// Regular files of tmpfs.
#include "core/fs/tmpfs/tmpfs_inode.h"
#include "core/kernel/mm/address_space.h"

namespace umk::fs {

using vfs::FallocateMode;

TmpfsFile::TmpfsFile(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid) : TmpfsInode(superblock, mode, uid, gid), store_(superblock.window()) {}

TmpfsFile::~TmpfsFile() {
  contents_changed();
  filesystem().adjust_used(-static_cast<int64_t>(accounted_bytes_));
}

Result<vfs::Metadata> TmpfsFile::metadata() {
  vfs::Metadata data = TRY(TmpfsInode::metadata());
  data.blocks = store_.allocated_bytes() / 512;
  return data;
}

/// Tells the filesystem how much the file takes now.
void TmpfsFile::account_locked() {
  const uint64_t now = store_.allocated_bytes();
  if (now == accounted_bytes_) return;
  filesystem().adjust_used(static_cast<int64_t>(now) - static_cast<int64_t>(accounted_bytes_));
  accounted_bytes_ = now;
}

Result<size_t> TmpfsFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  const uint64_t size = size_bytes();
  if (offset >= size) return size_t{0};
  if (buffer.remaining() > size - offset) buffer.limit(size - offset);
  const size_t count = TRY(store_.read(offset, buffer));
  touch_access_time();
  return count;
}

Result<size_t> TmpfsFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool append) {
  if (buffer.remaining() == 0) return size_t{0};
  size_t count;
  {
    MutexLock lock(data_mutex_);
    const uint64_t size = size_bytes();
    if (append) offset = size;
    if (offset >= INT64_MAX) return error(EFBIG);
    buffer.limit(INT64_MAX - offset);
    const uint32_t sealed = seals_.load(std::memory_order_acquire);
    if (sealed & (vfs::seals::kWrite | vfs::seals::kFutureWrite)) return error(EPERM);
    if ((sealed & vfs::seals::kGrow) && offset + buffer.remaining() > size) {
      if (offset >= size) return error(EPERM);
      buffer.limit(size - offset);
    }
    // What a mapping wrote behind the end of the file must not show up in the gap.
    if (offset > size && !is_aligned(size, kPageSize)) store_.punch(size, (page_up(size) < offset ? page_up(size) : offset) - size);
    const uint64_t touched = page_up(offset + buffer.remaining()) - page_down(offset);
    count = TRY(touched <= filesystem().free_bytes() ? store_.write(offset, buffer) : write_within_limit_locked(offset, buffer));
    account_locked();
    if (offset + count > size) size_bytes_.store(offset + count, std::memory_order_release);
  }
  touch_modify_and_change_time();
  contents_changed();
  return count;
}

/// Near the size limit: page by page, as long as pages are there already or may be had.
Result<size_t> TmpfsFile::write_within_limit_locked(uint64_t offset, UserInBuffer& buffer) {
  size_t total = 0;
  while (buffer.remaining() != 0) {
    const uint64_t position = offset + total;
    const std::byte* page = TRY(store_.page(position / kPageSize, false));
    if (!page && filesystem().free_bytes() < kPageSize) break;
    const size_t rest = buffer.remaining();
    const size_t piece = std::min<size_t>(rest, kPageSize - position % kPageSize);
    std::array<std::byte, 512> bytes;
    size_t done = 0;
    while (done < piece) {
      const size_t part = std::min(bytes.size(), piece - done);
      const Result<size_t> got = buffer.get(std::span(bytes).first(part));
      if (!got.ok()) return total + done != 0 ? Result<size_t>(total + done) : got.failure();
      UserInBuffer from = UserInBuffer::kernel(std::span<const std::byte>(bytes).first(got.value()));
      const Result<size_t> put = store_.write(position + done, from);
      if (!put.ok()) return total + done != 0 ? Result<size_t>(total + done) : put.failure();
      done += put.value();
      if (got.value() < part || put.value() < got.value()) return total + done;
    }
    total += done;
    account_locked();
  }
  if (total == 0) return error(ENOSPC);
  return total;
}

Result<void> TmpfsFile::resize_locked(uint64_t size) {
  const uint64_t old = size_bytes();
  const uint32_t sealed = seals_.load(std::memory_order_acquire);
  if ((size < old && (sealed & vfs::seals::kShrink)) || (size > old && (sealed & vfs::seals::kGrow))) return error(EPERM);
  if (size < old) {
    // The size goes first, so that faults see the new end before pages go.
    size_bytes_.store(size, std::memory_order_release);
    store_.truncate(size);
  } else if (size > old) {
    if (!is_aligned(old, kPageSize)) store_.punch(old, (page_up(old) < size ? page_up(old) : size) - old);
    size_bytes_.store(size, std::memory_order_release);
  }
  account_locked();
  return {};
}

Result<void> TmpfsFile::change(const vfs::MetadataChange& wanted) {
  vfs::MetadataChange rest = wanted;
  rest.size_bytes.reset();
  if (wanted.permissions && (seals_.load() & vfs::seals::kExec) && ((*wanted.permissions ^ mode()) & 0111)) return error(EPERM);
  if (wanted.size_bytes) {
    bool shrinks;
    {
      MutexLock lock(data_mutex_);
      shrinks = *wanted.size_bytes < size_bytes();
      TRY(resize_locked(*wanted.size_bytes));
    }
    // After the lock: page faults of those who map the file wait for this.
    if (shrinks) mm::unmap_beyond(*this, *wanted.size_bytes);
    contents_changed();
    touch_modify_and_change_time();
    if (!rest.permissions && !rest.uid && !rest.gid && !rest.access_time && !rest.modify_time) return {};
  }
  return TmpfsInode::change(rest);
}

Result<void> TmpfsFile::allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length) {
  constexpr auto kKeepSize = static_cast<uint32_t>(FallocateMode::KeepSize);
  constexpr auto kPunchHole = static_cast<uint32_t>(FallocateMode::PunchHole);
  if (fallocate_mode & ~(kKeepSize | kPunchHole)) return error(EOPNOTSUPP);
  {
    MutexLock lock(data_mutex_);
    const uint32_t sealed = seals_.load(std::memory_order_acquire);
    if (fallocate_mode & kPunchHole) {
      if (sealed & (vfs::seals::kWrite | vfs::seals::kFutureWrite)) return error(EPERM);
      store_.punch(offset, length);
      account_locked();
    } else {
      const uint64_t end = offset + length;
      if ((sealed & vfs::seals::kGrow) && end > size_bytes()) return error(EPERM);
      if (page_up(end) - page_down(offset) > filesystem().free_bytes()) return error(ENOSPC);
      const uint64_t old = size_bytes();
      if (end > old && !is_aligned(old, kPageSize)) store_.punch(old, page_up(old) - old);
      TRY(store_.allocate(offset, length));
      account_locked();
      if (!(fallocate_mode & kKeepSize) && end > size_bytes()) size_bytes_.store(end, std::memory_order_release);
    }
  }
  touch_modify_and_change_time();
  contents_changed();
  return {};
}

Result<uint64_t> TmpfsFile::seek_data_or_hole(uint64_t offset, bool hole) {
  const uint64_t size = size_bytes();
  if (offset >= size) return error(ENXIO);
  if (hole) return store_.next_hole(offset, size);
  const std::optional<uint64_t> data = store_.next_data(offset, size);
  if (!data) return error(ENXIO);
  return *data;
}

Result<void> TmpfsFile::add_seals(uint32_t wanted) {
  if (wanted & ~vfs::seals::kAll) return error(EINVAL);
  // With the data locked no write is under way.
  MutexLock lock(data_mutex_);
  uint32_t sealed = seals_.load(std::memory_order_acquire);
  if (sealed & vfs::seals::kSeal) return error(EPERM);
  if ((wanted & vfs::seals::kWrite) && !(sealed & vfs::seals::kWrite)) {
    MutexLock areas_lock(areas_mutex);
    for (const mm::SourceLink& link : areas) {
      const auto& area = static_cast<const mm::Area&>(link);
      if ((area.flags & mm::map_flags::kTypeMask) == mm::map_flags::kShared && (area.maximum_protection & 2)) return error(EBUSY);
    }
  }
  // An executable file that may not change its execute bits shall not change its contents either: memfd_create(2).
  if ((wanted & vfs::seals::kExec) && (mode() & 0111)) wanted |= vfs::seals::kShrink | vfs::seals::kGrow | vfs::seals::kWrite | vfs::seals::kFutureWrite;
  seals_.store(sealed | wanted, std::memory_order_release);
  return {};
}

Result<size_t> TmpfsFile::read_for_text(uint64_t offset, std::span<std::byte> into) {
  const uint64_t size = size_bytes();
  if (offset >= size) return size_t{0};
  UserOutBuffer buffer = UserOutBuffer::kernel(into);
  buffer.limit(size - offset);
  return store_.read(offset, buffer);
}

}  // namespace umk::fs
