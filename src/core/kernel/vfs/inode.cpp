#include "core/kernel/vfs/inode.h"

#include "core/host/calls.h"
#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/file_locks.h"
#include "core/kernel/vfs/leases.h"
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/open_file.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::vfs {

namespace {

bool is_before(const Timestamp& a, const Timestamp& b) { return a.seconds < b.seconds || (a.seconds == b.seconds && a.nanoseconds <= b.nanoseconds); }

constexpr int64_t kSecondsPerDay = 24 * 60 * 60;

}  // namespace

bool list_self_and_parent(uint64_t& position, InodeNumber self, InodeNumber parent, DirectorySink& sink) {
  for (; position < kFirstNamePosition; ++position) {
    const bool is_self = position == 0;
    if (!sink.emit(is_self ? "." : "..", is_self ? self : parent, FileType::Directory, position + 1)) return false;
  }
  return true;
}

Timestamp file_time_now() { return Timestamp::from_ns(host::now_ns(host::Clock::RealtimeCoarse)); }

Inode::Inode(Superblock& superblock, InodeNumber number, uint32_t mode, UserId uid, GroupId gid, DeviceNumber device, LockRank rank)
    : superblock_(superblock), mutex_(rank), number_(number), device_(device), mode_(mode), uid_(uid), gid_(gid) {
  access_time_ = modify_time_ = change_time_ = birth_time_ = file_time_now();
  superblock.count_inode(1);
}

Inode::~Inode() {
  if (notify_marks.load(std::memory_order_acquire)) release_notify_marks(*this);
  delete file_locks.load(std::memory_order_acquire);
  if (LeaseList* const list = leases.load(std::memory_order_acquire)) delete_leases(list);
  superblock_.count_inode(-1);
}

Result<Metadata> Inode::metadata() {
  MutexLock lock(mutex_);
  Metadata data;
  data.number = number_;
  data.mode = mode();
  data.links = links();
  data.uid = uid();
  data.gid = gid();
  data.device = device_;
  data.size_bytes = size_bytes();
  data.blocks = blocks_;
  data.access_time = access_time_;
  data.modify_time = modify_time_;
  data.change_time = change_time_;
  data.birth_time = birth_time_;
  return data;
}

Result<void> Inode::change(const MetadataChange& wanted) {
  if (wanted.size_bytes) return error(EINVAL);
  MutexLock lock(mutex_);
  if (wanted.permissions) mode_.store((mode() & kFileTypeMask) | (*wanted.permissions & kPermissionMask), std::memory_order_relaxed);
  if (wanted.uid) uid_.store(*wanted.uid, std::memory_order_relaxed);
  if (wanted.gid) gid_.store(*wanted.gid, std::memory_order_relaxed);
  if (wanted.access_time) access_time_ = *wanted.access_time;
  if (wanted.modify_time) modify_time_ = *wanted.modify_time;
  stamp_change_locked(false);
  return {};
}

// path_resolution(7), capabilities(7).
Result<void> Inode::check_access(const Credentials& who, unsigned want) {
  const uint32_t bits = mode();
  // What everybody may do needs no look at who asks: the case of nearly every directory on a path.
  const uint32_t shared_by_all = bits & (bits >> 3) & (bits >> 6) & 7;
  if ((shared_by_all & want) == want) return {};
  uint32_t granted = bits & 7;
  if (who.fsuid == uid()) {
    granted = (bits >> 6) & 7;
  } else if (who.in_group(gid())) {
    granted = (bits >> 3) & 7;
  }
  if ((granted & want) == want) return {};
  if (is_directory()) {
    if (who.has(Capability::DacOverride)) return {};
    if (!(want & 2) && who.has(Capability::DacReadSearch)) return {};
    return error(EACCES);
  }
  if (want == 4 && who.has(Capability::DacReadSearch)) return {};
  // Nobody executes what nobody may execute.
  if ((!(want & 1) || (bits & 0111)) && who.has(Capability::DacOverride)) return {};
  return error(EACCES);
}

Result<RefPtr<Inode>> Inode::lookup(std::string_view) { return error(ENOTDIR); }
Result<RefPtr<Inode>> Inode::create(const Caller&, std::string_view, uint32_t) { return error(is_directory() ? EACCES : ENOTDIR); }
Result<RefPtr<Inode>> Inode::make_directory(const Caller&, std::string_view, uint32_t) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<RefPtr<Inode>> Inode::make_node(const Caller&, std::string_view, uint32_t, DeviceNumber) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<RefPtr<Inode>> Inode::make_symlink(const Caller&, std::string_view, std::string_view) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<void> Inode::link(std::string_view, Inode&) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<void> Inode::unlink(std::string_view, Inode&) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<void> Inode::remove_directory(std::string_view, Inode&) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<void> Inode::rename(std::string_view, Inode&, Inode&, std::string_view, Inode*, bool) { return error(is_directory() ? EPERM : ENOTDIR); }
Result<RefPtr<Inode>> Inode::create_temporary(const Caller&, uint32_t, bool) { return error(EOPNOTSUPP); }
Result<uint64_t> Inode::list(uint64_t, InodeNumber, DirectorySink&) { return error(ENOTDIR); }
bool Inode::revalidate(std::string_view, Inode*) { return true; }

Result<String> Inode::read_link() { return error(EINVAL); }
Result<Path> Inode::magic_target(const Caller&) { return error(ELOOP); }

Result<RefPtr<OpenFile>> Inode::open(const Caller&, uint32_t flags) {
  RefPtr<InodeFile> file = TRY(make_ref<InodeFile>(RefPtr<Inode>(*this), flags));
  return RefPtr<OpenFile>(std::move(file));
}

Result<size_t> Inode::read_at(uint64_t, UserOutBuffer&) { return error(is_directory() ? EISDIR : EINVAL); }
Result<size_t> Inode::write_at(uint64_t&, UserInBuffer&, bool) { return error(EINVAL); }
Result<void> Inode::allocate(uint32_t, uint64_t, uint64_t) { return error(is_directory() ? EISDIR : EOPNOTSUPP); }
Result<void> Inode::sync(bool) { return {}; }

Result<uint64_t> Inode::seek_data_or_hole(uint64_t offset, bool hole) {
  // Without knowledge of holes the whole file is data, with a hole at its end: lseek(2).
  if (offset >= size_bytes()) return error(ENXIO);
  return hole ? size_bytes() : offset;
}

Result<uint32_t> Inode::seals() { return error(EINVAL); }
Result<void> Inode::add_seals(uint32_t) { return error(EINVAL); }

Result<void> Inode::add_writer() {
  int32_t count = writers_.load(std::memory_order_relaxed);
  do {
    if (count < 0) return error(ETXTBSY);
  } while (!writers_.compare_exchange_weak(count, count + 1, std::memory_order_acquire, std::memory_order_relaxed));
  return {};
}

Result<void> Inode::deny_writers() {
  int32_t count = writers_.load(std::memory_order_relaxed);
  do {
    if (count > 0) return error(ETXTBSY);
  } while (!writers_.compare_exchange_weak(count, count - 1, std::memory_order_acquire, std::memory_order_relaxed));
  return {};
}

Result<String> Inode::get_attribute(std::string_view) { return error(EOPNOTSUPP); }
Result<void> Inode::set_attribute(std::string_view, std::string_view, int) { return error(EOPNOTSUPP); }
Result<void> Inode::remove_attribute(std::string_view) { return error(EOPNOTSUPP); }
Result<String> Inode::list_attributes() { return String{}; }

void Inode::touch_access_time() {
  const Timestamp now = file_time_now();
  if (now.seconds < access_time_fresh_until_.load(std::memory_order_relaxed)) return;
  MutexLock lock(mutex_);
  const bool is_stale = is_before(access_time_, modify_time_) || is_before(access_time_, change_time_) || now.seconds - access_time_.seconds >= kSecondsPerDay;
  if (is_stale) access_time_ = now;
  access_time_fresh_until_.store(access_time_.seconds + kSecondsPerDay, std::memory_order_relaxed);
}

void Inode::stamp_change_locked(bool modified) {
  change_time_ = file_time_now();
  if (modified) modify_time_ = change_time_;
  access_time_fresh_until_.store(0, std::memory_order_relaxed);
}

void Inode::touch_modify_and_change_time() {
  MutexLock lock(mutex_);
  stamp_change_locked(true);
}

void Inode::touch_change_time() {
  MutexLock lock(mutex_);
  stamp_change_locked(false);
}

NewOwner owner_of_new(const Inode& directory, const Caller& caller, uint32_t mode) {
  NewOwner owner{caller.credentials.fsuid, caller.credentials.fsgid, mode};
  if (!(directory.mode() & mode::kSetGid)) return owner;
  owner.gid = directory.gid();
  if ((mode & kFileTypeMask) == static_cast<uint32_t>(FileType::Directory)) {
    owner.mode |= mode::kSetGid;
  } else if ((mode & (mode::kSetGid | 010)) == (mode::kSetGid | 010) && !caller.credentials.in_group(owner.gid) && !caller.credentials.has(Capability::Fsetid)) {
    // A file must not become set-group-id to a group its maker is not in.
    owner.mode &= ~mode::kSetGid;
  }
  return owner;
}

}  // namespace umk::vfs
