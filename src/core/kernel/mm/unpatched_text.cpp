// Address spaces whose calls all trap: they map text copies without patches.
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

Result<void> AddressSpace::leave_patched_text() {
  trap_only = true;
  for (uint64_t from = 0;;) {
    // Copies are made without the lock; an area that changed meanwhile is left to the next look at it.
    RefPtr<TextCopy> patched;
    PageSource* source = nullptr;
    uint64_t start = 0;
    {
      MutexLock lock(mutex_);
      for (const Area& area : areas_)
        if (area.start >= from && area.backing == Area::Backing::Text && area.text->has_trampolines()) {
          patched = area.text;
          source = area.source;
          start = area.start;
          source->add_mapping_reference();
          break;
        }
    }
    if (!patched) return {};
    Result<RefPtr<TextCopy>> plain = TextCopy::find_or_make(*source, window_, patched->file_offset(), patched->length(), 0);
    Result<void> outcome;
    if (plain.ok()) {
      MutexLock lock(mutex_);
      Area* area = find_locked(start);
      if (area && area->text == patched && area->backing == Area::Backing::Text) {
        area->text = plain.take();
        outcome = establish_locked(*area, area->start, area->end);
      }
    }
    source->drop_mapping_reference();
    if (!plain.ok()) return plain.failure();
    TRY(outcome);
    from = start + 1;
  }
}

}  // namespace umk::mm
