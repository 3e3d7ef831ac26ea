// Path arguments of system calls: the text, copied to the call's stack once, and the directory that relative ones begin at.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/kernel/vfs/vfs.h"

namespace umk {

inline constexpr int kWorkingDirectory = -100;  // AT_FDCWD

/// Flags of the *at calls.
namespace at_flags {
inline constexpr int kSymlinkNoFollow = 0x100, kRemoveDirectory = 0x200, kEffectiveIds = 0x200, kSymlinkFollow = 0x400, kNoAutomount = 0x800, kEmptyPath = 0x1000;
inline constexpr int kStatxSyncType = 0x6000;
}  // namespace at_flags

/// A path of the guest. It takes a page of the kernel stack: a call has two at most.
class PathArgument {
 public:
  /// EFAULT, ENAMETOOLONG.
  Result<std::string_view> read(UserString text) {
    const size_t size = TRY(copy_string_from_user(text_, text.address(), sizeof text_));
    return std::string_view(text_, size);
  }

 private:
  char text_[vfs::kPathLimit];
};

/// Joins a descriptor argument and a path; keeps the descriptor's file while the path is walked.
class AtArgument {
 public:
  /// EBADF for a relative path and a bad descriptor, ENOTDIR when it refers to something without a name.
  Result<vfs::At> resolve(Task& task, Fd directory, std::string_view path) {
    if (directory.number == kWorkingDirectory || path.starts_with('/')) return vfs::At{nullptr, path};
    file_ = TRY(task.fds().get(directory));
    if (!file_->path()) return error(ENOTDIR);
    return vfs::At{&file_->path(), path};
  }

 private:
  RefPtr<vfs::OpenFile> file_;
};

inline vfs::Vfs& vfs_of(Task& task) { return *task.kernel().vfs; }

/// What an attribute call with a descriptor, a path and AT_ flags works on. Keeps it alive.
class TargetArgument {
 public:
  TargetArgument() = default;
  /// `follow`: whether a symlink in the last component is followed. With `allow_empty` and an empty path the descriptor itself is meant.
  Result<vfs::Target> resolve(Task& task, Fd directory, std::string_view path, bool follow, bool allow_empty) {
    if (path.empty()) {
      if (!allow_empty) return error(ENOENT);
      if (directory.number != kWorkingDirectory) {
        file_ = TRY(task.fds().get(directory));
        return vfs::Target(*file_);
      }
    }
    AtArgument at;
    const vfs::Caller caller = task.caller();
    place_ = TRY(vfs_of(task).lookup(caller, TRY(at.resolve(task, directory, path)), (follow ? vfs::walk::kFollow : 0) | (allow_empty ? vfs::walk::kEmptyPath : 0)));
    return vfs::Target(place_);
  }
  Result<vfs::Target> resolve(Task& task, Fd fd) {
    file_ = TRY(task.fds().get(fd));
    return vfs::Target(*file_);
  }

 private:
  RefPtr<vfs::OpenFile> file_;
  vfs::Path place_;
};

}  // namespace umk
