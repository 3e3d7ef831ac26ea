#include "core/kernel/mm/text_cache.h"

#include <cstring>

#include "core/kernel/mm/page_source.h"

namespace umk::mm {

TextCopy::~TextCopy() {
  if (first_chunk_) window_.free_run(first_chunk_, static_cast<uint32_t>((whole_bytes() + kChunkBytes - 1) >> kChunkShift));
  window_.uncharge(charged_pages_);
}

Result<void> TextCopy::fill(PageSource& source) {
  // The trampolines are charged as they are used up to the last page; they are sparse until then, so the text alone counts here.
  const uint64_t pages = length_ >> kPageShift;
  TRY(window_.charge_with_reclaim(pages));
  charged_pages_ = pages;
  first_chunk_ = TRY(window_.allocate_run(static_cast<uint32_t>((whole_bytes() + kChunkBytes - 1) >> kChunkShift)));
  const std::span<std::byte> memory = text();
  uint64_t done = 0;
  while (done < length_) {
    const size_t bytes = TRY(source.read_for_text(file_offset_ + done, memory.subspan(done)));
    if (bytes == 0) break;  // beyond the end of the file the window is zero
    done += bytes;
  }
  return {};
}

Result<RefPtr<TextCopy>> TextCopy::find_or_make(PageSource& source, CacheWindow& window, uint64_t offset, uint64_t length, uint64_t distance) {
  const auto find = [&]() REQUIRES(source.areas_mutex) -> RefPtr<TextCopy> {
    for (const RefPtr<TextCopy>& copy : source.text_copies)
      if (copy->file_offset() == offset && copy->length() == length && copy->trampoline_distance() == distance) return copy;
    return nullptr;
  };
  uint64_t generation;
  {
    MutexLock lock(source.areas_mutex);
    if (RefPtr<TextCopy> copy = find()) return copy;
    generation = source.text_generation;
  }
  // Reading may sleep, so it is done without the lock; of two who race the first to finish wins.
  RefPtr<TextCopy> made = TRY(make_ref<TextCopy>(window, offset, length, distance));
  TRY(made->fill(source));
  MutexLock lock(source.areas_mutex);
  if (RefPtr<TextCopy> copy = find()) return copy;
  // A copy of contents that changed meanwhile is used this once and not kept.
  if (generation == source.text_generation) {
    TRY(source.text_copies.push_back(made));
    source.text_copies_kept.store(true, std::memory_order_release);
  }
  return made;
}

void PageSource::drop_text_copies() {
  Vector<RefPtr<TextCopy>> dropped;  // released without the lock
  MutexLock lock(areas_mutex);
  ++text_generation;
  dropped = std::move(text_copies);
  text_copies_kept.store(false, std::memory_order_release);
}

}  // namespace umk::mm
