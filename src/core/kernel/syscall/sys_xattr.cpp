// Extended attributes: getxattr, setxattr, listxattr, removexattr and their l- and f-forms. xattr(7).
#include <iterator>

#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/path_argument.h"

namespace umk {

namespace {

using vfs::Target;

constexpr size_t kNameLimit = 255;          // XATTR_NAME_MAX
constexpr uint64_t kValueLimit = 64 * 1024;  // XATTR_SIZE_MAX, and XATTR_LIST_MAX

Result<String> read_name(UserString name) {
  Result<String> text = name.read(kNameLimit);
  if (!text.ok()) return error(text.code() == ENAMETOOLONG ? ERANGE : text.code());
  if (text.value().empty()) return error(ERANGE);
  return text;
}

/// With no room the size alone is asked for.
Result<size_t> hand_out(const String& bytes, uint64_t address, uint64_t size) {
  if (size == 0) return bytes.size();
  if (bytes.size() > size) return error(ERANGE);
  if (copy_to_user(address, bytes.view().data(), bytes.size()).faulted) return error(EFAULT);
  return bytes.size();
}

Result<void> set(Task& task, const Target& target, UserString name, uint64_t value, uint64_t size, int flags) {
  if (flags & ~3) return error(EINVAL);
  const String name_text = TRY(read_name(name));
  if (size > kValueLimit) return error(E2BIG);
  std::unique_ptr<char[]> memory(new (std::nothrow) char[size + 1]);
  if (!memory) return error(ENOMEM);
  if (size != 0 && copy_from_user(memory.get(), value, size).faulted) return error(EFAULT);
  return vfs_of(task).set_attribute(task.caller(), target, name_text.view(), std::string_view(memory.get(), size), flags);
}

Result<size_t> get(Task& task, const Target& target, UserString name, uint64_t value, uint64_t size) {
  const String name_text = TRY(read_name(name));
  const String bytes = TRY(vfs_of(task).get_attribute(task.caller(), target, name_text.view()));
  return hand_out(bytes, value, size);
}

Result<size_t> list(Task& task, const Target& target, uint64_t names, uint64_t size) {
  const String bytes = TRY(vfs_of(task).list_attributes(task.caller(), target));
  if (bytes.size() > kValueLimit) return error(E2BIG);
  return hand_out(bytes, names, size);
}

Result<void> remove(Task& task, const Target& target, UserString name) {
  const String name_text = TRY(read_name(name));
  return vfs_of(task).remove_attribute(task.caller(), target, name_text.view());
}

/// Finds the file of a path and runs `body(target)` on it.
template <typename Body>
auto on_path(Task& task, UserString path, bool follow, Body&& body) -> decltype(body(std::declval<const Target&>())) {
  PathArgument text;
  TargetArgument target;
  return body(TRY(target.resolve(task, Fd{kWorkingDirectory}, TRY(text.read(path)), follow, false)));
}

template <typename Body>
auto on_descriptor(Task& task, Fd fd, Body&& body) -> decltype(body(std::declval<const Target&>())) {
  const RefPtr<vfs::OpenFile> file = TRY(task.fds().usable(fd));
  return body(Target(*file));
}

Result<void> sys_setxattr(Task& task, UserString path, UserString name, uint64_t value, uint64_t size, int flags) {
  return on_path(task, path, true, [&](const Target& target) { return set(task, target, name, value, size, flags); });
}
Result<void> sys_lsetxattr(Task& task, UserString path, UserString name, uint64_t value, uint64_t size, int flags) {
  return on_path(task, path, false, [&](const Target& target) { return set(task, target, name, value, size, flags); });
}
Result<void> sys_fsetxattr(Task& task, Fd fd, UserString name, uint64_t value, uint64_t size, int flags) {
  return on_descriptor(task, fd, [&](const Target& target) { return set(task, target, name, value, size, flags); });
}
Result<size_t> sys_getxattr(Task& task, UserString path, UserString name, uint64_t value, uint64_t size) {
  return on_path(task, path, true, [&](const Target& target) { return get(task, target, name, value, size); });
}
Result<size_t> sys_lgetxattr(Task& task, UserString path, UserString name, uint64_t value, uint64_t size) {
  return on_path(task, path, false, [&](const Target& target) { return get(task, target, name, value, size); });
}
Result<size_t> sys_fgetxattr(Task& task, Fd fd, UserString name, uint64_t value, uint64_t size) {
  return on_descriptor(task, fd, [&](const Target& target) { return get(task, target, name, value, size); });
}
Result<size_t> sys_listxattr(Task& task, UserString path, uint64_t names, uint64_t size) {
  return on_path(task, path, true, [&](const Target& target) { return list(task, target, names, size); });
}
Result<size_t> sys_llistxattr(Task& task, UserString path, uint64_t names, uint64_t size) {
  return on_path(task, path, false, [&](const Target& target) { return list(task, target, names, size); });
}
Result<size_t> sys_flistxattr(Task& task, Fd fd, uint64_t names, uint64_t size) {
  return on_descriptor(task, fd, [&](const Target& target) { return list(task, target, names, size); });
}
Result<void> sys_removexattr(Task& task, UserString path, UserString name) {
  return on_path(task, path, true, [&](const Target& target) { return remove(task, target, name); });
}
Result<void> sys_lremovexattr(Task& task, UserString path, UserString name) {
  return on_path(task, path, false, [&](const Target& target) { return remove(task, target, name); });
}
Result<void> sys_fremovexattr(Task& task, Fd fd, UserString name) {
  return on_descriptor(task, fd, [&](const Target& target) { return remove(task, target, name); });
}

}  // namespace

const SyscallRow kSysXattrRows[] = {
    full<sys_setxattr>(188, "setxattr"),
    full<sys_lsetxattr>(189, "lsetxattr"),
    full<sys_fsetxattr>(190, "fsetxattr"),
    full<sys_getxattr>(191, "getxattr"),
    full<sys_lgetxattr>(192, "lgetxattr"),
    full<sys_fgetxattr>(193, "fgetxattr"),
    full<sys_listxattr>(194, "listxattr"),
    full<sys_llistxattr>(195, "llistxattr"),
    full<sys_flistxattr>(196, "flistxattr"),
    full<sys_removexattr>(197, "removexattr"),
    full<sys_lremovexattr>(198, "lremovexattr"),
    full<sys_fremovexattr>(199, "fremovexattr"),
};
const size_t kSysXattrRowCount = std::size(kSysXattrRows);

}  // namespace umk
