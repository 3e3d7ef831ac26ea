// The block map of ext2 and ext3: twelve pointers in the inode, and one each to a table of pointers, to a table of tables, and one more.
//
// Linux, Documentation/filesystems/ext4/ifork.rst, "Direct/Indirect Block Addressing".
#include "core/fs/ext4/node.h"

namespace umk::ext4 {

namespace {
constexpr uint32_t kDirect = 12;
}

/// Where the pointer to a block lies: the index in the inode, then in each table.
struct Node::IndirectPath {
  uint32_t depth = 0;  // tables between the inode and the block
  uint32_t indices[4] = {};
};

Result<bool> Node::indirect_path(uint32_t logical, IndirectPath& path) const {
  const uint64_t pointers = volume().geometry().block_size / 4;
  uint64_t rest = logical;
  if (rest < kDirect) {
    path.indices[0] = logical;
    return true;
  }
  rest -= kDirect;
  uint64_t span = pointers;
  for (uint32_t depth = 1; depth <= 3; ++depth, span *= pointers) {
    if (rest >= span) {
      rest -= span;
      continue;
    }
    path.depth = depth;
    path.indices[0] = kDirect + depth - 1;
    for (uint32_t level = depth; level >= 1; --level) {
      path.indices[level] = static_cast<uint32_t>(rest % pointers);
      rest /= pointers;
    }
    return true;
  }
  return false;
}

Result<Mapping> Node::map_indirect(uint32_t logical, uint32_t maximum) {
  IndirectPath path;
  if (!TRY(indirect_path(logical, path))) return Mapping{0, maximum, true};
  const uint32_t pointers = volume().geometry().block_size / 4;
  RefPtr<Buffer> table;
  Bytes place = record().block_map();
  uint64_t span = 1;  // blocks below a pointer of the level that is looked at
  for (uint32_t level = 0; level < path.depth; ++level) span *= pointers;
  for (uint32_t level = 0;; ++level, span /= pointers) {
    const uint32_t pointer = get32(place, 4 * path.indices[level]);
    if (pointer == 0) {
      uint64_t inside = 0;  // of the missing stretch
      for (uint32_t below = level + 1; below <= path.depth; ++below) inside = inside * pointers + path.indices[below];
      const uint64_t left = span - inside;
      return Mapping{0, left < maximum ? static_cast<uint32_t>(left) : maximum, true};
    }
    if (!volume().may_be_file_blocks(pointer, 1)) return volume().damaged("block pointer", inode_number(), pointer);
    if (level == path.depth) {
      const uint32_t limit = level == 0 ? kDirect : pointers;
      uint32_t count = 1;
      while (count < maximum && path.indices[level] + count < limit && get32(place, 4 * (path.indices[level] + count)) == pointer + count) ++count;
      if (!volume().may_be_file_blocks(pointer, count)) count = 1;
      return Mapping{pointer, count, true};
    }
    table = TRY(volume().cache().read(pointer, BufferKind::Plain));
    place = table->bytes();
  }
}

Result<void> Node::insert_indirect(Journal::Handle& handle, const Extent& extent) {
  if (extent.physical + extent.length > UINT32_MAX) return error(ENOSPC);
  for (uint32_t k = 0; k < extent.length; ++k) {
    IndirectPath path;
    if (!TRY(indirect_path(extent.logical + k, path))) return error(EFBIG);
    RefPtr<Buffer> table;
    Bytes place = record().block_map();
    for (uint32_t level = 0; level < path.depth; ++level) {
      uint32_t pointer = get32(place, 4 * path.indices[level]);
      RefPtr<Buffer> below;
      if (pointer == 0) {
        const Volume::Run run = TRY(volume().allocate_blocks(handle, extent.physical + k, 1));
        if (run.block > UINT32_MAX) return error(ENOSPC);
        pointer = static_cast<uint32_t>(run.block);
        below = TRY(volume().cache().make(pointer, BufferKind::Plain));
        handle.modify(*below, BufferKind::Plain);
        if (table) handle.modify(*table, BufferKind::Plain);
        put32(place, 4 * path.indices[level], pointer);
        add_sectors_locked(1);
      } else {
        if (!volume().may_be_file_blocks(pointer, 1)) return volume().damaged("block pointer", inode_number(), pointer);
        below = TRY(volume().cache().read(pointer, BufferKind::Plain));
      }
      table = std::move(below);
      place = table->bytes();
    }
    if (table) handle.modify(*table, BufferKind::Plain);
    put32(place, 4 * path.indices[path.depth], static_cast<uint32_t>(extent.physical + k));
  }
  return store_record_locked(handle);
}

Result<bool> Node::remove_indirect(Journal::Handle& handle, uint32_t first, uint64_t end) {
  const uint32_t pointers = volume().geometry().block_size / 4;
  constexpr uint32_t kRunsAtOnce = 8;
  while (end > first) {
    IndirectPath path;
    if (!TRY(indirect_path(static_cast<uint32_t>(end - 1), path))) {
      // Past what the map can hold.
      uint64_t limit = kDirect + uint64_t{pointers} * (1 + uint64_t{pointers} * (1 + uint64_t{pointers}));
      end = limit < end ? limit : end - 1;
      continue;
    }
    RefPtr<Buffer> tables[4];
    const auto place_of = [&](uint32_t level) { return level == 0 ? record().block_map() : tables[level]->bytes(); };
    uint64_t span = 1;
    for (uint32_t level = 0; level < path.depth; ++level) span *= pointers;
    bool is_missing = false;
    for (uint32_t level = 0; level < path.depth; ++level, span /= pointers) {
      const uint32_t pointer = get32(place_of(level), 4 * path.indices[level]);
      if (pointer == 0) {
        uint64_t inside = 0;
        for (uint32_t below = level + 1; below <= path.depth; ++below) inside = inside * pointers + path.indices[below];
        end = end - 1 > inside ? end - 1 - inside : 0;
        is_missing = true;
        break;
      }
      if (!volume().may_be_file_blocks(pointer, 1)) return volume().damaged("block pointer", inode_number(), pointer);
      tables[level + 1] = TRY(volume().cache().read(pointer, BufferKind::Plain));
    }
    if (is_missing) continue;

    // Pointers of this table, from the last one down.
    const Bytes place = place_of(path.depth);
    const uint32_t last = path.indices[path.depth];
    const uint64_t table_first = end - 1 - last;
    const uint32_t lowest = first > table_first ? static_cast<uint32_t>(first - table_first) : 0;
    uint32_t index = last + 1;
    uint32_t runs = 0;
    while (index > lowest && runs < kRunsAtOnce) {
      const uint32_t pointer = get32(place, 4 * (index - 1));
      if (pointer == 0) {
        --index;
        continue;
      }
      uint32_t count = 1;
      while (index - 1 - count >= lowest && index - 1 >= count && get32(place, 4 * (index - 1 - count)) == pointer - count) ++count;
      if (runs == 0 && path.depth != 0) handle.modify(*tables[path.depth], BufferKind::Plain);
      TRY(volume().free_blocks(handle, pointer - (count - 1), count, has_metadata_blocks()));
      add_sectors_locked(-static_cast<int64_t>(count));
      for (uint32_t k = 0; k < count; ++k) put32(place, 4 * (index - 1 - k), 0);
      index -= count;
      ++runs;
    }
    if (runs == 0) {
      // Pointers of this table that are not to be removed keep it; what is to be removed lies in those before.
      end = table_first;
      continue;
    }
    // Tables that became empty go as well.
    for (uint32_t level = path.depth; level > 0; --level) {
      const Bytes bytes = place_of(level);
      bool is_empty = true;
      for (size_t i = 0; i < bytes.size() && is_empty; i += 8) is_empty = get64(bytes, i) == 0;
      if (!is_empty) break;
      if (level > 1) handle.modify(*tables[level - 1], BufferKind::Plain);
      TRY(volume().free_blocks(handle, tables[level]->block(), 1, true));
      add_sectors_locked(-1);
      put32(place_of(level - 1), 4 * path.indices[level - 1], 0);
    }
    TRY(store_record_locked(handle));
    return table_first + index <= first;
  }
  return true;
}

}  // namespace umk::ext4
