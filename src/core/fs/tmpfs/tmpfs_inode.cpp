// What the inodes of tmpfs share, and symlinks.
#include "core/fs/tmpfs/tmpfs_inode.h"

namespace umk::fs {

TmpfsInode::TmpfsInode(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device)
    : Inode(superblock, superblock.next_number(), mode, uid, gid, device) {}

TmpfsInode::~TmpfsInode() { filesystem().release_inode(); }

TmpfsSymlink::TmpfsSymlink(TmpfsSuperblock& superblock, UserId uid, GroupId gid, String target)
    : TmpfsInode(superblock, 0777 | static_cast<uint32_t>(vfs::FileType::Symlink), uid, gid), target_(std::move(target)) {
  size_bytes_.store(target_.size(), std::memory_order_relaxed);
}

size_t TmpfsInode::find_attribute(std::string_view name) const {
  size_t i = 0;
  while (i < attributes_.size() && attributes_[i].name.view() != name) ++i;
  return i;
}

Result<String> TmpfsInode::get_attribute(std::string_view name) {
  if (name.starts_with("system.")) return error(EOPNOTSUPP);
  const size_t i = find_attribute(name);
  if (i == attributes_.size()) return error(ENODATA);
  return attributes_[i].value.clone();
}

Result<void> TmpfsInode::set_attribute(std::string_view name, std::string_view value, int flags) {
  constexpr int kCreate = 1, kReplace = 2;
  // Access control lists would have to take part in check_access.
  if (name.starts_with("system.")) return error(EOPNOTSUPP);
  const size_t i = find_attribute(name);
  const bool exists = i < attributes_.size();
  if (exists && (flags & kCreate)) return error(EEXIST);
  if (!exists && (flags & kReplace)) return error(ENODATA);
  const size_t old_bytes = exists ? attributes_[i].name.size() + attributes_[i].value.size() : 0;
  const size_t new_bytes = name.size() + value.size();
  if (attribute_bytes_ - old_bytes + new_bytes > kMaximumAttributeBytes) return error(ENOSPC);
  String copy = TRY(String::from(value));
  if (exists) {
    attributes_[i].value = std::move(copy);
  } else {
    TRY(attributes_.push_back(Attribute{TRY(String::from(name)), std::move(copy)}));
  }
  attribute_bytes_ += new_bytes - old_bytes;
  stamp_locked(false);
  return {};
}

Result<void> TmpfsInode::remove_attribute(std::string_view name) {
  if (name.starts_with("system.")) return error(EOPNOTSUPP);
  const size_t i = find_attribute(name);
  if (i == attributes_.size()) return error(ENODATA);
  attribute_bytes_ -= attributes_[i].name.size() + attributes_[i].value.size();
  attributes_.erase(i);
  stamp_locked(false);
  return {};
}

Result<String> TmpfsInode::list_attributes() {
  String names;
  for (const Attribute& attribute : attributes_) {
    TRY(names.append(attribute.name.view()));
    TRY(names.append('\0'));
  }
  return names;
}

}  // namespace umk::fs
