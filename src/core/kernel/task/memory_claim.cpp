#include "core/kernel/task/memory_claim.h"

#include "core/kernel/task/process.h"

namespace umk {

std::optional<int64_t> memory_claim(const Process& process, uint64_t bytes, uint64_t all_bytes) {
  constexpr int kExempt = -1000;
  const int adjustment = process.oom_score_adjustment.load(std::memory_order_relaxed);
  if (process.is_unkillable || adjustment == kExempt) return std::nullopt;
  return static_cast<int64_t>(bytes) + adjustment * static_cast<int64_t>(all_bytes / 1000);
}

}  // namespace umk
