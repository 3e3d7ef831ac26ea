#include "engine/vdso/vdso.h"

#include <cstring>

namespace umk::engine {

void fill_vdso_slots(const VdsoSlots& slots) { std::memcpy(umk_vdso_begin + kVdsoSlotsOffset, &slots, sizeof slots); }

}  // namespace umk::engine
