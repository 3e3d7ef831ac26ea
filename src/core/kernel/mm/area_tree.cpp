// The areas of an address space as a sorted set: finding, splitting, joining, counting.
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

// --- Area

Area::~Area() {
  if (!source) return;
  if (PageStore* store = source->store(); store && backing == Backing::Cache) store->unpin_mapping();
  {
    MutexLock lock(source->areas_mutex);
    ListHook<SourceTag>::unlink();
  }
  text = nullptr;
  source->drop_mapping_reference();
}

void Area::attach(PageSource& mapped) {
  source = &mapped;
  mapped.add_mapping_reference();
  if (PageStore* store = mapped.store(); store && backing == Backing::Cache) store->pin_mapping();
  MutexLock lock(mapped.areas_mutex);
  mapped.areas.push_back(*this);
}

void Area::copy_from(const Area& other) {
  protection = other.protection;
  maximum_protection = other.maximum_protection;
  flags = other.flags;
  backing = other.backing;
  was_writable = other.was_writable;
  dont_fork = other.dont_fork;
  wipe_on_fork = other.wipe_on_fork;
  dont_dump = other.dont_dump;
  offset = other.offset;
  file = other.file;
  mapped_end = other.mapped_end;
  text = other.text;
  label = other.label;
  if (other.source) attach(*other.source);
}

bool Area::continues_with(const Area& next) const {
  return end == next.start && protection == next.protection && maximum_protection == next.maximum_protection && flags == next.flags &&
         backing == next.backing && backing != Backing::Trampoline && was_writable == next.was_writable && dont_fork == next.dont_fork &&
         wipe_on_fork == next.wipe_on_fork && dont_dump == next.dont_dump && source == next.source && file == next.file && text == next.text &&
         label == next.label && mapped_end == UINT64_MAX && (!source || offset + length() == next.offset);
}

// --- AddressSpace

Result<RefPtr<AddressSpace>> AddressSpace::create(guest::Engine& engine, CacheWindow& window) { return make_ref<AddressSpace>(engine, window); }

AddressSpace::~AddressSpace() {
  clear();
  if (void* process = carrier.process.load(std::memory_order_relaxed)) engine_.drop_carrier(process);
  window_.live.address_spaces.fetch_sub(1, std::memory_order_relaxed);
}

void AddressSpace::count_area_locked(int change) {
  area_count_ += static_cast<size_t>(change);
  window_.live.areas.fetch_add(change, std::memory_order_relaxed);
}

void AddressSpace::clear() {
  DeadAreas dead;
  {
    MutexLock lock(mutex_);
    while (!areas_.empty()) erase_locked(*areas_.begin(), dead);
    searched_from_ = UINT64_MAX;
    break_end_ = 0;
    lock_future_ = 0;
  }
  code_start = code_end = data_start = data_end = break_start = stack_start = vdso_start = 0;
  arguments_start = arguments_end = environment_start = environment_end = 0;
  auxiliary_vector.clear();
  executable = nullptr;
  executable_hold = nullptr;
  trap_only = false;
}

Area* AddressSpace::find_locked(uint64_t address) {
  auto next = areas_.upper_bound(address);
  if (next == areas_.begin()) return nullptr;
  Area& area = *--next;
  return address < area.end ? &area : nullptr;
}

AddressSpace::AreaTree::iterator AddressSpace::first_behind_locked(uint64_t address) {
  auto next = areas_.upper_bound(address);
  if (next != areas_.begin()) {
    auto before = next;
    if ((--before)->end > address) return before;
  }
  return next;
}

bool AddressSpace::is_free_locked(uint64_t start, uint64_t end, Visibility visibility) {
  for (auto area = first_behind_locked(start); area != areas_.end() && area->start < end; ++area)
    if (visibility == Visibility::All || area->is_visible()) return false;
  return true;
}

void AddressSpace::insert_locked(Area& area) {
  areas_.insert(area);
  count_area_locked(1);
  if (area.backing == Area::Backing::Trampoline) ++trampoline_count_;
  account_locked(area, true);
}

void AddressSpace::erase_locked(Area& area, DeadAreas& dead) {
  account_locked(area, false);
  areas_.erase(areas_.iterator_to(area));
  count_area_locked(-1);
  if (area.backing == Area::Backing::Trampoline) --trampoline_count_;
  if (area.backing == Area::Backing::Text) text_went_ = true;
  dead.add(area);
}

Result<void> AddressSpace::split_locked(uint64_t at) {
  Area* area = find_locked(at);
  if (!area || area->start == at) return {};
  if (area_count_ >= kMaximumAreas) return error(ENOMEM);
  std::unique_ptr<Area> upper = TRY(make_unique<Area>(*this, at, area->end));
  upper->copy_from(*area);
  upper->offset = area->source_offset(at);
  // The one part and the other count as much as the whole did.
  area->end = at;
  areas_.insert(*upper.release());
  count_area_locked(1);
  return {};
}

Result<void> AddressSpace::isolate_locked(uint64_t start, uint64_t end) {
  TRY(split_locked(start));
  return split_locked(end);
}

void AddressSpace::remove_locked(uint64_t start, uint64_t end, DeadAreas& dead) {
  auto area = areas_.lower_bound(start);
  while (area != areas_.end() && area->start < end) erase_locked(*area++, dead);
  // What was known about free ranges holds above the hole that was made.
  if (end > searched_from_) searched_from_ = area == areas_.end() ? UINT64_MAX : area->start;
}

void AddressSpace::merge_around_locked(uint64_t start, uint64_t end, DeadAreas& dead) {
  auto area = first_behind_locked(start == 0 ? 0 : start - 1);
  while (area != areas_.end() && area->start <= end) {
    auto next = area;
    if (++next == areas_.end()) return;
    if (!area->continues_with(*next)) {
      area = next;
      continue;
    }
    Area& swallowed = *next;
    const uint64_t new_end = swallowed.end;
    area->mapped_end = swallowed.mapped_end;
    erase_locked(swallowed, dead);
    account_locked(*area, false);
    area->end = new_end;
    account_locked(*area, true);
  }
}

void AddressSpace::account_locked(const Area& area, bool add) {
  if (!area.is_visible()) return;
  const uint64_t bytes = area.length();
  const auto count = [&](uint64_t& total, bool counts) {
    if (counts) __atomic_store_n(&total, add ? total + bytes : total - bytes, __ATOMIC_RELAXED);
  };
  count(total_bytes_, true);
  count(data_bytes_, area.is_private() && (area.protection & guest::kProtWrite) && !(area.flags & map_flags::kGrowsDown));
  count(locked_bytes_, area.flags & map_flags::kLocked);
  count(committed_bytes_, area.is_committed());
  if (area.is_committed()) add ? window_.account().commit(bytes) : window_.account().uncommit(bytes);
}

uint64_t AddressSpace::find_space_locked(uint64_t length, uint64_t room_below, uint64_t ceiling, uint64_t alignment) {
  const uint64_t needed = length + room_below;
  if (needed < length || needed > ceiling) return 0;
  const bool remembers = ceiling == map_base_ && alignment == kPageSize;
  uint64_t top = ceiling;
  if (remembers && needed >= searched_length_ && searched_from_ < top) top = searched_from_;

  auto above = areas_.lower_bound(top);
  for (;;) {
    const bool at_bottom = above == areas_.begin();
    uint64_t floor = layout::kUserStart;
    if (!at_bottom) floor = std::prev(above)->end;
    if (floor < top && top - floor >= needed) {
      const uint64_t start = round_down(top - length, alignment);
      if (start >= floor + room_below) {
        if (remembers) searched_from_ = start, searched_length_ = needed;
        return start;
      }
    }
    if (at_bottom) return 0;
    --above;
    uint64_t below = above->start;
    if (above->flags & map_flags::kGrowsDown) below = below > kStackGuardGap ? below - kStackGuardGap : 0;
    if (below < top) top = below;
  }
}

bool AddressSpace::invades_stack_gap_locked(uint64_t start, uint64_t end) {
  auto above = areas_.lower_bound(start);
  return above != areas_.end() && (above->flags & map_flags::kGrowsDown) && above->start < end + kStackGuardGap;
}

}  // namespace umk::mm
