#include "engine/gate/gate.h"
#include "engine/resident/patching.h"

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/sync/wait_queue.h"
#include "engine/patcher/patched_site.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

constexpr size_t kQueueLength = 256;
constexpr size_t kSeenSites = 4096;

struct Request {
  RefPtr<mm::TextCopy> text;
  RefPtr<vfs::OpenFile> file;
  uint64_t offset = 0;  // of the site in the text
  uint64_t trapped_rax = 0;
};

/// One patch, by offsets from the start of its text, modulo 2^64.
struct KnownPatch {
  uint64_t text_id;
  patcher::PatchedSite place;
};

/// Everything about patches of this machine.
struct Patching {
  Mutex mutex{LockRank::None};
  Request queue[kQueueLength] GUARDED_BY(mutex);
  size_t first GUARDED_BY(mutex) = 0, count GUARDED_BY(mutex) = 0;
  WaitQueue jobs;
  Request current;  // of the one patcher thread
  uint64_t queued GUARDED_BY(mutex) = 0, finished GUARDED_BY(mutex) = 0;
  WaitQueue finished_one;
  /// Sites that were queued before, by hash: each is offered once. A collision only costs a patch.
  std::atomic<uint64_t> seen[kSeenSites] = {};
  uint64_t next_text_id GUARDED_BY(mutex) = 1;
  Vector<KnownPatch> known GUARDED_BY(mutex);
};

alignas(Patching) constinit std::byte patching_storage[sizeof(Patching)] = {};
constinit std::atomic<int> patching_state = 0;  // 0 not made, 1 being made, 2 ready

Patching& patching() {
  if (patching_state.load(std::memory_order_acquire) != 2) [[unlikely]] {
    int unmade = 0;
    if (patching_state.compare_exchange_strong(unmade, 1)) {
      new (patching_storage) Patching;
      patching_state.store(2, std::memory_order_release);
    }
    while (patching_state.load(std::memory_order_acquire) != 2) __builtin_ia32_pause();
  }
  return *reinterpret_cast<Patching*>(patching_storage);
}

/// True the first time that a site is seen.
bool is_new_site(Patching& p, const mm::TextCopy& text, uint64_t offset) {
  const uint64_t key = (reinterpret_cast<uint64_t>(&text) << 20) ^ text.text_cache_offset(offset) ^ 1;
  std::atomic<uint64_t>& entry = p.seen[(key * 0x9e37'79b9'7f4a'7c15) >> 52];
  return entry.exchange(key, std::memory_order_relaxed) != key;
}

RefPtr<vfs::OpenFile> file_mapped_at(mm::AddressSpace& space, uint64_t address) {
  RefPtr<vfs::OpenFile> file;
  space.for_each_area([&](const mm::Area& area) {
    if (area.start <= address && address < area.end) file = static_cast<vfs::OpenFile*>(area.file.get());
  });
  return file;
}

/// The place of `address` in a text copy, for addresses in text and in the trampolines below it.
struct Place {
  RefPtr<mm::TextCopy> text;
  uint64_t start = 0;
};

std::optional<Place> find_place(Task& task, uint64_t address) {
  Result<mm::AddressSpace::TextPlace> found = task.address_space().find_text(address);
  if (!found.ok() || !found.value().text || found.value().text->patch_id == 0) return std::nullopt;
  return Place{std::move(found.value().text), found.value().text_start};
}

/// Looks among the patches of the text at `rip`, if that lies in its trampolines or not, as is asked for: most of the time it does not.
template <typename Translate>
bool translate(Task& task, uint64_t& rip, bool in_trampolines, Translate&& by) {
  std::optional<Place> place = find_place(task, rip);
  if (!place || (rip < place->start) != in_trampolines) return false;
  Patching& p = patching();
  MutexLock lock(p.mutex);
  for (const KnownPatch& patch : p.known) {
    if (patch.text_id != place->text->patch_id) continue;
    if (const std::optional<uint64_t> other = by(patch.place, rip - place->start)) {
      rip = place->start + *other;
      return true;
    }
  }
  return false;
}

}  // namespace

void next_patch_job(PatchJob* job) {
  Patching& p = patching();
  MutexLock lock(p.mutex);
  while (p.count == 0) (void)p.jobs.wait(p.mutex, Sleep::Uninterruptible);
  p.current = std::move(p.queue[p.first]);
  p.first = (p.first + 1) % kQueueLength;
  --p.count;
  mm::TextCopy& text = *p.current.text;
  if (text.patch_id == 0) text.patch_id = p.next_text_id++;
  job->text_id = text.patch_id;
  job->trapped_rax = p.current.trapped_rax;
  job->text_file_offset = text.file_offset();
  job->site_file_offset = text.file_offset() + p.current.offset;
  job->text = text.text().data();
  job->text_bytes = text.text().size();
  job->trampolines = text.trampolines().data();
  job->trampoline_bytes = text.trampolines().size();
  job->trampoline_distance = text.trampoline_distance();
  job->gate_address = reinterpret_cast<uint64_t>(gate().entry);
}

size_t read_patch_file(uint64_t offset, void* into, size_t bytes) {
  UserOutBuffer buffer = UserOutBuffer::kernel({static_cast<std::byte*>(into), bytes});
  while (buffer.remaining() != 0) {
    const size_t before = buffer.done();
    if (!patching().current.file->read_at(offset + before, buffer).ok() || buffer.done() == before) break;
  }
  return buffer.done();
}

void announce_patch(const PatchOutcome* outcome) {
  Patching& p = patching();
  MutexLock lock(p.mutex);
  // Without memory to remember it the window is still right for every thread that does not stand in it.
  (void)p.known.push_back({p.current.text->patch_id,
                           {static_cast<uint64_t>(outcome->window_start), static_cast<uint64_t>(outcome->site), static_cast<uint64_t>(outcome->trampoline),
                            static_cast<uint64_t>(outcome->branch_target), outcome->identity_tail}});
}

void finish_patch_job(uint64_t patched, bool has_its_site) {
  Patching& p = patching();
  Counters& counters = machine().kernel->counters;
  counters.patched_sites.fetch_add(patched, std::memory_order_relaxed);
  if (!has_its_site) counters.refused_sites.fetch_add(1, std::memory_order_relaxed);
  {
    Request done;
    MutexLock lock(p.mutex);
    std::swap(done, p.current);
  }
  {
    MutexLock lock(p.mutex);
    ++p.finished;
  }
  p.finished_one.wake_all();
}

void wait_for_patches() {
  Patching& p = patching();
  MutexLock lock(p.mutex);
  const uint64_t noted = p.queued;
  while (p.finished < noted && p.finished_one.wait(p.mutex).ok()) {
  }
}

void note_trapped_call(Task& task, uint64_t site, uint64_t number) {
  task.kernel().counters.trapped_calls.fetch_add(1, std::memory_order_relaxed);
  Result<mm::AddressSpace::TextPlace> found = task.address_space().find_text(site);
  if (!found.ok() || !found.value().text || !found.value().text->has_trampolines()) return;
  Patching& p = patching();
  mm::AddressSpace::TextPlace place = found.take();
  if (!is_new_site(p, *place.text, place.offset)) return;
  RefPtr<vfs::OpenFile> file = file_mapped_at(task.address_space(), site);
  if (!file) return;
  {
    MutexLock lock(p.mutex);
    if (p.count == kQueueLength) return;
    Request& request = p.queue[(p.first + p.count++) % kQueueLength];
    request = {std::move(place.text), std::move(file), place.offset, number};
    ++p.queued;
  }
  p.jobs.wake();
}

bool resume_in_trampoline(Task& task, Registers& registers, const Trap& trap) {
  constexpr uint8_t kBreakpoint = 3, kInvalidOpcode = 6, kGeneralProtection = 13;
  if (trap.kind != TrapKind::Fault) return false;
  uint64_t rip = registers.rip;
  if (trap.vector == kBreakpoint) {
    --rip;
  } else if (trap.vector != kInvalidOpcode && trap.vector != kGeneralProtection) {
    return false;
  }
  if (!translate(task, rip, false, [](const patcher::PatchedSite& patch, uint64_t address) { return patch.resume_address(address); })) return false;
  registers.rip = rip;
  return true;
}

void leave_trampoline(Task& task, Registers& registers) {
  translate(task, registers.rip, true, [](const patcher::PatchedSite& patch, uint64_t address) { return patch.original_address(address); });
}

}  // namespace umk::engine
