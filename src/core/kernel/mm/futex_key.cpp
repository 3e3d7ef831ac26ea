// What a futex word is, apart from its address: futex(2).
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

Result<AddressSpace::WordKey> AddressSpace::word_key(uint64_t address, bool process_private) {
  if (!is_aligned(address, 4)) return error(EINVAL);
  if (address >= layout::kUserEnd) return error(EFAULT);
  if (process_private) return WordKey{this, address};
  MutexLock lock(mutex_);
  const Area* area = find_locked(address);
  if (!area || !area->is_visible()) return error(EFAULT);
  if (!area->is_shared()) return WordKey{this, address};
  return WordKey{area->source, area->source_offset(address)};
}

}  // namespace umk::mm
