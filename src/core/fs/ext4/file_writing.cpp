// Writing a file's pages to the disk.
//
// Blocks are chosen first; then the data are written, without any lock, so that several runs can be under way; then the map is changed. All
// within one handle of the journal, whose commit therefore finds the data on the medium (data=ordered). Until then the map has a hole there, and
// the choice is nobody's but the handle's: who finds that somebody else has filled the hole meanwhile gives his blocks back and writes to those.
#include <algorithm>

#include "core/fs/ext4/file_node.h"

namespace umk::ext4 {

namespace {

/// The memory of `count` blocks from `block` on; `pieces` begin with `first_block`.
Result<void> collect_segments(Vector<block::Segment>& segments, uint64_t skip, uint64_t left, std::span<const mm::PageMemory> pieces) {
  for (const mm::PageMemory& piece : pieces) {
    if (skip >= piece.size()) {
      skip -= piece.size();
      continue;
    }
    if (left == 0) break;
    const size_t part = std::min<uint64_t>(piece.size() - skip, left);
    TRY(segments.push_back({piece.data() + skip, part}));
    skip = 0;
    left -= part;
  }
  return {};
}

}  // namespace

/// Writes blocks of the file; `pieces` begin with `first_block`.
Result<void> FileNode::write_device(const Placement& place, uint64_t first_block, std::span<const mm::PageMemory> pieces) {
  Vector<block::Segment> segments;
  TRY(collect_segments(segments, (place.block - first_block) << block_bits(), uint64_t{place.count} << block_bits(), pieces));
  uint64_t offset = place.physical << block_bits();
  for (size_t i = 0; i < segments.size();) {
    const size_t here = std::min<size_t>(segments.size() - i, 256);
    const std::span<const block::Segment> some(segments.data() + i, here);
    TRY(volume().device().write(offset, some));
    for (const block::Segment& segment : some) offset += segment.bytes;
    i += here;
  }
  return {};
}

Result<void> FileNode::grow_size_on_disk_locked(Journal::Handle& handle, uint64_t size) {
  if (size <= record().size()) return {};
  record().set_size(size);
  if (size > INT32_MAX) volume().require_feature(handle, FeatureSet::ReadOnlyCompatible, ro_compat::kLargeFile);
  return store_record_locked(handle);
}

/// Where blocks from `block` on are to be written, as many as lie together. Opens a handle unless no metadata change. EAGAIN as
/// Journal::begin.
Result<FileNode::Placement> FileNode::place_blocks(uint64_t block, uint64_t end, std::optional<Journal::Handle>& handle,
                                                   Journal::WhenBusy when_busy) {
  const auto first = static_cast<uint32_t>(block), most = static_cast<uint32_t>(end - block);
  const auto check = [&](const Mapping& mapping) -> Result<void> {
    if (volume().may_be_file_blocks(mapping.physical, mapping.count)) return {};
    return volume().damaged("blocks of a file", inode_number(), mapping.physical);
  };
  {
    MutexLock lock(map_mutex_);
    const Mapping mapping = TRY(map_locked(first, most));
    if (!mapping.is_hole() && mapping.initialised && std::min(size_bytes(), (block + mapping.count) << block_bits()) <= record().size()) {
      TRY(check(mapping));
      return Placement{first, mapping.count, mapping.physical, Placement::Final};
    }
  }
  handle.emplace(TRY(volume().begin(2 * kMapCredits, when_busy)));
  MutexLock lock(map_mutex_);
  const Mapping mapping = TRY(map_locked(first, most));
  if (!mapping.is_hole()) {
    TRY(check(mapping));
    return Placement{first, mapping.count, mapping.physical, Placement::Mapped};
  }
  // Behind the blocks that were chosen for what comes before, which may not be in the map yet.
  const uint64_t goal = chosen_end_.block == first && chosen_end_.physical != 0 ? chosen_end_.physical : goal_locked(first);
  const Volume::Run run = TRY(volume().allocate_blocks(*handle, goal, std::min<uint32_t>(mapping.count, kUninitialisedExtentMaximum)));
  chosen_end_ = {first + run.count, run.block + run.count};
  return Placement{first, run.count, run.block, Placement::Chosen};
}

/// After the data, whose end was `written`: lets the map lead to them. False: it leads to other blocks by now, where the data must go too.
Result<bool> FileNode::settle(Journal::Handle& handle, const Placement& place, Result<void> written) {
  MutexLock lock(map_mutex_);
  const uint64_t end = uint64_t{place.block} + place.count;
  if (place.kind == Placement::Chosen) {
    const auto enter = [&]() NO_THREAD_SAFETY_ANALYSIS -> Result<bool> {
      TRY(std::move(written));
      const Mapping now = TRY(map_locked(place.block, place.count));
      if (!now.is_hole() || now.count < place.count) return false;
      Result<void> inserted = insert_locked(handle, {place.block, place.count, place.physical, true});
      if (inserted.ok()) return true;
      add_sectors_locked(-static_cast<int64_t>(place.count));
      return inserted.failure();
    };
    Result<bool> entered = enter();
    if (!entered.ok() || !entered.value()) {
      chosen_end_ = {};
      const Result<void> freed = volume().free_blocks(handle, place.physical, place.count, false);
      if (!freed.ok()) return volume().failed_midway(freed.failure());
      return entered;
    }
    volume().drop_promise(promises_.remove(place.block, end));
  } else {
    TRY(std::move(written));
    const Mapping now = TRY(map_locked(place.block, place.count));
    if (now.is_hole() || now.physical != place.physical || now.count < place.count) return false;
    if (!now.initialised) TRY(initialise_locked(handle, place.block, place.count));
  }
  TRY(grow_size_on_disk_locked(handle, std::min(size_bytes(), end << block_bits())));
  return true;
}

/// Writes blocks from `block` on, as many as lie together; `done` is where to go on.
Result<void> FileNode::write_run(uint64_t block, uint64_t end, uint64_t first_block, std::span<const mm::PageMemory> pieces,
                                 uint64_t& done) {
  if (journals_data()) return write_journaled(block, end, first_block, pieces, done);
  std::optional<Journal::Handle> handle;
  const Placement place = TRY(place_blocks(block, end, handle, Journal::WhenBusy::Wait));
  if (place.kind == Placement::Chosen && !volume().orders_data()) {
    // A commit does not wait for the data. The blocks stay the file's while its pages are being written.
    if (!TRY(settle(*handle, place, {}))) return {};
    handle.reset();
    done = block + place.count;
    return write_device(place, first_block, pieces);
  }
  Result<void> written = write_device(place, first_block, pieces);
  bool stands = true;
  if (place.kind == Placement::Final) {
    TRY(std::move(written));
  } else {
    stands = TRY(settle(*handle, place, std::move(written)));
  }
  if (stands) done = block + place.count;
  return {};
}

Result<void> FileNode::write_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason) {
  if (volume().is_read_only()) return error(EROFS);
  const uint64_t first_block = first_page << (kPageShift - block_bits());
  const uint64_t end = end_of_write(first_block, pieces);
  bool has_retried = false;
  for (uint64_t block = first_block; block < end;) {
    const Result<void> written = write_run(block, end, first_block, pieces, block);
    if (written.ok()) {
      has_retried = false;
      continue;
    }
    if (written.code() != ENOSPC || has_retried) return written;
    // What was freed lately can be used after a commit.
    has_retried = true;
    TRY(volume().journal().commit_all());
  }
  return {};
}

uint64_t FileNode::end_of_write(uint64_t first_block, std::span<const mm::PageMemory> pieces) {
  uint64_t bytes = 0;
  for (const mm::PageMemory& piece : pieces) bytes += piece.size();
  return std::min({first_block + (bytes >> block_bits()), block_up(size_bytes()), uint64_t{UINT32_MAX}});
}

/// The first blocks of a run of pages, as many as lie together.
class FileNode::BlockWrite final : public mm::PageWrite {
 public:
  explicit BlockWrite(FileNode& node) : node_(node) {}

  Result<void> start(uint64_t block, uint64_t end, std::span<const mm::PageMemory> pieces, Journal::WhenBusy when_busy) {
    std::optional<Journal::Handle> handle;
    place_ = TRY(node_.place_blocks(block, end, handle, when_busy));
    const bool is_chosen = place_.kind == Placement::Chosen;
    // Behind the end of the file there is nothing to write.
    const uint64_t reached = uint64_t{place_.block} + place_.count;
    for (const mm::PageMemory& piece : pieces) pages_ += piece.size() >> kPageShift;
    if (reached != end) pages_ = (reached - block) >> (kPageShift - node_.block_bits());
    Result<void> ready = collect_segments(segments_, 0, uint64_t{place_.count} << node_.block_bits(), pieces);
    // A page that is in two places is left to write_pages(): where its first blocks are to be is not in the map yet.
    const bool splits_page = reached != end && !is_aligned((reached - block) << node_.block_bits(), kPageSize);
    if (ready.ok() && (splits_page || segments_.size() > block::Request::kMaximumSegments)) ready = error(EOPNOTSUPP);
    if (const int problem = ready.code(); problem != 0) {
      if (is_chosen) (void)node_.settle(*handle, place_, std::move(ready));
      return error(problem);
    }
    if (is_chosen && !node_.volume().orders_data()) {
      if (!TRY(node_.settle(*handle, place_, {}))) return error(EAGAIN);
      handle.reset();
    }
    if (handle) handle_.emplace(std::move(*handle));
    request_.operation = block::Operation::Write;
    request_.offset = place_.physical << node_.block_bits();
    request_.segments = std::span(segments_.data(), segments_.size());
    batch_.submit(node_.volume().device(), request_);
    return {};
  }

  uint64_t pages() const override { return pages_; }

  Result<bool> finish() override {
    Result<void> written = batch_.wait();
    if (handle_) {
      Result<bool> settled = node_.settle(*handle_, place_, std::move(written));
      handle_.reset();
      return settled;
    }
    TRY(std::move(written));
    return true;
  }

 private:
  FileNode& node_;
  Placement place_{};
  uint64_t pages_ = 0;
  std::optional<Journal::Handle> handle_;
  Vector<block::Segment> segments_;
  block::Batch batch_;
  block::Batch::Item request_;
};

Result<std::unique_ptr<mm::PageWrite>> FileNode::start_writing(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason,
                                                               WhenBusy when_busy) {
  if (volume().is_read_only() || journals_data()) return error(EOPNOTSUPP);
  const uint64_t first_block = first_page << (kPageShift - block_bits());
  const uint64_t end = end_of_write(first_block, pieces);
  if (first_block >= end) return error(EOPNOTSUPP);
  std::unique_ptr<BlockWrite> write = TRY(make_unique<BlockWrite>(*this));
  TRY(write->start(first_block, end, pieces, when_busy == WhenBusy::Wait ? Journal::WhenBusy::Wait : Journal::WhenBusy::Fail));
  return std::unique_ptr<mm::PageWrite>(std::move(write));
}

}  // namespace umk::ext4
