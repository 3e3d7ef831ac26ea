#include "core/fs/ext4/block_cache.h"

#include <algorithm>

#include "core/base/bits.h"

namespace umk::ext4 {

BlockCache::~BlockCache() { drop_all(); }

Result<RefPtr<Buffer>> BlockCache::get(uint64_t block) {
  if (block >= block_count_) return error(EUCLEAN);
  {
    MutexLock lock(mutex_);
    const auto found = buffers_.find(block);
    if (found != buffers_.end()) {
      by_age_.splice(by_age_.end(), by_age_, by_age_.iterator_to(*found));
      return RefPtr<Buffer>(*found);
    }
  }
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[block_size_]);
  if (!memory) return error(ENOMEM);
  RefPtr<Buffer> fresh = TRY(make_ref<Buffer>(block, std::move(memory), block_size_));
  MutexLock lock(mutex_);
  const auto [place, inserted] = buffers_.insert(*fresh);
  if (!inserted) return RefPtr<Buffer>(*place);
  fresh->add_reference();  // the cache's
  by_age_.push_back(*fresh);
  if (++count_ > limit_) shrink_locked();
  return fresh;
}

Result<RefPtr<Buffer>> BlockCache::read(uint64_t block, BufferKind kind, uint32_t context, Around around) {
  RefPtr<Buffer> buffer = TRY(get(block));
  const auto is_good = [&] { return kind == BufferKind::Plain || buffer->checked_as_.load(std::memory_order_relaxed) == kind; };
  if (buffer->is_loaded_.load(std::memory_order_acquire) && is_good()) return buffer;
  if (!buffer->is_loaded_.load(std::memory_order_relaxed)) read_around(block, around.count != 0 ? around : checker_.around(kind, context));
  MutexLock lock(buffer->load_mutex_);
  if (!buffer->is_loaded_.load(std::memory_order_relaxed)) {
    TRY(device_.read(block * block_size_, buffer->bytes()));
    TRY(checker_.check(*buffer, kind, context, true));
    buffer->kind = kind;
    buffer->context = context;
  } else if (is_good()) {
    return buffer;
  } else {
    // Somebody looked at the block before he knew what it is, or two places of a damaged filesystem name one block.
    const bool is_unchecked = buffer->is_loaded_unchecked_.load(std::memory_order_relaxed);
    TRY(checker_.check(*buffer, kind, context, is_unchecked));
    if (is_unchecked) {
      buffer->kind = kind;
      buffer->context = context;
    }
  }
  buffer->is_loaded_unchecked_.store(false, std::memory_order_relaxed);
  buffer->checked_as_.store(kind, std::memory_order_relaxed);
  buffer->is_loaded_.store(true, std::memory_order_release);
  return buffer;
}

// As far as that works. The buffers are held while the device is read, so none of them can be changed, written and dropped
// behind our back; one that somebody else has read or made meanwhile is left alone.
void BlockCache::read_around(uint64_t block, Around around) {
  if (block < around.first || block - around.first >= around.count || around.first >= block_count_ ||
      around.count > block_count_ - around.first)
    return;
  const uint64_t first = std::max(around.first, round_down(block, kMostAround));
  const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(around.first + around.count, first + kMostAround) - first);
  RefPtr<Buffer> absent[kMostAround];
  uint32_t begin = count, end = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Result<RefPtr<Buffer>> buffer = get(first + i);
    if (!buffer.ok()) return;
    if (buffer.value()->is_loaded_.load(std::memory_order_acquire)) continue;
    absent[i] = buffer.take();
    begin = std::min(begin, i);
    end = i + 1;
  }
  if (end <= begin + 1) return;
  const size_t bytes = size_t{end - begin} * block_size_;
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[bytes]);
  if (!memory || !device_.read((first + begin) * block_size_, Bytes(memory.get(), bytes)).ok()) return;
  for (uint32_t i = begin; i < end; ++i) {
    if (!absent[i]) continue;
    Buffer& buffer = *absent[i];
    MutexLock lock(buffer.load_mutex_);
    if (buffer.is_loaded_.load(std::memory_order_relaxed)) continue;
    copy_bytes(buffer.bytes(), ConstBytes(memory.get() + size_t{i - begin} * block_size_, block_size_));
    buffer.is_loaded_unchecked_.store(true, std::memory_order_relaxed);
    buffer.is_loaded_.store(true, std::memory_order_release);
  }
}

Result<RefPtr<Buffer>> BlockCache::make(uint64_t block, BufferKind kind, uint32_t context) {
  RefPtr<Buffer> buffer = TRY(get(block));
  MutexLock lock(buffer->load_mutex_);
  fill_zero(buffer->bytes());
  buffer->is_loaded_unchecked_.store(false, std::memory_order_relaxed);
  buffer->kind = kind;
  buffer->context = context;
  buffer->checked_as_.store(kind, std::memory_order_relaxed);
  buffer->is_loaded_.store(true, std::memory_order_release);
  return buffer;
}

RefPtr<Buffer> BlockCache::find(uint64_t block) {
  MutexLock lock(mutex_);
  const auto found = buffers_.find(block);
  return found == buffers_.end() ? nullptr : RefPtr<Buffer>(*found);
}

void BlockCache::drop(uint64_t block) {
  RefPtr<Buffer> dropped;
  MutexLock lock(mutex_);
  const auto found = buffers_.find(block);
  if (found == buffers_.end()) return;
  dropped = RefPtr<Buffer>::adopt(&*found);
  by_age_.erase(by_age_.iterator_to(*dropped));
  buffers_.erase(found);
  --count_;
}

void BlockCache::drop_all() {
  MutexLock lock(mutex_);
  for (auto next = buffers_.begin(); next != buffers_.end();) {
    Buffer& buffer = *next++;
    if (buffer.reference_count() != 1) continue;
    by_age_.erase(by_age_.iterator_to(buffer));
    buffers_.erase(buffers_.iterator_to(buffer));
    --count_;
    buffer.drop_reference();
  }
}

void BlockCache::shrink_locked() {
  // Those in use are passed over and count as new. A few at a time: what is dirty may be most of them.
  for (int looked = 0; looked < 32 && count_ > limit_ && !by_age_.empty(); ++looked) {
    Buffer& oldest = by_age_.front();
    by_age_.splice(by_age_.end(), by_age_, by_age_.begin());
    if (oldest.reference_count() != 1) continue;
    by_age_.erase(by_age_.iterator_to(oldest));
    buffers_.erase(buffers_.iterator_to(oldest));
    --count_;
    oldest.drop_reference();
  }
}

}  // namespace umk::ext4
