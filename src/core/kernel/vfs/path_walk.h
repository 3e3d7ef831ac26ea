// PathWalk: from a text to a place in the mount tree. path_resolution(7), openat2(2).
//
// A walk begins at the root or at a base directory, and goes component by component: permission to search, cached or looked-up child, symlink, mount. It stops
// before the last component (to_parent), for calls that create, remove or rename it, or goes to the end (to_end). It copies no text, allocates only for
// symlinks whose target is not in memory, and takes one bucket lock a component; a name that is not cached costs the directory's lock.
// A walk lives on the stack of one call. The text given to it must outlive it.
#pragma once

#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/dentry.h"
#include "core/kernel/vfs/mount.h"

namespace umk::vfs {

class Vfs;

namespace walk {
inline constexpr unsigned kFollow = 1;        // follow a symlink in the last component
inline constexpr unsigned kDirectory = 2;     // the result must be a directory: ENOTDIR
inline constexpr unsigned kEmptyPath = 4;     // "" means the base itself (AT_EMPTY_PATH); else ENOENT
// openat2(2):
inline constexpr unsigned kNoMountCrossing = 8, kNoMagicLinks = 16, kNoSymlinks = 32, kBeneath = 64, kInRoot = 128, kCachedOnly = 256;
inline constexpr unsigned kUnmount = 512;  // umount2(2): passing a mount does not count as its use
}  // namespace walk

class PathWalk {
 public:
  /// `base` is where relative paths begin; null: the caller's working directory.
  PathWalk(Vfs& vfs, const Caller& caller, const Path* base, std::string_view text, unsigned flags)
      : vfs_(vfs), caller_(caller), base_(base), rest_(text), flags_(flags) {}

  /// Follows everything; the result is in mount() and dentry(), positive.
  Result<void> to_end();

  enum class Last { Name, Dot, DotDot, Root };
  /// Walks to the directory of the last component, which is left in last().
  Result<void> to_parent();
  /// After to_parent, when the last component is a symlink that shall be followed: goes on to the parent of what it names.
  /// True when the walk ended at a place instead (a magic link), which mount() and dentry() tell.
  Result<bool> follow_last(RefPtr<Dentry> link);

  Last last_kind() const { return last_kind_; }
  std::string_view last() const { return last_; }
  /// The path ended in a slash: what it names must be a directory.
  bool has_trailing_slash() const { return trailing_slash_; }
  /// After to_parent with a last component other than a name: goes there.
  Result<void> enter_last();

  Mount& mount() const { return *mount_; }
  Dentry& dentry() const { return *dentry_; }
  Path take() { return Path(std::move(mount_), std::move(dentry_)); }
  Path place() const { return Path(mount_, dentry_); }
  /// Goes to a child of the present directory, over mounts.
  Result<void> enter(RefPtr<Dentry> child);

 private:
  static constexpr unsigned kMaximumLinks = 40;

  /// A text that a symlink interrupted: what is left of it, and what keeps it alive.
  struct Frame {
    std::string_view rest;
    String text;
    RefPtr<Dentry> link;
  };

  Result<void> start();
  Result<const Path*> root();
  Result<void> go_to_root();
  Result<void> go_up();
  Result<void> step(std::string_view name);
  /// Follows a symlink: continues in its text. True when it jumped (magic link).
  Result<bool> follow(RefPtr<Dentry> link, bool is_last);
  Result<void> push_frame();
  bool pop_frame();
  Result<void> check_search();

  Vfs& vfs_;
  const Caller& caller_;
  const Path* base_;
  std::string_view rest_;
  unsigned flags_;
  unsigned links_ = 0;
  bool started_ = false;
  bool trailing_slash_ = false;
  Last last_kind_ = Last::Root;
  std::string_view last_;
  RefPtr<Mount> mount_;
  RefPtr<Dentry> dentry_;
  Path root_;
  Frame current_;  // owner of the text that rest_ lies in
  Frame first_frame_;
  bool has_first_frame_ = false;
  Vector<Frame> more_frames_;
};

}  // namespace umk::vfs
