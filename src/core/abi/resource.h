// Resource usage and limits as system calls carry them: getrusage(2), prlimit(2).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/abi/time.h"

namespace umk {

/// struct rusage.
struct KernelUsage {
  KernelTimeval user_time, system_time;
  int64_t maximum_resident_kilobytes;
  int64_t unused_sizes[3];
  int64_t minor_faults, major_faults;
  int64_t swaps;
  int64_t blocks_in, blocks_out;
  int64_t unused_messages[3];
  int64_t voluntary_switches, involuntary_switches;
};
static_assert(sizeof(KernelUsage) == 144);

/// struct rlimit64.
struct KernelLimit {
  uint64_t soft, hard;
};
static_assert(sizeof(KernelLimit) == 16);

}  // namespace umk
