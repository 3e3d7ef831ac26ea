// Reading a file's pages from the disk.
#include "core/fs/ext4/file_node.h"

#include <algorithm>

namespace umk::ext4 {

/// Where on the disk the contents of pages lie: what is together there is one part, wherever its memory is.
class FileNode::DiskParts {
 public:
  struct Part {
    uint64_t offset, bytes;
    size_t first_segment, segments;
  };

  Result<void> add(uint64_t offset, Bytes memory) {
    if (parts_.empty() || parts_.back().offset + parts_.back().bytes != offset || parts_.back().segments == block::Request::kMaximumSegments)
      TRY(parts_.push_back({offset, 0, segments_.size(), 0}));
    TRY(segments_.push_back({memory.data(), memory.size()}));
    parts_.back().bytes += memory.size();
    ++parts_.back().segments;
    return {};
  }
  std::span<const Part> parts() const { return parts_; }
  std::span<const block::Segment> segments_of(const Part& part) const { return std::span(segments_.data() + part.first_segment, part.segments); }

 private:
  Vector<Part> parts_;
  Vector<block::Segment> segments_;
};

// The blocks stay the file's while its pages are being read: who frees blocks waits for that (CachedFile::NoFills). So the disk is read without the lock.
Result<void> FileNode::locate_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, DiskParts& parts) {
  const uint32_t size = volume().geometry().block_size;
  uint64_t block = first_page << (kPageShift - block_bits());
  const bool is_journaled = journals_data();
  MutexLock lock(map_mutex_);
  for (const mm::PageMemory& piece : pieces) {
    for (size_t at = 0; at < piece.size();) {
      const uint64_t left = (piece.size() - at) / size;
      const bool is_inside = block < UINT32_MAX && block < block_up(size_bytes());
      const Mapping mapping = is_inside ? TRY(map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(left))) : Mapping{0, static_cast<uint32_t>(left), true};
      const Bytes memory = piece.subspan(at, size_t{mapping.count} * size);
      if (mapping.is_hole() || !mapping.initialised) {
        fill_zero(memory);
      } else {
        if (!volume().may_be_file_blocks(mapping.physical, mapping.count)) return volume().damaged("blocks of a file", inode_number(), mapping.physical);
        for (uint32_t i = 0; is_journaled && i < mapping.count; ++i) {
          // What the journal has not brought to its place yet is in memory.
          const Bytes one = memory.subspan(size_t{i} * size, size);
          const RefPtr<Buffer> buffer = volume().cache().find(mapping.physical + i);
          if (buffer && buffer->is_loaded()) {
            copy_bytes(one, buffer->bytes());
          } else {
            TRY(parts.add((mapping.physical + i) << block_bits(), one));
          }
        }
        if (!is_journaled) TRY(parts.add(mapping.physical << block_bits(), memory));
      }
      at += memory.size();
      block += mapping.count;
    }
  }
  return {};
}

Result<void> FileNode::read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) {
  DiskParts parts;
  TRY(locate_pages(first_page, pieces, parts));
  for (const DiskParts::Part& part : parts.parts()) TRY(volume().device().read(part.offset, parts.segments_of(part)));
  return {};
}

mm::FixedExtent FileNode::fixed_extent(uint64_t first_page, uint64_t count) {
  const uint64_t block = first_page << (kPageShift - block_bits());
  const uint64_t end = std::min<uint64_t>({(first_page + count) << (kPageShift - block_bits()), block_up(size_bytes()), UINT32_MAX});
  if (block >= end || journals_data()) return {};
  Mapping mapping;
  {
    MutexLock lock(map_mutex_);
    const Result<Mapping> found = map_locked(static_cast<uint32_t>(block), static_cast<uint32_t>(end - block));
    if (!found.ok()) return {};
    mapping = found.value();
  }
  if (mapping.is_hole() || !mapping.initialised || !volume().may_be_file_blocks(mapping.physical, mapping.count)) return {};
  return volume().device().fixed_extent(mapping.physical << block_bits(), uint64_t{mapping.count} << block_bits());
}

/// Parts that are read while nobody waits; it goes with the end of the last one. Nothing of the file is needed by then.
class FileNode::BackgroundRead {
 public:
  BackgroundRead(DiskParts parts, mm::ReadDone& done) : parts_(std::move(parts)), done_(done) {}

  Result<void> prepare() {
    for (const DiskParts::Part& part : parts_.parts()) {
      std::unique_ptr<PartRequest> request = TRY(make_unique<PartRequest>(*this));
      request->offset = part.offset;
      request->segments = parts_.segments_of(part);
      request->is_background = true;
      TRY(requests_.push_back(std::move(request)));
    }
    return {};
  }
  void submit(block::BlockDevice& device) {
    // One more than there are, so that it does not end before the last was submitted.
    const size_t count = requests_.size();
    left_.store(count + 1, std::memory_order_relaxed);
    for (size_t i = 0; i < count; ++i) device.submit(*requests_[i]);
    part_done(0);
  }

 private:
  class PartRequest final : public block::Request {
   public:
    explicit PartRequest(BackgroundRead& whole) : whole_(whole) {}
    void on_done() override { whole_.part_done(error_code()); }

   private:
    BackgroundRead& whole_;
  };

  void part_done(int error_code) {
    if (error_code != 0) error_code_.store(error_code, std::memory_order_relaxed);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    mm::ReadDone& done = done_;
    error_code = error_code_.load(std::memory_order_relaxed);
    delete this;
    done.on_read(error_code);
  }

  DiskParts parts_;
  Vector<std::unique_ptr<PartRequest>> requests_;
  mm::ReadDone& done_;
  std::atomic<size_t> left_{0};
  std::atomic<int> error_code_{0};
};

void FileNode::start_reading(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::ReadDone& done) {
  const auto prepare = [&]() -> Result<std::unique_ptr<BackgroundRead>> {
    DiskParts parts;
    TRY(locate_pages(first_page, pieces, parts));
    std::unique_ptr<BackgroundRead> read = TRY(make_unique<BackgroundRead>(std::move(parts), done));
    TRY(read->prepare());
    return read;
  };
  Result<std::unique_ptr<BackgroundRead>> read = prepare();
  if (!read.ok()) return done.on_read(read.code());
  // The file may be gone when the last part is read.
  block::BlockDevice& device = volume().device();
  read.take().release()->submit(device);
}

}  // namespace umk::ext4
