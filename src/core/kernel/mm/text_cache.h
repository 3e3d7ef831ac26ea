// TextCopy: the kernel's executable copy of a piece of a file.
//
// Guest code never runs from a file's own pages: others may write those. An executable mapping shows a copy in the page cache that the kernel made and
// scanned, shared by every process that maps the same piece. Call sites in it are patched once, by a store through the kernel's window; the jumps lead
// to the copy's trampolines, a companion extent that is mapped at a fixed distance below each mapping of the text:
//
//   guest:   [ trampolines, kTrampolineGap ] ... rest of the image ... [ text ]
//            ^ text - trampoline_distance                              ^ text
//
// The distance is part of what identifies a copy, since relative jumps are written into it. Images are laid out by their file, so the distance is the
// same in each process as long as the gap below the image is free; where it is not, a copy without trampolines (distance 0) is used, whose call sites
// stay as they are.
//
// Life: made by the first executable mapping, found through PageSource::text_copies, kept by its areas and by the source until the file's contents
// change or the source goes (PageSource::drop_text_copies). Content never changes but for patches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/make.h"
#include "core/base/ref_ptr.h"
#include "core/kernel/mm/cache_window.h"

namespace umk::mm {

class PageSource;

/// What is left free below an image, and the size of the companion extent.
inline constexpr uint64_t kTrampolineGap = 256 * 1024;

class TextCopy : public RefCounted {
 public:
  /// The copy of file bytes [offset, offset + length) with trampolines at `distance` (0: none), made if there is none yet. Whole pages; beyond the
  /// end of the file the last page is filled with zeroes. ENOMEM, EIO. May sleep; no lock of an address space is held.
  static Result<RefPtr<TextCopy>> find_or_make(PageSource& source, CacheWindow& window, uint64_t offset, uint64_t length, uint64_t distance);

  uint64_t file_offset() const { return file_offset_; }
  uint64_t length() const { return length_; }
  /// Bytes from the start of the trampolines to the start of the text, in every mapping; 0 when there are none.
  uint64_t trampoline_distance() const { return distance_; }
  bool has_trampolines() const { return distance_ != 0; }

  /// Where text byte `offset` and trampoline byte `offset` lie in the cache file, for mappings.
  uint64_t text_cache_offset(uint64_t offset) const { return CacheWindow::offset(first_chunk_) + trampoline_bytes() + offset; }
  uint64_t trampoline_cache_offset(uint64_t offset) const { return CacheWindow::offset(first_chunk_) + offset; }
  /// The same through the kernel's writable window, for the patcher.
  std::span<std::byte> text() const { return {window_.address(first_chunk_) + trampoline_bytes(), length_}; }
  std::span<std::byte> trampolines() const { return {window_.address(first_chunk_), trampoline_bytes()}; }

  /// What the engine knows of the patches in this text; null before the first. Its lock is the engine's.
  RefPtr<RefCounted> patches;

  TextCopy(CacheWindow& window, uint64_t file_offset, uint64_t length, uint64_t distance)
      : window_(window), file_offset_(file_offset), length_(length), distance_(distance) {}
  ~TextCopy() override;

 private:
  uint64_t trampoline_bytes() const { return distance_ ? kTrampolineGap : 0; }
  uint64_t whole_bytes() const { return trampoline_bytes() + length_; }
  Result<void> fill(PageSource& source);

  CacheWindow& window_;
  const uint64_t file_offset_;
  const uint64_t length_;
  const uint64_t distance_;
  ChunkNumber first_chunk_ = 0;
  uint64_t charged_pages_ = 0;
};

}  // namespace umk::mm
