#include "core/fs/ext4/node.h"

#include "core/fs/ext4/directory_node.h"
#include "core/fs/ext4/ext4_open_file.h"
#include "core/fs/ext4/file_node.h"
#include "core/kernel/vfs/caller.h"
#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

Time to_disk(const vfs::Timestamp& time) { return {time.seconds, time.nanoseconds}; }
vfs::Timestamp from_disk(const Time& time) { return {time.seconds, time.nanoseconds}; }

/// A directory with more links than the field holds says 1: dir_nlink.
uint16_t links_on_disk(const Node& node) { return node.links() > 65000 ? 1 : static_cast<uint16_t>(node.links()); }

}  // namespace

Node::Node(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> bytes)
    : Inode(volume, number, mode, uid, gid, device), record_(std::move(bytes)) {
  take_over_record();
}

Node::~Node() = default;

void Node::take_over_record() {
  const InodeRecord from = record();
  flags_.store(from.flags(), std::memory_order_relaxed);
  checksum_seed_ = inode_seed(volume().geometry().checksum_seed, inode_number(), from.generation());
  links_.store(from.links(), std::memory_order_relaxed);
  size_bytes_.store(from.size(), std::memory_order_relaxed);
  access_time_ = from_disk(from.access_time());
  modify_time_ = from_disk(from.modify_time());
  change_time_ = from_disk(from.change_time());
  birth_time_ = from_disk(from.birth_time().value_or(from.change_time()));
}

Result<RefPtr<Node>> Node::construct(Volume& volume, uint32_t number, InodeRecord from, Vector<std::byte> bytes) {
  const uint32_t mode = from.mode();
  vfs::DeviceNumber device;
  const auto build = [&]<typename T>(T*) -> Result<RefPtr<Node>> {
    return RefPtr<Node>(TRY(make_ref<T>(volume, number, mode, from.uid(), from.gid(), device, std::move(bytes))));
  };
  switch (static_cast<vfs::FileType>(mode & vfs::kFileTypeMask)) {
    case vfs::FileType::Regular: return build(static_cast<FileNode*>(nullptr));
    case vfs::FileType::Directory: return build(static_cast<DirectoryNode*>(nullptr));
    case vfs::FileType::Symlink: return build(static_cast<LinkNode*>(nullptr));
    case vfs::FileType::CharacterDevice:
    case vfs::FileType::BlockDevice: from.device(device.major, device.minor); [[fallthrough]];
    case vfs::FileType::Fifo:
    case vfs::FileType::Socket: return build(static_cast<PlainNode*>(nullptr));
  }
  return volume.damaged("file type", number);
}

Result<RefPtr<Node>> Node::load(Volume& volume, uint32_t number) {
  const Geometry& geometry = volume.geometry();
  const Volume::InodePlace place = TRY(volume.inode_place(number));
  Vector<std::byte> bytes;
  TRY(bytes.append(place.buffer->bytes().subspan(place.offset, geometry.inode_size)));
  InodeRecord from(Bytes(bytes.data(), bytes.size()));
  if (!from.is_intact(geometry, number)) {
    (void)volume.damaged("inode checksum", number);
    return error(EBADMSG);
  }
  if (from.mode() == 0 || (from.links() == 0 && from.deletion_time() != 0 && from.deletion_time() > geometry.inode_count)) return error(ESTALE);
  if (!from.has_sane_extra_size()) return volume.damaged("inode size", number);
  if (from.flags() & (inode_flags::kInlineData | inode_flags::kEncrypted)) return volume.damaged("inode with features that the filesystem has not", number);
  if (from.size() > INT64_MAX) return volume.damaged("file size", number);
  const bool is_directory = (from.mode() & vfs::kFileTypeMask) == static_cast<uint32_t>(vfs::FileType::Directory);
  if (is_directory && (from.size() % geometry.block_size != 0 || from.size() == 0 || from.size() >> geometry.block_bits > INT32_MAX))
    return volume.damaged("directory size", number);
  return construct(volume, number, from, std::move(bytes));
}

Result<RefPtr<Node>> Node::make(Volume& volume, const Fresh& fresh) {
  const Geometry& geometry = volume.geometry();
  Vector<std::byte> bytes;
  TRY(bytes.resize(geometry.inode_size));
  fill_zero(Bytes(bytes.data(), bytes.size()));
  InodeRecord to(Bytes(bytes.data(), bytes.size()));
  const uint32_t type = fresh.mode & vfs::kFileTypeMask;
  const bool has_map = type == static_cast<uint32_t>(vfs::FileType::Regular) || type == static_cast<uint32_t>(vfs::FileType::Directory);
  to.set_mode(static_cast<uint16_t>(fresh.mode));
  to.set_uid(fresh.uid);
  to.set_gid(fresh.gid);
  to.set_extra_size(static_cast<uint16_t>(geometry.want_extra_size));
  to.set_generation(volume.next_generation());
  uint32_t flags = fresh.inherited_flags;
  if (has_map && geometry.has_incompat(incompat::kExtents)) {
    flags |= inode_flags::kExtents;
    ExtentNode(to.block_map()).initialise(0, ExtentNode::kRootMaximum);
  }
  to.set_flags(flags);
  if (type == static_cast<uint32_t>(vfs::FileType::CharacterDevice) || type == static_cast<uint32_t>(vfs::FileType::BlockDevice))
    to.set_device(fresh.device.major, fresh.device.minor);
  const vfs::Timestamp now = vfs::file_time_now();
  to.set_birth_time(to_disk(now));
  to.set_access_time(to_disk(now));
  to.set_modify_time(to_disk(now));
  to.set_change_time(to_disk(now));
  to.set_links(1);
  RefPtr<Node> node = TRY(construct(volume, fresh.number, to, std::move(bytes)));
  volume.enter_node(*node);
  return node;
}

// --- storing

void Node::stamp_record() {
  InodeRecord to = record();
  to.set_mode(static_cast<uint16_t>(mode()));
  to.set_uid(uid());
  to.set_gid(gid());
  to.set_links(links_on_disk(*this));
  to.set_access_time(to_disk(access_time_));
  to.set_modify_time(to_disk(modify_time_));
  to.set_change_time(to_disk(change_time_));
}

bool Node::differs_from_record() {
  const InodeRecord from = record();
  if (from.mode() != (mode() & 0xffff) || from.uid() != uid() || from.gid() != gid() || from.links() != links_on_disk(*this)) return true;
  const auto differs = [&](const Time& stored, const vfs::Timestamp& wanted) {
    if (volume().geometry().inode_size == InodeRecord::kSmallSize) return stored.seconds != wanted.seconds;
    return stored.seconds != wanted.seconds || stored.nanoseconds != wanted.nanoseconds;
  };
  return differs(from.access_time(), access_time_) || differs(from.modify_time(), modify_time_) || differs(from.change_time(), change_time_);
}

Result<void> Node::store_record_locked(Journal::Handle& handle, What changed) {
  const Volume::InodePlace place = TRY(volume().inode_place(inode_number()));
  handle.modify(*place.buffer, BufferKind::InodeTable);
  record().seal(volume().geometry(), inode_number());
  copy_bytes(place.buffer->bytes().subspan(place.offset, record_.size()), ConstBytes(record_.data(), record_.size()));
  last_transaction.store(handle.transaction(), std::memory_order_release);
  if (changed == What::All) last_data_transaction.store(handle.transaction(), std::memory_order_release);
  return {};
}

Result<void> Node::store(Journal::Handle& handle) {
  MutexLock lock(map_mutex_);
  stamp_record();
  return store_record_locked(handle);
}

Result<void> Node::store_if_changed() {
  MutexLock lock(mutex_);
  return store_last_changes();
}

Result<void> Node::store_last_changes() {
  if (links() == 0 && !is_orphan && !is_linkable_) return {};
  if (!differs_from_record() || volume().is_read_only()) return {};
  Journal::Handle handle = TRY(volume().begin(2));
  MutexLock lock(map_mutex_);
  stamp_record();
  return store_record_locked(handle, What::Times);
}

void Node::add_sectors_locked(int64_t blocks) {
  const Geometry& geometry = volume().geometry();
  const int64_t sectors = static_cast<int64_t>(record().sectors(geometry)) + blocks * (geometry.block_size / 512);
  (void)record().set_sectors(geometry, sectors < 0 ? 0 : static_cast<uint64_t>(sectors));
  flags_.store(record().flags(), std::memory_order_relaxed);
}

// --- the block map

Result<Mapping> Node::map_locked(uint32_t logical, uint32_t maximum) { return uses_extents() ? map_extent(logical, maximum) : map_indirect(logical, maximum); }

Result<void> Node::insert_locked(Journal::Handle& handle, const Extent& extent) {
  add_sectors_locked(extent.length);
  // Kept, so that storing the record does not fail when the map has changed.
  const Volume::InodePlace place = TRY(volume().inode_place(inode_number()));
  return uses_extents() ? insert_extent(handle, extent) : insert_indirect(handle, extent);
}

Result<bool> Node::remove_some_locked(Journal::Handle& handle, uint32_t first, uint64_t end) {
  return uses_extents() ? remove_extents(handle, first, end) : remove_indirect(handle, first, end);
}

Result<void> Node::remove_blocks(uint32_t first, uint64_t end) {
  for (;;) {
    Journal::Handle handle = TRY(volume().begin(kMapCredits));
    MutexLock lock(map_mutex_);
    Result<bool> done = remove_some_locked(handle, first, end);
    if (!done.ok()) return done.failure();
    if (done.value()) return {};
  }
}

uint64_t Node::goal_locked(uint32_t logical) {
  // Behind the block before, if there is one.
  if (logical > 0) {
    Result<Mapping> before = map_locked(logical - 1, 1);
    if (before.ok() && !before.value().is_hole()) return before.value().physical + 1;
  }
  return volume().goal_for(inode_number());
}

// --- attributes of the inode

Result<vfs::Metadata> Node::metadata() {
  vfs::Metadata data = TRY(Inode::metadata());
  data.block_size = volume().geometry().block_size;
  const uint32_t bits = flags();
  // STATX_ATTR_*: statx(2).
  data.attributes = bits & (inode_flags::kImmutable | inode_flags::kAppend | inode_flags::kNoDump);
  MutexLock lock(map_mutex_);
  data.blocks = record().sectors(volume().geometry());
  return data;
}

Result<void> Node::change(const vfs::MetadataChange& wanted) {
  if (wanted.size_bytes) return error(EINVAL);
  if (volume().is_read_only()) return error(EROFS);
  if (is_frozen()) return error(EPERM);
  if (wanted.permissions) TRY(load_acl());
  TRY(Inode::change(wanted));
  MutexLock lock(mutex_);
  Journal::Handle handle = TRY(volume().begin(2 + kAttributeCredits));
  if (wanted.permissions && has_acl_.load()) TRY(update_acl_for_mode(handle));
  return store(handle);
}

Result<RefPtr<vfs::OpenFile>> Node::open(const vfs::Caller&, uint32_t flags_wanted) {
  using namespace vfs::open_flags;
  const bool writes = (flags_wanted & kAccessMask) != kReadOnly;
  if (writes && (flags() & inode_flags::kImmutable)) return error(EPERM);
  if (writes && (flags() & inode_flags::kAppend) && !(flags_wanted & kAppend)) return error(EPERM);
  RefPtr<OpenFile> file = TRY(make_ref<OpenFile>(RefPtr<vfs::Inode>(*this), flags_wanted));
  return RefPtr<vfs::OpenFile>(std::move(file));
}

// fdatasync(2) leaves out what is not needed to read the data back: times.
Result<void> Node::sync(bool data_only) {
  sync_data();
  if (!data_only) TRY(store_if_changed());
  return volume().sync_node((data_only ? last_data_transaction : last_transaction).load(std::memory_order_acquire));
}

Result<void> Node::set_visible_flags(const Credentials& who, uint32_t wanted) {
  if (volume().is_read_only()) return error(EROFS);
  if (who.fsuid != uid() && !who.has(Capability::Fowner)) return error(EPERM);
  if ((flags() ^ wanted) & inode_flags::kJournalData) {
    if (!who.has(Capability::SysResource)) return error(EPERM);
    // The rest is refused first, so that the file is not changed in part.
    if ((flags() ^ wanted) & inode_flags::kVisible & ~inode_flags::kModifiable) return error(EOPNOTSUPP);
    TRY(set_journaled(wanted & inode_flags::kJournalData));
  }
  MutexLock lock(mutex_);
  const uint32_t old = flags();
  const uint32_t changed = (old ^ wanted) & inode_flags::kVisible;
  if ((changed & (inode_flags::kImmutable | inode_flags::kAppend)) && !who.has(Capability::LinuxImmutable)) return error(EPERM);
  if (changed & ~inode_flags::kModifiable) return error(EOPNOTSUPP);
  if (!is_directory() && (wanted & (inode_flags::kDirSync | inode_flags::kTopDirectory) & changed)) return error(EOPNOTSUPP);
  if (changed == 0) return {};
  Journal::Handle handle = TRY(volume().begin(2));
  stamp(false);
  {
    MutexLock map_lock(map_mutex_);
    const uint32_t fresh = (old & ~inode_flags::kModifiable) | (wanted & inode_flags::kModifiable);
    record().set_flags(fresh);
    flags_.store(fresh, std::memory_order_relaxed);
  }
  return store(handle);
}

Result<void> Node::set_journaled(bool on) {
  Journal::Handle handle = TRY(volume().begin(2));
  MutexLock lock(map_mutex_);
  const uint32_t fresh = on ? flags() | inode_flags::kJournalData : flags() & ~inode_flags::kJournalData;
  record().set_flags(fresh);
  flags_.store(fresh, std::memory_order_relaxed);
  return store_record_locked(handle);
}

void Node::last_reference_dropped() {
  Volume& home = volume();
  home.retire(*this);
  home.forget_node(*this);
  delete this;
}

// --- symbolic links

bool LinkNode::has_block_map() {
  // A short target lies in the place of the block map: the inode has no blocks then, but for attributes.
  MutexLock lock(map_mutex_);
  const uint64_t attribute_sectors = record().attribute_block() ? volume().geometry().block_size / 512 : 0;
  return record().size() >= kInlineLimit || record().sectors(volume().geometry()) != attribute_sectors;
}

Result<String> LinkNode::read_link() {
  const bool is_inline = !has_block_map();
  MutexLock lock(map_mutex_);
  const uint64_t size = record().size();
  const Geometry& geometry = volume().geometry();
  const auto text_of = [&](Bytes bytes) -> Result<String> {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return String::from(text.substr(0, text.find('\0')));
  };
  if (size == 0) return volume().damaged("empty symbolic link", inode_number());
  if (is_inline) return text_of(record().block_map().first(size));
  if (size >= geometry.block_size || size >= 4096) return volume().damaged("long symbolic link", inode_number());
  const Mapping mapping = TRY(map_locked(0, 1));
  if (mapping.is_hole()) return volume().damaged("symbolic link without a block", inode_number());
  RefPtr<Buffer> buffer = TRY(volume().cache().read(mapping.physical, BufferKind::Plain));
  return text_of(buffer->bytes().first(size));
}

Result<void> LinkNode::set_target(Journal::Handle& handle, std::string_view target) {
  MutexLock lock(map_mutex_);
  const ConstBytes text = std::as_bytes(std::span(target.data(), target.size()));
  if (target.size() < kInlineLimit) {
    copy_bytes(record().block_map(), text);
  } else {
    if (volume().geometry().has_incompat(incompat::kExtents)) {
      flags_.fetch_or(inode_flags::kExtents);
      record().set_flags(flags());
      root_node().initialise(0, ExtentNode::kRootMaximum);
    }
    TRY(volume().check_allowance(1));
    const Volume::Run run = TRY(volume().allocate_blocks(handle, volume().goal_for(inode_number()), 1));
    RefPtr<Buffer> buffer = TRY(volume().cache().make(run.block, BufferKind::Plain));
    handle.modify(*buffer, BufferKind::Plain);
    copy_bytes(buffer->bytes(), text);
    TRY(insert_locked(handle, {0, 1, run.block, true}));
  }
  record().set_size(target.size());
  size_bytes_.store(target.size(), std::memory_order_relaxed);
  return {};
}

}  // namespace umk::ext4
