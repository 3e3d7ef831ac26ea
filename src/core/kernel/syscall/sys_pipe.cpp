// Pipes: pipe, pipe2, splice, tee, vmsplice.
#include "core/kernel/vfs/pipe.h"

#include <iterator>

#include "core/kernel/syscall/broken_pipe.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/io_vector.h"
#include "core/kernel/syscall/new_file.h"

namespace umk {

namespace {

using vfs::OpenFile;
namespace open_flags = vfs::open_flags;

constexpr uint32_t kSpliceMove = 1, kSpliceNonBlock = 2, kSpliceMore = 4, kSpliceGift = 8;
constexpr uint32_t kSpliceFlags = kSpliceMove | kSpliceNonBlock | kSpliceMore | kSpliceGift;

// pipe2(2)
Result<void> sys_pipe2(Task& task, UserPtr<int32_t> descriptors, uint32_t flags) {
  if (flags & ~(open_flags::kCloseOnExec | open_flags::kNonBlock | open_flags::kDirect)) return error(EINVAL);
  RefPtr<vfs::Inode> inode = TRY(make_anonymous_inode(task, vfs::AnonymousKind::Pipe, static_cast<uint32_t>(vfs::FileType::Fifo) | 0600));
  vfs::PipePair pair = TRY(vfs::make_pipe(std::move(inode), flags));
  const bool close_on_exec = (flags & open_flags::kCloseOnExec) != 0;
  const Fd reader = TRY(add_descriptor(task, std::move(pair.reader), close_on_exec));
  Result<Fd> writer = add_descriptor(task, std::move(pair.writer), close_on_exec);
  if (!writer.ok()) {
    (void)task.fds().close(reader, nullptr);
    return writer.failure();
  }
  const int32_t numbers[2] = {reader.number, writer.value().number};
  if (Result<void> written = descriptors.write_array(numbers); !written.ok()) {
    (void)task.fds().close(reader, nullptr);
    (void)task.fds().close(writer.value(), nullptr);
    return written;
  }
  return {};
}

Result<void> sys_pipe(Task& task, UserPtr<int32_t> descriptors) { return sys_pipe2(task, descriptors, 0); }

// An offset of splice(2) for one side: absent, or read from the guest and to be written back.
struct SpliceOffset {
  uint64_t value = 0;
  bool given = false;
  uint64_t* pointer() { return given ? &value : nullptr; }
};

Result<SpliceOffset> read_splice_offset(OpenFile& file, UserPtr<int64_t> pointer) {
  if (!pointer) return SpliceOffset{};
  if (vfs::pipe_of(file)) return error(ESPIPE);
  if (!file.is_seekable()) return error(EINVAL);
  const int64_t offset = TRY(pointer.read());
  if (offset < 0) return error(EINVAL);
  return SpliceOffset{static_cast<uint64_t>(offset), true};
}

// splice(2)
Result<size_t> sys_splice(Task& task, Fd in, UserPtr<int64_t> in_offset, Fd out, UserPtr<int64_t> out_offset, uint64_t length, uint32_t flags) {
  if (length == 0) return size_t{0};
  if (flags & ~kSpliceFlags) return error(EINVAL);
  RefPtr<OpenFile> from = TRY(task.fds().readable(in));
  RefPtr<OpenFile> to = TRY(task.fds().writable(out));
  SpliceOffset from_offset = TRY(read_splice_offset(*from, in_offset));
  SpliceOffset to_offset = TRY(read_splice_offset(*to, out_offset));
  if (length > IoVector::kMaximumBytes) length = IoVector::kMaximumBytes;

  Result<size_t> moved = vfs::splice(*from, from_offset.pointer(), *to, to_offset.pointer(), length, (flags & kSpliceNonBlock) != 0);
  if (moved.ok() && from_offset.given) TRY(in_offset.write(static_cast<int64_t>(from_offset.value)));
  if (moved.ok() && to_offset.given) TRY(out_offset.write(static_cast<int64_t>(to_offset.value)));
  return with_broken_pipe_signal(task, std::move(moved));
}

// tee(2)
Result<size_t> sys_tee(Task& task, Fd in, Fd out, uint64_t length, uint32_t flags) {
  if (flags & ~kSpliceFlags) return error(EINVAL);
  if (length == 0) return size_t{0};
  RefPtr<OpenFile> from = TRY(task.fds().readable(in));
  RefPtr<OpenFile> to = TRY(task.fds().writable(out));
  return with_broken_pipe_signal(task, vfs::tee(*from, *to, length, (flags & kSpliceNonBlock) != 0));
}

// vmsplice(2): the pages are copied, which a caller can tell only by changing them afterwards.
Result<size_t> sys_vmsplice(Task& task, Fd fd, uint64_t vector, uint64_t count, uint32_t flags) {
  if (flags & ~kSpliceFlags) return error(EINVAL);
  RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  vfs::Pipe* pipe = vfs::pipe_of(*file);
  if (!pipe) return error(EBADF);
  IoVector pieces;
  TRY(pieces.read(vector, count));
  const bool nonblocking = (flags & kSpliceNonBlock) || file->is_nonblocking();
  if (file->is_writable()) {
    UserInBuffer buffer(pieces.pieces());
    return with_broken_pipe_signal(task, pipe->write(buffer, nonblocking));
  }
  UserOutBuffer buffer(pieces.pieces());
  return pipe->read(buffer, nonblocking);
}

}  // namespace

const SyscallRow kSysPipeRows[] = {
    full<sys_pipe>(22, "pipe"),
    full<sys_splice>(275, "splice"),
    full<sys_tee>(276, "tee"),
    full<sys_vmsplice>(278, "vmsplice"),
    full<sys_pipe2>(293, "pipe2"),
};
const size_t kSysPipeRowCount = std::size(kSysPipeRows);

}  // namespace umk
