// The mount tree: mount, umount2, pivot_root.
#include <iterator>

#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/path_argument.h"

namespace umk {

namespace {

/// A string argument of mount(2), which may be null; at most a page.
Result<String> read_optional(UserString text) {
  if (!text) return String{};
  Result<String> copy = text.read(kPageSize - 1);
  if (!copy.ok() && copy.code() == ENAMETOOLONG) return error(EINVAL);
  return copy;
}

// mount(2). Flags of the second kind of arguments (data) are for the filesystem.
Result<void> sys_mount(Task& task, UserString source, UserString target, UserString type, uint64_t flags, UserString data) {
  const String type_text = TRY(read_optional(type));
  const String source_text = TRY(read_optional(source));
  const String options = TRY(read_optional(data));
  PathArgument text;
  return vfs_of(task).mount(task.caller(), source_text.view(), vfs::At{nullptr, TRY(text.read(target))}, type_text.view(), flags, options.view());
}

Result<void> sys_umount2(Task& task, UserString target, int flags) {
  PathArgument text;
  const vfs::At place{nullptr, TRY(text.read(target))};
  Result<void> outcome = vfs_of(task).unmount(task.caller(), place, flags);
  if (outcome.code() != EBUSY) return outcome;
  // Perhaps only with a program of it that has ended, while its text is still looked through.
  task.kernel().engine.finish_reading_programs();
  return vfs_of(task).unmount(task.caller(), place, flags);
}

// pivot_root(2): processes whose root or working directory was the old root have the new one afterwards.
Result<void> sys_pivot_root(Task& task, UserString new_root, UserString put_old) {
  PathArgument new_text, old_text;
  const std::string_view new_name = TRY(new_text.read(new_root));
  const vfs::Vfs::Pivot pivot = TRY(vfs_of(task).pivot_root(task.caller(), vfs::At{nullptr, new_name}, vfs::At{nullptr, TRY(old_text.read(put_old))}));

  TaskList& tasks = task.kernel().tasks;
  // The list is left between tasks: dropping a path must not happen under its lock.
  for (ThreadId next = 1;;) {
    RefPtr<Task> other;
    RefPtr<vfs::FsContext> fs;
    {
      MutexLock lock(tasks.mutex);
      other = tasks.next_task(next);
      if (other) fs = other->fs_;
    }
    if (!other) break;
    next = other->tid() + 1;
    if (!fs) continue;
    if (fs->root() == pivot.old_root) fs->set_root(pivot.new_root);
    if (fs->working_directory() == pivot.old_root) fs->set_working_directory(pivot.new_root);
  }
  return {};
}

}  // namespace

const SyscallRow kSysMountRows[] = {
    full<sys_pivot_root>(155, "pivot_root"),
    partial<sys_mount>(165, "mount", "no shared propagation"),
    full<sys_umount2>(166, "umount2"),
};
const size_t kSysMountRowCount = std::size(kSysMountRows);

}  // namespace umk
