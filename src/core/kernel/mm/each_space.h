// Visits the address spaces that map a source.
#pragma once

#include "core/kernel/mm/address_space.h"

namespace umk::mm {

/// Calls `body(AddressSpace&)` for each space that has an area of the source that `wanted(const Area&)` picks, with no lock held: one after the other in
/// the order they were made. So a child that is forked meanwhile comes after its parent, from which it has its mappings as they are.
template <typename Wanted, typename Body>
void for_each_space(PageSource& source, Wanted&& wanted, Body&& body) {
  uint64_t previous = 0;
  for (;;) {
    RefPtr<AddressSpace> space;
    {
      MutexLock lock(source.areas_mutex);
      for (SourceLink& link : source.areas) {
        const Area& area = static_cast<const Area&>(link);
        AddressSpace* const candidate = area.space;
        if (candidate->number <= previous || (space && candidate->number >= space->number) || !wanted(area)) continue;
        if (candidate->try_add_reference()) space = adopt_ref(candidate);
      }
    }
    if (!space) return;
    previous = space->number;
    body(*space);
  }
}

}  // namespace umk::mm
