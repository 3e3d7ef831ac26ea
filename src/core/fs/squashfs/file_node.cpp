#include <algorithm>

#include "core/fs/squashfs/nodes.h"

namespace umk::squashfs {

Result<FileNode::Located> FileNode::locate(uint64_t block) {
  MutexLock lock(map_mutex_);
  Mark mark = block >= last_.block ? last_ : first_;
  // The nearest place that is remembered.
  const uint64_t nearest = std::min<uint64_t>(block / kBlocksBetweenMarks, marks_.size());
  if (nearest > 0 && marks_[nearest - 1].block > mark.block) mark = marks_[nearest - 1];
  MetadataStream sizes(home(), mark.sizes_block, mark.sizes_offset);
  for (;;) {
    const BlockSize size{TRY(sizes.fields<4>()).get<uint32_t>(0)};
    if (mark.block == block) {
      last_ = mark;
      return Located{mark.place, size};
    }
    mark = {mark.block + 1, mark.place + size.bytes(), sizes.block(), sizes.offset()};
    // Without memory for it the next search takes longer.
    if (mark.block == (marks_.size() + 1) * kBlocksBetweenMarks) (void)marks_.push_back(mark).ok();
  }
}

/// A part of a block; what is there of it in the file.
Result<void> FileNode::read_part(uint64_t block, uint32_t offset, Bytes into) {
  const Layout& s = home().layout();
  const uint64_t start = block << s.block_bits;
  const size_t whole = static_cast<size_t>(std::min<uint64_t>(s.block_size, record_.size - start));
  if (block < record_.block_count(s)) {
    const Located located = TRY(locate(block));
    if (located.size.is_hole()) {
      memset(into.data(), 0, into.size());
      return {};
    }
    if (offset == 0 && into.size() == whole) return home().read_data_block(located.place, located.size, into);
    const RefPtr<UnpackedBlock> unpacked = TRY(home().data_block(located.place, located.size));
    if (unpacked->size != whole) return home().damaged("length of a block", number());
    memcpy(into.data(), unpacked->memory.get() + offset, into.size());
    return {};
  }
  const Volume::Fragment fragment = TRY(home().fragment(record_.fragment));
  const RefPtr<UnpackedBlock> unpacked = TRY(home().data_block(fragment.place, fragment.size));
  if (record_.fragment_offset > unpacked->size || whole > unpacked->size - record_.fragment_offset)
    return home().damaged("place in a fragment", number());
  memcpy(into.data(), unpacked->memory.get() + record_.fragment_offset + offset, into.size());
  return {};
}

Result<void> FileNode::read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) {
  const Layout& s = home().layout();
  uint64_t at = first_page << kPageShift;
  for (mm::PageMemory piece : pieces) {
    while (!piece.empty()) {
      if (at >= record_.size) {
        memset(piece.data(), 0, piece.size());
        at += piece.size();
        break;
      }
      const uint32_t offset = static_cast<uint32_t>(at & (s.block_size - 1));
      const size_t here = static_cast<size_t>(std::min<uint64_t>({piece.size(), s.block_size - offset, record_.size - at}));
      TRY(read_part(at >> s.block_bits, offset, piece.first(here)));
      piece = piece.subspan(here);
      at += here;
    }
  }
  return {};
}

Result<size_t> FileNode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  // What has to be unpacked for a page is unpacked for its block, so all of that goes to the cache.
  const Layout& s = home().layout();
  if (offset < record_.size && !cached_.is_present(offset >> kPageShift))
    TRY(cached_.fill(round_down(offset, s.block_size) >> kPageShift, s.block_size >> kPageShift));
  return ReadOnlyFile::read_at(offset, buffer);
}

}  // namespace umk::squashfs
