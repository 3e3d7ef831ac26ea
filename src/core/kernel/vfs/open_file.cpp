#include "core/kernel/vfs/open_file.h"

#include "core/kernel/mm/cached_file.h"
#include "core/kernel/vfs/dentry.h"
#include "core/kernel/vfs/file_locks.h"
#include "core/kernel/vfs/memory_files.h"
#include "core/kernel/vfs/mount.h"
#include "core/kernel/vfs/notify.h"

namespace umk::vfs {

namespace {

constexpr uint64_t kMaximumOffset = INT64_MAX;
enum : int { kSeekSet = 0, kSeekCurrent = 1, kSeekEnd = 2, kSeekData = 3, kSeekHole = 4 };

/// What would end beyond the largest offset is refused as a whole: EINVAL, as Linux does for reading and writing alike.
Result<void> check_end(uint64_t offset, size_t length) {
  if (offset > kMaximumOffset || length > kMaximumOffset - offset) [[unlikely]] return error(EINVAL);
  return {};
}

Result<uint64_t> add_offset(uint64_t base, int64_t offset) {
  int64_t sum;
  if (base > kMaximumOffset || __builtin_add_overflow(static_cast<int64_t>(base), offset, &sum)) return error(EINVAL);
  if (sum < 0) return error(EINVAL);
  return static_cast<uint64_t>(sum);
}

}  // namespace

OpenFile::OpenFile(RefPtr<Inode> inode, uint32_t flags, LockRank position_rank) : position_mutex_(position_rank), inode_(std::move(inode)), flags_(flags) {
  inode_->superblock().count_open_file(1);
  if (mm::ErrorSequence* errors = inode_->superblock().write_errors()) filesystem_errors_seen_.store(errors->sample(), std::memory_order_relaxed);
}

OpenFile::~OpenFile() {
  inode_->superblock().count_open_file(-1);
  if (inode_->file_locks.load(std::memory_order_acquire)) release_locks_of_file(*inode_, *this);
  if (counted_as_reader_) inode_->drop_reader();
  if (counted_as_writer_) {
    inode_->drop_writer();
    if (path_.mount) path_.mount->writers.fetch_sub(1, std::memory_order_release);
  }
  if (path_.dentry && !is_path_only()) notify_file(*inode_, *path_.dentry, is_writable() ? notify_bits::kCloseWrite : notify_bits::kCloseNoWrite);
}

void OpenFile::set_counted_as_writer() {
  counted_as_writer_ = true;
  if (path_.mount) path_.mount->writers.fetch_add(1, std::memory_order_relaxed);
}

void OpenFile::set_status_flags(uint32_t flags) {
  uint32_t old = flags_.load(std::memory_order_relaxed);
  while (!flags_.compare_exchange_weak(old, (old & ~open_flags::kChangeable) | (flags & open_flags::kChangeable))) {
  }
}

Result<size_t> OpenFile::read(UserOutBuffer& buffer) {
  size_t count;
  if (!is_seekable()) {
    count = TRY(read_at(0, buffer));
  } else {
    MutexLock lock(position_mutex_);
    TRY(check_end(position(), buffer.remaining()));
    count = TRY(read_at(position(), buffer));
    set_position(position() + count);
  }
  if (count != 0 && path_.dentry) notify_file(*inode_, *path_.dentry, notify_bits::kAccess);
  return count;
}

Result<size_t> OpenFile::write(UserInBuffer& buffer) {
  const bool append = flags() & open_flags::kAppend;
  size_t count;
  if (!is_seekable()) {
    uint64_t ignored = 0;
    count = TRY(write_at(ignored, buffer, append));
  } else {
    MutexLock lock(position_mutex_);
    uint64_t offset = position();
    TRY(check_end(offset, buffer.remaining()));
    count = TRY(write_at(offset, buffer, append));
    set_position(offset + count);
  }
  if (count != 0 && path_.dentry) notify_file(*inode_, *path_.dentry, notify_bits::kModify);
  return count;
}

Result<AsyncIo&> OpenFile::make_async(AsyncSender& sender) {
  AsyncIo* io = async();
  if (!io) {
    std::unique_ptr<AsyncIo> made = TRY(make_unique<AsyncIo>(sender));
    if (async_.compare_exchange_strong(io, made.get(), std::memory_order_acq_rel)) io = made.release();
  }
  return *io;
}

Result<void> OpenFile::set_async(AsyncSender& sender, bool on, int fd) {
  const AsyncLists lists = async_lists();
  if (!lists.can_tell()) return {};
  if (on) {
    TRY(make_async(sender)).enter(lists, fd);
  } else if (AsyncIo* io = async()) {
    io->leave(lists);
  }
  change_flag(open_flags::kAsync, on);
  return {};
}

void OpenFile::change_flag(uint32_t flag, bool on) {
  if (on) {
    flags_.fetch_or(flag, std::memory_order_relaxed);
  } else {
    flags_.fetch_and(~flag, std::memory_order_relaxed);
  }
}

bool OpenFile::forbids_shared_writes() {
  const Result<uint32_t> sealed = inode_->seals();
  return sealed.ok() && (sealed.value() & (seals::kWrite | seals::kFutureWrite));
}

Result<size_t> OpenFile::read_at(uint64_t, UserOutBuffer&) { return error(EINVAL); }
Result<size_t> OpenFile::write_at(uint64_t&, UserInBuffer&, bool) { return error(EINVAL); }

Result<uint64_t> OpenFile::seek(int64_t offset, int whence) {
  if (!is_seekable()) {
    switch (kind()) {
      case FileKind::Epoll:
      case FileKind::Event:
      case FileKind::Timer:
      case FileKind::Signal:
      case FileKind::Inotify: return uint64_t{0};
      default: return error(ESPIPE);
    }
  }
  MutexLock lock(position_mutex_);
  uint64_t base = 0;
  switch (whence) {
    case kSeekSet: break;
    case kSeekCurrent: base = position(); break;
    case kSeekEnd: base = inode().size_bytes(); break;
    default: return error(EINVAL);
  }
  const uint64_t target = TRY(add_offset(base, offset));
  set_position(target);
  return target;
}

uint32_t OpenFile::poll(PollTable*) { return poll_bits::kAlwaysReady; }
Result<int64_t> OpenFile::ioctl(Task&, uint32_t, uint64_t) { return error(ENOTTY); }
Result<void> OpenFile::list(DirectorySink&) { return error(ENOTDIR); }
Result<uint64_t> OpenFile::readable_bytes() { return error(ENOTTY); }
Result<void> OpenFile::sync(bool) { return error(EINVAL); }
Result<void> OpenFile::sync_range(uint64_t, uint64_t, bool, bool write, bool) { return write ? sync(true) : Result<void>(); }
Result<void> OpenFile::advise(uint64_t, uint64_t, int) { return {}; }

Result<void> OpenFile::sync_filesystem() {
  Superblock& filesystem = inode_->superblock();
  Result<void> synced = filesystem.sync();
  if (mm::ErrorSequence* errors = filesystem.write_errors()) TRY(errors->check_and_advance(filesystem_errors_seen_));
  return synced;
}

mm::PageSource* OpenFile::page_source() { return nullptr; }

void OpenFile::on_descriptor_closed(const void* lock_owner) {
  if (inode_->file_locks.load(std::memory_order_acquire)) release_locks_of_process(*inode_, lock_owner);
}

// --- InodeFile

InodeFile::InodeFile(RefPtr<Inode> inode, uint32_t flags, LockRank position_rank) : OpenFile(std::move(inode), flags, position_rank) {
  if (mm::CachedFile* file = cached()) errors_seen_.store(file->errors().sample(), std::memory_order_relaxed);
}

mm::CachedFile* InodeFile::cached() {
  mm::PageSource* source = inode().page_source();
  return source ? source->cached() : nullptr;
}

Result<size_t> InodeFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  if (flags() & open_flags::kDirect) [[unlikely]] return inode().read_direct(offset, buffer);
  return inode().read_at(offset, buffer);
}

Result<size_t> InodeFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool append) {
  const bool is_direct = flags() & open_flags::kDirect;
  const size_t count = TRY(is_direct ? inode().write_direct(offset, buffer, append) : inode().write_at(offset, buffer, append));
  if (flags() & open_flags::kDataSync) TRY(sync((flags() & open_flags::kSync) != open_flags::kSync));
  return count;
}

Result<uint64_t> InodeFile::seek(int64_t offset, int whence) {
  if (whence != kSeekData && whence != kSeekHole) return OpenFile::seek(offset, whence);
  if (offset < 0) return error(ENXIO);
  MutexLock lock(position_mutex_);
  const uint64_t target = TRY(inode().seek_data_or_hole(static_cast<uint64_t>(offset), whence == kSeekHole));
  set_position(target);
  return target;
}

Result<void> InodeFile::list(DirectorySink& sink) {
  if (!inode().is_directory()) return error(ENOTDIR);
  // What `..` shows: the directory above, over the edge of the mount; the root's own number at the top.
  InodeNumber parent_number = inode().number();
  if (path().dentry) {
    RefPtr<Dentry> dentry = path().dentry;
    if (RefPtr<Dentry> parent = dentry->cache().parent_of(*dentry); parent && parent->inode()) parent_number = parent->inode()->number();
  }
  MutexLock position_lock(position_mutex_);
  {
    MutexLock lock(inode().mutex());
    if (inode().is_removed()) return error(ENOENT);
    set_position(TRY(inode().list(position(), parent_number, sink)));
  }
  inode().touch_access_time();
  return {};
}

Result<uint64_t> InodeFile::readable_bytes() {
  if (!inode().is_regular()) return error(ENOTTY);
  const uint64_t size = inode().size_bytes();
  return size > position() ? size - position() : 0;
}

Result<void> InodeFile::sync(bool data_only) {
  Result<void> synced = inode().sync(data_only);
  if (mm::CachedFile* file = cached()) TRY(file->errors().check_and_advance(errors_seen_));
  return synced;
}

Result<void> InodeFile::sync_range(uint64_t offset, uint64_t end, bool wait_before, bool write, bool wait_after) {
  mm::CachedFile* const file = cached();
  if (!file) return OpenFile::sync_range(offset, end, wait_before, write, wait_after);
  if (wait_before) file->wait_for_write_back(offset, end);
  if (write) wait_after ? file->sync(offset, end) : file->start_write_back();
  if (wait_after) file->wait_for_write_back(offset, end);
  // fsync goes on reporting what it has not reported.
  return wait_before || wait_after ? file->errors().check(errors_seen_) : Result<void>();
}

Result<void> InodeFile::advise(uint64_t offset, uint64_t length, int advice) {
  if (mm::CachedFile* file = cached()) file->advise(offset, length, static_cast<mm::Advice>(advice));
  return {};
}

mm::PageSource* InodeFile::page_source() { return inode().page_source(); }

}  // namespace umk::vfs
