#include "engine/gate/gate.h"
#include "engine/resident/patching.h"

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/base/vector.h"
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

/// What TextCopy::patches points to: the patches of one text, by offsets from its start, modulo 2^64. Made when a site of it traps first.
struct TextPatches : RefCounted, ListHook<> {
  ~TextPatches() override;

  uint64_t id = 0;  // never used again
  Vector<patcher::PatchedSite> known;
};

/// A text that the patcher works at.
struct OpenText {
  uint64_t id = 0;
  RefPtr<mm::TextCopy> text;
  RefPtr<vfs::OpenFile> file;
};

/// Everything about patches of this machine. Texts are let go of without its locks: with the last reference their patches go, which takes one.
struct Patching {
  Mutex mutex{LockRank::None};  // also of all TextPatches
  Request queue[kQueueLength] GUARDED_BY(mutex);
  size_t first GUARDED_BY(mutex) = 0, count GUARDED_BY(mutex) = 0;
  WaitQueue jobs;
  uint64_t queued GUARDED_BY(mutex) = 0, taken GUARDED_BY(mutex) = 0, finished GUARDED_BY(mutex) = 0;
  WaitQueue rests;
  /// Sites that were queued before, by hash: each is offered once. A collision only costs a patch.
  uint64_t seen[kSeenSites] GUARDED_BY(mutex) = {};
  uint64_t next_text_id GUARDED_BY(mutex) = 1;
  /// Of the one patcher thread.
  Vector<OpenText> open;

  Mutex alive_mutex{LockRank::None};
  List<TextPatches> alive GUARDED_BY(alive_mutex);
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

TextPatches::~TextPatches() {
  Patching& p = patching();
  MutexLock lock(p.alive_mutex);
  if (is_linked()) p.alive.erase(p.alive.iterator_to(*this));
}

/// Null before a site of the text trapped. Under the lock of all patches.
TextPatches* patches_of(const mm::TextCopy& text) { return static_cast<TextPatches*>(text.patches.get()); }

/// Makes them if there are none yet. ENOMEM.
Result<void> make_patches(mm::TextCopy& text) {
  Patching& p = patching();
  {
    MutexLock lock(p.mutex);
    if (text.patches) return {};
  }
  RefPtr<TextPatches> made = TRY(make_ref<TextPatches>());
  MutexLock lock(p.mutex);
  if (text.patches) return {};
  made->id = p.next_text_id++;
  text.patches = made;
  MutexLock alive_lock(p.alive_mutex);
  p.alive.push_back(*made);
  return {};
}

/// Where the sites of a text leave the mark of having been offered.
uint64_t site_key(const TextPatches& patches, uint64_t offset) { return (patches.id << 32) ^ offset; }
size_t seen_index(uint64_t key) { return (key * 0x9e37'79b9'7f4a'7c15) >> 52; }

RefPtr<vfs::OpenFile> file_mapped_at(mm::AddressSpace& space, uint64_t address) {
  RefPtr<vfs::OpenFile> file;
  space.for_each_area([&](const mm::Area& area) {
    if (area.start <= address && address < area.end) file = static_cast<vfs::OpenFile*>(area.file.get());
  });
  return file;
}

/// Looks among the patches of the text at `rip`, if that lies in its trampolines or not, as is asked for: most of the time it does not.
template <typename Translate>
bool translate(Task& task, uint64_t& rip, bool in_trampolines, Translate&& by) {
  Result<mm::AddressSpace::TextPlace> found = task.address_space().find_text(rip);
  if (!found.ok() || !found.value().text) return false;
  const mm::AddressSpace::TextPlace place = found.take();
  if ((rip < place.text_start) != in_trampolines) return false;
  Patching& p = patching();
  MutexLock lock(p.mutex);
  const TextPatches* const patches = patches_of(*place.text);
  if (!patches) return false;
  for (const patcher::PatchedSite& patch : patches->known) {
    if (const std::optional<uint64_t> other = by(patch, rip - place.text_start)) {
      rip = place.text_start + *other;
      return true;
    }
  }
  return false;
}

OpenText* find_open(uint64_t text_id) {
  for (OpenText& open : patching().open)
    if (open.id == text_id) return &open;
  return nullptr;
}

}  // namespace

bool next_patch_job(PatchJob* job, uint64_t patience_ns) {
  Patching& p = patching();
  Request request;
  uint64_t id = 0;
  {
    MutexLock lock(p.mutex);
    const Deadline deadline = patience_ns == UINT64_MAX ? Deadline::never() : Deadline::after_ns(patience_ns);
    while (p.count == 0) {
      if (patience_ns == 0 || deadline.has_passed()) return false;
      (void)p.jobs.wait(p.mutex, Sleep::Uninterruptible, deadline);
    }
    request = std::move(p.queue[p.first]);
    p.first = (p.first + 1) % kQueueLength;
    --p.count;
    ++p.taken;
    id = patches_of(*request.text)->id;
  }
  const mm::TextCopy& text = *request.text;
  job->text_id = id;
  job->trapped_rax = request.trapped_rax;
  job->text_file_offset = text.file_offset();
  job->site_file_offset = text.file_offset() + request.offset;
  job->text = text.text().data();
  job->text_bytes = text.text().size();
  job->trampolines = text.trampolines().data();
  job->trampoline_bytes = text.trampolines().size();
  job->trampoline_distance = text.trampoline_distance();
  job->gate_address = reinterpret_cast<uint64_t>(gate().entry);
  // Without memory the site goes on trapping.
  return find_open(id) || p.open.push_back({id, std::move(request.text), std::move(request.file)}).ok();
}

size_t read_patch_file(uint64_t text_id, uint64_t offset, void* into, size_t bytes) {
  UserOutBuffer buffer = UserOutBuffer::kernel({static_cast<std::byte*>(into), bytes});
  const OpenText* const open = find_open(text_id);
  while (open && buffer.remaining() != 0) {
    const size_t before = buffer.done();
    if (!open->file->read_at(offset + before, buffer).ok() || buffer.done() == before) break;
  }
  return buffer.done();
}

void announce_patch(uint64_t text_id, const PatchOutcome* outcome) {
  const OpenText* const open = find_open(text_id);
  if (!open) return;
  const auto address = [](int64_t offset) { return static_cast<uint64_t>(offset); };
  MutexLock lock(patching().mutex);
  // Without memory to remember it the window is still right for every thread that does not stand in it.
  (void)patches_of(*open->text)->known.push_back({.window_start = address(outcome->window_start),
                                                  .window_end = address(outcome->window_end),
                                                  .moved_start = address(outcome->moved_start),
                                                  .site = address(outcome->site),
                                                  .trampoline = address(outcome->trampoline),
                                                  .branch_target = address(outcome->branch_target),
                                                  .identity_tail = outcome->identity_tail});
}

void count_patches(uint64_t patched, uint64_t refused) {
  Counters& counters = machine().kernel->counters;
  counters.patched_sites.fetch_add(patched, std::memory_order_relaxed);
  counters.refused_sites.fetch_add(refused, std::memory_order_relaxed);
}

void rest_from_patches() {
  Patching& p = patching();
  p.open = {};
  {
    MutexLock lock(p.mutex);
    p.finished = p.taken;
  }
  p.rests.wake_all();
}

bool is_patched_text_alive(uint64_t text_id) {
  Patching& p = patching();
  MutexLock lock(p.alive_mutex);
  for (const TextPatches& patches : p.alive)
    if (patches.id == text_id) return true;
  return false;
}

void wait_for_patches() {
  Patching& p = patching();
  MutexLock lock(p.mutex);
  const uint64_t noted = p.queued;
  while (p.finished < noted && p.rests.wait(p.mutex).ok()) {
  }
}

void note_trapped_call(Task& task, uint64_t site, uint64_t number) {
  task.kernel().counters.trapped_calls.fetch_add(1, std::memory_order_relaxed);
  Result<mm::AddressSpace::TextPlace> found = task.address_space().find_text(site);
  if (!found.ok() || !found.value().text || !found.value().text->has_trampolines()) return;
  mm::AddressSpace::TextPlace place = found.take();
  if (place.offset >= place.text->length() || !make_patches(*place.text).ok()) return;
  Patching& p = patching();
  uint64_t key = 0;
  {
    MutexLock lock(p.mutex);
    key = site_key(*patches_of(*place.text), place.offset);
    if (p.count == kQueueLength || p.seen[seen_index(key)] == key) return;
    p.seen[seen_index(key)] = key;
  }
  RefPtr<vfs::OpenFile> file = file_mapped_at(task.address_space(), site);
  if (!file) return;
  {
    MutexLock lock(p.mutex);
    if (p.count == kQueueLength) {
      p.seen[seen_index(key)] = 0;
      return;
    }
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

bool leave_trampoline_by_step(Task& task, Registers& registers) {
  bool is_step = true;
  uint64_t rip = registers.rip;
  translate(task, rip, true, [&](const patcher::PatchedSite& patch, uint64_t address) {
    if (address == patch.trampoline) is_step = false;
    return patch.original_address(address);
  });
  if (is_step) registers.rip = rip;
  return is_step;
}

}  // namespace umk::engine
