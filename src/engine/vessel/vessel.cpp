// The machine's vessels: made, counted, ended or lost.
#include "core/base/make.h"
#include "core/kernel/task/kernel.h"
#include "engine/vessel/lost_vessel.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

// The machine's state lies in the image's data, which is shared memory: one machine per kernel image.
alignas(Machine) constinit std::byte machine_storage[sizeof(Machine)] = {};

}  // namespace

Machine& machine() { return *reinterpret_cast<Machine*>(machine_storage); }

void make_machine(const BootParameters& parameters) {
  auto* made = new (machine_storage) Machine;
  made->parameters = parameters;
  MutexLock lock(made->selector_mutex);
  for (uint32_t i = kSelectorCount; i-- > 0;) made->free_selectors[made->free_selector_count++] = i;
}

Result<HostThread*> make_thread_of(Vessel& vessel, uint32_t slot_index) { return make_host_thread(vessel, slot_index, follow); }

Result<std::unique_ptr<Vessel>> make_vessel(uint32_t slot_index) {
  auto vessel = TRY(make_unique<Vessel>());
  vessel->leader = TRY(make_host_thread(*vessel, slot_index, idle_loop));
  MutexLock lock(vessel->mutex);
  vessel->used_slots[slot_index / 64] = uint64_t{1} << (slot_index % 64);
  return vessel;
}

void drop_vessel(Vessel& vessel) {
  if (vessel.references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    MutexLock lock(vessel.mutex);
    while (!vessel.threads.empty()) recycle_host_thread(&vessel.threads.front());
  }
  recycle_host_thread(vessel.leader);
  delete &vessel;
}

void add_vessel(Vessel& vessel) {
  MutexLock lock(machine().pool_mutex);
  machine().vessels.push_back(vessel);
}

void remove_vessel(Vessel& vessel) {
  MutexLock lock(machine().pool_mutex);
  vessel.ListHook<AllVesselsTag>::unlink();
}

namespace {

/// Takes a vessel whose process has ended on purpose out of the list of those.
Vessel* take_leaving_locked(int host_pid) REQUIRES(machine().pool_mutex) {
  for (Vessel** link = &machine().leaving; *link; link = &(*link)->next_leaving) {
    Vessel* const vessel = *link;
    if (vessel->leader->tid.load() != host_pid) continue;
    *link = vessel->next_leaving;
    return vessel;
  }
  return nullptr;
}

Vessel* take_lost_locked(int host_pid, bool& was_idle) REQUIRES(machine().pool_mutex) {
  Machine& m = machine();
  for (Vessel& vessel : m.vessels) {
    if (vessel.leader->tid.load() != host_pid) continue;
    vessel.ListHook<AllVesselsTag>::unlink();
    was_idle = vessel.ListHook<>::is_linked();
    if (was_idle) {
      vessel.ListHook<>::unlink();
      --m.pool_size;
    }
    return &vessel;
  }
  return nullptr;
}

}  // namespace

VesselEnd vessel_process_ended(int host_pid) {
  Machine& m = machine();
  // Who was killed with this lock held is gone for good.
  Vessel* lost = nullptr;
  bool was_idle = false;
  {
    MutexLock lock(m.pool_mutex);
    if (Vessel* left = take_leaving_locked(host_pid)) {
      m.pool_mutex.unlock();
      // Who waits for an answer gives up, and nobody comes any more.
      end_remote_calls(*left);
      stop_carrying(*left);
      drop_vessel(*left);
      m.pool_mutex.lock();
      return VesselEnd::Expected;
    }
    lost = take_lost_locked(host_pid, was_idle);
  }
  if (!lost) return VesselEnd::Fatal;
  const VesselEnd end = rescue_tasks(*lost, was_idle);
  if (end == VesselEnd::Survived) drop_lost_vessel(*lost);
  return end;
}

void drop_lost_vessel(Vessel& vessel) {
  if (vessel.rescued.fetch_sub(1) == 1) drop_vessel(vessel);
}

}  // namespace umk::engine
