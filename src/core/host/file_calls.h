// Calls on files of the host: what hostfs and disk images are made of. As in calls.h: the host's own flag values, kernel memory only.
//
// Names are single components where a caller wants no symlink to be followed; nothing here checks that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"

namespace umk::host {

/// Directory argument of the *at calls that means the working directory.
inline constexpr int kWorkingDirectory = -100;

/// The host's open flags and *at flags that callers of this layer need.
namespace file_flags {
inline constexpr int kReadOnly = 0, kWriteOnly = 1, kReadWrite = 2, kCreate = 0100, kExclusive = 0200, kNoTty = 0400, kNonBlock = 04000;
inline constexpr int kDirectory = 0200000, kNoFollow = 0400000, kCloseOnExec = 02000000, kPath = 010000000, kTemporary = 020200000;
}  // namespace file_flags
namespace at_flags {
inline constexpr int kNoFollow = 0x100, kRemoveDirectory = 0x200, kFollow = 0x400, kEmptyPath = 0x1000;
}
namespace resolve_flags {
inline constexpr uint64_t kNoMagicLinks = 2, kInRoot = 16;
}

struct FileTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

/// struct statx of statx(2).
struct FileStatus {
  uint32_t mask, block_size;
  uint64_t attributes;
  uint32_t links, uid, gid;
  uint16_t mode, reserved0;
  uint64_t number, size, blocks, attributes_mask;
  FileTime access_time, birth_time, change_time, modify_time;
  uint32_t device_major, device_minor;      // of a device node
  uint32_t holder_major, holder_minor;      // of the filesystem
  uint64_t reserved1[14];
};
static_assert(sizeof(FileStatus) == 256);
inline constexpr uint32_t kStatusBirthTime = 0x800;

/// struct statfs of statfs(2).
struct FilesystemStatus {
  int64_t type, block_size;
  uint64_t blocks, blocks_free, blocks_available, files, files_free;
  int32_t id[2];
  int64_t name_length, fragment_size, flags, reserved[4];
};
static_assert(sizeof(FilesystemStatus) == 120);

/// Memory of the guest whose bounds the caller has checked against the guest's part of the address space: the one kind of address that is not the
/// kernel's. The host answers EFAULT, or a short count, where the guest has no page.
class UserRange {
 public:
  static UserRange checked(uint64_t address, size_t size) { return UserRange(address, size); }
  uint64_t address() const { return address_; }
  size_t size() const { return size_; }

 private:
  UserRange(uint64_t address, size_t size) : address_(address), size_(size) {}
  uint64_t address_;
  size_t size_;
};

Result<size_t> pread(int fd, UserRange into, uint64_t offset);
Result<size_t> pwrite(int fd, UserRange from, uint64_t offset);

/// A piece of memory, as the host's struct iovec.
struct IoVector {
  std::byte* data;
  size_t bytes;
};
/// preadv(2), pwritev(2).
Result<size_t> pread_vector(int fd, std::span<const IoVector> into, uint64_t offset);
Result<size_t> pwrite_vector(int fd, std::span<const IoVector> from, uint64_t offset);

/// statx(2) with all basic fields and the birth time. An empty name with at_flags::kEmptyPath asks for `directory` itself.
Result<FileStatus> status_at(int directory, const char* name, int flags);
inline Result<FileStatus> status_of(int fd) { return status_at(fd, "", at_flags::kEmptyPath); }
Result<FilesystemStatus> filesystem_of(int fd);
Result<uint64_t> seek(int fd, int64_t offset, int whence);
/// getdents64(2): raw records.
Result<size_t> list(int fd, std::span<std::byte> into);
/// openat2(2).
Result<int> open_resolved(int directory, const char* path, int flags, uint64_t resolve);
Result<void> make_directory(int directory, const char* name, uint32_t mode);
Result<void> make_node(int directory, const char* name, uint32_t mode, uint64_t device);
Result<void> make_symlink(const char* target, int directory, const char* name);
Result<void> link(int old_directory, const char* old_path, int directory, const char* name, int flags);
Result<void> unlink(int directory, const char* name, int flags);
Result<void> rename(int old_directory, const char* old_name, int directory, const char* name, unsigned flags);
/// The target text; a full `into` may have been cut.
Result<size_t> read_link(int directory, const char* name, std::span<char> into);
Result<void> change_mode(const char* path, uint32_t mode);
Result<void> change_owner(int directory, const char* name, uint32_t uid, uint32_t gid, int flags);
/// utimensat(2); a nanoseconds member of kOmitTime leaves that time alone, kNowTime sets it to the present.
inline constexpr uint32_t kOmitTime = (1u << 30) - 2, kNowTime = (1u << 30) - 1;
Result<void> change_times(int directory, const char* name, const FileTime& access, const FileTime& modify, int flags);
Result<void> sync_filesystem(int fd);
/// sync_file_range(2): the host's disk is to begin with what was written there. It makes nothing durable. A thread of the monitor's.
inline constexpr uint32_t kStartWriteOut = 2;
Result<void> start_write_out(int fd, uint64_t offset, uint64_t bytes);

/// xattr(7); the path's last component is followed unless it is itself a magic link of /proc. A size of 0 asks for the length.
Result<size_t> get_attribute(const char* path, const char* name, std::span<char> into);
Result<void> set_attribute(const char* path, const char* name, std::span<const char> value, int flags);
Result<void> remove_attribute(const char* path, const char* name);
Result<size_t> list_attributes(const char* path, std::span<char> into);

uint32_t effective_user();
uint32_t effective_group();
/// The soft limit of open descriptors.
uint64_t descriptor_limit();

}  // namespace umk::host
