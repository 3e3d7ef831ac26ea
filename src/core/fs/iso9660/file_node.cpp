#include <algorithm>

#include "core/fs/iso9660/nodes.h"

namespace umk::iso9660 {

/// A part of an extent, which ends with it or with the memory. The memory has room for whole sectors.
Result<void> FileNode::read_extent(const Extent& extent, uint64_t offset, std::span<std::byte> into) {
  block::BlockDevice& device = volume().device();
  const uint32_t sector = device.logical_block_bytes();
  const uint64_t place = extent.place + offset;
  const size_t bytes = static_cast<size_t>(std::min<uint64_t>(into.size(), extent.bytes - offset));
  const size_t whole = round_up(bytes, sector);
  if (!is_aligned(place, sector) || whole > into.size() || place + whole > device.size_bytes())
    return volume().read_bytes(place, into.first(bytes));
  return device.read(place, into.first(whole));
}

Result<void> FileNode::read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) {
  uint64_t at = first_page << kPageShift;
  // The extent that `at` lies in, and where that one begins in the file.
  size_t index = 0;
  uint64_t start = 0;
  for (mm::PageMemory piece : pieces) {
    while (!piece.empty()) {
      while (index < extents_.size() && at - start >= extents_[index].bytes) start += extents_[index++].bytes;
      if (index == extents_.size()) {
        memset(piece.data(), 0, piece.size());
        at += piece.size();
        break;
      }
      const Extent& extent = extents_[index];
      const size_t here = static_cast<size_t>(std::min<uint64_t>(piece.size(), extent.bytes - (at - start)));
      TRY(read_extent(extent, at - start, piece));
      piece = piece.subspan(here);
      at += here;
    }
  }
  return {};
}

}  // namespace umk::iso9660
