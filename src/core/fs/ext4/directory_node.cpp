#include "core/fs/ext4/directory_node.h"

namespace umk::ext4 {

Result<RefPtr<Buffer>> DirectoryNode::read_block(uint32_t logical, BufferKind kind) {
  Mapping mapping;
  {
    MutexLock lock(map_mutex_);
    mapping = TRY(map_locked(logical, BlockCache::kMostAround));
  }
  if (mapping.is_hole() || !volume().may_be_file_blocks(mapping.physical, mapping.count)) return volume().damaged("directory with a hole", inode_number(), logical);
  Result<RefPtr<Buffer>> buffer = volume().cache().read(mapping.physical, kind, checksum_seed(), {mapping.physical, mapping.count});
  if (!buffer.ok() && buffer.code() == EUCLEAN) return volume().damaged("directory block", inode_number(), mapping.physical);
  return buffer;
}

Result<RefPtr<Buffer>> DirectoryNode::append_block(Journal::Handle& handle, BufferKind kind, uint32_t& logical) {
  logical = block_count();
  MutexLock lock(map_mutex_);
  TRY(volume().check_allowance(1));
  const Volume::Run run = TRY(volume().allocate_blocks(handle, goal_locked(logical), 1));
  RefPtr<Buffer> buffer = TRY(volume().cache().make(run.block, kind, checksum_seed()));
  const Result<void> inserted = insert_locked(handle, {logical, 1, run.block, true});
  if (!inserted.ok()) {
    add_sectors_locked(-1);
    const Result<void> freed = volume().free_blocks(handle, run.block, 1, true);
    return freed.ok() ? inserted.failure() : volume().failed_midway(freed.failure());
  }
  handle.modify(*buffer, kind, checksum_seed());
  size_bytes_.fetch_add(volume().geometry().block_size, std::memory_order_release);
  record().set_size(size_bytes());
  TRY(store_record_locked(handle));
  return buffer;
}

Result<std::optional<DirectoryNode::Place>> DirectoryNode::find_linear(std::string_view name) {
  for (uint32_t logical = 0; logical < block_count(); ++logical) {
    RefPtr<Buffer> buffer = TRY(read_block(logical, BufferKind::DirectoryLeaf));
    if (const auto entry = leaf_of(*buffer).find(name)) return std::optional<Place>(Place{std::move(buffer), *entry});
  }
  return std::optional<Place>{};
}

Result<std::optional<DirectoryNode::Place>> DirectoryNode::find(std::string_view name) { return is_indexed() ? find_indexed(name) : find_linear(name); }

Result<RefPtr<vfs::Inode>> DirectoryNode::lookup(std::string_view name) {
  if (name.size() > kNameLimit) return error(ENAMETOOLONG);
  const std::optional<Place> found = TRY(find(name));
  if (!found) return error(ENOENT);
  Result<RefPtr<Node>> node = volume().node(found->entry.inode);
  // A name that leads to a free inode.
  if (!node.ok() && node.code() == ESTALE) return volume().damaged("directory entry of a free inode", inode_number(), found->entry.inode);
  return RefPtr<vfs::Inode>(TRY(std::move(node)));
}

Result<void> DirectoryNode::insert(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type) {
  if (is_indexed()) return insert_indexed(handle, name, inode, type);
  for (uint32_t logical = 0; logical < block_count(); ++logical) {
    RefPtr<Buffer> buffer = TRY(read_block(logical, BufferKind::DirectoryLeaf));
    if (!leaf_of(*buffer).insert(inode, type, name)) continue;
    handle.modify(*buffer, BufferKind::DirectoryLeaf, checksum_seed());
    return {};
  }
  if (block_count() == 1 && volume().geometry().has_compat(compat::kDirectoryIndex)) {
    TRY(make_indexed(handle));
    return insert_indexed(handle, name, inode, type);
  }
  uint32_t logical;
  RefPtr<Buffer> buffer = TRY(append_block(handle, BufferKind::DirectoryLeaf, logical));
  DirectoryBlock block = leaf_of(*buffer);
  block.initialise();
  CHECK(block.insert(inode, type, name), "an empty block has room for a name");
  return {};
}

Result<void> DirectoryNode::remove_entry(Journal::Handle& handle, std::string_view name) {
  std::optional<Place> found = TRY(find(name));
  if (!found) return volume().damaged("directory that lost an entry", inode_number());
  handle.modify(*found->buffer, BufferKind::DirectoryLeaf, checksum_seed());
  leaf_of(*found->buffer).remove(found->entry.offset);
  return {};
}

Result<void> DirectoryNode::set_entry(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type) {
  std::optional<Place> found = TRY(find(name));
  if (!found) return volume().damaged("directory that lost an entry", inode_number());
  handle.modify(*found->buffer, BufferKind::DirectoryLeaf, checksum_seed());
  leaf_of(*found->buffer).set_target(found->entry.offset, inode, type);
  return {};
}

/// Where `..` leads.
Result<void> DirectoryNode::set_parent(Journal::Handle& handle, uint32_t parent) {
  const BufferKind kind = is_indexed() ? BufferKind::HtreeRoot : BufferKind::DirectoryLeaf;
  RefPtr<Buffer> buffer = TRY(read_block(0, kind));
  if (!leaf_of(*buffer).begins_with_dots()) return volume().damaged("directory without its parent", inode_number());
  handle.modify(*buffer, kind, checksum_seed());
  put32(buffer->bytes(), 12, parent);
  return {};
}

Result<bool> DirectoryNode::is_empty() {
  for (uint32_t logical = 0; logical < block_count(); ++logical) {
    if (is_indexed() && logical == 0) continue;
    // Index nodes look like blocks without entries.
    RefPtr<Buffer> buffer = TRY(read_block(logical, BufferKind::Plain));
    const DirectoryBlock block = leaf_of(*buffer);
    const bool is_index = is_indexed() && get32(buffer->bytes(), 0) == 0 && get16(buffer->bytes(), 4) == buffer->bytes().size();
    if (is_index) continue;
    if (!block.is_sane(volume().geometry().inode_count)) return volume().damaged("directory block", inode_number(), buffer->block());
    if (!block.is_empty()) return false;
  }
  return true;
}

Result<void> DirectoryNode::check_may_change() const {
  if (volume().is_read_only()) return error(EROFS);
  if (flags() & inode_flags::kImmutable) return error(EPERM);
  return {};
}

/// More subdirectories than the link count can say are counted as 1: dir_nlink.
void DirectoryNode::add_directory_link(Journal::Handle& handle) {
  if (links() == 1) return;
  if (links() + 1 < 65000 || !volume().geometry().has_compat(compat::kDirectoryIndex)) {
    set_links(links() + 1);
    return;
  }
  set_links(1);
  volume().require_feature(handle, FeatureSet::ReadOnlyCompatible, ro_compat::kDirectoryLinks);
}

void DirectoryNode::drop_directory_link() {
  if (links() > 2) set_links(links() - 1);
}

}  // namespace umk::ext4
