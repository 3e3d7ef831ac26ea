// The seccomp filter that turns guests' system calls into SIGSYS where the host offers no Syscall User Dispatch.
//
// A filter sees no selector, only the address of the instruction and the call's number. It lets those few instructions of the kernel image through from which the
// kernel calls the host, with the numbers of core/host/call_table.h, and makes a signal of every other call; the signal's handler does the same in both ways. It is no wall: guest code that jumps to one of these instructions makes a
// host call. Vessels inherit it from the nursery. seccomp(2), SECCOMP_RET_TRAP.
#pragma once

namespace umk::engine {

/// For this process and all that it makes, for good.
void install_call_filter();

}  // namespace umk::engine
