#include "core/kernel/mm/shared_code.h"

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/each_space.h"

namespace umk::mm {

PageSource::~PageSource() { delete shared_code.load(std::memory_order_relaxed); }

Result<void> PageSource::keep_shared_code() {
  if (shared_code.load(std::memory_order_acquire)) return {};
  std::unique_ptr<SharedCode> made = TRY(make_unique<SharedCode>());
  SharedCode* none = nullptr;
  if (shared_code.compare_exchange_strong(none, made.get(), std::memory_order_acq_rel)) (void)made.release();
  return {};
}

namespace {

/// Lets all who share the page have what may be shown now. False when a host refused.
bool show_everywhere(PageSource& source, uint64_t page) {
  struct Work {
    AddressSpace& space;
    PageSource& source;
    uint64_t page;
    bool done;
  };
  bool all = true;
  for_each_space(source, [](const Area& area) { return area.shares_pages(); }, [&](AddressSpace& space) {
    Work work{space, source, page, true};
    // A space that cannot be reached has no process any more.
    (void)space.engine().run_in(
        space,
        [](void* argument) {
          Work& todo = *static_cast<Work*>(argument);
          todo.done = todo.space.show_page_again(todo.source, todo.page);
        },
        &work);
    if (!work.done) all = false;
  });
  return all;
}

}  // namespace

Result<void> SharedCode::turn(PageSource& source, uint64_t page, Use use) {
  const uint64_t unwritable = uint64_t{1} << (page % kPagesInChunk), executable = unwritable << kExecutableShift;
  MutexLock lock(mutex_);
  ChunkTree::Slot& slot = *TRY(chunks_.make(page / kPagesInChunk));
  const uint64_t now = slot.load(std::memory_order_relaxed);
  // Neither the one nor the other, until nobody has the old right any more. Where that fails the page stays so, and the next fault tries again.
  if (use == Use::Code) {
    if (now & executable) return {};
    slot.fetch_or(unwritable, std::memory_order_release);
    if (!show_everywhere(source, page)) return error(ENOMEM);
    slot.fetch_or(executable, std::memory_order_release);
  } else {
    if (!(now & unwritable)) return {};
    slot.fetch_and(~executable, std::memory_order_release);
    if (!show_everywhere(source, page)) return error(ENOMEM);
    slot.fetch_and(~unwritable, std::memory_order_release);
  }
  return {};
}

}  // namespace umk::mm
