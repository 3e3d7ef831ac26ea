#include "core/fs/squashfs/unpacked_cache.h"

namespace umk::squashfs {

Result<RefPtr<UnpackedBlock>> UnpackedBlock::create(uint64_t place, size_t room) {
  RefPtr<UnpackedBlock> block = TRY(make_ref<UnpackedBlock>());
  block->place = place;
  block->memory.reset(new (std::nothrow) std::byte[room]);
  if (!block->memory) return error(ENOMEM);
  return block;
}

Result<void> UnpackedCache::create(size_t blocks) {
  MutexLock lock(mutex_);
  return slots_.resize(blocks);
}

RefPtr<UnpackedBlock> UnpackedCache::find(uint64_t place) {
  MutexLock lock(mutex_);
  for (Slot& slot : slots_) {
    if (!slot.block || slot.block->place != place) continue;
    slot.used_at = ++clock_;
    return slot.block;
  }
  return {};
}

void UnpackedCache::keep(const RefPtr<UnpackedBlock>& block) {
  RefPtr<UnpackedBlock> replaced;  // goes when the lock is free
  MutexLock lock(mutex_);
  Slot* oldest = nullptr;
  for (Slot& slot : slots_) {
    if (slot.block && slot.block->place == block->place) return;
    if (!oldest || slot.used_at < oldest->used_at) oldest = &slot;
  }
  if (!oldest) return;
  replaced = std::move(oldest->block);
  oldest->block = block;
  oldest->used_at = ++clock_;
}

}  // namespace umk::squashfs
