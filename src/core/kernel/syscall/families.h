// The families of system calls: each names its rows here, and table.cpp collects them.
#pragma once

#include <cstddef>

#include "core/kernel/syscall/table.h"

namespace umk {

extern const SyscallRow kSysEventRows[];
extern const size_t kSysEventRowCount;
extern const SyscallRow kSysPipeRows[];
extern const size_t kSysPipeRowCount;
extern const SyscallRow kSysPollRows[];
extern const size_t kSysPollRowCount;
extern const SyscallRow kSysSocketRows[];
extern const size_t kSysSocketRowCount;

}  // namespace umk
