// Opening and closing: open, creat, openat, openat2, close, close_range, dup and its kin, memfd_create.
#include <iterator>

#include "core/abi/file.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/new_file.h"
#include "core/kernel/syscall/path_argument.h"
#include "core/kernel/vfs/memory_files.h"

namespace umk {

namespace {

using vfs::OpenFile;
namespace open_flags = vfs::open_flags;

constexpr uint32_t kKnownFlags = open_flags::kAccessMask | open_flags::kCreate | open_flags::kExclusive | open_flags::kNoControllingTty | open_flags::kTruncate |
                                 open_flags::kAppend | open_flags::kNonBlock | open_flags::kAsync | open_flags::kDirect | open_flags::kLargeFile |
                                 open_flags::kNoFollow | open_flags::kNoAccessTime | open_flags::kCloseOnExec | open_flags::kSync | open_flags::kPath |
                                 open_flags::kTemporary;

Result<Fd> open_at(Task& task, Fd directory, UserString path, const vfs::OpenRequest& request) {
  PathArgument text;
  AtArgument at;
  const vfs::At place = TRY(at.resolve(task, directory, TRY(text.read(path))));
  RefPtr<OpenFile> file = TRY(vfs_of(task).open(task.caller(), place, request));
  return add_descriptor(task, std::move(file), request.flags & open_flags::kCloseOnExec);
}

// openat(2): unknown flags are ignored, and the mode counts only where a file may be made.
Result<Fd> sys_openat(Task& task, Fd directory, UserString path, uint32_t flags, uint32_t mode) {
  vfs::OpenRequest request{.flags = flags & kKnownFlags, .mode = 0};
  if (flags & open_flags::kPath) {
    request.flags &= open_flags::kPath | open_flags::kDirectory | open_flags::kNoFollow | open_flags::kCloseOnExec;
  } else {
    request.flags |= open_flags::kLargeFile;
  }
  if (flags & (open_flags::kCreate | (open_flags::kTemporary & ~open_flags::kDirectory))) request.mode = mode & vfs::kPermissionMask;
  return open_at(task, directory, path, request);
}

Result<Fd> sys_open(Task& task, UserString path, uint32_t flags, uint32_t mode) { return sys_openat(task, Fd{kWorkingDirectory}, path, flags, mode); }

Result<Fd> sys_creat(Task& task, UserString path, uint32_t mode) {
  return sys_openat(task, Fd{kWorkingDirectory}, path, open_flags::kCreate | open_flags::kWriteOnly | open_flags::kTruncate, mode);
}

// openat2(2): everything that is not known or makes no sense is refused.
Result<Fd> sys_openat2(Task& task, Fd directory, UserString path, uint64_t how_address, uint64_t size) {
  namespace resolve = abi::resolve;
  if (size < sizeof(abi::OpenHow)) return error(EINVAL);
  if (size > kPageSize) return error(E2BIG);
  const abi::OpenHow how = TRY(UserPtr<abi::OpenHow>(how_address).read());
  for (uint64_t offset = sizeof(abi::OpenHow); offset < size; ++offset)
    if (TRY(UserPtr<uint8_t>(how_address + offset).read()) != 0) return error(E2BIG);
  if (how.flags & ~uint64_t{kKnownFlags}) return error(EINVAL);
  const auto flags = static_cast<uint32_t>(how.flags);
  const bool makes = (flags & open_flags::kCreate) || (flags & (open_flags::kTemporary & ~open_flags::kDirectory));
  if (how.mode & ~uint64_t{vfs::kPermissionMask}) return error(EINVAL);
  if (how.mode != 0 && !makes) return error(EINVAL);
  if ((flags & open_flags::kPath) &&
      (flags & ~(open_flags::kPath | open_flags::kDirectory | open_flags::kNoFollow | open_flags::kCloseOnExec)))
    return error(EINVAL);
  if (how.resolve & ~(resolve::kNoMountCrossing | resolve::kNoMagicLinks | resolve::kNoSymlinks | resolve::kBeneath | resolve::kInRoot | resolve::kCached))
    return error(EINVAL);
  if ((how.resolve & resolve::kBeneath) && (how.resolve & resolve::kInRoot)) return error(EINVAL);
  vfs::OpenRequest request{.flags = flags, .mode = static_cast<uint32_t>(how.mode)};
  if (!(flags & open_flags::kPath)) request.flags |= open_flags::kLargeFile;
  if (how.resolve & resolve::kNoMountCrossing) request.resolve |= vfs::walk::kNoMountCrossing;
  if (how.resolve & resolve::kNoMagicLinks) request.resolve |= vfs::walk::kNoMagicLinks;
  if (how.resolve & resolve::kNoSymlinks) request.resolve |= vfs::walk::kNoSymlinks | vfs::walk::kNoMagicLinks;
  if (how.resolve & resolve::kBeneath) request.resolve |= vfs::walk::kBeneath;
  if (how.resolve & resolve::kInRoot) request.resolve |= vfs::walk::kInRoot;
  if (how.resolve & resolve::kCached) {
    // Nothing that has to touch the disk may be asked for along with it.
    if (flags & (open_flags::kTruncate | open_flags::kCreate | (open_flags::kTemporary & ~open_flags::kDirectory))) return error(EAGAIN);
    request.resolve |= vfs::walk::kCachedOnly;
  }

  // With RESOLVE_IN_ROOT an absolute path begins at the descriptor, so that is needed whatever the path.
  PathArgument text;
  const std::string_view name = TRY(text.read(path));
  RefPtr<OpenFile> base;
  vfs::At at{nullptr, name};
  if (directory.number != kWorkingDirectory && (!name.starts_with('/') || (how.resolve & (resolve::kInRoot | resolve::kBeneath)))) {
    base = TRY(task.fds().get(directory));
    if (!base->path()) return error(ENOTDIR);
    at.base = &base->path();
  }
  RefPtr<OpenFile> file = TRY(vfs_of(task).open(task.caller(), at, request));
  return add_descriptor(task, std::move(file), flags & open_flags::kCloseOnExec);
}

Result<void> sys_close(Task& task, Fd fd) { return task.fds().close(fd, &task.fds()); }

// close_range(2)
Result<void> sys_close_range(Task& task, uint32_t first, uint32_t last, uint32_t flags) {
  if ((flags & ~(abi::kCloseRangeUnshare | abi::kCloseRangeMark)) || first > last) return error(EINVAL);
  if ((flags & abi::kCloseRangeUnshare) && task.fds().reference_count() > 1) task.fds_ = TRY(task.fds().clone());
  task.fds().close_range(first, last, flags & abi::kCloseRangeMark, &task.fds());
  return {};
}

uint64_t descriptor_limit(Task& task) { return task.process().limits.soft(Resource::OpenFiles); }

Result<Fd> sys_dup(Task& task, Fd fd) { return task.fds().add(TRY(task.fds().get(fd)), false, descriptor_limit(task)); }

Result<Fd> replace_descriptor(Task& task, Fd from, Fd to, bool close_on_exec) {
  TRY(task.fds().put(to, TRY(task.fds().get(from)), close_on_exec, descriptor_limit(task), &task.fds()));
  return to;
}

Result<Fd> sys_dup2(Task& task, Fd from, Fd to) {
  if (from.number == to.number) {
    TRY(task.fds().get(from));
    return to;
  }
  return replace_descriptor(task, from, to, false);
}

Result<Fd> sys_dup3(Task& task, Fd from, Fd to, uint32_t flags) {
  if ((flags & ~open_flags::kCloseOnExec) || from.number == to.number) return error(EINVAL);
  return replace_descriptor(task, from, to, flags & open_flags::kCloseOnExec);
}

/// What memfd_create(2) hands out: its name is shown only.
class MemoryFile final : public vfs::InodeFile {
 public:
  MemoryFile(RefPtr<vfs::Inode> inode, uint32_t flags, String name) : InodeFile(std::move(inode), flags), name_(std::move(name)) {}
  Result<String> describe() override { return format_string("/memfd:{} (deleted)", name_); }

 private:
  String name_;
};

// memfd_create(2)
Result<Fd> sys_memfd_create(Task& task, UserString name, uint32_t flags) {
  constexpr uint32_t kKnown = abi::kMemfdCloseOnExec | abi::kMemfdAllowSealing | abi::kMemfdNoExecSeal | abi::kMemfdExec;
  constexpr size_t kNameLimit = 249;
  // MFD_HUGETLB answers as a kernel without huge pages.
  if (flags & ~kKnown) return error(EINVAL);
  if ((flags & abi::kMemfdExec) && (flags & abi::kMemfdNoExecSeal)) return error(EINVAL);
  Result<String> text = name.read(kNameLimit);
  if (!text.ok()) return error(text.code() == ENAMETOOLONG ? EINVAL : text.code());
  vfs::MemoryFiles* maker = vfs_of(task).memory_files();
  if (!maker) return error(ENOSYS);
  const bool no_exec = flags & abi::kMemfdNoExecSeal;
  const uint32_t sealed = no_exec ? vfs::seals::kExec : flags & abi::kMemfdAllowSealing ? 0 : vfs::seals::kSeal;
  RefPtr<vfs::Inode> inode = TRY(maker->make(task.caller(), no_exec ? 0666 : 0777, sealed));
  RefPtr<MemoryFile> file = TRY(make_ref<MemoryFile>(std::move(inode), open_flags::kReadWrite | open_flags::kLargeFile, text.take()));
  // It does not count as a writer: as on Linux, what was written may be run through the descriptor that it was written by.
  return add_descriptor(task, std::move(file), flags & abi::kMemfdCloseOnExec);
}

}  // namespace

const SyscallRow kSysOpenRows[] = {
    full<sys_open>(2, "open"),
    full<sys_close>(3, "close"),
    full<sys_dup>(32, "dup"),
    full<sys_dup2>(33, "dup2"),
    full<sys_creat>(85, "creat"),
    full<sys_openat>(257, "openat"),
    full<sys_dup3>(292, "dup3"),
    partial<sys_memfd_create>(319, "memfd_create", "no huge pages"),
    full<sys_close_range>(436, "close_range"),
    full<sys_openat2>(437, "openat2"),
};
const size_t kSysOpenRowCount = std::size(kSysOpenRows);

}  // namespace umk
