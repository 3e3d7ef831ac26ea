#include "core/kernel/mm/page_cache.h"

#include "core/host/calls.h"

namespace umk::mm {

namespace {

constexpr uint64_t kCentisecond = 10'000'000;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr unsigned kThrottleRounds = 5;
constexpr uint64_t kShortPause = 5 * kMillisecond;
constexpr uint64_t kThrottlePause = 40 * kMillisecond;
constexpr uint64_t kRoundPause = 200 * kMillisecond;
constexpr uint64_t kReclaimBatch = 512;
constexpr unsigned kChargeRounds = 16;

uint64_t now_ns() { return host::now_ns(host::Clock::Monotonic); }

}  // namespace

PageCache::PageCache(CacheWindow& window) : window_(window) {
  window.set_reclaimer(this);
  window.account().set_reclaimable(&counters.present);
}

PageCache::~PageCache() {
  window_.set_reclaimer(nullptr);
  window_.account().set_reclaimable(nullptr);
  MutexLock lock(mutex_);
  CHECK(files_.empty(), "files go before their cache");
}

// --- the list of files

void PageCache::add(CachedFile& file) {
  MutexLock lock(mutex_);
  files_.push_back(file);
  ++file_count_;
}

void PageCache::remove(CachedFile& file) {
  MutexLock lock(mutex_);
  if (std::exchange(file.write_back_asked_, false)) --write_back_asked_;
  file.ListHook<DirtyFileTag>::unlink();
  file.ListHook<CachedFileTag>::unlink();
  --file_count_;
}

void PageCache::note_dirtied(CachedFile& file, bool was_clean) {
  if (was_clean) {
    MutexLock lock(mutex_);
    if (!file.ListHook<DirtyFileTag>::is_linked()) {
      file.dirty_since_ns_ = now_ns();
      dirty_.push_back(file);
      // The first dirty file sets the thread's clock going.
      if (&dirty_.front() == &file) wake_writer_before(file.dirty_since_ns_ + settings.dirty_expire_centisecs.load(std::memory_order_relaxed) * kCentisecond);
    }
  }
  if (dirty_or_written() > background_limit() && !was_woken_.load(std::memory_order_relaxed)) wake_writer();
}

void PageCache::note_written(uint64_t pages) {
  counters.written_back.fetch_sub(pages, std::memory_order_relaxed);
  counters.pages_written.fetch_add(pages, std::memory_order_relaxed);
  if (throttled_.has_waiters()) throttled_.wake_all();
}

void PageCache::ask_write_back(CachedFile& file) {
  MutexLock lock(mutex_);
  if (!file.ListHook<DirtyFileTag>::is_linked() || std::exchange(file.write_back_asked_, true)) return;
  ++write_back_asked_;
  wake_writer();
}

void PageCache::wake_writer() {
  was_woken_.store(true, std::memory_order_relaxed);
  writer_.wake();
}

void PageCache::wake_writer_before(uint64_t due_ns) {
  if (writer_looks_at_ns_.load(std::memory_order_seq_cst) > due_ns) wake_writer();
}

// --- limits

// What could be dirty: what is free and what the cache holds.
uint64_t PageCache::memory_pages() const {
  const MemoryAccount& account = window_.account();
  const uint64_t present = counters.present.load(std::memory_order_relaxed);
  if (account.limit() == UINT64_MAX) return (uint64_t{1} << 30) / kPageSize;
  const uint64_t free = account.limit() > account.charged() ? account.limit() - account.charged() : 0;
  return free / kPageSize + present;
}

uint64_t PageCache::dirty_limit() const {
  if (const uint64_t bytes = settings.dirty_bytes.load(std::memory_order_relaxed)) return bytes / kPageSize;
  return memory_pages() * settings.dirty_ratio.load(std::memory_order_relaxed) / 100;
}

uint64_t PageCache::background_limit() const {
  uint64_t limit = settings.dirty_background_bytes.load(std::memory_order_relaxed) / kPageSize;
  if (limit == 0) limit = memory_pages() * settings.dirty_background_ratio.load(std::memory_order_relaxed) / 100;
  // It would be of no use above the other.
  const uint64_t hard = dirty_limit();
  return limit >= hard ? hard / 2 : limit;
}

uint64_t PageCache::bounded_read_ahead(uint64_t pages) const {
  const uint64_t most = memory_pages() / 4;
  return pages < most ? pages : most;
}

void PageCache::throttle() {
  for (unsigned round = 0; round < kThrottleRounds && dirty_or_written() > dirty_limit(); ++round) {
    if (!has_thread_.load(std::memory_order_acquire)) return sync_group(nullptr);
    MutexLock lock(mutex_);
    wake_writer();
    (void)throttled_.wait(mutex_, Sleep::Interruptible, Deadline::after_ns(kThrottlePause));
  }
}

// --- write-back

void PageCache::move_to_end_locked(CachedFile& file, uint64_t now) {
  if (std::exchange(file.write_back_asked_, false)) --write_back_asked_;
  file.ListHook<DirtyFileTag>::unlink();
  file.dirty_since_ns_ = now;
  dirty_.push_back(file);
}

// A file that is still dirty after it was written (a guest may go on writing it, or it is being appended to) has its time before it again; however
// much is dirty, it is not taken twice in one round.
CachedFile* PageCache::next_due_locked(uint64_t round_start, uint64_t now, uint64_t* wait_ns) {
  const bool too_much = dirty_or_written() > background_limit() || memory_is_short_;
  const uint64_t expire = settings.dirty_expire_centisecs.load(std::memory_order_relaxed) * kCentisecond;
  *wait_ns = UINT64_MAX;
  for (auto next = dirty_.begin(); next != dirty_.end();) {
    CachedFile& file = *next++;
    if (!file.is_dirty()) {
      if (file.written_pages_.load(std::memory_order_seq_cst) != 0) continue;  // syncfs waits for it
      if (std::exchange(file.write_back_asked_, false)) --write_back_asked_;
      file.ListHook<DirtyFileTag>::unlink();
      // It may have become dirty when it was still on the list.
      if (file.is_dirty()) file.dirty_since_ns_ = now, dirty_.push_back(file);
      continue;
    }
    const bool is_old = now >= file.dirty_since_ns_ + expire;
    if (!is_old && !file.write_back_asked_ && !(too_much && file.dirty_since_ns_ < round_start)) {
      if (*wait_ns == UINT64_MAX) *wait_ns = file.dirty_since_ns_ + expire - now;
      if (write_back_asked_ == 0) break;
      continue;
    }
    // One that is going away is written or dropped by its owner.
    if (!file.backing_.try_add_mapping_reference()) continue;
    move_to_end_locked(file, now);
    return &file;
  }
  if (too_much && !dirty_.empty()) *wait_ns = kRoundPause;
  return nullptr;
}

void PageCache::add_group(WriteBackGroup& group) {
  MutexLock lock(mutex_);
  groups_.push_back(group);
}

void PageCache::remove_group(WriteBackGroup& group) {
  MutexLock lock(mutex_);
  group.ListHook<GroupTag>::unlink();
  while (busy_group_ == &group) (void)group_done_.wait(mutex_, Sleep::Uninterruptible);
}

void PageCache::write_later(WriteBackGroup& group, uint64_t delay_ns) {
  const uint64_t due = now_ns() + delay_ns;
  group.own_due_ns_.store(due, std::memory_order_seq_cst);
  wake_writer_before(due);
}

WriteBackGroup* PageCache::next_group_locked(uint64_t now, uint64_t* wait_ns) {
  for (WriteBackGroup& group : groups_) {
    const uint64_t due = group.own_due_ns_.load(std::memory_order_seq_cst);
    if (due == 0) continue;
    if (due <= now) {
      group.own_due_ns_.store(0, std::memory_order_seq_cst);
      return busy_group_ = &group;
    }
    if (due - now < *wait_ns) *wait_ns = due - now;
  }
  return nullptr;
}

void PageCache::run_write_back() {
  has_thread_.store(true, std::memory_order_release);
  uint64_t round_start = now_ns();
  for (;;) {
    CachedFile* file = nullptr;
    WriteBackGroup* group = nullptr;
    WriteReason reason = WriteReason::Age;
    {
      MutexLock lock(mutex_);
      while (!stopping_) {
        was_woken_.store(false, std::memory_order_relaxed);
        writer_looks_at_ns_.store(UINT64_MAX, std::memory_order_seq_cst);
        uint64_t wait_ns;
        file = next_due_locked(round_start, now_ns(), &wait_ns);
        if (file || memory_is_short_) break;
        uint64_t group_wait_ns = UINT64_MAX;
        group = next_group_locked(now_ns(), &group_wait_ns);
        if (group) break;
        // Ages are looked at no more often than dirty_writeback_centisecs says; 0: never, only on demand.
        const uint64_t interval = settings.dirty_writeback_centisecs.load(std::memory_order_relaxed) * kCentisecond;
        if (wait_ns != UINT64_MAX && wait_ns != kRoundPause) wait_ns = interval == 0 ? UINT64_MAX : wait_ns < interval ? interval : wait_ns;
        if (group_wait_ns < wait_ns) wait_ns = group_wait_ns;
        const Deadline deadline = wait_ns == UINT64_MAX ? Deadline::never() : Deadline::after_ns(wait_ns);
        if (wait_ns != UINT64_MAX) writer_looks_at_ns_.store(now_ns() + wait_ns, std::memory_order_seq_cst);
        (void)writer_.wait(mutex_, Sleep::Uninterruptible, deadline);
        round_start = now_ns();
      }
      if (stopping_) break;
      if (memory_is_short_) reason = WriteReason::Reclaim;
    }
    if (group) {
      group->write_own();
      MutexLock lock(mutex_);
      busy_group_ = nullptr;
      group_done_.wake_all();
      continue;
    }
    if (!file) {
      uint64_t evicted = reclaim(kReclaimBatch);
      if (evicted < kReclaimBatch) evicted += evict_mapped(kReclaimBatch - evicted);
      {
        MutexLock lock(mutex_);
        ++evictions_;
        evicted_ += evicted;
        memory_is_short_ = false;
        round_start = now_ns();
      }
      throttled_.wake_all();
      continue;
    }
    file->write_dirty(0, UINT64_MAX, reason);
    file->backing_.drop_mapping_reference();
  }
  has_thread_.store(false, std::memory_order_release);
}

void PageCache::stop() {
  MutexLock lock(mutex_);
  stopping_ = true;
  writer_.wake_all();
}

void PageCache::sync_group(const WriteBackGroup* group) {
  uint64_t pass;
  {
    MutexLock lock(mutex_);
    pass = ++sync_pass_;
  }
  // Every file that is dirty now has its turn once. It goes to the end of the list, so that the next one is found at its start.
  for (;;) {
    CachedFile* found = nullptr;
    {
      MutexLock lock(mutex_);
      for (CachedFile& file : dirty_) {
        if (file.sync_pass_ == pass || (group && &file.group_ != group) || !file.backing_.try_add_mapping_reference()) continue;
        found = &file;
        break;
      }
      if (!found) return;
      found->sync_pass_ = pass;
      move_to_end_locked(*found, now_ns());
    }
    found->sync();
    found->backing_.drop_mapping_reference();
  }
}

// --- memory

// A part of the machine's memory that file pages leave to everything else, whose users cannot wait for reclaim.
uint64_t PageCache::reserved_bytes() const {
  constexpr uint64_t kMost = uint64_t{16} << 20;
  const uint64_t share = window_.account().limit() / 32;
  return share < kMost ? share : kMost;
}

Result<void> PageCache::charge(uint64_t pages) {
  const MemoryAccount& account = window_.account();
  const uint64_t bytes = pages * kPageSize;
  for (unsigned round = 0; round < kChargeRounds; ++round) {
    if (account.limit() == UINT64_MAX || account.charged() + bytes + reserved_bytes() <= account.limit())
      if (Result<void> charged = window_.charge(pages); charged.ok()) {
        if (account.is_overcommitted()) [[unlikely]] make_way_for_commitments();
        return charged;
      }
    if (reclaim(pages > kReclaimBatch ? pages : kReclaimBatch) >= pages) continue;
    // What is dirty has to be written before it can go, and what guests map taken from them. Both is the thread's work.
    MutexLock lock(mutex_);
    if (!has_thread_.load(std::memory_order_acquire)) break;
    const uint64_t evictions = evictions_, evicted = evicted_;
    memory_is_short_ = true;
    wake_writer();
    (void)throttled_.wait(mutex_, Sleep::Uninterruptible, Deadline::after_ns(kThrottlePause));
    if (evictions_ != evictions && evicted_ == evicted && dirty_or_written() == 0) break;
  }
  // What is left is for those who cannot wait; a part of it helps out here.
  if (account.limit() != UINT64_MAX && account.charged() + bytes + reserved_bytes() / 2 > account.limit()) return error(ENOMEM);
  return window_.charge(pages);
}

Result<void> PageCache::try_charge(uint64_t pages) {
  const MemoryAccount& account = window_.account();
  const auto fits = [&] { return account.limit() == UINT64_MAX || account.charged() + pages * kPageSize + reserved_bytes() <= account.limit(); };
  if (!fits() && (reclaim(pages) < pages || !fits())) return error(ENOMEM);
  return window_.charge(pages);
}

uint64_t PageCache::reclaim(uint64_t pages) {
  uint64_t freed = 0;
  // Who wants everything has every file looked at.
  const uint64_t now = pages == UINT64_MAX ? UINT64_MAX : now_ns();
  for (const bool second_chance : {true, false}) {
    // Once round: big files take more than one look.
    uint64_t looks;
    {
      MutexLock lock(mutex_);
      looks = file_count_ + counters.present.load(std::memory_order_relaxed) / kPagesInChunk / CachedFile::kChunksInLook;
    }
    for (; looks > 0 && freed < pages; --looks) {
      MutexLock lock(mutex_);
      if (files_.empty()) break;
      CachedFile& file = files_.front();
      bool is_round = true;
      if (!file.has_nothing_to_reclaim(now)) freed += file.reclaim_some(pages - freed, second_chance, &is_round);
      if (!is_round) continue;
      file.ListHook<CachedFileTag>::unlink();
      files_.push_back(file);
    }
  }
  if (freed < pages) window_.drain_pool();
  counters.pages_reclaimed.fetch_add(freed, std::memory_order_relaxed);
  return freed;
}

uint64_t PageCache::evict_mapped(uint64_t pages) {
  uint64_t evicted = 0;
  size_t looks;
  {
    MutexLock lock(mutex_);
    looks = file_count_;
  }
  for (; looks > 0 && evicted < pages; --looks) {
    CachedFile* file;
    {
      MutexLock lock(mutex_);
      if (files_.empty()) break;
      file = &files_.front();
      file->ListHook<CachedFileTag>::unlink();
      files_.push_back(*file);
      if (file->present_bytes() == 0 || !file->store_.is_mapped() || !file->backing_.try_add_mapping_reference()) continue;
    }
    evicted += file->evict_mapped(pages - evicted);
    file->backing_.drop_mapping_reference();
  }
  return evicted;
}

// A look finds nothing while a fault is being served or mappings change, so one is not enough as long as there are pages to be had.
uint64_t PageCache::reclaim_thoroughly(uint64_t pages) {
  constexpr unsigned kTries = 100;
  uint64_t freed = 0;
  for (unsigned tries = 0;; ++tries) {
    freed += reclaim(pages - freed);
    if (freed < pages) freed += evict_mapped(pages - freed);
    if (freed >= pages || tries == kTries || counters.present.load(std::memory_order_relaxed) < pages - freed) return freed;
    sync_group(nullptr);
    MutexLock lock(mutex_);
    (void)throttled_.wait(mutex_, Sleep::Uninterruptible, Deadline::after_ns(kShortPause));
  }
}

// Private memory is the host's and not charged (memory_account.h): what was promised stands for it here.
void PageCache::make_way_for_commitments() {
  const MemoryAccount& account = window_.account();
  const uint64_t used = account.committed() + account.charged(), limit = account.limit();
  if (used <= limit) return;
  const uint64_t excess = (used - limit) / kPageSize, least = limit / kPageSize / 4, present = counters.present.load(std::memory_order_relaxed);
  if (present <= least) return;
  (void)reclaim(present - least < excess ? present - least : excess);
}

void PageCache::drop_clean() {
  while (reclaim(UINT64_MAX) != 0) {
  }
}

}  // namespace umk::mm
