// A core of the monitor after a panic, for gdb: its threads, and the kernel's data as it was. Not the page cache, which may hold everything that the guest has read.
#pragma once

namespace umk::monitor {

/// Ends this process by SIGABRT with a core, and says on standard error where it will lie. Returns where the limits allow none (RLIMIT_CORE). Guests have ended.
void dump_core();

}  // namespace umk::monitor
