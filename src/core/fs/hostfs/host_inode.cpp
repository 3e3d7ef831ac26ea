// Identity, descriptors and metadata of a host file.
#include "core/fs/hostfs/host_inode.h"

#include "core/fs/hostfs/host_superblock.h"
#include "core/host/calls.h"
#include "core/host/kernel_stack.h"

namespace umk::hostfs {

namespace {

using vfs::FileType;

constexpr uint64_t kNameTrustNs = 100'000'000;
/// How long the answer to a name check stands for the stat or open that asked for it.
constexpr uint64_t kFreshNs = 20'000;
/// A file that was changed less than this ago may change again without a new change time.
constexpr int64_t kTimestampDoubtNs = 20'000'000;

constexpr int kOpenName = host::file_flags::kPath | host::file_flags::kNoFollow | host::file_flags::kCloseOnExec;
constexpr int kOpenData = host::file_flags::kNoFollow | host::file_flags::kCloseOnExec | host::file_flags::kNonBlock | host::file_flags::kNoTty;

int open_mode(unsigned access) {
  if (access == HostDescriptor::kRead) return host::file_flags::kReadOnly;
  return access == HostDescriptor::kWrite ? host::file_flags::kWriteOnly : host::file_flags::kReadWrite;
}

uint32_t guest_mode(const host::FileStatus& status, const OwnerRecord& record) {
  const uint32_t type = record.type ? static_cast<uint32_t>(*record.type) : status.mode & vfs::kFileTypeMask;
  return type | (record.permissions ? *record.permissions : status.mode & vfs::kPermissionMask);
}

vfs::DeviceNumber guest_device(const host::FileStatus& status, const OwnerRecord& record) {
  return record.type ? record.device : vfs::DeviceNumber{status.device_major, status.device_minor};
}

vfs::Timestamp timestamp(const host::FileTime& time) { return {time.seconds, time.nanoseconds}; }

bool same_time(const host::FileTime& a, const host::FileTime& b) { return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds; }

bool is_settled(const host::FileTime& changed) {
  const auto now = static_cast<int64_t>(host::now_ns(host::Clock::Realtime));
  return now - (changed.seconds * 1'000'000'000 + changed.nanoseconds) > kTimestampDoubtNs;
}

}  // namespace

FileIdentity FileIdentity::of(const host::FileStatus& status) {
  FileIdentity identity{static_cast<uint64_t>(status.holder_major) << 32 | status.holder_minor, status.number, 0, 0, status.mode & vfs::kFileTypeMask};
  if (status.mask & host::kStatusBirthTime) {
    identity.birth_seconds = status.birth_time.seconds;
    identity.birth_nanoseconds = status.birth_time.nanoseconds;
  }
  return identity;
}

HostName::HostName(std::string_view name) {
  CHECK(name.size() < sizeof text_, "the VFS bounds names");
  memcpy(text_, name.data(), name.size());
  text_[name.size()] = '\0';
}

HostInode::HostInode(HostSuperblock& superblock, const host::FileStatus& status, const OwnerRecord& record, unsigned filesystem, bool is_covered)
    : Inode(superblock, HostSuperblock::number_on(filesystem, status.number), guest_mode(status, record), 0, 0, guest_device(status, record)),
      identity_(FileIdentity::of(status)),
      host_type_(static_cast<FileType>(status.mode & vfs::kFileTypeMask)),
      filesystem_(filesystem),
      is_covered_(is_covered) {
  absorb(status, record);
}

HostInode::~HostInode() { drop_text_copies(); }

void HostInode::last_reference_dropped() {
  // A loop, as a long chain of parents must not become a deep recursion.
  HostInode* doomed = this;
  while (doomed) {
    doomed->host().descriptors().remove(*doomed);
    doomed->host().forget(*doomed);
    HostInode* parent;
    {
      MutexLock lock(doomed->file_mutex_);
      parent = doomed->parent_.leak();
    }
    delete doomed;
    doomed = parent && parent->drop_reference_only() ? parent : nullptr;
  }
}

HostSuperblock& HostInode::host() const { return static_cast<HostSuperblock&>(superblock()); }

// --- names and descriptors

Result<void> HostInode::set_place(HostInode* parent, std::string_view name) {
  RefPtr<HostInode> old_parent;
  MutexLock lock(file_mutex_);
  if (parent_ == parent && name_ == name) return {};
  String text = TRY(String::from(name));
  name_ = std::move(text);
  old_parent = std::exchange(parent_, RefPtr<HostInode>(parent));
  // The old parent is still in use by those who walked here: this is never its last reference, which could not be dropped under a lock.
  return {};
}

Result<String> HostInode::path_from_top() {
  constexpr unsigned kDeepest = 4096;
  Vector<String> names;
  RefPtr<HostInode> at(this);
  for (unsigned depth = 0; depth < kDeepest; ++depth) {
    RefPtr<HostInode> above;
    {
      MutexLock lock(at->file_mutex_);
      above = at->parent_;
      if (above) TRY(names.push_back(TRY(at->name_.clone())));
    }
    if (!above) break;
    at = std::move(above);
  }
  String path;
  for (size_t i = names.size(); i-- > 0;) {
    if (!path.empty()) TRY(path.append('/'));
    TRY(path.append(names[i].view()));
  }
  return path;
}

/// One that is open and allows `access`, or null.
RefPtr<HostDescriptor> HostInode::known_descriptor(unsigned access) {
  MutexLock lock(file_mutex_);
  if (descriptor_ && descriptor_->allows(access)) return descriptor_;
  if (writer_ && writer_->allows(access)) return writer_;
  return nullptr;
}

Result<RefPtr<HostDescriptor>> HostInode::descriptor(unsigned access) {
  if (RefPtr<HostDescriptor> known = known_descriptor(access)) return known;
  if (access != 0) {
    if (is_covered_) return error(EACCES);
    if (host_type_ != FileType::Regular && host_type_ != FileType::Directory) return error(ENXIO);
  }
  RefPtr<HostDescriptor> opened;
  if (access & HostDescriptor::kWrite) {
    // One for both serves all who write, and mappings; a file that may only be written is opened for just that.
    Result<RefPtr<HostDescriptor>> both = open_as(HostDescriptor::kRead | HostDescriptor::kWrite);
    opened = both.code() == EACCES && access == HostDescriptor::kWrite ? TRY(open_as(access)) : TRY(std::move(both));
  } else {
    opened = TRY(open_as(access));
  }
  offer_descriptor(opened);
  host().descriptors().trim();
  return opened;
}

Result<RefPtr<HostDescriptor>> HostInode::open_as(unsigned access) {
  RefPtr<HostDescriptor> known = known_descriptor(0);
  if (known && host_type_ == FileType::Directory) return open_again(*known, access);
  // By its name is the cheap way; when that is out of date, what is open leads to the file.
  Result<RefPtr<HostDescriptor>> opened = open_by_name(access);
  if (opened.code() == ESTALE && known) return open_again(*known, access);
  return opened;
}

/// Opens the file where it was last found. ESTALE when something else is there.
Result<RefPtr<HostDescriptor>> HostInode::open_by_name(unsigned access) {
  RefPtr<HostInode> parent;
  String name;
  {
    MutexLock lock(file_mutex_);
    parent = parent_;
    if (parent) TRY(name.append(name_.view()));
  }
  if (!parent) return error(ESTALE);
  RefPtr<HostDescriptor> directory = TRY(parent->descriptor());
  Result<int> fd = host::openat(directory->fd(), name.c_str(), access == 0 ? kOpenName : open_mode(access) | kOpenData, 0);
  if (!fd.ok()) {
    const int code = fd.code();
    return code == ENOENT || code == ELOOP || code == EISDIR || code == ENXIO || code == ENOTDIR ? error(ESTALE) : fd.failure();
  }
  RefPtr<HostDescriptor> opened = TRY(HostDescriptor::adopt(host().descriptors(), fd.value(), access));
  if (FileIdentity::of(TRY(host::status_of(opened->fd()))) != identity_) return error(ESTALE);
  return opened;
}

/// Opens what is open already with more rights, wherever it is now.
Result<RefPtr<HostDescriptor>> HostInode::open_again(const HostDescriptor& known, unsigned access) {
  const int fd = host_type_ == FileType::Directory
                     ? TRY(host::openat(known.fd(), ".", open_mode(access) | kOpenData | host::file_flags::kDirectory, 0))
                     : TRY(host::openat(host::kWorkingDirectory, DescriptorPath(known).c_str(), open_mode(access) | (kOpenData & ~host::file_flags::kNoFollow), 0));
  return HostDescriptor::adopt(host().descriptors(), fd, access);
}

/// Keeps `descriptor` for the next use if it is better than what there is.
void HostInode::offer_descriptor(RefPtr<HostDescriptor> descriptor) {
  RefPtr<HostDescriptor> old;
  {
    MutexLock lock(file_mutex_);
    const bool writes = descriptor->allows(HostDescriptor::kWrite);
    RefPtr<HostDescriptor>& slot = writes ? writer_ : descriptor_;
    if (slot && (!descriptor->allows(slot->access()) || descriptor->access() == slot->access())) return;
    old = std::exchange(slot, std::move(descriptor));
    if (writes) return;
  }
  if (!old) host().descriptors().add(*this);
}

void HostInode::give_descriptor_back() {
  RefPtr<HostDescriptor> old;
  {
    MutexLock lock(file_mutex_);
    // The top has no name, and without its own a nameless file could not be found again.
    if (open_files_ > 0 || mappings_ > 0 || is_kept_ || !parent_) return;
    old = std::exchange(descriptor_, nullptr);
  }
  host().descriptors().remove(*this);
}

void HostInode::keep_descriptor() {
  forget_fresh();
  (void)descriptor().ok();
  MutexLock lock(file_mutex_);
  is_kept_ = true;
}

void HostInode::drop_write_access_if_unused() {
  RefPtr<HostDescriptor> old;
  MutexLock lock(file_mutex_);
  const bool is_only_way = !descriptor_ && (is_kept_ || is_nameless_.load(std::memory_order_relaxed));
  if (open_writers_ > 0 || is_only_way) return;
  old = std::move(writer_);
}

// --- metadata

void HostInode::mark_fresh() {
  fresh_at_ns_.store(host::now_ns(host::Clock::Monotonic), std::memory_order_relaxed);
  fresh_for_.store(&current_stack(), std::memory_order_release);
}

bool HostInode::take_fresh() {
  if (fresh_for_.load(std::memory_order_relaxed) != &current_stack()) return false;
  if (fresh_for_.exchange(nullptr, std::memory_order_acquire) != &current_stack()) return false;
  return host::now_ns(host::Clock::Monotonic) - fresh_at_ns_.load(std::memory_order_relaxed) < kFreshNs;
}

Result<host::FileStatus> HostInode::current_status() {
  if (RefPtr<HostDescriptor> known = known_descriptor(0)) return host::status_of(known->fd());
  RefPtr<HostInode> parent;
  String name;
  {
    MutexLock lock(file_mutex_);
    parent = parent_;
    if (parent) TRY(name.append(name_.view()));
  }
  if (!parent) return error(ESTALE);
  RefPtr<HostDescriptor> directory = TRY(parent->descriptor());
  const host::FileStatus status = TRY(host::status_at(directory->fd(), name.c_str(), host::at_flags::kNoFollow));
  if (FileIdentity::of(status) != identity_) return error(ESTALE);
  return status;
}

void HostInode::absorb(const host::FileStatus& status, const OwnerRecord& record) {
  const bool settled = is_settled(status.change_time);
  // Somebody on the host wrote to a program: the next one who runs it gets what it is now.
  if (has_text_copies() && contents_differ(status)) drop_text_copies();
  MutexLock lock(file_mutex_);
  // Two who asked at the same time may store in the wrong order: the next check of the name finds another change time and mends it.
  status_ = status;
  record_ = record;
  record_is_settled_ = settled;
  const uint32_t type = mode() & vfs::kFileTypeMask;
  mode_.store(type | (guest_mode(status, record) & vfs::kPermissionMask), std::memory_order_relaxed);
  uid_.store(record.uid.value_or(host().shown_user(status.uid)), std::memory_order_relaxed);
  gid_.store(record.gid.value_or(host().shown_group(status.gid)), std::memory_order_relaxed);
  links_.store(status.links, std::memory_order_relaxed);
  size_bytes_.store(status.size, std::memory_order_release);
}

bool HostInode::contents_differ(const host::FileStatus& status) {
  MutexLock lock(file_mutex_);
  return !same_time(status.modify_time, status_.modify_time) || status.size != status_.size;
}

Result<void> HostInode::absorb(const host::FileStatus& status) {
  RefPtr<HostInode> parent;
  String name;
  {
    MutexLock lock(file_mutex_);
    if (record_is_settled_ && same_time(status.change_time, status_.change_time)) {
      // The usual case: nothing changed but, perhaps, the time of access.
      status_ = status;
      return {};
    }
    parent = parent_;
    if (parent) TRY(name.append(name_.view()));
  }
  OwnerRecord record;
  if (!is_covered_ && host().maps_owners()) {
    if (Result<RefPtr<HostDescriptor>> file = descriptor(); file.ok()) record = TRY(host().record_of(*file.value(), status, parent.get(), name.view()));
  }
  absorb(status, record);
  return {};
}

Result<vfs::Metadata> HostInode::metadata() {
  bool is_gone = false;
  if (!take_fresh()) {
    Result<host::FileStatus> status = current_status();
    // Somebody on the host took the file away and nothing of it was kept open: what is left is what was known.
    is_gone = status.code() == ESTALE || status.code() == ENOENT;
    if (!is_gone) TRY(absorb(TRY(std::move(status))));
  }
  vfs::Metadata data;
  data.number = number();
  data.mode = mode();
  data.uid = uid();
  data.gid = gid();
  data.device = device();
  MutexLock lock(file_mutex_);
  data.links = is_gone ? 0 : status_.links;
  data.size_bytes = status_.size;
  data.blocks = status_.blocks;
  data.block_size = status_.block_size;
  data.access_time = timestamp(status_.access_time);
  data.modify_time = timestamp(status_.modify_time);
  data.change_time = timestamp(status_.change_time);
  data.birth_time = timestamp(status_.birth_time);
  return data;
}

bool HostInode::revalidate(std::string_view name, vfs::Inode* child) {
  if (is_covered_) return child == nullptr;
  if (is_hidden(name)) return child == nullptr;
  Result<RefPtr<HostDescriptor>> directory = descriptor();
  if (!directory.ok()) return false;
  const HostName host_name(name);
  auto* known = static_cast<HostInode*>(child);
  const bool is_lasting = known && (known->host_type_ == FileType::Directory || known->host_type_ == FileType::Symlink);
  uint64_t now = 0;
  if (is_lasting) {
    now = host::now_ns(host::Clock::MonotonicCoarse);
    if (now - known->name_checked_ns_.load(std::memory_order_relaxed) < kNameTrustNs) return true;
  }
  Result<host::FileStatus> status = host::status_at(directory.value()->fd(), host_name.c_str(), host::at_flags::kNoFollow);
  if (!known) return status.code() == ENOENT;
  if (!status.ok() || FileIdentity::of(status.value()) != known->identity_) return false;
  if (!known->set_place(this, name).ok() || !known->absorb(status.value()).ok()) return false;
  if (is_lasting) known->name_checked_ns_.store(now, std::memory_order_relaxed);
  known->mark_fresh();
  return true;
}

Result<void> HostInode::check_changeable() {
  forget_fresh();
  if (is_covered_) return error(EACCES);
  return {};
}

}  // namespace umk::hostfs
