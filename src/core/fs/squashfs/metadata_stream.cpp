#include "core/fs/squashfs/metadata_stream.h"

#include <algorithm>

#include "core/fs/squashfs/volume.h"

namespace umk::squashfs {

Result<void> MetadataStream::read(Bytes into) {
  while (!into.empty()) {
    if (!current_ || current_->place != block_) current_ = TRY(volume_.metadata_block(block_));
    if (offset_ > current_->size) return volume_.damaged("place in a metadata block", block_);
    const size_t here = std::min<size_t>(into.size(), current_->size - offset_);
    if (here != 0) memcpy(into.data(), current_->memory.get() + offset_, here);
    into = into.subspan(here);
    offset_ += static_cast<uint32_t>(here);
    if (offset_ == current_->size) {
      // Blocks follow each other and have something in them, so this comes to an end.
      block_ = current_->next;
      offset_ = 0;
    }
  }
  return {};
}

}  // namespace umk::squashfs
