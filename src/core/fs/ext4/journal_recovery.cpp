// Reading a journal: what a crash left in the log is found, and written to its places.
//
// Three walks over the log: the first finds its end, the second the revoked blocks, the third writes. Linux, Documentation/filesystems/ext4/journal.rst.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/journal.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

struct Revoked {
  uint64_t block;
  uint32_t age;  // transactions since the first of the log
};

bool is_revoked(std::span<const Revoked> sorted, uint64_t block, uint32_t age) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), block, [](const Revoked& entry, uint64_t wanted) { return entry.block < wanted; });
  // The latest revocation of each block comes first.
  return found != sorted.end() && found->block == block && found->age >= age;
}

}  // namespace

uint64_t Journal::physical(uint32_t index, uint32_t* run) const {
  const Extent* found = std::upper_bound(layout_.begin(), layout_.end(), index, [](uint32_t wanted, const Extent& extent) { return wanted < extent.logical; });
  CHECK(found != layout_.begin(), "the log has all its blocks");
  --found;
  if (run) *run = static_cast<uint32_t>(found->end() - index);
  return found->physical + (index - found->logical);
}

Result<void> Journal::read_log_block(uint32_t index, Bytes into) { return cache_.device().read(physical(index) * cache_.block_size(), into); }

Result<uint32_t> Journal::open_log(Vector<Extent> layout, uint64_t blocks, bool may_write, std::string_view& reason) {
  layout_ = std::move(layout);
  uint64_t covered = 0;
  for (const Extent& extent : layout_) {
    if (extent.logical != covered || !extent.initialised) {
      reason = "the journal has holes";
      return error(EUCLEAN);
    }
    covered = extent.end();
  }
  if (covered < blocks || blocks == 0) {
    reason = "the journal has holes";
    return error(EUCLEAN);
  }
  TRY(log_superblock_.resize(cache_.block_size()));
  TRY(read_log_block(0, log_superblock_));
  log_ = TRY(JournalSuperblock::parse(log_superblock_, cache_.block_size(), blocks, reason));
  has_log_ = true;
  if (log_.start == 0 || !may_write) return uint32_t{0};
  return recover();
}

Result<void> Journal::start_log(uint32_t features) {
  if (!has_log_) return {};
  if (!log_.is_version2) return error(EROFS);
  log_.set_incompat(features | journal_feature::kRevoke);
  if (features & journal_feature::kChecksumV3) log_.incompat &= ~journal_feature::kChecksumV2;
  const uint32_t capacity = log_.blocks - log_.first;
  maximum_buffers_ = std::min<uint32_t>(2048, capacity / 4);
  head_ = tail_ = log_.first;
  if (log_.sequence == 0) log_.sequence = 1;
  {
    MutexLock lock(mutex_);
    running_ = log_.sequence;
    committed_ = running_ - 1;
  }
  log_.error = 0;
  return start_anew(log_.sequence);
}

Result<uint32_t> Journal::recover() {
  const uint32_t size = cache_.block_size(), capacity = log_.blocks - log_.first;
  Vector<std::byte> block, data;
  TRY(block.resize(size));
  TRY(data.resize(size));
  Vector<Revoked> revoked;
  uint32_t end = log_.sequence;  // the first transaction that is not complete

  enum class Walk { Scan, Revoke, Replay };
  for (const Walk walk : {Walk::Scan, Walk::Revoke, Walk::Replay}) {
    uint32_t at = log_.start, sequence = log_.sequence;
    // A log may be full, but not fuller: a damaged one cannot make this go on for ever.
    for (uint32_t visited = 0; visited < capacity && (walk == Walk::Scan || sequence != end);) {
      TRY(read_log_block(at, block));
      const std::optional<JournalBlock> kind = log_.kind_of(block, sequence);
      if (!kind) break;
      at = log_.next(at);
      ++visited;
      if (*kind == JournalBlock::Commit) {
        if (!log_.commit_is_intact(block)) break;
        ++sequence;
        if (walk == Walk::Scan) end = sequence;
      } else if (*kind == JournalBlock::Descriptor) {
        if (!log_.is_intact(block)) break;
        size_t offset = JournalSuperblock::kFirstTag;
        while (const std::optional<JournalTag> tag = log_.read_tag(block, offset)) {
          if (++visited > capacity) break;
          if (walk == Walk::Replay && !is_revoked(revoked, tag->block, sequence - log_.sequence)) {
            TRY(read_log_block(at, data));
            if (!log_.data_matches(*tag, data, sequence)) {
              log_limited(log_limit, "ext4", LogLevel::Error, "ext4: a block of the journal is damaged, for block {}", tag->block);
              return error(EUCLEAN);
            }
            if ((tag->block + 1) * size > cache_.device().size_bytes()) return error(EUCLEAN);
            if (tag->is_escaped) put32_big(data, 0, kJournalMagic);
            TRY(cache_.device().write(tag->block * size, ConstBytes(data.data(), data.size())));
          }
          at = log_.next(at);
          if (tag->is_last) break;
        }
      } else if (*kind == JournalBlock::Revoke) {
        if (!log_.is_intact(block)) break;
        if (walk != Walk::Revoke) continue;
        Result<void> kept;
        const bool is_sane = log_.read_revokes(block, [&](uint64_t number) {
          if (kept.ok()) kept = revoked.push_back({number, sequence - log_.sequence});
        });
        TRY(std::move(kept));
        if (!is_sane) return error(EUCLEAN);
      } else {
        break;
      }
    }
    if (walk == Walk::Revoke)
      std::sort(revoked.begin(), revoked.end(), [](const Revoked& a, const Revoked& b) { return a.block != b.block ? a.block < b.block : a.age > b.age; });
  }
  TRY(cache_.device().flush());
  const uint32_t replayed = end - log_.sequence;
  log_.sequence = end + 1;
  log_.start = 0;
  TRY(write_log_superblock());
  cache_.drop_all();
  return replayed;
}

}  // namespace umk::ext4
