// What a file has lost is taken away from all who map it: truncate(2), and SIGBUS behind the end in mmap(2).
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/each_space.h"

namespace umk::mm {

void AddressSpace::forget_beyond(PageSource& source, uint64_t size) {
  DeadAreas dead;
  MutexLock lock(mutex_);
  const uint64_t keep = page_up(size);
  for (Area& area : areas_) {
    if (area.source != &source || area.offset + area.length() <= keep) continue;
    // Of a host file the host itself takes pages away, but for copies.
    const bool is_copy = area.backing == Area::Backing::Text || area.backing == Area::Backing::Sealed;
    if (area.backing != Area::Backing::Cache && area.backing != Area::Backing::Fixed && !is_copy) continue;
    const uint64_t from = area.offset >= keep ? area.start : area.start + (keep - area.offset);
    if (from >= area.mapped_end) continue;
    if (engine_.map_anonymous(from, area.end - from, 0, false).ok()) area.mapped_end = from;
  }
}

void unmap_beyond(PageSource& source, uint64_t size) {
  for_each_space(source, [](const Area&) { return true; }, [&](AddressSpace& space) {
    struct Forgetting {
      AddressSpace& space;
      PageSource& source;
      uint64_t size;
    } forgetting{space, source, size};
    // A space that is gone has no mappings any more.
    (void)space.engine().run_in(
        space,
        [](void* argument) {
          const Forgetting& todo = *static_cast<Forgetting*>(argument);
          todo.space.forget_beyond(todo.source, todo.size);
        },
        &forgetting);
  });
}

}  // namespace umk::mm
