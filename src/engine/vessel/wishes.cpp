#include "engine/vessel/wishes.h"

#include <algorithm>

#include "core/host/calls.h"
#include "core/kernel/task/task.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

constexpr int kIdlePolicy = 5, kMaximumNice = 19;
constexpr uint64_t kThread = 0;  // PRIO_PROCESS, which means a thread

/// SCHED_IDLE is below any nice value: the lowest will do.
int nice_of(const Task& task) { return task.scheduling_policy.load() == kIdlePolicy ? kMaximumNice : std::max(0, task.nice.load()); }

}  // namespace

Result<void> tell_wishes(HostThread& host, int tid, const Task& task) {
  if (const int nice = nice_of(task); nice != host.nice_told.load()) {
    const int of_host = std::min(machine().parameters.host_nice + nice, kMaximumNice);
    if (host::raw_call(host::Call::Setpriority, kThread, static_cast<uint64_t>(tid), static_cast<uint64_t>(int64_t{of_host})) == 0) host.nice_told.store(nice);
  }
  if (const uint64_t affinity = task.affinity.load(); affinity != host.affinity_told.load()) {
    TRY(host::checked(host::raw_call(host::Call::SchedSetaffinity, static_cast<uint64_t>(tid), sizeof affinity, reinterpret_cast<uint64_t>(&affinity))));
    host.affinity_told.store(affinity);
  }
  return {};
}

bool is_impartial(const HostThread& host) { return host.nice_told.load() == 0 && host.affinity_told.load() == ~uint64_t{0}; }

}  // namespace umk::engine
