// Directories: finding and listing names.
#include "core/fs/hostfs/host_superblock.h"
#include "core/host/calls.h"

namespace umk::hostfs {

namespace {

using vfs::FileType;

constexpr int kOpenName = host::file_flags::kPath | host::file_flags::kNoFollow | host::file_flags::kCloseOnExec;

/// The fixed part of a record of getdents64(2).
struct EntryHead {
  uint64_t number;
  int64_t next_position;
  uint16_t record_bytes;
  uint8_t type;
  char name[5];
};
constexpr size_t kNameOffset = offsetof(EntryHead, name);

}  // namespace

bool HostInode::is_hidden(std::string_view name) const { return host().is_top(*this) && name.starts_with(OwnerFile::kName); }

Result<RefPtr<vfs::Inode>> HostInode::lookup(std::string_view name) {
  if (host_type_ != FileType::Directory) return error(ENOTDIR);
  if (is_covered_ || is_hidden(name)) return error(ENOENT);
  RefPtr<HostDescriptor> directory = TRY(descriptor());
  RefPtr<HostDescriptor> file =
      TRY(HostDescriptor::adopt(host().descriptors(), TRY(host::openat(directory->fd(), HostName(name).c_str(), kOpenName, 0)), 0));
  const host::FileStatus status = TRY(host::status_of(file->fd()));
  RefPtr<HostInode> inode = TRY(host().inode_of(std::move(file), status, this, name));
  inode->name_checked_ns_.store(host::now_ns(host::Clock::MonotonicCoarse), std::memory_order_relaxed);
  inode->mark_fresh();
  return RefPtr<vfs::Inode>(std::move(inode));
}

Result<FileType> HostInode::type_of_entry(std::string_view name, uint8_t host_type) {
  bool may_stand_for_node;
  {
    MutexLock lock(file_mutex_);
    may_stand_for_node = record_.has_nodes;
  }
  const auto type = static_cast<FileType>(uint32_t{host_type} << 12);
  if (host_type != 0 && !(may_stand_for_node && type == FileType::Regular)) return type;
  return TRY(lookup(name))->type();
}

Result<uint64_t> HostInode::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (is_covered_) {
    vfs::list_self_and_parent(position, number(), parent_number, sink);
    return position;
  }
  RefPtr<HostDescriptor> directory = TRY(descriptor(HostDescriptor::kRead));
  // Seeking makes the host look for its place; a reader that goes on needs none. From the start it must see what is new.
  if (listed_ != directory.get() || list_position_ != position || position == 0) TRY(host::seek(directory->fd(), static_cast<int64_t>(position), 0));
  list_position_ = UINT64_MAX;
  listed_ = directory.get();

  constexpr size_t kBufferBytes = 16 << 10;
  const std::unique_ptr<std::byte[]> buffer(new (std::nothrow) std::byte[kBufferBytes]);
  if (!buffer) return error(ENOMEM);
  for (;;) {
    const size_t size = TRY(host::list(directory->fd(), std::span(buffer.get(), kBufferBytes)));
    if (size == 0) {
      list_position_ = position;
      return position;
    }
    for (size_t at = 0; at + kNameOffset < size;) {
      EntryHead head;
      memcpy(&head, buffer.get() + at, sizeof head);
      const char* text = reinterpret_cast<const char*>(buffer.get() + at + kNameOffset);
      const std::string_view name(text, strnlen(text, head.record_bytes - kNameOffset));
      at += head.record_bytes;
      const auto next = static_cast<uint64_t>(head.next_position);
      bool goes_on = true;
      if (name == ".") {
        goes_on = sink.emit(name, number(), FileType::Directory, next);
      } else if (name == "..") {
        goes_on = sink.emit(name, parent_number, FileType::Directory, next);
      } else if (!is_hidden(name)) {
        // An entry that went away meanwhile is no longer listed.
        Result<FileType> type = type_of_entry(name, head.type);
        if (type.ok()) goes_on = sink.emit(name, HostSuperblock::number_on(filesystem_, head.number), type.value(), next);
      }
      if (!goes_on) return position;
      position = next;
    }
  }
}

}  // namespace umk::hostfs
