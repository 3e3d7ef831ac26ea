// What tasks use of the processor: the counters of the host threads that they run on, one after the other.
#include "core/host/calls.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

guest::Usage host_usage() {
  struct {
    int64_t user_seconds, user_microseconds, system_seconds, system_microseconds;
    int64_t maximum_resident, shared, data, stack, minor_faults, major_faults, swaps, blocks_in, blocks_out, sent, received, signals,
        voluntary, involuntary;
  } raw{};
  constexpr uint64_t kThread = 1;
  host::raw_call(host::Call::Getrusage, kThread, reinterpret_cast<uint64_t>(&raw));
  guest::Usage usage;
  usage.user_ns = static_cast<uint64_t>(raw.user_seconds) * 1'000'000'000 + static_cast<uint64_t>(raw.user_microseconds) * 1000;
  usage.system_ns = static_cast<uint64_t>(raw.system_seconds) * 1'000'000'000 + static_cast<uint64_t>(raw.system_microseconds) * 1000;
  usage.minor_faults = static_cast<uint64_t>(raw.minor_faults);
  usage.major_faults = static_cast<uint64_t>(raw.major_faults);
  usage.voluntary_switches = static_cast<uint64_t>(raw.voluntary);
  usage.involuntary_switches = static_cast<uint64_t>(raw.involuntary);
  return usage;
}

void begin_usage(Bundle& bundle, const guest::Usage& now) {
  bundle.usage_version.fetch_add(1);
  bundle.usage_at_arrival = now;
  bundle.usage_version.fetch_add(1);
}

void account_usage(Bundle& bundle) {
  const guest::Usage now = host_usage();
  bundle.usage_version.fetch_add(1);
  guest::Usage& before = bundle.usage_before;
  const guest::Usage& base = bundle.usage_at_arrival;
  before.user_ns += now.user_ns - base.user_ns;
  before.system_ns += now.system_ns - base.system_ns;
  before.minor_faults += now.minor_faults - base.minor_faults;
  before.major_faults += now.major_faults - base.major_faults;
  before.voluntary_switches += now.voluntary_switches - base.voluntary_switches;
  before.involuntary_switches += now.involuntary_switches - base.involuntary_switches;
  bundle.usage_at_arrival = now;
  bundle.usage_version.fetch_add(1);
}

}  // namespace umk::engine
