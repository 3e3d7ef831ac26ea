// Tells debuggers of the kernel image, which no dynamic linker has loaded: gdb, started on umk or attached to the monitor, names the kernel's functions and finds its
// frames. GDB's "JIT Compilation Interface" (info gdb). Source lines and types come with tools/gdb/umk.py.
#pragma once

#include <cstdint>

namespace umk::monitor {

/// `image`: an ELF file in memory whose segments lie at its own addresses, for as long as this process lives. Once.
void tell_debuggers(const unsigned char* image, uint64_t bytes);

}  // namespace umk::monitor
