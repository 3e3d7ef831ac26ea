#include "core/host/file_calls.h"

#include "core/host/calls.h"

namespace umk::host {

namespace {

constexpr uint64_t kBasicStatus = 0x7ff;
constexpr uint64_t kLimitOfDescriptors = 7;

struct OpenHow {
  uint64_t flags, mode, resolve;
};

uint64_t word(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }
uint64_t word(int value) { return static_cast<uint64_t>(static_cast<int64_t>(value)); }

template <typename... Arguments>
Result<void> call(Call which, Arguments... arguments) {
  TRY(checked(raw_call(which, arguments...)));
  return {};
}

}  // namespace

Result<size_t> pread(int fd, UserRange into, uint64_t offset) { return checked(raw_call(Call::Pread, word(fd), into.address(), into.size(), offset)); }
Result<size_t> pwrite(int fd, UserRange from, uint64_t offset) { return checked(raw_call(Call::Pwrite, word(fd), from.address(), from.size(), offset)); }

Result<size_t> pread_vector(int fd, std::span<const IoVector> into, uint64_t offset) {
  return checked(raw_call(Call::Preadv, word(fd), word(into.data()), into.size(), offset, 0));
}
Result<size_t> pwrite_vector(int fd, std::span<const IoVector> from, uint64_t offset) {
  return checked(raw_call(Call::Pwritev, word(fd), word(from.data()), from.size(), offset, 0));
}

Result<FileStatus> status_at(int directory, const char* name, int flags) {
  FileStatus status;
  TRY(checked(raw_call(Call::Statx, word(directory), word(name), word(flags), kBasicStatus | kStatusBirthTime, word(&status))));
  return status;
}

Result<FilesystemStatus> filesystem_of(int fd) {
  FilesystemStatus status;
  TRY(checked(raw_call(Call::Fstatfs, word(fd), word(&status))));
  return status;
}

Result<uint64_t> seek(int fd, int64_t offset, int whence) { return checked(raw_call(Call::Lseek, word(fd), static_cast<uint64_t>(offset), word(whence))); }
Result<size_t> list(int fd, std::span<std::byte> into) { return checked(raw_call(Call::Getdents64, word(fd), word(into.data()), into.size())); }

Result<int> open_resolved(int directory, const char* path, int flags, uint64_t resolve) {
  const OpenHow how{static_cast<uint64_t>(flags), 0, resolve};
  return static_cast<int>(TRY(checked(raw_call(Call::Openat2, word(directory), word(path), word(&how), sizeof how))));
}

Result<void> make_directory(int directory, const char* name, uint32_t mode) { return call(Call::Mkdirat, word(directory), word(name), uint64_t{mode}); }
Result<void> make_node(int directory, const char* name, uint32_t mode, uint64_t device) {
  return call(Call::Mknodat, word(directory), word(name), uint64_t{mode}, device);
}
Result<void> make_symlink(const char* target, int directory, const char* name) { return call(Call::Symlinkat, word(target), word(directory), word(name)); }
Result<void> link(int old_directory, const char* old_path, int directory, const char* name, int flags) {
  return call(Call::Linkat, word(old_directory), word(old_path), word(directory), word(name), word(flags));
}
Result<void> unlink(int directory, const char* name, int flags) { return call(Call::Unlinkat, word(directory), word(name), word(flags)); }
Result<void> rename(int old_directory, const char* old_name, int directory, const char* name, unsigned flags) {
  return call(Call::Renameat2, word(old_directory), word(old_name), word(directory), word(name), uint64_t{flags});
}
Result<size_t> read_link(int directory, const char* name, std::span<char> into) {
  return checked(raw_call(Call::Readlinkat, word(directory), word(name), word(into.data()), into.size()));
}
Result<void> change_mode(const char* path, uint32_t mode) { return call(Call::Chmod, word(path), uint64_t{mode}); }
Result<void> change_owner(int directory, const char* name, uint32_t uid, uint32_t gid, int flags) {
  return call(Call::Fchownat, word(directory), word(name), uint64_t{uid}, uint64_t{gid}, word(flags));
}

Result<void> change_times(int directory, const char* name, const FileTime& access, const FileTime& modify, int flags) {
  const int64_t times[4] = {access.seconds, access.nanoseconds, modify.seconds, modify.nanoseconds};
  return call(Call::Utimensat, word(directory), word(name), word(times), word(flags));
}

Result<void> sync_filesystem(int fd) { return call(Call::Syncfs, word(fd)); }
Result<void> start_write_out(int fd, uint64_t offset, uint64_t bytes) { return call(Call::SyncFileRange, word(fd), offset, bytes, uint64_t{kStartWriteOut}); }

Result<size_t> get_attribute(const char* path, const char* name, std::span<char> into) {
  return checked(raw_call(Call::Getxattr, word(path), word(name), word(into.data()), into.size()));
}
Result<void> set_attribute(const char* path, const char* name, std::span<const char> value, int flags) {
  return call(Call::Setxattr, word(path), word(name), word(value.data()), uint64_t{value.size()}, word(flags));
}
Result<void> remove_attribute(const char* path, const char* name) { return call(Call::Removexattr, word(path), word(name)); }
Result<size_t> list_attributes(const char* path, std::span<char> into) { return checked(raw_call(Call::Listxattr, word(path), word(into.data()), into.size())); }

uint32_t effective_user() { return static_cast<uint32_t>(raw_call(Call::Geteuid)); }
uint32_t effective_group() { return static_cast<uint32_t>(raw_call(Call::Getegid)); }

uint64_t descriptor_limit() {
  uint64_t limit[2] = {0, 0};
  raw_call(Call::Getrlimit, kLimitOfDescriptors, word(limit));
  return limit[0];
}

}  // namespace umk::host
