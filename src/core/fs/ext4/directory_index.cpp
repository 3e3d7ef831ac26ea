// The index of a directory: looking a name up by its hash, dividing full blocks.
#include <algorithm>

#include "core/fs/ext4/directory_node.h"

namespace umk::ext4 {

/// The kind of hash, with the kind of char folded in.
Result<uint8_t> DirectoryNode::index_version() {
  RefPtr<Buffer> root = TRY(read_block(0, BufferKind::HtreeRoot));
  const uint8_t version = HtreeNode(volume().geometry(), root->bytes(), HtreeNode::Kind::Root).version();
  return static_cast<uint8_t>(version + (volume().geometry().hash_version >= 3 ? 3 : 0));
}

Result<void> DirectoryNode::follow_index(uint32_t hash, IndexPath& path) {
  path.buffers[0] = TRY(read_block(0, BufferKind::HtreeRoot));
  const HtreeNode root = index_node(path, 0);
  if (!root.is_sane_root(volume().geometry().has_incompat(incompat::kLargeDirectory)) || root.levels() >= IndexPath::kLevels)
    return volume().damaged("index of a directory", inode_number());
  path.last = root.levels();
  for (uint32_t level = 0;; ++level) {
    const HtreeNode node = index_node(path, level);
    path.at[level] = node.find(hash);
    if (level == path.last) return {};
    path.buffers[level + 1] = TRY(read_block(node.block(path.at[level]), BufferKind::HtreeInner));
  }
}

Result<bool> DirectoryNode::next_leaf(IndexPath& path, std::optional<uint32_t> hash) {
  uint32_t level = path.last;
  while (path.at[level] + 1 >= index_node(path, level).count()) {
    if (level == 0) return false;
    --level;
  }
  const uint32_t next_hash = index_node(path, level).hash(path.at[level] + 1);
  if (hash && next_hash != (*hash | HtreeNode::kContinued)) return false;
  ++path.at[level];
  for (; level < path.last; ++level) {
    path.buffers[level + 1] = TRY(read_block(index_node(path, level).block(path.at[level]), BufferKind::HtreeInner));
    path.at[level + 1] = 0;
  }
  return true;
}

Result<std::optional<DirectoryNode::Place>> DirectoryNode::find_indexed(std::string_view name) {
  const uint32_t hash = hash_of(name, TRY(index_version())).major;
  IndexPath path;
  TRY(follow_index(hash, path));
  do {
    RefPtr<Buffer> buffer = TRY(read_block(index_node(path, path.last).block(path.at[path.last]), BufferKind::DirectoryLeaf));
    if (const auto entry = leaf_of(*buffer).find(name)) return std::optional<Place>(Place{std::move(buffer), *entry});
  } while (TRY(next_leaf(path, hash)));
  return std::optional<Place>{};
}

Result<void> DirectoryNode::insert_indexed(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type) {
  const uint8_t version = TRY(index_version());
  const uint32_t hash = hash_of(name, version).major;
  // Dividing a leaf may need room in the index first, and that again: a few rounds.
  for (unsigned round = 0; round < 8; ++round) {
    IndexPath path;
    TRY(follow_index(hash, path));
    RefPtr<Buffer> buffer = TRY(read_block(index_node(path, path.last).block(path.at[path.last]), BufferKind::DirectoryLeaf));
    if (leaf_of(*buffer).insert(inode, type, name)) {
      handle.modify(*buffer, BufferKind::DirectoryLeaf, checksum_seed());
      return {};
    }
    if (TRY(make_index_room(handle, path))) continue;
    TRY(split_leaf(handle, path, *buffer, version));
  }
  return error(ENOSPC);
}

/// Moves the upper half of a full leaf, by hashes, to a new one.
Result<void> DirectoryNode::split_leaf(Journal::Handle& handle, IndexPath& path, Buffer& leaf, uint8_t version) {
  struct Moving {
    uint32_t hash;
    uint32_t offset;
    uint32_t size;
  };
  Vector<Moving> entries;
  Vector<std::byte> old;
  TRY(old.append(ConstBytes(leaf.bytes())));
  const DirectoryBlock from(volume().geometry(), Bytes(old.data(), old.size()));
  uint32_t total = 0;
  for (auto entry = from.next(0); entry; entry = from.after(*entry)) {
    const uint32_t size = DirectoryBlock::entry_size(entry->name.size());
    TRY(entries.push_back({hash_of(entry->name, version).major, entry->offset, size}));
    total += size;
  }
  if (entries.size() < 2) return volume().damaged("full directory block without entries", inode_number(), leaf.block());
  std::sort(entries.begin(), entries.end(), [](const Moving& a, const Moving& b) { return a.hash < b.hash; });
  size_t split = 0;
  for (uint32_t kept = 0; split + 1 < entries.size() && kept + entries[split].size <= total / 2; ++split) kept += entries[split].size;
  if (split == 0) split = 1;
  const uint32_t key = entries[split].hash;
  const bool is_continued = entries[split - 1].hash == key;

  uint32_t logical;
  RefPtr<Buffer> fresh = TRY(append_block(handle, BufferKind::DirectoryLeaf, logical));
  handle.modify(leaf, BufferKind::DirectoryLeaf, checksum_seed());
  modify_index(handle, path, path.last);
  DirectoryBlock low = leaf_of(leaf), high = leaf_of(*fresh);
  low.initialise();
  high.initialise();
  for (size_t i = 0; i < entries.size(); ++i) {
    const DirectoryEntry entry = from.at(entries[i].offset);
    CHECK((i < split ? low : high).insert(entry.inode, entry.type, entry.name), "half of a block's entries fit into a block");
  }
  index_node(path, path.last).insert(path.at[path.last] + 1, key | (is_continued ? HtreeNode::kContinued : 0), logical);
  return {};
}

/// Makes room for an entry in the lowest index node of the path. True when something was changed: the path is to be looked for again.
Result<bool> DirectoryNode::make_index_room(Journal::Handle& handle, IndexPath& path) {
  if (!index_node(path, path.last).is_full()) return false;
  uint32_t level = path.last;
  while (level > 0 && index_node(path, level - 1).is_full()) --level;
  uint32_t logical;
  if (level == 0) {
    const uint32_t most = volume().geometry().has_incompat(incompat::kLargeDirectory) ? 2 : 1;
    if (path.last >= most) return error(ENOSPC);
    RefPtr<Buffer> buffer = TRY(append_block(handle, BufferKind::HtreeInner, logical));
    HtreeNode inner(volume().geometry(), buffer->bytes(), HtreeNode::Kind::Inner);
    inner.initialise_inner();
    modify_index(handle, path, 0);
    HtreeNode root = index_node(path, 0);
    inner.take_all(root);
    root.set_block(0, logical);
    root.set_count(1);
    root.set_levels(root.levels() + 1);
    return true;
  }
  RefPtr<Buffer> buffer = TRY(append_block(handle, BufferKind::HtreeInner, logical));
  HtreeNode right(volume().geometry(), buffer->bytes(), HtreeNode::Kind::Inner);
  right.initialise_inner();
  modify_index(handle, path, level);
  modify_index(handle, path, level - 1);
  HtreeNode node = index_node(path, level);
  const uint32_t half = node.count() / 2, key = node.hash(half);
  node.move_tail(half, right);
  index_node(path, level - 1).insert(path.at[level - 1] + 1, key, logical);
  return true;
}

/// The only block becomes the root of an index, and its entries a leaf.
Result<void> DirectoryNode::make_indexed(Journal::Handle& handle) {
  RefPtr<Buffer> first = TRY(read_block(0, BufferKind::DirectoryLeaf));
  if (!leaf_of(*first).begins_with_dots()) return volume().damaged("directory without its parent", inode_number());
  uint32_t logical;
  RefPtr<Buffer> second = TRY(append_block(handle, BufferKind::DirectoryLeaf, logical));
  DirectoryBlock from = leaf_of(*first), to = leaf_of(*second);
  to.initialise();
  for (auto entry = from.next(24); entry; entry = from.next(entry->offset + 1))
    CHECK(to.insert(entry->inode, entry->type, entry->name), "the entries of a block fit into a block");
  handle.modify(*first, BufferKind::HtreeRoot, checksum_seed());
  HtreeNode root(volume().geometry(), first->bytes(), HtreeNode::Kind::Root);
  root.initialise_root(volume().geometry().hash_version);
  root.set_block(0, logical);
  root.set_count(1);
  MutexLock lock(map_mutex_);
  flags_.fetch_or(inode_flags::kIndexed, std::memory_order_relaxed);
  record().set_flags(flags());
  return store_record_locked(handle);
}

}  // namespace umk::ext4
