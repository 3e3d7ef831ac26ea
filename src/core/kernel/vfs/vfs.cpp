#include "core/kernel/vfs/vfs.h"

#include "core/kernel/vfs/memory_files.h"

namespace umk::vfs {

Result<std::unique_ptr<Vfs>> Vfs::create(size_t dentry_limit) {
  std::unique_ptr<Vfs> vfs(new (std::nothrow) Vfs(TRY(DentryCache::create(dentry_limit))));
  if (!vfs) return error(ENOMEM);
  vfs->object_counts_ = TRY(make_ref<ObjectCounts>());
  vfs->mounts_ = TRY(make_unique<MountTree>(*vfs->dentries_));
  for (unsigned kind = 0; kind < kAnonymousKinds; ++kind) {
    vfs->anonymous_[kind] = TRY(AnonymousSuperblock::create(static_cast<AnonymousKind>(kind), vfs->next_anonymous_device()));
    vfs->anonymous_[kind]->count_in(vfs->object_counts_);
    vfs->anonymous_mounts_[kind] = TRY(vfs->mounts_->make(vfs->anonymous_[kind], "none", 0));
  }
  return vfs;
}

Vfs::~Vfs() {
  for (RefPtr<Mount>& mount : anonymous_mounts_) mount = nullptr;
  mounts_ = nullptr;
}

Result<Path> Vfs::anonymous_path(RefPtr<Inode> inode) {
  // Nameless files of other filesystems (memfd_create) pass as event files: what counts is a mount that can be written and goes nowhere.
  RefPtr<Mount> place = anonymous_mounts_[static_cast<unsigned>(AnonymousKind::Event)];
  for (const RefPtr<Mount>& mount : anonymous_mounts_)
    if (&mount->superblock() == &inode->superblock()) place = mount;
  Superblock& superblock = inode->superblock();
  return Path(std::move(place), TRY(dentries_->make_root(superblock, std::move(inode))));
}

void Vfs::set_memory_files(MemoryFiles& maker) {
  memory_files_ = &maker;
  maker.superblock().count_in(object_counts_);
}

Result<void> Vfs::register_type(FilesystemType& type) {
  if (find_type(type.name())) return error(EBUSY);
  return types_.push_back(&type);
}

FilesystemType* Vfs::find_type(std::string_view name) {
  for (FilesystemType* type : types_)
    if (type->name() == name) return type;
  return nullptr;
}

Result<Path> Vfs::mount_root(const Credentials& credentials, std::string_view type_name, std::string_view source, uint64_t flags, std::string_view options) {
  FilesystemType* type = find_type(type_name);
  if (!type) return error(ENODEV);
  FsContext nowhere{Path(), Path(), 0};
  const Caller caller{credentials, nowhere};
  const bool read_only = flags & mount_flags::kReadOnly;
  RefPtr<Superblock> superblock = TRY(type->mount({source, options, read_only, caller, next_anonymous_device()}));
  superblock->set_read_only(read_only);
  superblock->count_in(object_counts_);
  RefPtr<Mount> mount = TRY(mounts_->make(std::move(superblock), source, flags));
  Path place(mount, mount->root_ref());
  mounts_->set_root(std::move(mount));
  return place;
}

Result<Path> Vfs::lookup(const Caller& caller, At at, unsigned flags) {
  PathWalk walk(*this, caller, at.base, at.path, flags);
  TRY(walk.to_end());
  return walk.take();
}

Result<RefPtr<Dentry>> Vfs::child_of(Dentry& parent, std::string_view name, bool cached_only) {
  if (name.size() > Dentry::kNameLimit) return error(ENAMETOOLONG);
  const uint32_t hash = hash_name(name);
  Inode& directory = *parent.inode();
  if (RefPtr<Dentry> child = dentries_->find(parent, name, hash)) {
    if (directory.names_are_stable() || directory.revalidate(name, child->inode())) [[likely]] return child;
    dentries_->remove(*child);
  }
  if (cached_only) return error(EAGAIN);
  Result<RefPtr<Dentry>> child = [&]() -> Result<RefPtr<Dentry>> {
    MutexLock lock(directory.mutex());
    return child_of_locked(parent, name, hash);
  }();
  dentries_->trim();
  return child;
}

/// With the directory locked: asks the filesystem for what the cache does not know.
Result<RefPtr<Dentry>> Vfs::child_of_locked(Dentry& parent, std::string_view name, uint32_t hash) {
  if (name.size() > Dentry::kNameLimit) return error(ENAMETOOLONG);
  Inode& directory = *parent.inode();
  if (directory.is_removed()) return error(ENOENT);
  if (RefPtr<Dentry> child = dentries_->find(parent, name, hash)) {
    if (directory.names_are_stable() || directory.revalidate(name, child->inode())) return child;
    dentries_->remove(*child);
  }
  Result<RefPtr<Inode>> inode = directory.lookup(name);
  if (!inode.ok()) {
    if (inode.code() != ENOENT) return inode.failure();
    return dentries_->add(parent, name, hash, nullptr);
  }
  return dentries_->add(parent, name, hash, inode.take());
}

Result<std::string_view> Vfs::path_text(const Path& path, const Path& root, std::span<char> buffer) {
  constexpr std::string_view kDeleted = " (deleted)";
  bool reachable;
  if (!path.dentry->is_unhashed() || path.dentry->is_root()) return mounts_->path_text(path, root, buffer, &reachable);
  if (buffer.size() < kDeleted.size()) return error(ENAMETOOLONG);
  const std::span<char> room = buffer.first(buffer.size() - kDeleted.size());
  const std::string_view text = TRY(mounts_->path_text(path, root, room, &reachable));
  __builtin_memcpy(room.data() + room.size(), kDeleted.data(), kDeleted.size());
  return std::string_view(text.data(), text.size() + kDeleted.size());
}

Result<std::string_view> Vfs::working_directory_text(FsContext& fs, std::span<char> buffer) {
  constexpr std::string_view kUnreachable = "(unreachable)";
  const Path here = fs.working_directory();
  if (here.dentry->is_unhashed() && !here.dentry->is_root()) return error(ENOENT);
  bool reachable;
  const std::string_view text = TRY(mounts_->path_text(here, fs.root(), buffer, &reachable));
  if (reachable) return text;
  if (static_cast<size_t>(text.data() - buffer.data()) < kUnreachable.size()) return error(ENAMETOOLONG);
  char* begin = const_cast<char*>(text.data()) - kUnreachable.size();
  __builtin_memcpy(begin, kUnreachable.data(), kUnreachable.size());
  return std::string_view(begin, text.size() + kUnreachable.size());
}

Result<void> Vfs::sync_all() {
  Vector<RefPtr<Superblock>> all;
  TRY(mounts_->superblocks(all));
  Result<void> outcome;
  for (const RefPtr<Superblock>& superblock : all)
    if (Result<void> synced = superblock->sync(); !synced.ok()) outcome = std::move(synced);
  return outcome;
}

}  // namespace umk::vfs
