// Directories of tmpfs: entries in a tree by name, for lookup, and one by cookie, for listing.
//
// A cookie is given to an entry when it is added and never again, so a listing that goes on after entries came and went neither repeats nor skips others.
#include "core/fs/tmpfs/tmpfs_inode.h"

namespace umk::fs {

using vfs::Caller;
using vfs::Inode;

namespace {

TmpfsInode& as_tmpfs(Inode& inode) { return static_cast<TmpfsInode&>(inode); }
TmpfsDirectory& as_directory(Inode& inode) { return static_cast<TmpfsDirectory&>(inode); }

}  // namespace

Result<TmpfsDirectory::Entry*> TmpfsDirectory::Entry::make(std::string_view name, RefPtr<TmpfsInode> inode) {
  void* memory = ::operator new(sizeof(Entry) + name.size(), std::nothrow);
  if (!memory) return error(ENOMEM);
  Entry* entry = new (memory) Entry;
  char* text = static_cast<char*>(memory) + sizeof(Entry);
  __builtin_memcpy(text, name.data(), name.size());
  entry->name = {text, name.size()};
  entry->inode = std::move(inode);
  return entry;
}

void TmpfsDirectory::Entry::destroy(Entry* entry) {
  entry->~Entry();
  ::operator delete(static_cast<void*>(entry));
}

TmpfsDirectory::TmpfsDirectory(TmpfsSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid)
    : TmpfsInode(superblock, (mode & vfs::kPermissionMask) | static_cast<uint32_t>(vfs::FileType::Directory), uid, gid) {
  links_.store(2, std::memory_order_relaxed);
  size_bytes_.store(2 * kEntryBytes, std::memory_order_relaxed);
}

TmpfsDirectory::~TmpfsDirectory() {
  while (!by_name_.empty()) {
    Entry& entry = *by_name_.begin();
    take_entry(entry);
    Entry::destroy(&entry);
  }
}

void TmpfsDirectory::tear_down(RefPtr<TmpfsDirectory> top) {
  RefPtr<TmpfsDirectory> pending = std::move(top);
  while (pending) {
    RefPtr<TmpfsDirectory> directory = std::move(pending);
    pending = std::move(directory->tear_down_next_);
    while (!directory->by_name_.empty()) {
      Entry& entry = *directory->by_name_.begin();
      directory->take_entry(entry);
      if (entry.inode->is_directory()) {
        RefPtr<TmpfsDirectory> child(static_cast<TmpfsDirectory*>(entry.inode.get()));
        child->tear_down_next_ = std::move(pending);
        pending = std::move(child);
      }
      Entry::destroy(&entry);
    }
  }
}

TmpfsDirectory::Entry* TmpfsDirectory::find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &*found;
}

void TmpfsDirectory::add_entry(Entry& entry) {
  entry.cookie = next_cookie_++;
  by_name_.insert(entry);
  by_cookie_.insert(by_cookie_.end(), entry);
  size_bytes_.fetch_add(kEntryBytes, std::memory_order_relaxed);
}

void TmpfsDirectory::take_entry(Entry& entry) {
  by_name_.erase(by_name_.iterator_to(entry));
  by_cookie_.erase(by_cookie_.iterator_to(entry));
  size_bytes_.fetch_sub(kEntryBytes, std::memory_order_relaxed);
}

Result<void> TmpfsDirectory::insert(std::string_view name, RefPtr<TmpfsInode> inode) {
  if (find(name)) return error(EEXIST);
  const bool is_subdirectory = inode->is_directory();
  add_entry(*TRY(Entry::make(name, std::move(inode))));
  if (is_subdirectory) add_link();
  stamp_locked(true);
  return {};
}

Result<RefPtr<Inode>> TmpfsDirectory::lookup(std::string_view name) {
  Entry* entry = find(name);
  if (!entry) return error(ENOENT);
  return RefPtr<Inode>(entry->inode.get());
}

Result<RefPtr<Inode>> TmpfsDirectory::create(const Caller& caller, std::string_view name, uint32_t mode) {
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  RefPtr<TmpfsFile> file = TRY(make_tmpfs_inode<TmpfsFile>(filesystem(), owner.mode, owner.uid, owner.gid));
  TRY(insert(name, file));
  return RefPtr<Inode>(std::move(file));
}

Result<RefPtr<Inode>> TmpfsDirectory::make_directory(const Caller& caller, std::string_view name, uint32_t mode) {
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  RefPtr<TmpfsDirectory> directory = TRY(make_tmpfs_inode<TmpfsDirectory>(filesystem(), owner.mode, owner.uid, owner.gid));
  TRY(insert(name, directory));
  return RefPtr<Inode>(std::move(directory));
}

Result<RefPtr<Inode>> TmpfsDirectory::make_node(const Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) {
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  RefPtr<TmpfsNode> node = TRY(make_tmpfs_inode<TmpfsNode>(filesystem(), owner.mode, owner.uid, owner.gid, device));
  TRY(insert(name, node));
  return RefPtr<Inode>(std::move(node));
}

Result<RefPtr<Inode>> TmpfsDirectory::make_symlink(const Caller& caller, std::string_view name, std::string_view target) {
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, 0777);
  RefPtr<TmpfsSymlink> link = TRY(make_tmpfs_inode<TmpfsSymlink>(filesystem(), owner.uid, owner.gid, TRY(String::from(target))));
  TRY(insert(name, link));
  return RefPtr<Inode>(std::move(link));
}

Result<RefPtr<Inode>> TmpfsDirectory::create_temporary(const Caller& caller, uint32_t mode, bool linkable) {
  const vfs::NewOwner owner = vfs::owner_of_new(*this, caller, mode);
  RefPtr<TmpfsFile> file = TRY(make_tmpfs_inode<TmpfsFile>(filesystem(), owner.mode, owner.uid, owner.gid));
  file->set_links(0);
  file->set_linkable(linkable);
  return RefPtr<Inode>(std::move(file));
}

Result<void> TmpfsDirectory::link(std::string_view name, Inode& target) {
  // Each name takes an inode's worth of memory, so a link counts as one: tmpfs(5), nr_inodes.
  const bool was_nameless = target.links() == 0;
  if (!was_nameless) TRY(filesystem().charge_inode());
  Result<void> inserted = insert(name, RefPtr<TmpfsInode>(as_tmpfs(target)));
  if (!inserted.ok()) {
    if (!was_nameless) filesystem().release_inode();
    return inserted;
  }
  as_tmpfs(target).add_link();
  target.touch_change_time();
  if (target.is_regular()) static_cast<TmpfsFile&>(target).set_linkable(false);
  return {};
}

void TmpfsDirectory::withdraw(std::string_view name, vfs::FileType type, vfs::DeviceNumber device) {
  Entry* entry = find(name);
  if (!entry || entry->inode->type() != type || entry->inode->device() != device) return;
  const RefPtr<TmpfsInode> node = entry->inode;
  take_entry(*entry);
  node->drop_link();
  stamp_locked(true);
  Entry::destroy(entry);
}

Result<void> TmpfsDirectory::unlink(std::string_view name, Inode& victim) {
  Entry* entry = find(name);
  if (!entry) return error(ENOENT);
  take_entry(*entry);
  if (victim.links() > 1) filesystem().release_inode();
  as_tmpfs(victim).drop_link();
  victim.touch_change_time();
  stamp_locked(true);
  Entry::destroy(entry);
  return {};
}

Result<void> TmpfsDirectory::remove_directory(std::string_view name, Inode& victim) {
  TmpfsDirectory& directory = as_directory(victim);
  if (!directory.is_empty()) return error(ENOTEMPTY);
  Entry* entry = find(name);
  if (!entry) return error(ENOENT);
  take_entry(*entry);
  directory.set_links(0);
  directory.stamp_locked(false);
  drop_link();
  stamp_locked(true);
  Entry::destroy(entry);
  return {};
}

Result<void> TmpfsDirectory::rename(std::string_view name, Inode& moved, Inode& new_parent, std::string_view new_name, Inode* replaced, bool exchange) {
  TmpfsDirectory& target = as_directory(new_parent);
  Entry* old_entry = find(name);
  if (!old_entry) return error(ENOENT);
  Entry* const replaced_entry = replaced ? target.find(new_name) : nullptr;
  if (replaced && !replaced_entry) return error(ENOENT);

  if (exchange) {
    std::swap(old_entry->inode, replaced_entry->inode);
    if (&target != this && moved.is_directory() != replaced->is_directory()) {
      TmpfsDirectory& loses = moved.is_directory() ? *this : target;
      TmpfsDirectory& gains = moved.is_directory() ? target : *this;
      loses.drop_link();
      gains.add_link();
    }
    replaced->touch_change_time();
  } else {
    if (replaced && replaced->is_directory() && !as_directory(*replaced).is_empty()) return error(ENOTEMPTY);
    if (replaced_entry) {
      // The name stays and leads elsewhere.
      std::swap(replaced_entry->inode, old_entry->inode);
    } else {
      target.add_entry(*TRY(Entry::make(new_name, old_entry->inode)));
    }
    take_entry(*old_entry);
    if (moved.is_directory() && &target != this) {
      drop_link();
      target.add_link();
    }
    if (replaced) {
      if (replaced->is_directory()) {
        // The VFS holds its lock.
        as_tmpfs(*replaced).set_links(0);
        as_tmpfs(*replaced).stamp_locked(false);
        target.drop_link();
      } else {
        if (replaced->links() > 1) filesystem().release_inode();
        as_tmpfs(*replaced).drop_link();
        replaced->touch_change_time();
      }
    }
    Entry::destroy(old_entry);
  }
  moved.touch_change_time();
  stamp_locked(true);
  if (&target != this) target.stamp_locked(true);
  return {};
}

Result<uint64_t> TmpfsDirectory::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number(), parent_number, sink)) return position;
  for (auto entry = by_cookie_.lower_bound(position); entry != by_cookie_.end(); ++entry) {
    if (!sink.emit(entry->name, entry->inode->number(), entry->inode->type(), entry->cookie + 1)) return entry->cookie;
    position = entry->cookie + 1;
  }
  return position;
}

}  // namespace umk::fs
