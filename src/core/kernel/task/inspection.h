// Who may look into another process: ptrace(2), "Ptrace access mode checking".
#pragma once

#include "core/kernel/task/task.h"

namespace umk {

/// Which of the caller's ids count: those of file access, for files of /proc, or the real ones, for calls.
enum class InspectionIds { File, Real };

/// Whether one with `reader`'s credentials may see or change what only a debugger should: files, memory and environment. The same user and group in all ids, of
/// a process that may be dumped, or CAP_SYS_PTRACE; a process may always look at itself. EACCES.
Result<void> check_inspection(const Credentials& reader, const Task& target, InspectionIds ids = InspectionIds::File);

}  // namespace umk
