// File data that goes through the journal: data=journal (ext4(5)), the attribute j (chattr(1)).
//
// When pages are written out their blocks become buffers of the cache, as metadata is: they go to the log with the transaction, and to their places with a
// checkpoint. Each write(2) is written out at once, so that it joins the running transaction and what a crash leaves is what there was at one moment.
// Pages that left the page cache meanwhile are read from those buffers. There is no direct I/O. Blocks that are freed are revoked.
#include <algorithm>

#include "core/fs/ext4/file_node.h"

namespace umk::ext4 {

namespace {
constexpr uint32_t kAtOnce = 64;  // blocks of data in a handle
}

Result<void> FileNode::put_journaled(Journal::Handle& handle, uint64_t physical, uint64_t skip_blocks, uint32_t count, std::span<const mm::PageMemory> pieces) {
  const uint32_t size = volume().geometry().block_size;
  uint64_t skip = skip_blocks << block_bits();
  for (const mm::PageMemory& piece : pieces) {
    if (skip >= piece.size()) {
      skip -= piece.size();
      continue;
    }
    for (size_t at = skip; at < piece.size(); at += size) {
      if (count == 0) return {};
      RefPtr<Buffer> buffer = TRY(volume().cache().make(physical, BufferKind::Plain));
      handle.modify(*buffer, BufferKind::Plain);
      copy_bytes(buffer->bytes(), piece.subspan(at, size));
      ++physical;
      --count;
    }
    skip = 0;
  }
  return {};
}

Result<void> FileNode::write_journaled(uint64_t block, uint64_t end, uint64_t first_block, std::span<const mm::PageMemory> pieces, uint64_t& done) {
  end = std::min(end, block + kAtOnce);
  Journal::Handle handle = TRY(volume().begin(2 * kMapCredits + kAtOnce));
  MutexLock lock(map_mutex_);
  Mapping mapping = TRY(map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(end - block)));
  if (mapping.is_hole()) {
    const Volume::Run run = TRY(volume().allocate_blocks(handle, goal_locked(static_cast<uint32_t>(block)), mapping.count));
    Result<void> outcome = put_journaled(handle, run.block, block - first_block, run.count, pieces);
    if (outcome.ok()) {
      outcome = insert_locked(handle, {static_cast<uint32_t>(block), run.count, run.block, true});
      if (!outcome.ok()) add_sectors_locked(-static_cast<int64_t>(run.count));
    }
    if (!outcome.ok()) {
      const Result<void> freed = volume().free_blocks(handle, run.block, run.count, true);
      return freed.ok() ? outcome.failure() : volume().failed_midway(freed.failure());
    }
    mapping = {run.block, run.count, true};
    volume().drop_promise(promises_.remove(block, block + run.count));
  } else {
    if (!volume().may_be_file_blocks(mapping.physical, mapping.count)) return volume().damaged("blocks of a file", inode_number(), mapping.physical);
    TRY(put_journaled(handle, mapping.physical, block - first_block, mapping.count, pieces));
    if (!mapping.initialised) TRY(initialise_locked(handle, static_cast<uint32_t>(block), mapping.count));
  }
  done = block + mapping.count;
  TRY(grow_size_on_disk_locked(handle, std::min(size_bytes(), done << block_bits())));
  // fsync waits for the data's transaction, whether or not the inode changed.
  last_transaction.store(handle.transaction(), std::memory_order_release);
  last_data_transaction.store(handle.transaction(), std::memory_order_release);
  return {};
}

Result<void> FileNode::set_journaled(bool on) {
  MutexLock lock(data_mutex_);
  mm::CachedFile::NoFills no_fills(cached_);
  cached_.sync();
  // What is on the disk is all there is, and nothing is left in memory that could become stale.
  TRY(volume().journal().checkpoint());
  TRY(Node::set_journaled(on));
  volume().cache().drop_all();
  return {};
}

}  // namespace umk::ext4
