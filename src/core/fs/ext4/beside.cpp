// Programs that look at the device of a mounted filesystem: dumpe2fs(8), tune2fs(8), e2label(8), resize2fs(8).
#include <algorithm>

#include "core/fs/ext4/volume.h"

namespace umk::ext4 {

uint64_t Volume::bring_up_to_date() {
  // A failure has ended the journal, which says so; then the device shows what it has.
  if (is_writing_ && !is_read_only() && journal_.is_behind()) (void)journal_.checkpoint().ok();
  return journal_.places_written();
}

/// Of what others write only the superblock is heard of, and of that what they may change. Everything else that the filesystem has in memory stays as it is.
void Volume::device_changed(uint64_t offset, uint64_t bytes) {
  if (offset >= kSuperblockOffset + kSuperblockSize || offset + bytes <= kSuperblockOffset) return;
  std::array<std::byte, kSuperblockSize> written;
  if (!device_->read(kSuperblockOffset, std::span<std::byte>(written)).ok()) return;
  std::string_view reason;
  // Written in pieces of two bytes, with the checksum at the end.
  if (!Geometry::parse(written, reason, Geometry::Checksum::Ignored).ok()) return;
  Result<Journal::Handle> handle = begin(1);
  if (!handle.ok()) return;
  MutexLock lock(allocation_mutex_);
  handle.value().modify(*superblock_, BufferKind::Superblock);
  take_tunable_fields(superblock_bytes(), written);
  std::atomic_ref<uint64_t>(geometry_.reserved_blocks).store(std::min(reserved_blocks(superblock_bytes()), geometry_.block_count), std::memory_order_relaxed);
}

std::array<char, kLabelSize> Volume::label() {
  std::array<char, kLabelSize> text;
  MutexLock lock(allocation_mutex_);
  copy_bytes(std::as_writable_bytes(std::span(text)), superblock_bytes().subspan(kLabelOffset, kLabelSize));
  return text;
}

Result<void> Volume::set_label(std::string_view text) {
  if (text.size() > kLabelSize) return error(EINVAL);
  Journal::Handle handle = TRY(begin(1));
  MutexLock lock(allocation_mutex_);
  handle.modify(*superblock_, BufferKind::Superblock);
  const Bytes field = superblock_bytes().subspan(kLabelOffset, kLabelSize);
  fill_zero(field);
  copy_bytes(field, std::as_bytes(std::span(text.data(), text.size())));
  return {};
}

}  // namespace umk::ext4
