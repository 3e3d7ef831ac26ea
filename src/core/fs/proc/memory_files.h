// /proc/sys/vm.
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

extern const Entry kMemoryEntries[12];

}  // namespace umk::proc
