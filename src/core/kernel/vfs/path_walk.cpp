#include "core/kernel/vfs/path_walk.h"

#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

std::string_view skip_slashes(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && text[i] == '/') ++i;
  return text.substr(i);
}

/// Length of the first component.
size_t component_length(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && text[i] != '/') ++i;
  return i;
}

}  // namespace

Result<const Path*> PathWalk::root() {
  if (flags_ & (walk::kBeneath | walk::kInRoot)) {
    if (!root_) root_ = base_ ? *base_ : caller_.fs.working_directory();
  } else if (!root_) {
    root_ = caller_.fs.root();
  }
  return &root_;
}

Result<void> PathWalk::go_to_root() {
  if (flags_ & walk::kBeneath) return error(EXDEV);
  const Path& top = *TRY(root());
  if ((flags_ & walk::kNoMountCrossing) && mount_ && top.mount != mount_) return error(EXDEV);
  mount_ = top.mount;
  dentry_ = top.dentry;
  return {};
}

Result<void> PathWalk::start() {
  if (started_) return {};
  started_ = true;
  if (rest_.empty() && !(flags_ & walk::kEmptyPath)) return error(ENOENT);
  if (rest_.empty() || rest_.front() != '/' || (flags_ & walk::kNoMountCrossing)) {
    if (base_) {
      mount_ = base_->mount;
      dentry_ = base_->dentry;
      if (!dentry_) return error(ENOTDIR);
    } else {
      Path here = caller_.fs.working_directory();
      mount_ = std::move(here.mount);
      dentry_ = std::move(here.dentry);
    }
  }
  if (!rest_.empty() && rest_.front() == '/') return go_to_root();
  return {};
}

Result<void> PathWalk::check_search() {
  Inode& directory = *dentry_->inode();
  if (!directory.is_directory()) return error(ENOTDIR);
  return directory.check_access(caller_.credentials, 1);
}

Result<void> PathWalk::go_up() {
  const Path& top = *TRY(root());
  for (;;) {
    if (dentry_ == top.dentry && mount_ == top.mount) {
      if (flags_ & walk::kBeneath) return error(EXDEV);
      return {};
    }
    if (dentry_.get() != &mount_->root()) {
      dentry_ = vfs_.dentries().parent_of(*dentry_);
      break;
    }
    if (!vfs_.mounts().ascend(mount_, dentry_)) return {};
    if (flags_ & walk::kNoMountCrossing) return error(EXDEV);
  }
  vfs_.mounts().descend(mount_, dentry_, !(flags_ & walk::kUnmount));
  return {};
}

Result<void> PathWalk::enter(RefPtr<Dentry> child) {
  dentry_ = std::move(child);
  if (dentry_->mounted_here.load(std::memory_order_acquire) == 0) [[likely]] return {};
  const Mount* before = mount_.get();
  vfs_.mounts().descend(mount_, dentry_, !(flags_ & walk::kUnmount));
  if ((flags_ & walk::kNoMountCrossing) && mount_.get() != before) return error(EXDEV);
  return {};
}

Result<void> PathWalk::push_frame() {
  current_.rest = rest_;
  if (!has_first_frame_) {
    first_frame_ = std::move(current_);
    has_first_frame_ = true;
  } else {
    TRY(more_frames_.push_back(std::move(current_)));
  }
  current_ = Frame{};
  return {};
}

bool PathWalk::pop_frame() {
  if (!has_first_frame_) return false;
  if (!more_frames_.empty()) {
    current_ = std::move(more_frames_.back());
    more_frames_.pop_back();
  } else {
    current_ = std::move(first_frame_);
    has_first_frame_ = false;
  }
  rest_ = current_.rest;
  return true;
}

Result<bool> PathWalk::follow(RefPtr<Dentry> link, bool is_last) {
  if ((flags_ & walk::kNoSymlinks) || (mount_->flags() & mount_flags::kNoSymFollow)) return error(ELOOP);
  if (++links_ > kMaximumLinks) return error(ELOOP);
  Inode& inode = *link->inode();
  // proc(5), protected_symlinks: in sticky directories that all may write, links of others are not followed.
  if (is_last && vfs_.protections.symlinks.load(std::memory_order_relaxed)) {
    const Inode& directory = *dentry_->inode();
    constexpr uint32_t kShared = mode::kSticky | 02;
    if ((directory.mode() & kShared) == kShared && inode.uid() != caller_.credentials.fsuid && inode.uid() != directory.uid()) return error(EACCES);
  }
  if (inode.is_magic_link()) {
    if (flags_ & walk::kNoMagicLinks) return error(ELOOP);
    if (flags_ & (walk::kBeneath | walk::kInRoot)) return error(EXDEV);
    Path target = TRY(inode.magic_target(caller_));
    if ((flags_ & walk::kNoMountCrossing) && target.mount != mount_) return error(EXDEV);
    mount_ = std::move(target.mount);
    dentry_ = std::move(target.dentry);
    return true;
  }
  if (!rest_.empty()) TRY(push_frame());
  rest_ = inode.link_in_memory();
  if (rest_.empty()) {
    current_.text = TRY(inode.read_link());
    rest_ = current_.text.view();
    if (rest_.empty()) return error(ENOENT);
  }
  inode.touch_access_time();
  current_.link = std::move(link);
  if (rest_.front() == '/') TRY(go_to_root());
  return false;
}

Result<void> PathWalk::step(std::string_view name) {
  TRY(check_search());
  if (name.size() <= 2 && name[0] == '.') {
    if (name.size() == 1) return {};
    if (name[1] == '.') return go_up();
  }
  RefPtr<Dentry> child = TRY(vfs_.child_of(*dentry_, name, flags_ & walk::kCachedOnly));
  const Inode* inode = child->inode();
  if (!inode) return error(ENOENT);
  if (inode->is_symlink()) {
    TRY(follow(std::move(child), false));
    return {};
  }
  return enter(std::move(child));
}

Result<void> PathWalk::to_parent() {
  TRY(start());
  for (;;) {
    rest_ = skip_slashes(rest_);
    if (rest_.empty()) {
      if (pop_frame()) continue;
      last_kind_ = Last::Root;
      last_ = {};
      return {};
    }
    const size_t length = component_length(rest_);
    const std::string_view name = rest_.substr(0, length);
    const std::string_view after = rest_.substr(length);
    rest_ = skip_slashes(after);
    if (rest_.empty() && !has_first_frame_) {
      trailing_slash_ |= !after.empty();
      last_ = name;
      last_kind_ = name == "." ? Last::Dot : name == ".." ? Last::DotDot : Last::Name;
      return {};
    }
    TRY(step(name));
  }
}

Result<bool> PathWalk::follow_last(RefPtr<Dentry> link) {
  if (TRY(follow(std::move(link), true))) return true;
  TRY(to_parent());
  return false;
}

Result<void> PathWalk::enter_last() {
  switch (last_kind_) {
    case Last::Root: return {};
    case Last::Dot: return check_search();
    case Last::DotDot: TRY(check_search()); return go_up();
    case Last::Name: break;
  }
  CHECK(false, "a named last component is looked up, not entered");
}

Result<void> PathWalk::to_end() {
  TRY(to_parent());
  while (last_kind_ == Last::Name) {
    TRY(check_search());
    RefPtr<Dentry> child = TRY(vfs_.child_of(*dentry_, last_, flags_ & walk::kCachedOnly));
    const Inode* inode = child->inode();
    if (!inode) return error(ENOENT);
    if (inode->is_symlink() && ((flags_ & walk::kFollow) || trailing_slash_)) {
      if (TRY(follow_last(std::move(child)))) {
        last_kind_ = Last::Root;
        break;
      }
      continue;
    }
    TRY(enter(std::move(child)));
    last_kind_ = Last::Root;
    break;
  }
  TRY(enter_last());
  if ((trailing_slash_ || (flags_ & walk::kDirectory)) && !dentry_->inode()->is_directory()) return error(ENOTDIR);
  return {};
}

}  // namespace umk::vfs
