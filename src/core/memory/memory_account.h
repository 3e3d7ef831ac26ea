// MemoryAccount: how much of the machine's memory (`mem=`) is in use, and by whom.
//
// Kernel objects and page-cache pages are charged exactly and refused beyond the limit. Private memory of guests is the host's, so only what was
// promised to them is counted (commitments); like Linux's heuristic overcommit, a single promise is refused when it could never be kept, and
// `is_overcommitted()` tells the sampler of resident sizes when it has to look closer. One account per machine; all members are atomics.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/host/calls.h"

namespace umk {

class MemoryAccount {
 public:
  enum class Use : unsigned { KernelObjects, PageCache };

  /// `limit_bytes` 0 means no limit.
  explicit constexpr MemoryAccount(uint64_t limit_bytes = 0) : limit_(limit_bytes == 0 ? UINT64_MAX : limit_bytes) {}

  /// Takes `bytes` out of the machine's memory; false, with nothing taken, when they do not fit.
  bool try_charge(Use use, uint64_t bytes) {
    const uint64_t before = charged_.fetch_add(bytes, std::memory_order_relaxed);
    if (before + bytes > limit_.load(std::memory_order_relaxed)) {
      charged_.fetch_sub(bytes, std::memory_order_relaxed);
      return false;
    }
    by_use_[static_cast<unsigned>(use)].fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }
  void uncharge(Use use, uint64_t bytes) {
    charged_.fetch_sub(bytes, std::memory_order_relaxed);
    by_use_[static_cast<unsigned>(use)].fetch_sub(bytes, std::memory_order_relaxed);
  }

  /// Promises `bytes` of private memory to a guest; false when the machine could not hold them even with nothing else running.
  bool try_commit(uint64_t bytes) {
    const uint64_t limit = limit_.load(std::memory_order_relaxed);
    const uint64_t kept = charged() - reclaimable();
    if (limit != UINT64_MAX && (kept >= limit || bytes > limit - kept)) return false;
    commit(bytes);
    return true;
  }
  /// A promise that may not fail, such as the growth of a stack within its limit.
  void commit(uint64_t bytes) {
    committed_.fetch_add(bytes, std::memory_order_relaxed);
    if (is_overcommitted() && sampler_word_.exchange(1, std::memory_order_relaxed) == 0) host::futex_wake(&sampler_word_, 1);
  }
  /// Sleeps until more is promised than there is; then the sampler looks at what is really used (Linux has no such need: it owns the pages).
  void wait_for_overcommit() {
    for (;;) {
      sampler_word_.store(0, std::memory_order_seq_cst);
      if (is_overcommitted()) return;
      host::futex_wait(&sampler_word_, 0);
    }
  }
  void uncommit(uint64_t bytes) { committed_.fetch_sub(bytes, std::memory_order_relaxed); }

  /// Tells where to read how many of the charged pages would be given back when they are needed: cached pages of files. Null: none.
  void set_reclaimable(const std::atomic<uint64_t>* pages) { reclaimable_pages_.store(pages, std::memory_order_release); }
  uint64_t reclaimable() const {
    constexpr uint64_t kPageBytes = 4096;
    const std::atomic<uint64_t>* pages = reclaimable_pages_.load(std::memory_order_acquire);
    const uint64_t bytes = pages ? pages->load(std::memory_order_relaxed) * kPageBytes : 0;
    return bytes < charged() ? bytes : charged();
  }

  void set_limit(uint64_t bytes) { limit_.store(bytes == 0 ? UINT64_MAX : bytes, std::memory_order_relaxed); }
  uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  uint64_t charged() const { return charged_.load(std::memory_order_relaxed); }
  uint64_t charged(Use use) const { return by_use_[static_cast<unsigned>(use)].load(std::memory_order_relaxed); }
  uint64_t committed() const { return committed_.load(std::memory_order_relaxed); }
  /// True while guests were promised more than the machine has left.
  bool is_overcommitted() const { return limit() != UINT64_MAX && committed() + charged() > limit(); }

 private:
  std::atomic<uint64_t> limit_;
  std::atomic<uint64_t> charged_{0};
  std::atomic<uint64_t> by_use_[2] = {};
  std::atomic<uint64_t> committed_{0};
  std::atomic<uint32_t> sampler_word_{0};
  std::atomic<const std::atomic<uint64_t>*> reclaimable_pages_{nullptr};
};

}  // namespace umk
