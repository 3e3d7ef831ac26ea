#include "core/fs/ext4/journal.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/kernel/vfs/inode.h"

namespace umk::ext4 {

using block::Segment;

namespace {
// What make_room() fills at once.
constexpr uint32_t kRoomBytes = 256 * 1024;
}  // namespace

/// Appends blocks to the log, many at a time.
class LogWriter {
 public:
  explicit LogWriter(Journal& journal) : journal_(journal) {}

  /// A block to be filled and put; it lives as long as the writer.
  Result<Bytes> scratch() {
    std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[journal_.log_.block_size]);
    if (!memory) return error(ENOMEM);
    const Bytes bytes{memory.get(), journal_.log_.block_size};
    TRY(scratch_.push_back(std::move(memory)));
    return bytes;
  }
  /// The memory stays as it is until flush().
  Result<void> put(Bytes block) {
    const uint64_t place = journal_.physical(journal_.head_);
    if (!segments_.empty() && (place != first_ + segments_.size() || segments_.size() >= kAtOnce)) TRY(flush());
    if (segments_.empty()) first_ = place;
    TRY(segments_.push_back({block.data(), block.size()}));
    journal_.head_ = journal_.log_.next(journal_.head_);
    return {};
  }
  Result<void> flush() {
    if (segments_.empty()) return {};
    Result<void> written = journal_.cache_.device().write(first_ * journal_.log_.block_size, std::span<const Segment>(segments_.data(), segments_.size()));
    segments_.clear();
    return written;
  }

 private:
  static constexpr size_t kAtOnce = 256;

  Journal& journal_;
  Vector<std::unique_ptr<std::byte[]>> scratch_;
  Vector<Segment> segments_;
  uint64_t first_ = 0;
};

Journal::~Journal() {
  MutexLock lock(mutex_);
  while (!buffers_.empty()) {
    Buffer& buffer = buffers_.front();
    buffers_.pop_front();
    buffer.drop_reference();
  }
  while (!awaiting_home_.empty()) {
    Buffer& buffer = awaiting_home_.front();
    awaiting_home_.pop_front();
    buffer.drop_reference();
  }
}

// --- handles

Result<Journal::Handle> Journal::begin(uint32_t credits, WhenBusy when_busy) {
  for (;;) {
    uint32_t full;
    {
      MutexLock lock(mutex_);
      for (;;) {
        if (is_aborted()) return error(EROFS);
        if (!is_still_) break;
        if (when_busy == WhenBusy::Fail) return error(EAGAIN);
        TRY(changed_.wait(mutex_, sync::Sleep::Uninterruptible));
      }
      const bool is_full = buffer_count_ != 0 && buffer_count_ + reserved_credits_ + credits > maximum_buffers_;
      const bool is_old = buffer_count_ != 0 && vfs::file_time_now().seconds - started_seconds_ > commit_interval_seconds_;
      if (!is_full && !is_old) {
        ++handles_;
        reserved_credits_ += credits;
        return Handle(*this, credits, running_);
      }
      full = running_;
    }
    if (when_busy == WhenBusy::Fail) return error(EAGAIN);
    TRY(commit(full));
  }
}

void Journal::end(uint32_t credits) {
  MutexLock lock(mutex_);
  --handles_;
  reserved_credits_ -= credits;
  if (handles_ == 0 && is_still_) changed_.wake_all();
}

void Journal::Handle::modify(Buffer& buffer, BufferKind kind, uint32_t context) {
  MutexLock lock(journal_->mutex_);
  buffer.kind = kind;
  buffer.context = context;
  buffer.is_forgotten = false;
  if (buffer.in_transaction) return;
  buffer.in_transaction = true;
  buffer.add_reference();
  if (journal_->buffer_count_++ == 0) {
    journal_->started_seconds_ = vfs::file_time_now().seconds;
    journal_->owner_.on_begun(journal_->commit_interval_seconds_);
  }
  journal_->buffers_.push_back(buffer);
}

Result<void> Journal::Handle::forget(uint64_t block) {
  const RefPtr<Buffer> buffer = journal_->cache_.find(block);
  if (!buffer) return {};
  {
    MutexLock lock(journal_->mutex_);
    buffer->is_forgotten = true;
    if (buffer->in_transaction) {
      buffer->in_transaction = false;
      journal_->buffers_.erase(journal_->buffers_.iterator_to(*buffer));
      --journal_->buffer_count_;
      buffer->drop_reference();
    }
    if (buffer->awaits_home) {
      // What the log has of it must not be replayed over what the block will hold.
      if (journal_->has_log_) TRY(journal_->revoked_.push_back(block));
      buffer->awaits_home = false;
      journal_->awaiting_home_.erase(journal_->awaiting_home_.iterator_to(*buffer));
      buffer->drop_reference();
    }
  }
  journal_->cache_.drop(block);
  return {};
}

Result<void> Journal::Handle::note_freed(FreedRun run) {
  MutexLock lock(journal_->mutex_);
  return journal_->freed_.push_back(run);
}

bool Journal::is_committed(uint32_t transaction) {
  MutexLock lock(mutex_);
  return !is_older(committed_, transaction);
}

bool Journal::has_changes() {
  MutexLock lock(mutex_);
  return buffer_count_ != 0;
}

bool Journal::is_behind() {
  MutexLock lock(mutex_);
  return buffer_count_ != 0 || !awaiting_home_.empty();
}

// --- commits

void Journal::become_still() {
  MutexLock lock(mutex_);
  is_still_ = true;
  while (handles_ != 0) (void)changed_.wait(mutex_, sync::Sleep::Uninterruptible);
}

void Journal::end_stillness() {
  MutexLock lock(mutex_);
  is_still_ = false;
  changed_.wake_all();
}

Result<void> Journal::flush() {
  if (!barriers_) return {};
  return cache_.device().flush();
}

Result<void> Journal::commit(uint32_t transaction) {
  MutexLock commit_lock(commit_mutex_);
  {
    MutexLock lock(mutex_);
    if (!is_older(committed_, transaction)) return {};
  }
  return commit_locked(false);
}

Result<void> Journal::commit_all() {
  MutexLock commit_lock(commit_mutex_);
  return commit_locked(false);
}

Result<void> Journal::checkpoint() {
  MutexLock commit_lock(commit_mutex_);
  return commit_locked(true);
}

/// The running transaction's buffers become committed ones.
void Journal::take_buffers_locked() {
  while (!buffers_.empty()) {
    Buffer& buffer = buffers_.front();
    buffers_.pop_front();
    buffer.in_transaction = false;
    if (buffer.awaits_home) {
      buffer.drop_reference();
    } else {
      buffer.awaits_home = true;
      awaiting_home_.push_back(buffer);
    }
  }
  buffer_count_ = 0;
}

Result<void> Journal::commit_locked(bool and_checkpoint) {
  if (is_aborted()) return error(EROFS);
  become_still();
  bool is_still = true;
  uint32_t sequence;
  bool has_changes;
  {
    MutexLock lock(mutex_);
    sequence = running_;
    has_changes = buffer_count_ != 0;
    if (has_changes) ++handles_;
  }
  Vector<uint64_t> revoked;
  Vector<FreedRun> freed;
  Result<void> outcome = [&]() NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (has_changes) {
      {
        Handle handle(*this, 0, sequence);
        owner_.before_commit(handle);
      }
      {
        MutexLock lock(mutex_);
        revoked = std::move(revoked_);
        freed = std::move(freed_);
        ++running_;
      }
      // Bitmaps first: their checksums lie in descriptors.
      for (Buffer& buffer : buffers_)
        if (buffer.kind == BufferKind::BlockBitmap || buffer.kind == BufferKind::InodeBitmap) owner_.seal(buffer);
      for (Buffer& buffer : buffers_)
        if (buffer.kind != BufferKind::BlockBitmap && buffer.kind != BufferKind::InodeBitmap) owner_.seal(buffer);
      if (has_log_) TRY(write_transaction(sequence, revoked));
      MutexLock lock(mutex_);
      take_buffers_locked();
    }
    // The log must have room for the next transaction, however large.
    const bool writes_home = !has_log_ || and_checkpoint || log_used() > (log_.blocks - log_.first) / 2;
    if (!writes_home) {
      end_stillness();
      is_still = false;
    }
    if (has_changes && has_log_) {
      TRY(flush());
      TRY(write_commit_block(sequence));
      TRY(flush());
    }
    if (writes_home) {
      TRY(write_home());
      TRY(flush());
      if (has_log_) TRY(start_anew(sequence + (has_changes ? 1 : 0)));
    }
    return {};
  }();
  if (outcome.ok() && has_changes) {
    MutexLock lock(mutex_);
    committed_ = sequence;
  }
  if (is_still) end_stillness();
  if (!outcome.ok()) {
    abort(outcome.code());
    return outcome;
  }
  if (!freed.empty()) owner_.on_committed(freed);
  return {};
}

Result<void> Journal::write_transaction(uint32_t sequence, std::span<const uint64_t> revoked) {
  LogWriter writer(*this);
  const uint32_t capacity = log_.blocks - log_.first;
  const uint32_t per_block = log_.tags_per_block(), revokes = log_.revokes_per_block();
  uint32_t count = 0;
  for ([[maybe_unused]] const Buffer& buffer : buffers_) ++count;
  const uint64_t needed = count + (count + per_block - 1) / per_block + (revoked.size() + revokes - 1) / revokes + 2;
  if (needed + log_used() >= capacity) {
    log(LogLevel::Error, "ext4: a transaction of {} blocks does not fit in the journal", needed);
    return error(ENOSPC);
  }
  for (size_t i = 0; i < revoked.size();) {
    const Bytes block = TRY(writer.scratch());
    log_.begin(block, JournalBlock::Revoke, sequence);
    for (uint32_t k = 0; k < revokes && i < revoked.size(); ++k, ++i) log_.write_revoke(block, k, revoked[i]);
    log_.seal(block);
    TRY(writer.put(block));
  }
  auto next = buffers_.begin();
  while (next != buffers_.end()) {
    const Bytes descriptor = TRY(writer.scratch());
    log_.begin(descriptor, JournalBlock::Descriptor, sequence);
    const auto first = next;
    size_t offset = JournalSuperblock::kFirstTag;
    // Escaped blocks are copies; they are made while the tags are written and put below.
    Vector<Bytes> blocks;
    for (uint32_t k = 0; k < per_block && next != buffers_.end(); ++k) {
      Buffer& buffer = *next++;
      JournalTag tag;
      tag.block = buffer.block();
      Bytes data = buffer.bytes();
      if (get32_big(data, 0) == kJournalMagic) {
        const Bytes copy = TRY(writer.scratch());
        copy_bytes(copy, data);
        put32(copy, 0, 0);
        data = copy;
        tag.is_escaped = true;
      }
      tag.is_last = k + 1 == per_block || next == buffers_.end();
      if (log_.has_checksums()) tag.checksum = log_.data_checksum(data, sequence);
      log_.write_tag(descriptor, offset, tag, k == 0);
      TRY(blocks.push_back(data));
    }
    (void)first;
    log_.seal(descriptor);
    TRY(writer.put(descriptor));
    for (const Bytes& data : blocks) TRY(writer.put(data));
  }
  TRY(writer.flush());
  // What is large is written in few pieces anyway.
  if (needed <= kRoomBytes / log_.block_size) make_room();
  return {};
}

/// Small transactions go through the log block by block. On a new image it lies in a hole of the host's file, where each fdatasync of the host would have to
/// store where a few blocks are; so the first transaction in a piece of the log fills the rest of it, too. It is durable with the transaction's first flush, and
/// what is there in place of it before has no meaning.
void Journal::make_room() {
  const uint32_t piece = head_ / (kRoomBytes / log_.block_size);
  if (piece == roomy_piece_) return;
  roomy_piece_ = piece;
  uint32_t run = 0;
  const uint64_t first = physical(head_, &run) * log_.block_size;
  uint32_t end = std::min({(piece + 1) * (kRoomBytes / log_.block_size), log_.blocks, head_ + run});
  if (head_ < tail_) end = std::min(end, tail_);
  const uint64_t bytes = uint64_t{end - head_} * log_.block_size;
  block::BlockDevice& device = cache_.device();
  if (device.has_room(first, bytes)) return;
  Vector<std::byte> zeroes;
  Vector<Segment> segments;
  // Nothing is lost where there is no memory, or no room.
  if (!zeroes.resize(log_.block_size).ok()) return;
  for (uint32_t at = head_; at < end; ++at)
    if (!segments.push_back({zeroes.data(), zeroes.size()}).ok()) return;
  (void)device.write(first, std::span<const Segment>(segments.data(), segments.size())).ok();
}

Result<void> Journal::write_commit_block(uint32_t sequence) {
  LogWriter writer(*this);
  const Bytes block = TRY(writer.scratch());
  const vfs::Timestamp now = vfs::file_time_now();
  log_.write_commit(block, sequence, static_cast<uint64_t>(now.seconds), now.nanoseconds);
  TRY(writer.put(block));
  return writer.flush();
}

/// Writes all committed buffers to their places. Everything stands still, and the running transaction is empty.
Result<void> Journal::write_home() {
  Vector<Buffer*> sorted;
  {
    MutexLock lock(mutex_);
    for (Buffer& buffer : awaiting_home_) TRY(sorted.push_back(&buffer));
  }
  std::sort(sorted.begin(), sorted.end(), [](const Buffer* a, const Buffer* b) { return a->block() < b->block(); });
  const uint32_t size = cache_.block_size();
  Vector<Segment> segments;
  for (size_t i = 0; i < sorted.size();) {
    segments.clear();
    const uint64_t first = sorted[i]->block();
    for (; i < sorted.size() && sorted[i]->block() == first + segments.size() && segments.size() < 256; ++i)
      TRY(segments.push_back({sorted[i]->bytes().data(), size}));
    TRY(cache_.device().write(first * size, std::span<const Segment>(segments.data(), segments.size())));
  }
  places_written_.fetch_add(1, std::memory_order_acq_rel);
  MutexLock lock(mutex_);
  while (!awaiting_home_.empty()) {
    Buffer& buffer = awaiting_home_.front();
    awaiting_home_.pop_front();
    buffer.awaits_home = false;
    buffer.drop_reference();
  }
  return {};
}

/// Everything in the log is in its place: it begins here, with a transaction that is still to be written.
Result<void> Journal::start_anew(uint32_t sequence) {
  tail_ = head_;
  log_.start = head_;
  log_.sequence = sequence;
  return write_log_superblock();
}

Result<void> Journal::write_log_superblock() {
  log_.update(log_superblock_);
  TRY(cache_.device().write(physical(0) * log_.block_size, ConstBytes(log_superblock_.data(), log_superblock_.size())));
  return flush();
}

Result<void> Journal::finish_log() {
  if (!has_log_ || is_aborted()) return {};
  MutexLock commit_lock(commit_mutex_);
  log_.start = 0;
  {
    MutexLock lock(mutex_);
    log_.sequence = running_;
  }
  return write_log_superblock();
}

void Journal::abort(int error_code) {
  if (aborted_.exchange(true)) return;
  log(LogLevel::Error, "ext4: the journal is given up, errno {}", error_code);
  owner_.on_abort(error_code);
  MutexLock lock(mutex_);
  changed_.wake_all();
}

}  // namespace umk::ext4
