// execve(2), execveat(2).
#include "core/kernel/syscall/families.h"
#include "core/kernel/task/exec.h"
#include "core/kernel/vfs/vfs.h"
#include "core/lib/elf/initial_stack.h"

namespace umk {

namespace {

namespace at {
constexpr int kCwd = -100, kSymlinkNoFollow = 0x100, kEmptyPath = 0x1000;
}
constexpr size_t kPathMax = 4096;

Result<int64_t> run(Task& task, RefPtr<vfs::OpenFile> file, String name, bool unreachable, uint64_t arguments, uint64_t environment) {
  ExecRequest request;
  request.file = std::move(file);
  request.name = std::move(name);
  request.name_is_unreachable = unreachable;
  const uint64_t limit = elf::argument_space(task.process().limits.soft(Resource::Stack));
  TRY(request.arguments.add_from_user(arguments, limit));
  TRY(request.environment.add_from_user(environment, limit));
  TRY(exec(task, std::move(request)));
  return 0;
}

Result<int64_t> sys_execve(Task& task, UserString path, uint64_t arguments, uint64_t environment) {
  String name = TRY(path.read(kPathMax));
  RefPtr<vfs::OpenFile> file = TRY(open_executable(task, nullptr, name, vfs::walk::kFollow));
  return run(task, std::move(file), std::move(name), false, arguments, environment);
}

Result<int64_t> sys_execveat(Task& task, int directory, UserString path, uint64_t arguments, uint64_t environment, int flags) {
  if (flags & ~(at::kSymlinkNoFollow | at::kEmptyPath)) return error(EINVAL);
  String name = TRY(path.read(kPathMax));
  const bool is_relative = name.empty() || name.view()[0] != '/';
  vfs::Path base;
  bool unreachable = false;
  String shown = TRY(name.clone());
  if (is_relative && directory != at::kCwd) {
    const RefPtr<vfs::OpenFile> opened = TRY(task.fds().get(Fd{directory}));
    base = opened->path();
    unreachable = TRY(task.fds().get_close_on_exec(Fd{directory}));
    shown = name.empty() ? TRY(format_string("/dev/fd/{}", directory)) : TRY(format_string("/dev/fd/{}/{}", directory, name));
  }
  const unsigned walk_flags = ((flags & at::kSymlinkNoFollow) ? 0 : vfs::walk::kFollow) | ((flags & at::kEmptyPath) ? vfs::walk::kEmptyPath : 0);
  RefPtr<vfs::OpenFile> file = TRY(open_executable(task, base ? &base : nullptr, name, walk_flags));
  return run(task, std::move(file), std::move(shown), unreachable, arguments, environment);
}

}  // namespace

const SyscallRow kSysExecRows[] = {
    full<sys_execve>(59, "execve"),
    full<sys_execveat>(322, "execveat"),
};
const size_t kSysExecRowCount = std::size(kSysExecRows);

}  // namespace umk
