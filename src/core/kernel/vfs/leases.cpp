#include "core/kernel/vfs/leases.h"

#include "core/kernel/time/clocks.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kNever = UINT64_MAX;

struct Lease {
  Lease(OpenFile& file, LeaseKind kind) : file(&file), kind(kind) {}

  OpenFile* file;
  LeaseKind kind;
  /// Until when it must be given up, or be no write lease any more: kNever while nobody asked for it, or when there is no limit.
  bool must_end = false, must_not_write = false;
  uint64_t ends_at_ns = kNever, reads_only_at_ns = kNever;
  AsyncList listeners;

  AsyncLists lists() { return {.input = &listeners}; }
  bool conflicts(bool writes) const { return writes || kind == LeaseKind::Write; }
};

}  // namespace

/// Few leases: they are looked for one by one.
class LeaseList {
 public:
  Result<void> set(OpenFile& file, LeaseKind kind, const LeaseHolder& holder, const LeaseSettings& settings);
  LeaseKind kind_of(const OpenFile& file);
  Result<void> break_for(bool writes, bool wait, const LeaseSettings& settings);
  bool remove(const OpenFile& file);

 private:
  Lease* find_locked(const OpenFile& file) REQUIRES(mutex_);
  void change_locked(Lease& lease, LeaseKind kind) REQUIRES(mutex_);
  void remove_locked(Lease& lease) REQUIRES(mutex_);
  void expire_locked() REQUIRES(mutex_);
  void demand_locked(Lease& lease, bool writes, const LeaseSettings& settings) REQUIRES(mutex_);

  // Signals are sent with it held.
  Mutex mutex_{LockRank::AsyncIo};
  Vector<std::unique_ptr<Lease>> leases_ GUARDED_BY(mutex_);
  WaitQueue changed_;
};

namespace {

/// Does somebody else have the file open as the lease forbids? The counts of the inode know files and not processes: a lease's own file is one of them.
bool is_open_elsewhere(const OpenFile& file, LeaseKind kind) {
  const Inode& inode = file.inode();
  if (kind == LeaseKind::Read) return inode.writers() > 0;
  const int own_writers = file.is_writable() ? 1 : 0;
  return inode.writers() != own_writers || inode.readers() != 1 - own_writers;
}

Result<LeaseList*> list_of(Inode& inode) {
  LeaseList* list = inode.leases.load();
  if (list) return list;
  std::unique_ptr<LeaseList> fresh = TRY(make_unique<LeaseList>());
  if (inode.leases.compare_exchange_strong(list, fresh.get())) return fresh.release();
  return list;
}

}  // namespace

Lease* LeaseList::find_locked(const OpenFile& file) {
  for (std::unique_ptr<Lease>& lease : leases_)
    if (lease->file == &file) return lease.get();
  return nullptr;
}

void LeaseList::remove_locked(Lease& lease) {
  // As on Linux, where the file's owner and signal go with its lease.
  if (AsyncIo* io = lease.file->async()) {
    io->leave(lease.lists());
    io->set_owner({});
    io->set_signal(0);
  }
  for (size_t i = 0; i < leases_.size(); ++i)
    if (leases_[i].get() == &lease) return leases_.erase(i);
}

void LeaseList::change_locked(Lease& lease, LeaseKind kind) {
  // One that goes up again while it was to go down still is to.
  if (kind != LeaseKind::Write) {
    lease.must_not_write = false;
    lease.reads_only_at_ns = kNever;
  }
  lease.kind = kind;
  if (kind == LeaseKind::None) remove_locked(lease);
  changed_.wake_all();
}

void LeaseList::expire_locked() {
  const uint64_t now = time::monotonic_ns();
  for (size_t i = leases_.size(); i-- > 0;) {
    Lease& lease = *leases_[i];
    if (lease.ends_at_ns <= now) change_locked(lease, LeaseKind::None);
    else if (lease.reads_only_at_ns <= now) change_locked(lease, LeaseKind::Read);
  }
}

Result<void> LeaseList::set(OpenFile& file, LeaseKind kind, const LeaseHolder& holder, const LeaseSettings& settings) {
  MutexLock lock(mutex_);
  expire_locked();
  Lease* const own = find_locked(file);
  if (is_open_elsewhere(file, kind)) return error(EAGAIN);
  for (const std::unique_ptr<Lease>& other : leases_)
    if (other.get() != own && (kind == LeaseKind::Write || other->must_end)) return error(EAGAIN);
  if (own) {
    change_locked(*own, kind);
    return {};
  }
  if (!settings.enable.load(std::memory_order_relaxed)) return error(EINVAL);

  AsyncIo& io = TRY(file.make_async(holder.sender));
  std::unique_ptr<Lease> fresh = TRY(make_unique<Lease>(file, kind));
  Lease& lease = *fresh;
  TRY(leases_.push_back(std::move(fresh)));
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (is_open_elsewhere(file, kind)) {
    leases_.pop_back();
    return error(EAGAIN);
  }
  io.set_first_owner(holder.owner);
  io.enter(lease.lists(), holder.fd);
  return {};
}

LeaseKind LeaseList::kind_of(const OpenFile& file) {
  MutexLock lock(mutex_);
  expire_locked();
  const Lease* lease = find_locked(file);
  if (!lease || lease->must_end) return LeaseKind::None;
  return lease->must_not_write ? LeaseKind::Read : lease->kind;
}

bool LeaseList::remove(const OpenFile& file) {
  MutexLock lock(mutex_);
  Lease* lease = find_locked(file);
  if (lease) change_locked(*lease, LeaseKind::None);
  return lease;
}

void LeaseList::demand_locked(Lease& lease, bool writes, const LeaseSettings& settings) {
  if (lease.must_end || (!writes && lease.must_not_write)) return;
  const int seconds = settings.break_seconds.load(std::memory_order_relaxed);
  const uint64_t until = seconds > 0 ? time::monotonic_ns() + static_cast<uint64_t>(seconds) * kSecondNs : kNever;
  (writes ? lease.must_end : lease.must_not_write) = true;
  (writes ? lease.ends_at_ns : lease.reads_only_at_ns) = until;
  lease.listeners.notify(AsyncEvent::Message);
}

Result<void> LeaseList::break_for(bool writes, bool wait, const LeaseSettings& settings) {
  MutexLock lock(mutex_);
  for (bool first = true;; first = false) {
    expire_locked();
    uint64_t until = 0;
    for (std::unique_ptr<Lease>& lease : leases_) {
      if (!lease->conflicts(writes)) continue;
      if (first) demand_locked(*lease, writes, settings);
      const uint64_t limit = std::min(lease->ends_at_ns, lease->reads_only_at_ns);
      until = std::max(until, limit);
    }
    if (until == 0) return {};
    if (!wait) return error(EAGAIN);
    const uint64_t now = time::monotonic_ns();
    const Deadline deadline = until == kNever ? Deadline::never() : Deadline::after_ns(until > now ? until - now : 0);
    Result<void> outcome = changed_.wait(mutex_, sync::Sleep::Interruptible, deadline);
    if (!outcome.ok() && outcome.code() != ETIMEDOUT) return outcome;
  }
}

Result<void> set_lease(OpenFile& file, LeaseKind kind, const LeaseHolder& holder, const LeaseSettings& settings) {
  if (kind != LeaseKind::None) return TRY(list_of(file.inode()))->set(file, kind, holder, settings);
  LeaseList* const list = file.inode().leases.load();
  return list && list->remove(file) ? Result<void>{} : error(EAGAIN);
}

LeaseKind lease_of(OpenFile& file) {
  LeaseList* const list = file.inode().leases.load();
  return list ? list->kind_of(file) : LeaseKind::None;
}

void release_lease_of_file(Inode& inode, OpenFile& file) {
  if (LeaseList* const list = inode.leases.load()) (void)list->remove(file);
}

void delete_leases(LeaseList* leases) { delete leases; }

Result<void> break_present_leases(Inode& inode, bool writes, bool wait, const LeaseSettings& settings) {
  return inode.leases.load()->break_for(writes, wait, settings);
}

}  // namespace umk::vfs
