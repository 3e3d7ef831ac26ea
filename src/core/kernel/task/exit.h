// The end of tasks: exit(2), exit_group(2), reaping.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk {

constexpr int exit_status_of_code(int code) { return (code & 0xff) << 8; }
constexpr int exit_status_of_signal(int signal) { return signal; }

/// Ends the current thread. `status` becomes the process's when this is the last thread and no group exit decided otherwise.
/// Called with no lock held, from the outermost kernel frames only: nothing below it is unwound.
[[noreturn]] void exit_task(Task& current, int status);
/// Ends the whole process.
[[noreturn]] void exit_group(Task& current, int status);

/// Takes a zombie out of the world: the parent waited, or nobody will. TaskList lock held; the reference in `zombie` may be the last.
void reap_locked(Kernel& kernel, RefPtr<Process> zombie);

/// User and system time and faults of all threads, dead ones included. TaskList lock held.
guest::Usage process_usage_locked(Process& process);
void add_usage(guest::Usage& sum, const guest::Usage& part);

}  // namespace umk
