// Reading and writing: read, write and their positioned and vectored forms, lseek, truncation, allocation, sync, advice, copying between files.
#include <iterator>

#include "core/abi/file.h"
#include "core/kernel/syscall/broken_pipe.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/io_vector.h"
#include "core/kernel/syscall/path_argument.h"
#include "core/kernel/vfs/notify.h"

namespace umk {

namespace {

using vfs::OpenFile;
namespace open_flags = vfs::open_flags;
namespace transfer = abi::transfer_flags;

/// setrlimit(2), RLIMIT_FSIZE: cuts a write of `start` on to what is allowed; SIGXFSZ and EFBIG when that is nothing.
Result<void> apply_size_limit(Task& task, OpenFile& file, uint64_t start, UserInBuffer& buffer) {
  const uint64_t limit = task.process().limits.soft(Resource::FileSize);
  if (limit == kUnlimited || !file.inode().is_regular() || buffer.remaining() == 0) return {};
  if (start >= limit) {
    (void)send_signal(task, SignalInfo::from_user(signals::kFileSizeLimit, 0, task.process().pid(), task.credentials().uid));
    return error(EFBIG);
  }
  buffer.limit(limit - start);
  return {};
}

/// Reading and writing beyond the largest offset is refused as a whole, not cut.
Result<void> check_end(int64_t offset, size_t length) {
  if (length > static_cast<uint64_t>(INT64_MAX - offset)) return error(EINVAL);
  return {};
}

void after_write(Task& task, OpenFile& file) {
  if (file.inode().mode() & (vfs::mode::kSetUid | vfs::mode::kSetGid)) [[unlikely]]
    vfs_of(task).clear_privileges(task.caller(), vfs::Target(file));
}

Result<size_t> write_here(Task& task, OpenFile& file, UserInBuffer& buffer) {
  TRY(apply_size_limit(task, file, file.flags() & open_flags::kAppend ? file.inode().size_bytes() : file.position(), buffer));
  const size_t count = TRY(with_broken_pipe_signal(task, file.write(buffer)));
  after_write(task, file);
  return count;
}

Result<size_t> read_there(OpenFile& file, int64_t offset, UserOutBuffer& buffer) {
  if (offset < 0) return error(EINVAL);
  if (!file.is_seekable()) return error(ESPIPE);
  TRY(check_end(offset, buffer.remaining()));
  const size_t count = TRY(file.read_at(static_cast<uint64_t>(offset), buffer));
  if (count != 0 && file.path().dentry) vfs::notify_file(file.inode(), *file.path().dentry, vfs::notify_bits::kAccess);
  return count;
}

Result<size_t> write_there(Task& task, OpenFile& file, int64_t offset, UserInBuffer& buffer, bool append) {
  if (offset < 0) return error(EINVAL);
  if (!file.is_seekable()) return error(ESPIPE);
  TRY(check_end(offset, buffer.remaining()));
  // pwrite(2), BUGS: with O_APPEND the data goes to the end, whatever the offset.
  append |= (file.flags() & open_flags::kAppend) != 0;
  auto start = static_cast<uint64_t>(offset);
  TRY(apply_size_limit(task, file, append ? file.inode().size_bytes() : start, buffer));
  const size_t count = TRY(with_broken_pipe_signal(task, file.write_at(start, buffer, append)));
  after_write(task, file);
  if (count != 0 && file.path().dentry) vfs::notify_file(file.inode(), *file.path().dentry, vfs::notify_bits::kModify);
  return count;
}

Result<size_t> sys_read(Task& task, Fd fd, UserOutBuffer buffer) {
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  return file->read(buffer);
}

Result<size_t> sys_write(Task& task, Fd fd, UserInBuffer buffer) {
  const RefPtr<OpenFile> file = TRY(task.fds().writable(fd));
  return write_here(task, *file, buffer);
}

// pread64(2): reads at an offset and leaves the file position alone.
Result<size_t> sys_pread64(Task& task, Fd fd, UserOutBuffer buffer, int64_t offset) {
  if (offset < 0) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  return read_there(*file, offset, buffer);
}

Result<size_t> sys_pwrite64(Task& task, Fd fd, UserInBuffer buffer, int64_t offset) {
  if (offset < 0) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().writable(fd));
  return write_there(task, *file, offset, buffer, false);
}

Result<size_t> sys_readv(Task& task, Fd fd, uint64_t vector, uint64_t count) {
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  IoVector pieces;
  TRY(pieces.read(vector, count));
  UserOutBuffer buffer(pieces.pieces());
  return file->read(buffer);
}

Result<size_t> sys_writev(Task& task, Fd fd, uint64_t vector, uint64_t count) {
  const RefPtr<OpenFile> file = TRY(task.fds().writable(fd));
  IoVector pieces;
  TRY(pieces.read(vector, count));
  UserInBuffer buffer(pieces.pieces());
  return write_here(task, *file, buffer);
}

Result<size_t> sys_preadv(Task& task, Fd fd, uint64_t vector, uint64_t count, int64_t offset) {
  if (offset < 0) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  IoVector pieces;
  TRY(pieces.read(vector, count));
  UserOutBuffer buffer(pieces.pieces());
  return read_there(*file, offset, buffer);
}

Result<size_t> sys_pwritev(Task& task, Fd fd, uint64_t vector, uint64_t count, int64_t offset) {
  if (offset < 0) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().writable(fd));
  IoVector pieces;
  TRY(pieces.read(vector, count));
  UserInBuffer buffer(pieces.pieces());
  return write_there(task, *file, offset, buffer, false);
}

// preadv2(2): an offset of -1 means the file position. RWF_NOWAIT needs a file that knows what would block; ours do not say.
Result<size_t> sys_preadv2(Task& task, Fd fd, uint64_t vector, uint64_t count, int64_t offset, uint64_t, uint32_t flags) {
  if (flags & ~transfer::kAll || flags & (transfer::kNoWait | transfer::kAppend)) return error(EOPNOTSUPP);
  return offset == -1 ? sys_readv(task, fd, vector, count) : sys_preadv(task, fd, vector, count, offset);
}

Result<size_t> sys_pwritev2(Task& task, Fd fd, uint64_t vector, uint64_t count, int64_t offset, uint64_t, uint32_t flags) {
  if (flags & ~transfer::kAll || flags & transfer::kNoWait) return error(EOPNOTSUPP);
  if (offset < -1) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().writable(fd));
  IoVector pieces;
  TRY(pieces.read(vector, count));
  UserInBuffer buffer(pieces.pieces());
  const bool append = flags & transfer::kAppend;
  size_t written;
  if (offset == -1 && !append) {
    written = TRY(write_here(task, *file, buffer));
  } else {
    written = TRY(write_there(task, *file, offset == -1 ? 0 : offset, buffer, append));
  }
  if (flags & (transfer::kDataSync | transfer::kSync)) TRY(file->sync(!(flags & transfer::kSync)));
  return written;
}

Result<uint64_t> sys_lseek(Task& task, Fd fd, int64_t offset, int whence) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  constexpr int kLastWhence = 4;  // SEEK_HOLE
  if (whence < 0 || whence > kLastWhence) return error(EINVAL);
  return file->seek(offset, whence);
}

Result<void> truncate_to(Task& task, const vfs::Target& target, int64_t length, bool check_permission) {
  Result<void> outcome = vfs_of(task).truncate(task.caller(), target, static_cast<uint64_t>(length), check_permission);
  if (!outcome.ok() && outcome.code() == EFBIG)
    (void)send_signal(task, SignalInfo::from_user(signals::kFileSizeLimit, 0, task.process().pid(), task.credentials().uid));
  return outcome;
}

Result<void> sys_truncate(Task& task, UserString path, int64_t length) {
  if (length < 0) return error(EINVAL);
  PathArgument text;
  TargetArgument target;
  return truncate_to(task, TRY(target.resolve(task, Fd{kWorkingDirectory}, TRY(text.read(path)), true, false)), length, true);
}

Result<void> sys_ftruncate(Task& task, Fd fd, int64_t length) {
  if (length < 0) return error(EINVAL);
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (!file->inode().is_regular() || !file->is_writable()) return error(EINVAL);
  return truncate_to(task, vfs::Target(*file), length, false);
}

// fallocate(2)
Result<void> sys_fallocate(Task& task, Fd fd, uint32_t mode, int64_t offset, int64_t length) {
  constexpr auto kKeepSize = static_cast<uint32_t>(vfs::FallocateMode::KeepSize);
  constexpr auto kPunchHole = static_cast<uint32_t>(vfs::FallocateMode::PunchHole);
  constexpr auto kZeroRange = static_cast<uint32_t>(vfs::FallocateMode::ZeroRange);
  constexpr auto kCollapse = static_cast<uint32_t>(vfs::FallocateMode::CollapseRange), kInsert = static_cast<uint32_t>(vfs::FallocateMode::InsertRange);
  constexpr uint32_t kKnown = kKeepSize | kPunchHole | kZeroRange | kCollapse | kInsert;
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (offset < 0 || length <= 0) return error(EINVAL);
  if (mode & ~kKnown) return error(EOPNOTSUPP);
  if ((mode & kPunchHole) && (!(mode & kKeepSize) || (mode & kZeroRange))) return error(EOPNOTSUPP);
  if ((mode & (kCollapse | kInsert)) && mode != kCollapse && mode != kInsert) return error(EOPNOTSUPP);
  if (!file->is_writable()) return error(EBADF);
  vfs::Inode& inode = file->inode();
  if (inode.type() == vfs::FileType::Fifo) return error(ESPIPE);
  if (inode.is_directory()) return error(EISDIR);
  if (!inode.is_regular()) return error(ENODEV);
  int64_t end;
  if (__builtin_add_overflow(offset, length, &end)) return error(EFBIG);
  if (!(mode & (kKeepSize | kInsert)) && static_cast<uint64_t>(end) > inode.size_bytes() && static_cast<uint64_t>(end) > task.process().limits.soft(Resource::FileSize)) {
    (void)send_signal(task, SignalInfo::from_user(signals::kFileSizeLimit, 0, task.process().pid(), task.credentials().uid));
    return error(EFBIG);
  }
  TRY(inode.allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
  after_write(task, *file);
  if (file->path().dentry) vfs::notify_file(inode, *file->path().dentry, vfs::notify_bits::kModify);
  return {};
}

Result<void> sys_fsync(Task& task, Fd fd) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  return file->sync(false);
}

Result<void> sys_fdatasync(Task& task, Fd fd) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  return file->sync(true);
}

// sync(2) cannot fail; what failed is reported by fsync of the file.
Result<void> sys_sync(Task& task) {
  (void)vfs_of(task).sync_all();
  return {};
}

Result<void> sys_syncfs(Task& task, Fd fd) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  return file->sync_filesystem();
}

// sync_file_range(2)
Result<void> sys_sync_file_range(Task& task, Fd fd, int64_t offset, int64_t length, uint32_t flags) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  int64_t end;
  if ((flags & ~7u) || offset < 0 || length < 0 || __builtin_add_overflow(offset, length, &end)) return error(EINVAL);
  const vfs::FileType type = file->inode().type();
  if (type != vfs::FileType::Regular && type != vfs::FileType::BlockDevice && type != vfs::FileType::Directory) return error(ESPIPE);
  constexpr uint32_t kWaitBefore = 1, kWrite = 2, kWaitAfter = 4;
  const uint64_t past = length == 0 ? UINT64_MAX : static_cast<uint64_t>(end);
  return file->sync_range(static_cast<uint64_t>(offset), past, flags & kWaitBefore, flags & kWrite, flags & kWaitAfter);
}

// posix_fadvise(2)
Result<void> sys_fadvise64(Task& task, Fd fd, int64_t offset, int64_t length, int advice) {
  const RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (file->inode().type() == vfs::FileType::Fifo) return error(ESPIPE);
  if (length < 0 || advice < 0 || advice > 5) return error(EINVAL);
  return file->advise(static_cast<uint64_t>(offset), static_cast<uint64_t>(length), advice);
}

// readahead(2)
Result<void> sys_readahead(Task& task, Fd fd, int64_t offset, uint64_t count) {
  constexpr int kWillNeed = 3;
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  const vfs::FileType type = file->inode().type();
  if (type != vfs::FileType::Regular && type != vfs::FileType::BlockDevice) return error(EINVAL);
  if (count == 0 || offset < 0) return {};
  return file->advise(static_cast<uint64_t>(offset), count, kWillNeed);
}

/// Copies up to `length` bytes between files through kernel memory. `from_offset` is where to read, advanced by what was copied.
template <typename Write>
Result<size_t> copy_through(OpenFile& from, uint64_t& from_offset, uint64_t length, Write&& write) {
  constexpr size_t kChunk = 64 * 1024;
  const size_t chunk = length < kChunk ? length : kChunk;
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[chunk]);
  if (!memory) return error(ENOMEM);
  size_t total = 0;
  while (total < length) {
    const size_t wanted = length - total < chunk ? length - total : chunk;
    UserOutBuffer into = UserOutBuffer::kernel({memory.get(), wanted});
    const Result<size_t> got = from.read_at(from_offset, into);
    if (!got.ok()) return total != 0 ? Result<size_t>(total) : got.failure();
    if (got.value() == 0) break;
    UserInBuffer data = UserInBuffer::kernel({memory.get(), got.value()});
    const Result<size_t> put = write(data);
    if (!put.ok()) return total != 0 ? Result<size_t>(total) : put.failure();
    total += put.value();
    from_offset += put.value();
    if (put.value() < got.value()) break;
  }
  return total;
}

// sendfile(2)
Result<size_t> sys_sendfile(Task& task, Fd out, Fd in, UserPtr<int64_t> offset_pointer, uint64_t length) {
  const RefPtr<OpenFile> from = TRY(task.fds().readable(in));
  uint64_t offset = from->position();
  if (offset_pointer) {
    const int64_t given = TRY(offset_pointer.read());
    if (!from->is_seekable()) return error(ESPIPE);
    if (given < 0) return error(EINVAL);
    offset = static_cast<uint64_t>(given);
  }
  const RefPtr<OpenFile> to = TRY(task.fds().writable(out));
  if (!from->is_seekable() || from->inode().is_directory()) return error(EINVAL);
  if (to->flags() & open_flags::kAppend && to->inode().is_regular()) return error(EINVAL);
  if (length > IoVector::kMaximumBytes) length = IoVector::kMaximumBytes;
  Result<size_t> copied = length == 0 ? Result<size_t>(size_t{0}) : copy_through(*from, offset, length, [&](UserInBuffer& data) { return write_here(task, *to, data); });
  if (copied.ok()) {
    if (offset_pointer) {
      TRY(offset_pointer.write(static_cast<int64_t>(offset)));
    } else {
      from->set_position(offset);
    }
  }
  return copied;
}

// copy_file_range(2)
Result<size_t> sys_copy_file_range(Task& task, Fd in, UserPtr<int64_t> in_pointer, Fd out, UserPtr<int64_t> out_pointer, uint64_t length, uint32_t flags) {
  const RefPtr<OpenFile> from = TRY(task.fds().usable(in));
  const RefPtr<OpenFile> to = TRY(task.fds().usable(out));
  auto from_offset = static_cast<int64_t>(from->position()), to_offset = static_cast<int64_t>(to->position());
  if (in_pointer) from_offset = TRY(in_pointer.read());
  if (out_pointer) to_offset = TRY(out_pointer.read());
  if (flags != 0) return error(EINVAL);
  if (from->inode().is_directory() || to->inode().is_directory()) return error(EISDIR);
  if (!from->inode().is_regular() || !to->inode().is_regular()) return error(EINVAL);
  if (!from->is_readable() || !to->is_writable() || (to->flags() & open_flags::kAppend)) return error(EBADF);
  if (from_offset < 0 || to_offset < 0) return error(EINVAL);
  int64_t end;
  if (length > INT64_MAX || __builtin_add_overflow(from_offset, static_cast<int64_t>(length), &end) ||
      __builtin_add_overflow(to_offset, static_cast<int64_t>(length), &end))
    return error(EOVERFLOW);
  if (&from->inode() == &to->inode()) {
    const auto size = static_cast<int64_t>(from->inode().size_bytes());
    const int64_t available = from_offset < size ? size - from_offset : 0;
    const int64_t wanted = static_cast<int64_t>(length) < available ? static_cast<int64_t>(length) : available;
    if (from_offset < to_offset + wanted && to_offset < from_offset + wanted) return error(EINVAL);
  }
  if (length > IoVector::kMaximumBytes) length = IoVector::kMaximumBytes;
  if (length == 0) return size_t{0};
  auto read_at = static_cast<uint64_t>(from_offset);
  const size_t copied = TRY(copy_through(*from, read_at, length, [&](UserInBuffer& data) -> Result<size_t> {
    const size_t count = TRY(write_there(task, *to, to_offset, data, false));
    to_offset += static_cast<int64_t>(count);
    return count;
  }));
  if (in_pointer) {
    TRY(in_pointer.write(static_cast<int64_t>(read_at)));
  } else {
    from->set_position(read_at);
  }
  if (out_pointer) {
    TRY(out_pointer.write(to_offset));
  } else {
    to->set_position(static_cast<uint64_t>(to_offset));
  }
  return copied;
}

}  // namespace

const SyscallRow kSysFileRows[] = {
    full<sys_read>(0, "read"),
    full<sys_write>(1, "write"),
    full<sys_lseek>(8, "lseek"),
    full<sys_pread64>(17, "pread64"),
    full<sys_pwrite64>(18, "pwrite64"),
    full<sys_readv>(19, "readv"),
    full<sys_writev>(20, "writev"),
    full<sys_sendfile>(40, "sendfile"),
    full<sys_fsync>(74, "fsync"),
    full<sys_fdatasync>(75, "fdatasync"),
    full<sys_truncate>(76, "truncate"),
    full<sys_ftruncate>(77, "ftruncate"),
    full<sys_sync>(162, "sync"),
    full<sys_readahead>(187, "readahead"),
    full<sys_fadvise64>(221, "fadvise64"),
    full<sys_sync_file_range>(277, "sync_file_range"),
    full<sys_fallocate>(285, "fallocate"),
    full<sys_preadv>(295, "preadv"),
    full<sys_pwritev>(296, "pwritev"),
    full<sys_syncfs>(306, "syncfs"),
    full<sys_copy_file_range>(326, "copy_file_range"),
    partial<sys_preadv2>(327, "preadv2", "no RWF_NOWAIT"),
    partial<sys_pwritev2>(328, "pwritev2", "no RWF_NOWAIT"),
};
const size_t kSysFileRowCount = std::size(kSysFileRows);

}  // namespace umk
