// Dispatch: the function where all entries to the kernel meet, and the table of calls.
#pragma once

#include <array>

#include "core/kernel/guest/registers.h"
#include "core/kernel/syscall/table.h"

namespace umk {

/// A guest has entered the kernel: serves the call, resolves or reports the fault, and does pending work. Called by the engine on the task's kernel
/// stack with orig_rax = the call's number (or -1 for faults and kicks). Returns true when all registers matter (full exit): after a signal
/// frame was pushed or taken, a restart was arranged, or work was done. Does not return when the task ends.
bool on_trap(Task& task, Registers& registers, const Trap& trap);

inline constexpr size_t kSyscallTableSize = 512;
/// The rows by number; null where a call is not implemented.
using SyscallTable = std::array<const SyscallRow*, kSyscallTableSize>;
const SyscallTable& syscall_table();
/// Collects the families; once, before the first guest runs.
void build_syscall_table();

}  // namespace umk
