// The extent tree of a file. Every step leaves a valid tree, so that a change that finds no space can be given up at any point.
#include "core/fs/ext4/node.h"

namespace umk::ext4 {

/// From the root (level 0, in the inode) to a leaf.
struct Node::ExtentPath {
  RefPtr<Buffer> buffers[kExtentDepthLimit + 1];  // none for the root
  uint32_t indices[kExtentDepthLimit + 1] = {};   // the entry that was followed; in the leaf the one that begins at or before the block
  bool is_before_all = false;                     // the block comes before the leaf's first entry, or the leaf is empty
  uint32_t depth = 0;                             // the leaf's level
};

ExtentNode Node::node_at(ExtentPath& path, uint32_t level) { return level == 0 ? root_node() : ExtentNode(path.buffers[level]->bytes()); }

Result<void> Node::find_extent(uint32_t logical, ExtentPath& path) {
  ExtentNode node = root_node();
  if (!node.is_sane(volume().geometry(), std::nullopt, 0, uint64_t{UINT32_MAX} + 1)) return volume().damaged("extent root", inode_number());
  path = ExtentPath();
  path.depth = node.depth();
  for (uint32_t level = 0;; ++level) {
    const std::optional<uint32_t> found = node.find(logical);
    path.indices[level] = found.value_or(0);
    if (level == path.depth) {
      path.is_before_all = !found;
      return {};
    }
    const ExtentIndex index = node.index(path.indices[level]);
    Result<RefPtr<Buffer>> child = volume().cache().read(index.block, BufferKind::Extents, checksum_seed_);
    if (!child.ok()) return child.code() == EUCLEAN ? volume().damaged("extent block", inode_number(), index.block) : child.failure();
    path.buffers[level + 1] = child.take();
    node = ExtentNode(path.buffers[level + 1]->bytes());
    // Contents were checked when the block was read; its place in this tree was not.
    if (node.depth() != path.depth - level - 1 || node.entries() == 0 || node.logical(0) < index.logical)
      return volume().damaged("extent block in the wrong place", inode_number(), index.block);
  }
}

Result<Mapping> Node::map_extent(uint32_t logical, uint32_t maximum) {
  ExtentPath path;
  TRY(find_extent(logical, path));
  ExtentNode leaf = node_at(path, path.depth);
  const uint32_t i = path.indices[path.depth];
  if (!path.is_before_all) {
    const Extent e = leaf.extent(i);
    if (logical < e.end()) {
      const uint32_t left = static_cast<uint32_t>(e.end() - logical);
      return Mapping{e.physical + (logical - e.logical), left < maximum ? left : maximum, e.initialised};
    }
  }
  // A hole: up to the next extent in this leaf, or to where the next leaf begins.
  uint64_t end = uint64_t{UINT32_MAX} + 1;
  const uint32_t next = path.is_before_all ? 0 : i + 1;
  if (next < leaf.entries()) {
    end = leaf.logical(next);
  } else {
    for (uint32_t level = path.depth; level-- > 0;) {
      const ExtentNode above = node_at(path, level);
      if (path.indices[level] + 1 < above.entries()) {
        end = above.logical(path.indices[level] + 1);
        break;
      }
    }
  }
  const uint64_t length = end > logical ? end - logical : 1;
  return Mapping{0, length < maximum ? static_cast<uint32_t>(length) : maximum, true};
}

void Node::modify_level(Journal::Handle& handle, ExtentPath& path, uint32_t level) {
  if (level != 0) handle.modify(*path.buffers[level], BufferKind::Extents, checksum_seed_);
}

/// The keys above say what the nodes below begin with.
void Node::correct_keys(Journal::Handle& handle, ExtentPath& path) {
  for (uint32_t level = path.depth; level > 0; --level) {
    const uint32_t first = node_at(path, level).logical(0);
    ExtentNode above = node_at(path, level - 1);
    if (above.logical(path.indices[level - 1]) == first) return;
    modify_level(handle, path, level - 1);
    above.set_logical(path.indices[level - 1], first);
    if (path.indices[level - 1] != 0) return;
  }
}

/// The root's entries move to a new block below it.
Result<void> Node::grow_root(Journal::Handle& handle, ExtentPath& path) {
  ExtentNode root = root_node();
  if (root.depth() >= kExtentDepthLimit) return error(EFBIG);
  const Volume::Run run = TRY(volume().allocate_blocks(handle, volume().goal_for(inode_number()), 1));
  RefPtr<Buffer> buffer = TRY(volume().cache().make(run.block, BufferKind::Extents, checksum_seed_));
  handle.modify(*buffer, BufferKind::Extents, checksum_seed_);
  ExtentNode child(buffer->bytes());
  child.initialise(root.depth(), ExtentNode::block_maximum(volume().geometry()));
  const uint32_t first = root.entries() ? root.logical(0) : 0;
  root.move_tail(0, child);
  root.set_depth(child.depth() + 1);
  root.set_maximum(ExtentNode::kRootMaximum);
  root.insert(0);
  root.set_index(0, {first, run.block});
  add_sectors_locked(1);
  (void)path;
  return store_record_locked(handle);
}

/// Divides the node at `level`, which is full; there is room in the one above.
Result<void> Node::split_node(Journal::Handle& handle, ExtentPath& path, uint32_t level, bool at_end) {
  ExtentNode node = node_at(path, level);
  const Volume::Run run = TRY(volume().allocate_blocks(handle, path.buffers[level]->block() + 1, 1));
  RefPtr<Buffer> buffer = TRY(volume().cache().make(run.block, BufferKind::Extents, checksum_seed_));
  handle.modify(*buffer, BufferKind::Extents, checksum_seed_);
  modify_level(handle, path, level);
  modify_level(handle, path, level - 1);
  ExtentNode right(buffer->bytes());
  right.initialise(node.depth(), ExtentNode::block_maximum(volume().geometry()));
  // A file that grows leaves full nodes behind.
  const uint32_t split = at_end ? node.entries() - 1 : node.entries() / 2;
  const uint32_t key = node.logical(split);
  node.move_tail(split, right);
  ExtentNode above = node_at(path, level - 1);
  above.insert(path.indices[level - 1] + 1);
  above.set_index(path.indices[level - 1] + 1, {key, run.block});
  add_sectors_locked(1);
  return store_record_locked(handle);
}

/// Finds the leaf for `logical` and makes it have room for `entries` more.
Result<void> Node::make_room(Journal::Handle& handle, uint32_t logical, uint32_t entries, ExtentPath& path) {
  // Each round divides a node or adds a level; a division makes half a block free.
  for (unsigned round = 0; round < 3 * kExtentDepthLimit; ++round) {
    TRY(find_extent(logical, path));
    ExtentNode leaf = node_at(path, path.depth);
    if (leaf.entries() + entries <= leaf.maximum()) return {};
    uint32_t level = path.depth;
    while (level > 0 && node_at(path, level - 1).is_full()) --level;
    if (level == 0) {
      TRY(grow_root(handle, path));
    } else {
      const bool at_end = level == path.depth && !path.is_before_all && path.indices[level] + 1 == leaf.entries() && logical >= leaf.extent(path.indices[level]).end();
      TRY(split_node(handle, path, level, at_end));
    }
  }
  return volume().damaged("extent tree without room", inode_number());
}

/// Joins the entry `i` of the leaf with its neighbours where they go on from each other.
void Node::merge_around(Journal::Handle& handle, ExtentPath& path, uint32_t i) {
  ExtentNode leaf = node_at(path, path.depth);
  modify_level(handle, path, path.depth);
  if (i + 1 < leaf.entries()) {
    Extent e = leaf.extent(i);
    const Extent next = leaf.extent(i + 1);
    if (e.joins(next)) {
      e.length += next.length;
      leaf.set_extent(i, e);
      leaf.erase(i + 1);
    }
  }
  if (i > 0) {
    Extent before = leaf.extent(i - 1);
    const Extent e = leaf.extent(i);
    if (before.joins(e)) {
      before.length += e.length;
      leaf.set_extent(i - 1, before);
      leaf.erase(i);
    }
  }
}

Result<void> Node::insert_extent(Journal::Handle& handle, Extent extent) {
  ExtentPath path;
  TRY(find_extent(extent.logical, path));
  {
    // The usual case: the extent before goes on.
    ExtentNode leaf = node_at(path, path.depth);
    if (!path.is_before_all) {
      Extent before = leaf.extent(path.indices[path.depth]);
      if (before.joins(extent)) {
        modify_level(handle, path, path.depth);
        before.length += extent.length;
        leaf.set_extent(path.indices[path.depth], before);
        merge_around(handle, path, path.indices[path.depth]);
        return store_record_locked(handle);
      }
    }
  }
  TRY(make_room(handle, extent.logical, 1, path));
  ExtentNode leaf = node_at(path, path.depth);
  modify_level(handle, path, path.depth);
  const uint32_t at = path.is_before_all ? 0 : path.indices[path.depth] + 1;
  leaf.insert(at);
  leaf.set_extent(at, extent);
  if (at == 0) correct_keys(handle, path);
  merge_around(handle, path, at);
  return store_record_locked(handle);
}

Result<void> Node::initialise_locked(Journal::Handle& handle, uint32_t logical, uint32_t count) {
  const uint64_t end = uint64_t{logical} + count;
  for (uint64_t at = logical; at < end;) {
    ExtentPath path;
    TRY(make_room(handle, static_cast<uint32_t>(at), 2, path));
    ExtentNode leaf = node_at(path, path.depth);
    uint32_t i = path.indices[path.depth];
    if (path.is_before_all) return {};
    const Extent e = leaf.extent(i);
    if (at >= e.end()) return {};
    const uint64_t stop = e.end() < end ? e.end() : end;
    if (!e.initialised) {
      modify_level(handle, path, path.depth);
      const uint32_t before = static_cast<uint32_t>(at - e.logical), inside = static_cast<uint32_t>(stop - at), after = static_cast<uint32_t>(e.end() - stop);
      if (after != 0) {
        leaf.insert(i + 1);
        leaf.set_extent(i + 1, {static_cast<uint32_t>(stop), after, e.physical + before + inside, false});
      }
      if (before != 0) {
        leaf.set_extent(i, {e.logical, before, e.physical, false});
        leaf.insert(++i);
      }
      leaf.set_extent(i, {static_cast<uint32_t>(at), inside, e.physical + before, true});
      merge_around(handle, path, i);
    }
    at = stop;
  }
  return store_record_locked(handle);
}

/// The leaf has no entries any more: it goes, and what becomes empty above it.
Result<void> Node::remove_empty(Journal::Handle& handle, ExtentPath& path) {
  uint32_t level = path.depth;
  while (level > 0 && node_at(path, level).entries() == 0) {
    TRY(volume().free_blocks(handle, path.buffers[level]->block(), 1, true));
    add_sectors_locked(-1);
    ExtentNode above = node_at(path, level - 1);
    modify_level(handle, path, level - 1);
    above.erase(path.indices[level - 1]);
    --level;
  }
  ExtentNode node = node_at(path, level);
  if (level == 0 && node.entries() == 0) {
    node.set_depth(0);
    return {};
  }
  if (level < path.depth && node.entries() != 0 && path.indices[level] == 0) {
    path.depth = level;
    correct_keys(handle, path);
  }
  return {};
}

Result<bool> Node::remove_extents(Journal::Handle& handle, uint32_t first, uint64_t end) {
  if (end <= first) return true;
  ExtentPath path;
  TRY(find_extent(static_cast<uint32_t>(end - 1), path));
  if (path.is_before_all) {
    // Nothing begins before the end.
    return true;
  }
  Extent e = node_at(path, path.depth).extent(path.indices[path.depth]);
  if (e.end() <= first) return true;
  const uint64_t from = e.logical > first ? e.logical : first, to = e.end() < end ? e.end() : end;
  if (from > e.logical && to < e.end()) {
    // A hole in the middle makes two extents of one.
    TRY(make_room(handle, e.logical, 1, path));
    e = node_at(path, path.depth).extent(path.indices[path.depth]);
  }
  ExtentNode leaf = node_at(path, path.depth);
  const uint32_t i = path.indices[path.depth];
  const uint32_t before = static_cast<uint32_t>(from - e.logical), inside = static_cast<uint32_t>(to - from), after = static_cast<uint32_t>(e.end() - to);
  TRY(volume().free_blocks(handle, e.physical + before, inside, has_metadata_blocks()));
  add_sectors_locked(-static_cast<int64_t>(inside));
  modify_level(handle, path, path.depth);
  const Extent rest{static_cast<uint32_t>(to), after, e.physical + before + inside, e.initialised};
  if (before != 0) {
    leaf.set_extent(i, {e.logical, before, e.physical, e.initialised});
    if (after != 0) {
      leaf.insert(i + 1);
      leaf.set_extent(i + 1, rest);
    }
  } else if (after != 0) {
    leaf.set_extent(i, rest);
    if (i == 0) correct_keys(handle, path);
  } else {
    leaf.erase(i);
    if (leaf.entries() == 0) {
      TRY(remove_empty(handle, path));
    } else if (i == 0) {
      correct_keys(handle, path);
    }
  }
  TRY(store_record_locked(handle));
  return from == first;
}

// --- moving what lies behind a place: collapse and insert of fallocate(2). Each step changes one leaf and leaves a valid tree.

/// Moves the extents of one leaf, from the first that begins at or behind `at`, to the front by `distance` blocks, which are a hole. Returns where to go on,
/// or UINT64_MAX.
Result<uint64_t> Node::shift_left_locked(Journal::Handle& handle, uint64_t at, uint32_t distance) {
  for (;;) {
    if (at >= UINT32_MAX) return UINT64_MAX;
    const Mapping mapping = TRY(map_extent(static_cast<uint32_t>(at), static_cast<uint32_t>(UINT32_MAX - at)));
    if (!mapping.is_hole()) break;
    at += mapping.count;
  }
  ExtentPath path;
  TRY(find_extent(static_cast<uint32_t>(at), path));
  ExtentNode leaf = node_at(path, path.depth);
  const uint32_t first = path.indices[path.depth];
  modify_level(handle, path, path.depth);
  const uint64_t next = leaf.extent(leaf.entries() - 1).end();
  for (uint32_t i = first; i < leaf.entries(); ++i) leaf.set_logical(i, leaf.logical(i) - distance);
  if (first == 0) correct_keys(handle, path);
  merge_around(handle, path, first);
  TRY(store_record_locked(handle));
  return next;
}

Result<bool> Node::collapse_some_locked(Journal::Handle& handle, uint32_t first, uint64_t end, uint64_t& progress) {
  for (unsigned step = 0; step < kShiftSteps; ++step) {
    if (progress == UINT64_MAX) return true;
    if (progress != 0) {
      progress = TRY(shift_left_locked(handle, progress, static_cast<uint32_t>(end - first)));
    } else if (TRY(remove_extents(handle, first, end))) {
      progress = end;
    }
  }
  return progress == UINT64_MAX;
}

/// Makes an extent begin at `logical` if one reaches over it.
Result<void> Node::divide_extent_locked(Journal::Handle& handle, uint32_t logical) {
  ExtentPath path;
  TRY(find_extent(logical, path));
  if (path.is_before_all) return {};
  Extent e = node_at(path, path.depth).extent(path.indices[path.depth]);
  if (e.logical == logical || e.end() <= logical) return {};
  TRY(make_room(handle, logical, 1, path));
  ExtentNode leaf = node_at(path, path.depth);
  const uint32_t i = path.indices[path.depth];
  const uint32_t before = logical - e.logical;
  modify_level(handle, path, path.depth);
  leaf.set_extent(i, {e.logical, before, e.physical, e.initialised});
  leaf.insert(i + 1);
  leaf.set_extent(i + 1, {logical, e.length - before, e.physical + before, e.initialised});
  return store_record_locked(handle);
}

Result<uint64_t> Node::end_of_blocks_locked() {
  ExtentPath path;
  TRY(find_extent(UINT32_MAX, path));
  return path.is_before_all ? 0 : node_at(path, path.depth).extent(path.indices[path.depth]).end();
}

Result<bool> Node::spread_some_locked(Journal::Handle& handle, uint32_t first, uint32_t distance, uint64_t& progress) {
  if (progress == UINT64_MAX) {
    TRY(divide_extent_locked(handle, first));
    progress = uint64_t{UINT32_MAX} + 1;
  }
  for (unsigned step = 0; step < kShiftSteps; ++step) {
    // The last leaf goes first, so that nothing is overtaken.
    ExtentPath path;
    if (progress <= first) return true;
    TRY(find_extent(static_cast<uint32_t>(progress - 1), path));
    ExtentNode leaf = node_at(path, path.depth);
    const uint32_t last = path.indices[path.depth];
    if (path.is_before_all || leaf.logical(last) < first) return true;
    modify_level(handle, path, path.depth);
    uint32_t i = last;
    for (;; --i) {
      progress = leaf.logical(i);
      leaf.set_logical(i, leaf.logical(i) + distance);
      if (i == 0 || leaf.logical(i - 1) < first) break;
    }
    path.indices[path.depth] = i;
    if (i == 0) correct_keys(handle, path);
    TRY(store_record_locked(handle));
    if (i != 0) return true;
  }
  return false;
}

}  // namespace umk::ext4
