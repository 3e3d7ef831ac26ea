// exec: a task replaces its program. execve(2), execveat(2).
//
// Two halves. Before the point of no return everything that can fail for ordinary reasons is done: the file and its interpreter are opened and
// checked, arguments are copied into the kernel. Then the other threads are ended, the address space is emptied and the new program is laid out
// in it; a failure there kills the process, as in Linux.
#pragma once

#include <span>
#include <string_view>

#include "core/base/result.h"
#include "core/base/string.h"
#include "core/base/vector.h"
#include "core/kernel/vfs/open_file.h"

namespace umk {

class Task;

/// Strings packed one after the other, each with its NUL.
class StringList {
 public:
  Result<void> add(std::string_view text);
  /// Copies a NULL-terminated array of strings of the guest; E2BIG beyond `limit_bytes` in all or 128 KiB for one, EFAULT.
  Result<void> add_from_user(uint64_t array, size_t limit_bytes);
  Result<void> insert_front(std::string_view text);
  void remove_front();
  size_t count() const { return offsets_.size(); }
  size_t total_bytes() const { return bytes_.size(); }
  std::string_view at(size_t index) const;
  /// Views of all strings; valid until the list changes.
  Result<Vector<std::string_view>> views() const;

 private:
  Vector<char> bytes_;
  Vector<uint32_t> offsets_;
  uint32_t first_ = 0;
};

struct ExecRequest {
  RefPtr<vfs::OpenFile> file;  // opened for execution
  String name;                 // AT_EXECFN, and what a script's interpreter is given
  StringList arguments;
  StringList environment;
  bool name_is_unreachable = false;  // execveat of a close-on-exec descriptor: scripts fail with ENOENT
};

/// Opens a file for execution: regular, executable for the caller, not on a noexec mount. `base` null: the working directory. EACCES, ENOENT, ELOOP...
Result<RefPtr<vfs::OpenFile>> open_executable(Task& task, const vfs::Path* base, std::string_view path, unsigned walk_flags);

/// Runs the program in the current task. On success the registers are the new program's and the caller returns to user mode by the full exit.
Result<void> exec(Task& task, ExecRequest request);

}  // namespace umk
