// Extended attributes and access control lists of nodes.
//
// A change reads all attributes, changes the list, and writes it anew: as many as fit into the inode, the rest into a block. A block that is shared with
// other inodes is left to them.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/node.h"

namespace umk::ext4 {

namespace {

constexpr std::string_view kAclAccess = "system.posix_acl_access", kAclDefault = "system.posix_acl_default";
constexpr uint16_t kUserOwner = 1, kNamedUser = 2, kGroupOwner = 4, kNamedGroup = 8, kMask = 0x10, kOther = 0x20;

struct AclEntry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id;
};

ConstBytes as_bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

/// Entry `i` of an ACL in the form of the system call.
AclEntry entry_at(std::string_view acl, size_t i) {
  const ConstBytes bytes = as_bytes_of(acl);
  return {get16(bytes, 4 + 8 * i), get16(bytes, 6 + 8 * i), get32(bytes, 8 + 8 * i)};
}
size_t entries_of(std::string_view acl) { return acl.size() < 4 ? 0 : (acl.size() - 4) / 8; }

void set_permissions(String& acl, size_t i, uint16_t permissions) {
  char* place = const_cast<char*>(acl.view().data()) + 6 + 8 * i;
  __builtin_memcpy(place, &permissions, 2);
}

/// acl(5), "VALID ACLs": each of the three once, and a mask where there are named entries.
bool is_valid_acl(std::string_view acl) {
  unsigned users = 0, groups = 0, others = 0, masks = 0, named = 0;
  for (size_t i = 0; i < entries_of(acl); ++i) {
    const AclEntry entry = entry_at(acl, i);
    users += entry.tag == kUserOwner;
    groups += entry.tag == kGroupOwner;
    others += entry.tag == kOther;
    masks += entry.tag == kMask;
    named += entry.tag == kNamedUser || entry.tag == kNamedGroup;
  }
  return users == 1 && groups == 1 && others == 1 && masks <= 1 && (named == 0 || masks == 1);
}

/// The mode that says the same, and whether it says all.
uint32_t mode_of(std::string_view acl, bool& is_all) {
  uint32_t mode = 0, group = 0, mask = 8;
  is_all = true;
  for (size_t i = 0; i < entries_of(acl); ++i) {
    const AclEntry entry = entry_at(acl, i);
    if (entry.tag == kUserOwner) mode |= uint32_t{entry.permissions} << 6;
    else if (entry.tag == kGroupOwner) group = entry.permissions;
    else if (entry.tag == kOther) mode |= entry.permissions;
    else if (entry.tag == kMask) mask = entry.permissions, is_all = false;
    else is_all = false;
  }
  return mode | (mask == 8 ? group : mask) << 3;
}

/// The entries that a mode sets: the mask stands for the group where there is one.
void set_mode_in(String& acl, uint32_t mode) {
  bool has_mask = false;
  for (size_t i = 0; i < entries_of(acl.view()); ++i) has_mask |= entry_at(acl.view(), i).tag == kMask;
  for (size_t i = 0; i < entries_of(acl.view()); ++i) {
    const AclEntry entry = entry_at(acl.view(), i);
    if (entry.tag == kUserOwner) set_permissions(acl, i, mode >> 6 & 7);
    if (entry.tag == (has_mask ? kMask : kGroupOwner)) set_permissions(acl, i, mode >> 3 & 7);
    if (entry.tag == kOther) set_permissions(acl, i, mode & 7);
  }
}

}  // namespace

Result<RefPtr<Buffer>> Node::attribute_block() {
  const uint64_t block = record().attribute_block();
  if (!volume().may_be_file_blocks(block, 1)) return volume().damaged("attribute block", inode_number(), block);
  Result<RefPtr<Buffer>> buffer = volume().cache().read(block, BufferKind::Attributes);
  if (!buffer.ok() && buffer.code() == EUCLEAN) return volume().damaged("attribute block", inode_number(), block);
  return buffer;
}

Result<AttributeList> Node::load_attributes() {
  AttributeList list;
  MutexLock lock(map_mutex_);
  const Bytes space = record().attribute_space();
  if (!space.empty() && !read_attributes(space, AttributePlace::Inode, list).ok()) return volume().damaged("attributes in the inode", inode_number());
  if (record().attribute_block() == 0) return list;
  RefPtr<Buffer> buffer = TRY(attribute_block());
  if (!read_attributes(buffer->bytes(), AttributePlace::Block, list).ok()) return volume().damaged("attribute block", inode_number(), buffer->block());
  return list;
}

Result<String> Node::get_attribute(std::string_view name) {
  const AttributeName split = split_attribute_name(name);
  if (split.index == 0 || split.index == attribute_index::kSystem) return error(EOPNOTSUPP);
  const bool is_acl = split.index == attribute_index::kAclAccess || split.index == attribute_index::kAclDefault;
  if (is_acl && !volume().options().acls) return error(EOPNOTSUPP);
  if (split.index == attribute_index::kUser && !volume().options().user_attributes) return error(EOPNOTSUPP);
  AttributeList list = TRY(load_attributes());
  for (Attribute& attribute : list) {
    if (attribute.index != split.index || attribute.name.view() != split.rest) continue;
    if (is_acl) return acl_from_disk(attribute.value.view());
    return std::move(attribute.value);
  }
  return error(ENODATA);
}

Result<String> Node::list_attributes() {
  AttributeList list = TRY(load_attributes());
  String names;
  for (const Attribute& attribute : list) {
    const std::string_view prefix = attribute_prefix(attribute.index);
    if (prefix.empty() || attribute.index == attribute_index::kSystem) continue;
    if (attribute.index == attribute_index::kUser && !volume().options().user_attributes) continue;
    TRY(names.append(prefix));
    TRY(names.append(attribute.name.view()));
    TRY(names.append('\0'));
  }
  return names;
}

Result<void> Node::store_attribute(Journal::Handle& handle, uint8_t index, std::string_view name, std::optional<std::string_view> value, int flags) {
  constexpr int kCreate = 1, kReplace = 2;
  AttributeList list = TRY(load_attributes());
  size_t place = 0;
  while (place < list.size() && (list[place].index != index || list[place].name.view() != name)) ++place;
  const bool exists = place < list.size();
  if (exists && (flags & kCreate)) return error(EEXIST);
  if (!exists && ((flags & kReplace) || !value)) return error(ENODATA);
  if (value) {
    String copy = TRY(String::from(*value));
    if (exists) {
      list[place].value = std::move(copy);
    } else {
      TRY(list.push_back({index, TRY(String::from(name)), std::move(copy)}));
    }
  } else {
    list.erase(place);
  }

  MutexLock lock(map_mutex_);
  const Geometry& geometry = volume().geometry();
  const Bytes space = record().attribute_space();
  // In the inode as long as there is room, in the order in which they were found; the rest sorted into a block.
  Vector<const Attribute*> inside, outside;
  size_t free_inside = space.size() > attribute_overhead(AttributePlace::Inode) ? space.size() - attribute_overhead(AttributePlace::Inode) : 0;
  size_t needed_outside = attribute_overhead(AttributePlace::Block);
  for (const Attribute& attribute : list) {
    const size_t size = attribute_bytes(attribute);
    if (size <= free_inside) {
      free_inside -= size;
      TRY(inside.push_back(&attribute));
    } else {
      needed_outside += size;
      TRY(outside.push_back(&attribute));
    }
  }
  if (needed_outside > geometry.block_size) return error(ENOSPC);
  std::sort(outside.begin(), outside.end(), [](const Attribute* a, const Attribute* b) { return comes_before(*a, *b); });

  RefPtr<Buffer> block;
  if (record().attribute_block() != 0) {
    block = TRY(attribute_block());
    const uint32_t references = attribute_references(block->bytes());
    if (references > 1) {
      handle.modify(*block, BufferKind::Attributes);
      set_attribute_references(block->bytes(), references - 1);
      record().set_attribute_block(0);
      add_sectors_locked(-1);
      block = nullptr;
    } else if (outside.empty()) {
      TRY(volume().free_blocks(handle, block->block(), 1, true));
      record().set_attribute_block(0);
      add_sectors_locked(-1);
      block = nullptr;
    }
  }
  if (!outside.empty()) {
    if (!block) {
      TRY(volume().check_allowance(1));
      const Volume::Run run = TRY(volume().allocate_blocks(handle, volume().goal_for(inode_number()), 1));
      block = TRY(volume().cache().make(run.block, BufferKind::Attributes));
      record().set_attribute_block(run.block);
      add_sectors_locked(1);
    }
    handle.modify(*block, BufferKind::Attributes);
    write_attributes(block->bytes(), AttributePlace::Block, outside);
  }
  if (!space.empty()) write_attributes(record().attribute_space(), AttributePlace::Inode, inside);
  return store_record_locked(handle);
}

Result<void> Node::free_attribute_block(Journal::Handle& handle) {
  MutexLock lock(map_mutex_);
  if (record().attribute_block() == 0) return {};
  RefPtr<Buffer> block = TRY(attribute_block());
  const uint32_t references = attribute_references(block->bytes());
  if (references > 1) {
    handle.modify(*block, BufferKind::Attributes);
    set_attribute_references(block->bytes(), references - 1);
  } else {
    const uint64_t number = block->block();
    block = nullptr;
    TRY(volume().free_blocks(handle, number, 1, true));
  }
  record().set_attribute_block(0);
  add_sectors_locked(-1);
  return {};
}

Result<void> Node::set_attribute(std::string_view name, std::string_view value, int flags_wanted) {
  const AttributeName split = split_attribute_name(name);
  if (split.index == 0 || split.index == attribute_index::kSystem) return error(EOPNOTSUPP);
  if (split.rest.size() > kAttributeNameLimit) return error(ERANGE);
  if (volume().is_read_only()) return error(EROFS);
  if (is_frozen()) return error(EPERM);
  const bool is_acl = split.index == attribute_index::kAclAccess || split.index == attribute_index::kAclDefault;
  if (is_acl && !volume().options().acls) return error(EOPNOTSUPP);
  if (split.index == attribute_index::kUser && !volume().options().user_attributes) return error(EOPNOTSUPP);
  String disk;
  std::optional<uint32_t> new_mode;
  bool removes = false;
  if (is_acl) {
    if (is_symlink()) return error(EOPNOTSUPP);
    if (split.index == attribute_index::kAclDefault && !is_directory()) return error(EACCES);
    disk = TRY(acl_to_disk(value));
    removes = entries_of(value) == 0;
    if (!removes && !is_valid_acl(value)) return error(EINVAL);
    if (!removes && split.index == attribute_index::kAclAccess) {
      bool is_all;
      new_mode = (mode() & ~0777u) | mode_of(value, is_all);
      // What the mode says needs no list.
      removes = is_all;
    }
    value = disk.view();
  }
  Journal::Handle handle = TRY(volume().begin(kAttributeCredits + 2));
  if (removes) {
    const Result<void> removed = store_attribute(handle, split.index, split.rest, std::nullopt, 0);
    if (!removed.ok() && removed.code() != ENODATA) return removed;
  } else {
    TRY(store_attribute(handle, split.index, split.rest, value, flags_wanted));
  }
  if (new_mode) mode_.store(*new_mode, std::memory_order_relaxed);
  knows_acl_.store(false, std::memory_order_release);
  stamp(false);
  return store(handle);
}

Result<void> Node::remove_attribute(std::string_view name) {
  const AttributeName split = split_attribute_name(name);
  if (split.index == 0 || split.index == attribute_index::kSystem) return error(EOPNOTSUPP);
  if (volume().is_read_only()) return error(EROFS);
  if (is_frozen()) return error(EPERM);
  Journal::Handle handle = TRY(volume().begin(kAttributeCredits + 2));
  TRY(store_attribute(handle, split.index, split.rest, std::nullopt, 0));
  knows_acl_.store(false, std::memory_order_release);
  stamp(false);
  return store(handle);
}

// --- access control lists

/// Keeps the access ACL at hand.
Result<void> Node::load_acl() {
  if (knows_acl_.load(std::memory_order_acquire)) return {};
  String acl;
  bool has_acl = false;
  const bool may_have = volume().options().acls && !is_symlink();
  bool has_attributes;
  {
    MutexLock lock(map_mutex_);
    const Bytes space = record().attribute_space();
    has_attributes = record().attribute_block() != 0 || (!space.empty() && get32(space, 0) != 0);
  }
  if (may_have && has_attributes) {
    Result<String> found = get_attribute(kAclAccess);
    if (found.ok()) {
      acl = found.take();
      has_acl = is_valid_acl(acl.view());
    } else if (found.code() != ENODATA) {
      return found.failure();
    }
  }
  MutexLock lock(acl_mutex_);
  acl_ = std::move(acl);
  has_acl_.store(has_acl, std::memory_order_relaxed);
  knows_acl_.store(true, std::memory_order_release);
  return {};
}

Result<void> Node::check_access(const Credentials& who, unsigned want) {
  if ((want & 2) && (flags() & inode_flags::kImmutable)) return error(EPERM);
  TRY(load_acl());
  if (!has_acl_.load(std::memory_order_relaxed) || who.fsuid == uid()) return Inode::check_access(who, want);
  // acl(5), "ACCESS CHECK ALGORITHM". Capabilities decide as they do without a list, where the list denies.
  MutexLock lock(acl_mutex_);
  const std::string_view acl = acl_.view();
  uint32_t mask = 7;
  for (size_t i = 0; i < entries_of(acl); ++i)
    if (entry_at(acl, i).tag == kMask) mask = entry_at(acl, i).permissions;
  bool in_a_group = false, granted = false;
  for (size_t i = 0; i < entries_of(acl); ++i) {
    const AclEntry entry = entry_at(acl, i);
    if (entry.tag == kNamedUser && entry.id == who.fsuid) {
      if ((entry.permissions & mask & want) == want) return {};
      return check_by_capability(who, want);
    }
    const bool matches = (entry.tag == kGroupOwner && who.in_group(gid())) || (entry.tag == kNamedGroup && who.in_group(entry.id));
    if (!matches) continue;
    in_a_group = true;
    if ((entry.permissions & mask & want) == want) granted = true;
  }
  if (in_a_group) return granted ? Result<void>{} : check_by_capability(who, want);
  if ((mode() & 7 & want) == want) return {};
  return check_by_capability(who, want);
}

Result<void> Node::check_by_capability(const Credentials& who, unsigned want) {
  if (is_directory()) {
    if (who.has(Capability::DacOverride) || (!(want & 2) && who.has(Capability::DacReadSearch))) return {};
    return error(EACCES);
  }
  if (want == 4 && who.has(Capability::DacReadSearch)) return {};
  if ((!(want & 1) || (mode() & 0111)) && who.has(Capability::DacOverride)) return {};
  return error(EACCES);
}

/// chmod: the list follows.
Result<void> Node::update_acl_for_mode(Journal::Handle& handle) {
  String acl = TRY(get_attribute(kAclAccess));
  set_mode_in(acl, mode());
  const String disk = TRY(acl_to_disk(acl.view()));
  TRY(store_attribute(handle, attribute_index::kAclAccess, {}, disk.view(), 0));
  knows_acl_.store(false, std::memory_order_release);
  return {};
}

Result<void> Node::inherit_acl(Journal::Handle& handle, Node& directory) {
  if (is_symlink() || !volume().options().acls) return {};
  TRY(directory.load_acl());
  Result<String> found = directory.get_attribute(kAclDefault);
  if (!found.ok()) return found.code() == ENODATA || found.code() == EOPNOTSUPP ? Result<void>{} : found.failure();
  String acl = found.take();
  if (!is_valid_acl(acl.view())) return {};
  if (is_directory()) {
    const String disk = TRY(acl_to_disk(acl.view()));
    TRY(store_attribute(handle, attribute_index::kAclDefault, {}, disk.view(), 0));
  }
  // acl(5), "OBJECT CREATION AND DEFAULT ACLs": what both the list and the mode grant.
  bool is_all;
  const uint32_t from_acl = mode_of(acl.view(), is_all);
  const uint32_t fresh = mode() & (from_acl | ~0777u);
  mode_.store(fresh, std::memory_order_relaxed);
  if (is_all) return {};
  set_mode_in(acl, fresh);
  const String disk = TRY(acl_to_disk(acl.view()));
  TRY(store_attribute(handle, attribute_index::kAclAccess, {}, disk.view(), 0));
  knows_acl_.store(false, std::memory_order_release);
  return {};
}

}  // namespace umk::ext4
