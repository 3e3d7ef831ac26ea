// Orphans: inodes without a name that are still in use, and files that are being shortened. They are listed on the disk, so that the next mount after a
// crash can free what they hold: in the orphan file, where there is one, else in a list through the inodes that begins in the superblock.
//
// Linux, Documentation/filesystems/ext4/orphan.rst.
#include "core/base/log.h"
#include "core/fs/ext4/file_node.h"
#include "core/fs/ext4/node.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

Result<void> Volume::add_orphan(Journal::Handle& handle, Node& node) {
  MutexLock lock(orphans_mutex_);
  if (node.is_orphan) return {};
  const uint32_t entries = orphan_entries(geometry_.block_size);
  for (size_t i = 0; i < orphan_blocks_.size(); ++i) {
    RefPtr<Buffer> buffer = TRY(cache_.read(orphan_blocks_[i], BufferKind::Orphans, orphan_seed_));
    for (uint32_t k = 0; k < entries; ++k) {
      if (get32(buffer->bytes(), 4 * k) != 0) continue;
      handle.modify(*buffer, BufferKind::Orphans, orphan_seed_);
      put32(buffer->bytes(), 4 * k, node.inode_number());
      node.orphan_slot = static_cast<int32_t>(i * entries + k);
      node.is_orphan = true;
      ++orphan_count_;
      return {};
    }
  }
  // No orphan file, or a full one.
  TRY(orphans_.push_back(&node));
  node.is_orphan = true;
  node.orphan_slot = -1;
  ++orphan_count_;
  handle.modify(*superblock_, BufferKind::Superblock);
  const uint32_t next = last_orphan(superblock_bytes());
  set_last_orphan(superblock_bytes(), node.inode_number());
  MutexLock map_lock(node.map_mutex());
  node.record().set_deletion_time(next);
  return node.store_record_locked(handle);
}

Result<void> Volume::remove_orphan(Journal::Handle& handle, Node& node) {
  MutexLock lock(orphans_mutex_);
  if (!node.is_orphan) return {};
  node.is_orphan = false;
  --orphan_count_;
  if (node.orphan_slot >= 0) {
    const uint32_t entries = orphan_entries(geometry_.block_size), slot = static_cast<uint32_t>(node.orphan_slot);
    RefPtr<Buffer> buffer = TRY(cache_.read(orphan_blocks_[slot / entries], BufferKind::Orphans, orphan_seed_));
    handle.modify(*buffer, BufferKind::Orphans, orphan_seed_);
    put32(buffer->bytes(), 4 * (slot % entries), 0);
    node.orphan_slot = -1;
    return {};
  }
  size_t place = 0;
  while (place < orphans_.size() && orphans_[place] != &node) ++place;
  if (place == orphans_.size()) return {};
  uint32_t next;
  {
    MutexLock map_lock(node.map_mutex());
    next = node.record().deletion_time();
    node.record().set_deletion_time(0);
    TRY(node.store_record_locked(handle));
  }
  // The one that was added after it leads past it.
  if (place + 1 == orphans_.size()) {
    handle.modify(*superblock_, BufferKind::Superblock);
    set_last_orphan(superblock_bytes(), next);
  } else {
    Node& newer = *orphans_[place + 1];
    MutexLock map_lock(newer.map_mutex());
    newer.record().set_deletion_time(next);
    TRY(newer.store_record_locked(handle));
  }
  orphans_.erase(place);
  return {};
}

/// One that a crash left. Frees it, or what it has beyond its end.
Result<void> Volume::process_orphan(uint32_t number) {
  if (!geometry_.is_valid_inode(number)) return damaged("orphan number", number);
  if (!TRY(is_inode_used(number))) return {};
  Result<RefPtr<Node>> found = node(number);
  if (!found.ok()) return found.failure();
  RefPtr<Node> orphan = found.take();
  if (orphan->links() != 0 && orphan->is_regular()) TRY(static_cast<FileNode&>(*orphan).drop_beyond_end());
  // Without links it is freed when the reference goes.
  return {};
}

Result<void> Volume::process_orphans() {
  uint32_t freed = 0;
  if (geometry_.orphan_file_inode && orphan_blocks_.empty()) {
    Result<RefPtr<Node>> loaded = Node::load(*this, geometry_.orphan_file_inode);
    if (!loaded.ok() || !loaded.value()->is_regular()) return damaged("orphan file", geometry_.orphan_file_inode);
    Node& file = *loaded.value();
    orphan_seed_ = file.checksum_seed();
    const uint64_t blocks = file.size_bytes() >> geometry_.block_bits;
    if (blocks > 512) return damaged("size of the orphan file", geometry_.orphan_file_inode);
    MutexLock lock(file.map_mutex());
    for (uint64_t i = 0; i < blocks; ++i) {
      const Mapping mapping = TRY(file.map_locked(static_cast<uint32_t>(i), 1));
      if (mapping.is_hole()) return damaged("hole in the orphan file", geometry_.orphan_file_inode);
      TRY(orphan_blocks_.push_back(mapping.physical));
    }
  }
  const uint32_t entries = orphan_entries(geometry_.block_size);
  for (const uint64_t block : orphan_blocks_) {
    RefPtr<Buffer> buffer = TRY(cache_.read(block, BufferKind::Orphans, orphan_seed_));
    for (uint32_t k = 0; k < entries; ++k) {
      const uint32_t number = get32(buffer->bytes(), 4 * k);
      if (number == 0) continue;
      // Those in memory are in use; this is called again when a read-only filesystem becomes writable.
      TRY(process_orphan(number));
      ++freed;
      Journal::Handle handle = TRY(begin(2));
      handle.modify(*buffer, BufferKind::Orphans, orphan_seed_);
      put32(buffer->bytes(), 4 * k, 0);
    }
  }
  // The list. It cannot be longer than there are inodes; each round takes its first one off.
  for (uint32_t rounds = 0; rounds < geometry_.inode_count; ++rounds) {
    const uint32_t number = last_orphan(superblock_bytes());
    if (number == 0) break;
    uint32_t next = 0;
    if (geometry_.is_valid_inode(number)) {
      const InodePlace place = TRY(inode_place(number));
      next = InodeRecord(place.buffer->bytes().subspan(place.offset, geometry_.inode_size)).deletion_time();
    }
    const Result<void> processed = process_orphan(number);
    Journal::Handle handle = TRY(begin(2));
    handle.modify(*superblock_, BufferKind::Superblock);
    if (!processed.ok() || next == number || (next != 0 && !geometry_.is_valid_inode(next))) {
      // A damaged list ends here; the rest is for e2fsck.
      set_last_orphan(superblock_bytes(), 0);
      if (!processed.ok() && processed.code() != EUCLEAN && processed.code() != ESTALE && processed.code() != EBADMSG) return processed;
      break;
    }
    set_last_orphan(superblock_bytes(), next);
    ++freed;
  }
  if (freed != 0) log_limited(log_limit, "ext4", LogLevel::Info, "ext4: {}: {} orphans freed", device_->name(), freed);
  return {};
}

}  // namespace umk::ext4
