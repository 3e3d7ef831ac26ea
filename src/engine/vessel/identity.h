// Identity: how the gate knows, behind the shield, which thread of a vessel has entered.
//
// The GS base that leads to a thread's slot is the guest's to write, so it proves nothing. What a guest cannot change is its entries in the processor's
// descriptor table: entry UMK_IDENTITY_ENTRY of each host thread has the thread's slot index, plus one, for its limit, and the instruction LSL reads that.
// The vessel page, private to the process and closed to guests, has the selector line of each identity. A vessel with one thread has no need to ask: its
// line stands first on the page.
//
// Life: the nursery takes identity 1 and its children inherit it; a forked vessel's leader inherits the identity of the thread that forked, and takes
// the slot of the same number. Each other thread sets its own before it runs guest code.
#pragma once

#include <cstdint>

#include "core/base/result.h"
#include "core/kernel/mm/layout.h"
#include "engine/vessel/context.h"

namespace umk::engine {

struct VesselPage {
  SelectorLine* only_line;
  SelectorLine* lines[kSlotCount];
};
static_assert(offsetof(VesselPage, only_line) == UMK_VESSEL_ONLY_LINE);
static_assert(sizeof(VesselPage) <= layout::kVesselPageBytes);

inline VesselPage& vessel_page() { return *reinterpret_cast<VesselPage*>(layout::kVesselPage); }

/// Maps the vessel page, closed to guests; in the nursery, whose children copy it.
void map_vessel_page();
/// Gives the calling thread the identity of a slot. `low_page` is memory below 4 GiB of which the host reads the request; the guest may reach it, so
/// the outcome is looked at. False: somebody interfered, or the host does not offer the call.
bool take_identity(uint32_t slot_index, void* low_page);
/// The vessel has one thread, `host`, which runs.
void note_only_thread(HostThread& host);
/// The vessel gets another thread, which does not run yet.
void note_further_thread(HostThread& host);

}  // namespace umk::engine
