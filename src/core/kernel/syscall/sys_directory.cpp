// Directories and names: getdents, mkdir, rmdir, unlink, rename, link, symlink, mknod, getcwd, chdir, chroot.
#include <iterator>

#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/path_argument.h"

namespace umk {

namespace {

using vfs::At;
using vfs::OpenFile;

// --- getdents(2): records of variable length. They are gathered in kernel memory, as the directory is locked meanwhile.

enum class RecordFormat { Old, New };

class RecordSink final : public vfs::DirectorySink {
 public:
  RecordSink(RecordFormat format, std::span<std::byte> room) : format_(format), room_(room) {}

  bool emit(std::string_view name, vfs::InodeNumber number, vfs::FileType type, uint64_t next_position) override {
    // struct linux_dirent64 { u64 d_ino; s64 d_off; u16 d_reclen; u8 d_type; char d_name[]; }; the old one has its type in the last byte.
    const size_t header = format_ == RecordFormat::New ? 19 : 18;
    const size_t length = round_up(header + name.size() + 1 + (format_ == RecordFormat::Old ? 1 : 0), 8);
    if (length > room_.size() - used_) {
      has_overflowed_ = true;
      return false;
    }
    std::byte* record = room_.data() + used_;
    const auto record_length = static_cast<uint16_t>(length);
    // DT_ values are the type bits of st_mode, shifted.
    const auto kind = static_cast<uint8_t>(static_cast<uint32_t>(type) >> 12);
    __builtin_memset(record + header, 0, length - header);
    __builtin_memcpy(record, &number, 8);
    __builtin_memcpy(record + 8, &next_position, 8);
    __builtin_memcpy(record + 16, &record_length, 2);
    if (format_ == RecordFormat::New) record[18] = std::byte{kind};
    __builtin_memcpy(record + header, name.data(), name.size());
    if (format_ == RecordFormat::Old) record[length - 1] = std::byte{kind};
    used_ += length;
    return true;
  }

  std::span<const std::byte> records() const { return room_.first(used_); }
  bool has_overflowed() const { return has_overflowed_; }

 private:
  RecordFormat format_;
  std::span<std::byte> room_;
  size_t used_ = 0;
  bool has_overflowed_ = false;
};

Result<size_t> read_directory(Task& task, Fd fd, uint64_t buffer, uint32_t size, RecordFormat format) {
  constexpr size_t kMaximumChunk = 32 * 1024;
  const RefPtr<OpenFile> file = TRY(task.fds().readable(fd));
  const size_t room = size < kMaximumChunk ? size : kMaximumChunk;
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[room]);
  if (!memory) return error(ENOMEM);
  RecordSink sink(format, {memory.get(), room});
  const uint64_t before = file->position();
  TRY(file->list(sink));
  if (sink.records().empty()) return sink.has_overflowed() ? Result<size_t>(error(EINVAL)) : Result<size_t>(size_t{0});
  UserOutBuffer into(buffer, size);
  const Result<size_t> copied = into.put(sink.records());
  if (!copied.ok() || copied.value() != sink.records().size()) {
    file->set_position(before);
    return error(EFAULT);
  }
  return copied.value();
}

Result<size_t> sys_getdents(Task& task, Fd fd, uint64_t buffer, uint32_t size) { return read_directory(task, fd, buffer, size, RecordFormat::Old); }
Result<size_t> sys_getdents64(Task& task, Fd fd, uint64_t buffer, uint32_t size) { return read_directory(task, fd, buffer, size, RecordFormat::New); }

// --- names

Result<void> sys_mkdirat(Task& task, Fd directory, UserString path, uint32_t mode) {
  PathArgument text;
  AtArgument at;
  return vfs_of(task).make_directory(task.caller(), TRY(at.resolve(task, directory, TRY(text.read(path)))), mode);
}
Result<void> sys_mkdir(Task& task, UserString path, uint32_t mode) { return sys_mkdirat(task, Fd{kWorkingDirectory}, path, mode); }

Result<void> sys_mknodat(Task& task, Fd directory, UserString path, uint32_t mode, uint32_t device) {
  PathArgument text;
  AtArgument at;
  // The number comes in the 32-bit form: 12 bits of major, 20 of minor.
  const vfs::DeviceNumber number{(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)};
  return vfs_of(task).make_node(task.caller(), TRY(at.resolve(task, directory, TRY(text.read(path)))), mode, number);
}
Result<void> sys_mknod(Task& task, UserString path, uint32_t mode, uint32_t device) { return sys_mknodat(task, Fd{kWorkingDirectory}, path, mode, device); }

Result<void> sys_symlinkat(Task& task, UserString target, Fd directory, UserString path) {
  PathArgument target_text, text;
  AtArgument at;
  const std::string_view contents = TRY(target_text.read(target));
  return vfs_of(task).make_symlink(task.caller(), contents, TRY(at.resolve(task, directory, TRY(text.read(path)))));
}
Result<void> sys_symlink(Task& task, UserString target, UserString path) { return sys_symlinkat(task, target, Fd{kWorkingDirectory}, path); }

// linkat(2)
Result<void> sys_linkat(Task& task, Fd old_directory, UserString old_path, Fd directory, UserString path, int flags) {
  if (flags & ~(at_flags::kSymlinkFollow | at_flags::kEmptyPath)) return error(EINVAL);
  PathArgument old_text, text;
  AtArgument old_at, at;
  const std::string_view old_name = TRY(old_text.read(old_path));
  unsigned walk_flags = flags & at_flags::kSymlinkFollow ? vfs::walk::kFollow : 0;
  if (flags & at_flags::kEmptyPath) {
    // Naming a descriptor's file, which its maker may have hidden, is for the privileged or for those who opened it themselves.
    if (old_name.empty() && !task.credentials().has(Capability::DacReadSearch)) return error(ENOENT);
    walk_flags |= vfs::walk::kEmptyPath;
  }
  const At existing = TRY(old_at.resolve(task, old_directory, old_name));
  return vfs_of(task).link(task.caller(), existing, walk_flags, TRY(at.resolve(task, directory, TRY(text.read(path)))));
}
Result<void> sys_link(Task& task, UserString old_path, UserString path) {
  return sys_linkat(task, Fd{kWorkingDirectory}, old_path, Fd{kWorkingDirectory}, path, 0);
}

Result<void> sys_unlinkat(Task& task, Fd directory, UserString path, int flags) {
  if (flags & ~at_flags::kRemoveDirectory) return error(EINVAL);
  PathArgument text;
  AtArgument at;
  const At place = TRY(at.resolve(task, directory, TRY(text.read(path))));
  return flags ? vfs_of(task).remove_directory(task.caller(), place) : vfs_of(task).unlink(task.caller(), place);
}
Result<void> sys_unlink(Task& task, UserString path) { return sys_unlinkat(task, Fd{kWorkingDirectory}, path, 0); }
Result<void> sys_rmdir(Task& task, UserString path) { return sys_unlinkat(task, Fd{kWorkingDirectory}, path, at_flags::kRemoveDirectory); }

Result<void> sys_renameat2(Task& task, Fd old_directory, UserString old_path, Fd directory, UserString path, uint32_t flags) {
  PathArgument old_text, text;
  AtArgument old_at, at;
  const At from = TRY(old_at.resolve(task, old_directory, TRY(old_text.read(old_path))));
  return vfs_of(task).rename(task.caller(), from, TRY(at.resolve(task, directory, TRY(text.read(path)))), flags);
}
Result<void> sys_renameat(Task& task, Fd old_directory, UserString old_path, Fd directory, UserString path) {
  return sys_renameat2(task, old_directory, old_path, directory, path, 0);
}
Result<void> sys_rename(Task& task, UserString old_path, UserString path) {
  return sys_renameat2(task, Fd{kWorkingDirectory}, old_path, Fd{kWorkingDirectory}, path, 0);
}

// --- where the caller is

// getcwd(2): the call counts the NUL that it writes.
Result<size_t> sys_getcwd(Task& task, uint64_t buffer, uint64_t size) {
  char text[vfs::kPathLimit];
  text[sizeof text - 1] = '\0';
  const std::string_view path = TRY(vfs_of(task).working_directory_text(task.fs(), std::span(text, sizeof text - 1)));
  const size_t length = path.size() + 1;
  if (size < length) return error(ERANGE);
  if (copy_to_user(buffer, path.data(), length).faulted) return error(EFAULT);
  return length;
}

Result<void> enter_directory(Task& task, vfs::Path place) {
  TRY(place.dentry->inode()->check_access(task.credentials(), 1));
  task.fs().set_working_directory(std::move(place));
  return {};
}

Result<void> sys_chdir(Task& task, UserString path) {
  PathArgument text;
  return enter_directory(task, TRY(vfs_of(task).lookup(task.caller(), At{nullptr, TRY(text.read(path))}, vfs::walk::kFollow | vfs::walk::kDirectory)));
}

Result<void> sys_fchdir(Task& task, Fd fd) {
  const RefPtr<OpenFile> file = TRY(task.fds().get(fd));
  if (!file->path() || !file->inode().is_directory()) return error(ENOTDIR);
  return enter_directory(task, file->path());
}

Result<void> sys_chroot(Task& task, UserString path) {
  PathArgument text;
  vfs::Path place = TRY(vfs_of(task).lookup(task.caller(), At{nullptr, TRY(text.read(path))}, vfs::walk::kFollow | vfs::walk::kDirectory));
  TRY(place.dentry->inode()->check_access(task.credentials(), 1));
  if (!task.credentials().has(Capability::SysChroot)) return error(EPERM);
  task.fs().set_root(std::move(place));
  return {};
}

}  // namespace

const SyscallRow kSysDirectoryRows[] = {
    full<sys_getdents>(78, "getdents"),
    full<sys_getcwd>(79, "getcwd"),
    full<sys_chdir>(80, "chdir"),
    full<sys_fchdir>(81, "fchdir"),
    full<sys_rename>(82, "rename"),
    full<sys_mkdir>(83, "mkdir"),
    full<sys_rmdir>(84, "rmdir"),
    full<sys_link>(86, "link"),
    full<sys_unlink>(87, "unlink"),
    full<sys_symlink>(88, "symlink"),
    full<sys_mknod>(133, "mknod"),
    full<sys_chroot>(161, "chroot"),
    full<sys_getdents64>(217, "getdents64"),
    full<sys_mkdirat>(258, "mkdirat"),
    full<sys_mknodat>(259, "mknodat"),
    full<sys_unlinkat>(263, "unlinkat"),
    full<sys_renameat>(264, "renameat"),
    full<sys_linkat>(265, "linkat"),
    full<sys_symlinkat>(266, "symlinkat"),
    partial<sys_renameat2>(316, "renameat2", "no RENAME_WHITEOUT"),
};
const size_t kSysDirectoryRowCount = std::size(kSysDirectoryRows);

}  // namespace umk
