#include "core/init/initramfs.h"

#include "core/base/log.h"
#include "core/lib/cpio/cpio_reader.h"
#include "core/lib/cpio/hard_links.h"

namespace umk::init {

namespace {

using vfs::At;
using vfs::FileType;
using vfs::Vfs;

FileType type_of(const cpio::Entry& entry) { return static_cast<FileType>(entry.mode & vfs::kFileTypeMask); }

class Unpacker {
 public:
  Unpacker(Vfs& vfs, const vfs::Caller& caller) : vfs_(vfs), caller_(caller), root_(caller.fs.root()) {}

  Result<void> unpack(const cpio::Entry& entry) {
    if (entry.name.empty()) return set_attributes(root_, entry);
    TRY(make_parents(entry.name));
    switch (type_of(entry)) {
      case FileType::Directory: TRY(make_directory(entry)); break;
      case FileType::Regular: TRY(make_file(entry)); break;
      case FileType::Symlink: TRY(make_symlink(entry)); break;
      case FileType::CharacterDevice:
      case FileType::BlockDevice:
      case FileType::Fifo:
      case FileType::Socket: TRY(make_node(entry)); break;
      default: return error(EINVAL);
    }
    const vfs::Path place = TRY(vfs_.lookup(caller_, at(entry.name), 0));
    return set_attributes(place, entry);
  }

 private:
  At at(std::string_view name) const { return At{&root_, name}; }

  Result<void> make_parents(std::string_view name) {
    for (size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/', slash + 1)) {
      Result<void> made = vfs_.make_directory(caller_, at(name.substr(0, slash)), 0755);
      if (!made.ok() && made.code() != EEXIST) return made;
    }
    return {};
  }

  /// Takes away what is in the way of something that is not a directory.
  Result<void> clear(std::string_view name) {
    Result<void> removed = vfs_.unlink(caller_, at(name));
    if (!removed.ok() && removed.code() == EISDIR) removed = vfs_.remove_directory(caller_, at(name));
    if (!removed.ok() && removed.code() != ENOENT) return removed;
    return {};
  }

  Result<void> make_directory(const cpio::Entry& entry) {
    Result<void> made = vfs_.make_directory(caller_, at(entry.name), entry.mode & vfs::kPermissionMask);
    if (made.ok() || made.code() != EEXIST) return made;
    const vfs::Path place = TRY(vfs_.lookup(caller_, at(entry.name), 0));
    if (place.dentry->inode()->is_directory()) return {};
    TRY(clear(entry.name));
    return vfs_.make_directory(caller_, at(entry.name), entry.mode & vfs::kPermissionMask);
  }

  Result<void> make_file(const cpio::Entry& entry) {
    namespace flags = vfs::open_flags;
    const std::string_view first = TRY(links_.first_name(entry));
    uint32_t open_flags = flags::kWriteOnly | flags::kNoFollow;
    if (first.empty()) {
      TRY(clear(entry.name));
      open_flags |= flags::kCreate | flags::kExclusive;
    } else {
      TRY(clear(entry.name));
      TRY(vfs_.link(caller_, at(first), 0, at(entry.name)));
      if (entry.data.empty()) return {};
      open_flags |= flags::kTruncate;
    }
    const RefPtr<vfs::OpenFile> file = TRY(vfs_.open(caller_, at(entry.name), {.flags = open_flags, .mode = entry.mode & vfs::kPermissionMask}));
    UserInBuffer data = UserInBuffer::kernel(entry.data);
    while (data.remaining() != 0)
      if (TRY(file->write(data)) == 0) return error(EIO);
    return {};
  }

  Result<void> make_symlink(const cpio::Entry& entry) {
    TRY(clear(entry.name));
    const std::string_view target(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
    if (target.size() >= vfs::kPathLimit) return error(EINVAL);
    return vfs_.make_symlink(caller_, target, at(entry.name));
  }

  Result<void> make_node(const cpio::Entry& entry) {
    TRY(clear(entry.name));
    return vfs_.make_node(caller_, at(entry.name), entry.mode, {entry.special_major, entry.special_minor});
  }

  Result<void> set_attributes(const vfs::Path& place, const cpio::Entry& entry) {
    const vfs::Target target(place);
    TRY(vfs_.change_owner(caller_, target, entry.user, entry.group));
    // After the owner, whose change drops set-user-id.
    if (!target.inode.is_symlink()) TRY(vfs_.change_mode(caller_, target, entry.mode & vfs::kPermissionMask));
    const vfs::TimeChange time{vfs::TimeChange::Kind::Set, {entry.modification_time, 0}};
    return vfs_.change_times(caller_, target, time, time);
  }

  Vfs& vfs_;
  const vfs::Caller& caller_;
  vfs::Path root_;
  cpio::HardLinks links_;
};

}  // namespace

Result<void> unpack_archive(Vfs& vfs, const vfs::Caller& caller, std::span<const std::byte> archive) {
  cpio::Reader reader(archive);
  Unpacker unpacker(vfs, caller);
  for (;;) {
    Result<std::optional<cpio::Entry>> entry = reader.next();
    if (!entry.ok()) {
      log(LogLevel::Error, "initramfs: {} at byte {}", reader.reason(), reader.position());
      return entry.failure();
    }
    if (!entry.value()) return {};
    if (Result<void> unpacked = unpacker.unpack(*entry.value()); !unpacked.ok()) {
      log(LogLevel::Error, "initramfs: cannot make {}: errno {}", entry.value()->name, unpacked.code());
      return unpacked;
    }
  }
}

}  // namespace umk::init
