// Usage of tasks in the form of struct rusage.
#pragma once

#include "core/abi/resource.h"
#include "core/kernel/guest/engine.h"

namespace umk {

inline KernelUsage to_kernel_usage(const guest::Usage& usage) {
  KernelUsage out{};
  out.user_time = KernelTimeval::from_ns(usage.user_ns);
  out.system_time = KernelTimeval::from_ns(usage.system_ns);
  out.minor_faults = static_cast<int64_t>(usage.minor_faults);
  out.major_faults = static_cast<int64_t>(usage.major_faults);
  out.voluntary_switches = static_cast<int64_t>(usage.voluntary_switches);
  out.involuntary_switches = static_cast<int64_t>(usage.involuntary_switches);
  return out;
}

}  // namespace umk
