// Attributes of host files: owners, modes, times, sizes; extended attributes; symlink targets.
#include "core/fs/hostfs/host_superblock.h"
#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"

namespace umk::hostfs {

namespace {

using vfs::FileType;

constexpr size_t kMaximumLinkBytes = 4096;
constexpr size_t kMaximumAttributeBytes = 64 << 10;

bool is_hidden_attribute(std::string_view name) { return name.starts_with(kHiddenAttributePrefix); }

host::FileTime host_time(const std::optional<vfs::Timestamp>& time, bool is_now) {
  if (!time) return {0, host::kOmitTime, 0};
  if (is_now) return {0, host::kNowTime, 0};
  return {time->seconds, time->nanoseconds, 0};
}

}  // namespace

Result<void> HostInode::change(const vfs::MetadataChange& wanted) {
  TRY(check_changeable());
  if (wanted.size_bytes) {
    RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kWrite));
    const uint64_t old_size = size_bytes();
    TRY(host::ftruncate(file->fd(), *wanted.size_bytes));
    if (has_text_copies()) drop_text_copies();
    // The host takes away what it maps beyond the end; the kernel's executable copies are our own to take.
    if (*wanted.size_bytes < old_size) mm::unmap_beyond(*this, *wanted.size_bytes);
  }
  RefPtr<HostDescriptor> file = TRY(descriptor());
  if (wanted.permissions || wanted.uid || wanted.gid) {
    // One change at a time: the record is read, changed and written.
    MutexLock lock(mutex());
    const host::FileStatus status = TRY(host::status_of(file->fd()));
    TRY(host().maps_owners() ? change_record(wanted, status) : change_on_host(wanted, status));
  }
  if (wanted.access_time || wanted.modify_time)
    TRY(host::change_times(file->fd(), "", host_time(wanted.access_time, wanted.access_is_now), host_time(wanted.modify_time, wanted.modify_is_now),
                           host::at_flags::kEmptyPath));
  drop_write_access_if_unused();
  return absorb(TRY(current_status()));
}

/// owners=host: what the host refuses fails.
Result<void> HostInode::change_on_host(const vfs::MetadataChange& wanted, const host::FileStatus&) {
  RefPtr<HostDescriptor> file = TRY(descriptor());
  if (wanted.uid || wanted.gid)
    TRY(host::change_owner(file->fd(), "", wanted.uid.value_or(UINT32_MAX), wanted.gid.value_or(UINT32_MAX), host::at_flags::kEmptyPath));
  if (wanted.permissions && host_type_ != FileType::Symlink) TRY(host::change_mode(DescriptorPath(*file).c_str(), *wanted.permissions));
  return {};
}

Result<void> HostInode::change_record(const vfs::MetadataChange& wanted, const host::FileStatus& status) {
  TRY(absorb(status));
  OwnerRecord old;
  {
    MutexLock lock(file_mutex_);
    old = record_;
  }
  RefPtr<HostDescriptor> file = TRY(descriptor());
  const String path = TRY(path_from_top());
  const uint32_t permissions = wanted.permissions.value_or(mode() & vfs::kPermissionMask);
  const OwnerRecord record = TRY(show_as(*file, status, old, wanted.uid.value_or(uid()), wanted.gid.value_or(gid()), permissions, path.view()));
  // chown(2) changes the change time even where it changes nothing else; on the host a mode that is set again does that.
  host::FileStatus now = TRY(host::status_of(file->fd()));
  const bool is_unchanged = now.change_time.seconds == status.change_time.seconds && now.change_time.nanoseconds == status.change_time.nanoseconds;
  if (is_unchanged && host_type_ != FileType::Symlink && host().is_host_owner(status.uid)) {
    TRY(host::change_mode(DescriptorPath(*file).c_str(), now.mode & vfs::kPermissionMask));
    now = TRY(host::status_of(file->fd()));
  }
  absorb(now, record);
  return {};
}

Result<String> HostInode::read_link() {
  if (host_type_ != FileType::Symlink) return error(EINVAL);
  if (const std::string_view known = link_in_memory(); !known.empty()) return String::from(known);
  if (is_covered_) return error(EACCES);
  RefPtr<HostDescriptor> file = TRY(descriptor());
  char buffer[kMaximumLinkBytes];
  const size_t size = TRY(host::read_link(file->fd(), "", buffer));
  String text = TRY(String::from(std::string_view(buffer, size)));
  String copy = TRY(text.clone());
  MutexLock lock(file_mutex_);
  if (!link_is_read_.load(std::memory_order_relaxed)) {
    link_text_ = std::move(copy);
    link_is_read_.store(true, std::memory_order_release);
  }
  return text;
}

std::string_view HostInode::link_in_memory() const NO_THREAD_SAFETY_ANALYSIS {
  // A symlink's text is for life, so it is read without the lock once it is there.
  if (!link_is_read_.load(std::memory_order_acquire)) return {};
  return link_text_.view();
}

// --- xattr(7). Attributes of users pass through; those of other namespaces belong to the host.

Result<String> HostInode::get_attribute(std::string_view name) {
  if (!name.starts_with("user.") || is_covered_) return error(EOPNOTSUPP);
  if (is_hidden_attribute(name)) return error(ENODATA);
  RefPtr<HostDescriptor> file = TRY(descriptor());
  const String text = TRY(String::from(name));
  const DescriptorPath path(*file);
  for (;;) {
    const size_t size = TRY(host::get_attribute(path.c_str(), text.c_str(), {}));
    if (size == 0) return String{};
    if (size > kMaximumAttributeBytes) return error(E2BIG);
    Vector<char> value;
    TRY(value.resize(size));
    Result<size_t> got = host::get_attribute(path.c_str(), text.c_str(), value);
    // It grew between the two calls.
    if (got.code() == ERANGE) continue;
    return String::from(std::string_view(value.data(), TRY(std::move(got))));
  }
}

Result<void> HostInode::set_attribute(std::string_view name, std::string_view value, int flags) {
  TRY(check_changeable());
  if (!name.starts_with("user.")) return error(EOPNOTSUPP);
  if (is_hidden_attribute(name)) return error(EPERM);
  RefPtr<HostDescriptor> file = TRY(descriptor());
  const String text = TRY(String::from(name));
  return host::set_attribute(DescriptorPath(*file).c_str(), text.c_str(), std::span(value.data(), value.size()), flags);
}

Result<void> HostInode::remove_attribute(std::string_view name) {
  TRY(check_changeable());
  if (!name.starts_with("user.")) return error(EOPNOTSUPP);
  if (is_hidden_attribute(name)) return error(ENODATA);
  RefPtr<HostDescriptor> file = TRY(descriptor());
  const String text = TRY(String::from(name));
  return host::remove_attribute(DescriptorPath(*file).c_str(), text.c_str());
}

Result<String> HostInode::list_attributes() {
  if (is_covered_ || (host_type_ != FileType::Regular && host_type_ != FileType::Directory)) return String{};
  RefPtr<HostDescriptor> file = TRY(descriptor());
  const DescriptorPath path(*file);
  for (;;) {
    Result<size_t> size = host::list_attributes(path.c_str(), {});
    if (size.code() == EOPNOTSUPP) return String{};
    if (TRY(std::move(size)) == 0) return String{};
    Vector<char> names;
    TRY(names.resize(kMaximumAttributeBytes));
    Result<size_t> got = host::list_attributes(path.c_str(), names);
    if (got.code() == ERANGE) continue;
    String shown;
    std::string_view rest(names.data(), TRY(std::move(got)));
    while (!rest.empty()) {
      const std::string_view name = split_first(rest, '\0');
      if (!name.starts_with("user.") || is_hidden_attribute(name)) continue;
      TRY(shown.append(name));
      TRY(shown.append('\0'));
    }
    return shown;
  }
}

}  // namespace umk::hostfs
