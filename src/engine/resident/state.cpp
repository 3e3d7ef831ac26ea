// A task's state beyond its general registers: segment bases, vectors, usage; and kicking it.
#include <errno.h>

#include <cstring>

#include "core/host/calls.h"
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/task.h"
#include "engine/resident/resident_engine.h"
#include "engine/vdso/vdso.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/wishes.h"

namespace umk::engine {

namespace {

Bundle& bundle_of(Task& task) { return Bundle::of(task.stack()); }
bool is_current(Task& task) { return &current_stack() == &task.stack(); }

/// The legacy region and header of an XSAVE image; Intel SDM volume 1, 13.4.
constexpr size_t kLegacyBytes = 512;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kMxcsrOffset = 24;
constexpr size_t kMxcsrMaskOffset = 28;
constexpr uint32_t kInitialMxcsr = 0x1f80;

template <typename T>
T& field(std::byte* image, size_t offset) {
  return *reinterpret_cast<T*>(image + offset);
}

}  // namespace

void keep_vectors(Bundle& bundle) {
  // The header's reserved bytes must be zero, and XSAVE leaves them as they were.
  std::memset(bundle.vectors + kLegacyBytes, 0, kHeaderBytes);
  umk_vectors_save(bundle.vectors, machine().parameters.vector_features);
}

guest::Vdso ResidentEngine::vdso() {
  return {std::span(umk_vdso_begin, static_cast<size_t>(umk_vdso_end - umk_vdso_begin)), kVdsoRestorerOffset};
}

void ResidentEngine::kick(Task& task) {
  if (is_current(task)) return;
  HostThread* host = bundle_of(task).host;
  // A thread that cannot be kicked yet looks at its interrupts before it enters the guest.
  if (!host || !host->can_be_kicked.load(std::memory_order_seq_cst)) return;
  const int tid = host->tid.load(std::memory_order_acquire);
  const int pid = host->vessel->leader->tid.load(std::memory_order_acquire);
  if (tid > 0 && pid > 0) host::raw_call(host::Call::Tgkill, static_cast<uint64_t>(pid), static_cast<uint64_t>(tid), kKickSignal);
}

uint64_t ResidentEngine::fs_base(Task& task) { return is_current(task) ? read_fs_base() : bundle_of(task).fs_base; }

void ResidentEngine::set_fs_base(Task& task, uint64_t base) {
  if (is_current(task)) {
    write_fs_base(base);
  } else {
    bundle_of(task).fs_base = base;
    bundle_of(task).fs_base_is_set = true;
  }
}

Result<void> ResidentEngine::set_gs_base(Task& task, uint64_t base) {
  Bundle& bundle = bundle_of(task);
  if (base >= layout::kUserEnd) return error(EPERM);
  // The way through a patched site finds the kernel by the GS base: from now on this program's calls trap.
  if (!task.address_space().trap_only) TRY(task.address_space().leave_patched_text());
  bundle.guest_gs = base;
  bundle.guest_gs_in_use = 1;
  return {};
}

uint64_t ResidentEngine::gs_base(Task& task) { return bundle_of(task).guest_gs_in_use ? bundle_of(task).guest_gs : 0; }

size_t ResidentEngine::vector_image_bytes() { return machine().parameters.vector_image_bytes; }
uint64_t ResidentEngine::vector_feature_mask() { return machine().parameters.vector_features; }

Result<void> ResidentEngine::save_vectors(uint64_t user_address) {
  Bundle& bundle = Bundle::of(current_stack());
  const BootParameters& parameters = machine().parameters;
  keep_vectors(bundle);
  if (copy_to_user(user_address, bundle.vectors, parameters.vector_image_bytes).faulted) return error(EFAULT);
  return {};
}

Result<void> ResidentEngine::load_vectors(uint64_t user_address) {
  Bundle& bundle = Bundle::of(current_stack());
  const BootParameters& parameters = machine().parameters;
  std::byte* image = bundle.vectors;
  if (user_address == 0) {
    std::memset(image, 0, kLegacyBytes + kHeaderBytes);
    field<uint16_t>(image, 0) = 0x37f;
    field<uint32_t>(image, kMxcsrOffset) = kInitialMxcsr;
    umk_vectors_load(image, parameters.vector_features);
    return {};
  }
  if (copy_from_user(image, user_address, parameters.vector_image_bytes).faulted) return error(EFAULT);
  // What XRSTOR would fault on is made valid, as the host does for its own signal frames: unknown features and reserved bits go.
  field<uint64_t>(image, kLegacyBytes) &= parameters.vector_features;
  std::memset(image + kLegacyBytes + 8, 0, kHeaderBytes - 8);
  uint32_t mxcsr_mask = field<uint32_t>(image, kMxcsrMaskOffset);
  if (mxcsr_mask == 0) mxcsr_mask = 0xffbf;
  field<uint32_t>(image, kMxcsrOffset) &= mxcsr_mask & 0xffff;
  umk_vectors_load(image, parameters.vector_features);
  return {};
}

namespace {

uint64_t host_clock_ns(int64_t clock_id) {
  struct {
    int64_t seconds, nanoseconds;
  } time{};
  if (host::raw_call(host::Call::ClockGettime, static_cast<uint64_t>(clock_id), reinterpret_cast<uint64_t>(&time)) != 0) return 0;
  return static_cast<uint64_t>(time.seconds) * 1'000'000'000 + static_cast<uint64_t>(time.nanoseconds);
}

/// The CPU time of a host thread up to this moment, 0 when it cannot be seen from here: the host shows the clocks of one's own threads and of whole
/// processes. clock_getcpuclockid(3) has the numbers.
uint64_t thread_clock_ns(const HostThread& host) {
  constexpr int64_t kThreadCpu = 3, kScheduled = 2, kOfThread = 4;
  const int64_t tid = host.tid.load(std::memory_order_acquire);
  if (current_stack().task && &host == &current_host()) return host_clock_ns(kThreadCpu);
  if (tid <= 0) return 0;
  if (current_stack().task && host.vessel == current_host().vessel) return host_clock_ns((~tid * 8) | kScheduled | kOfThread);
  return host.is_leader() && host.vessel->is_single.load(std::memory_order_relaxed) ? host_clock_ns((~tid * 8) | kScheduled) : 0;
}

/// What the host's counters, which are only as new as its last tick, do not show yet.
void add_running_time(guest::Usage& usage, const guest::Usage& arrival, uint64_t clock_ns, uint64_t told_ns) {
  const uint64_t shown = arrival.user_ns + arrival.system_ns;
  if (clock_ns > shown) usage.user_ns += clock_ns - shown;
  if (usage.user_ns + usage.system_ns < told_ns) usage.user_ns = told_ns - usage.system_ns;
}

}  // namespace

guest::Usage ResidentEngine::usage(Task& task) {
  Bundle& bundle = bundle_of(task);
  if (is_current(task)) {
    account_usage(bundle);
    guest::Usage usage = bundle.usage_before;
    const uint64_t told_ns = bundle.usage_told_ns.load(std::memory_order_relaxed);
    add_running_time(usage, bundle.usage_at_arrival, thread_clock_ns(*bundle.host), told_ns);
    bundle.usage_told_ns.store(usage.user_ns + usage.system_ns, std::memory_order_relaxed);
    return usage;
  }
  constexpr int kAttempts = 100;
  guest::Usage usage;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const uint32_t version = bundle.usage_version.load(std::memory_order_acquire);
    if (version & 1) continue;
    usage = bundle.usage_before;
    const guest::Usage arrival = bundle.usage_at_arrival;
    const HostThread* host = bundle.host;
    // A task that exits may lose its host thread, and a vfork's parent has lent it.
    const bool runs = host && !task.exiting.load() && host->current == &bundle;
    const uint64_t clock_ns = runs ? thread_clock_ns(*host) : 0;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (bundle.usage_version.load(std::memory_order_relaxed) != version) continue;
    add_running_time(usage, arrival, clock_ns, bundle.usage_told_ns.load(std::memory_order_relaxed));
    break;
  }
  return usage;
}

Result<void> ResidentEngine::reschedule(Task& task) {
  HostThread* const host = bundle_of(task).host;
  // One that is between two host threads, or has borrowed one, is told of when it arrives on its own.
  if (!host || bundle_of(task).lender || host->current != &bundle_of(task)) return {};
  if (is_current(task)) return tell_wishes(*host, 0, task);
  const int tid = host->tid.load();
  return tid > 0 ? tell_wishes(*host, tid, task) : Result<void>();
}

}  // namespace umk::engine
