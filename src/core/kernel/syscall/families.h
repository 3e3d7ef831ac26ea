// The families of system calls: one line each here, and table.cpp has their rows.
#pragma once

#include <cstddef>

#include "core/kernel/syscall/table.h"

namespace umk {

/// sys_<family>.cpp ends with kSys<Family>Rows and kSys<Family>RowCount.
#define UMK_SYSCALL_FAMILIES(X) \
  X(Control)                    \
  X(Directory)                  \
  X(Event)                      \
  X(Exec)                       \
  X(File)                       \
  X(ForeignMemory)              \
  X(Futex)                      \
  X(Identity)                   \
  X(Memory)                     \
  X(Mount)                      \
  X(Open)                       \
  X(Pipe)                       \
  X(Poll)                       \
  X(Process)                    \
  X(Schedule)                   \
  X(Signal)                     \
  X(Socket)                     \
  X(Stat)                       \
  X(System)                     \
  X(Time)                       \
  X(Xattr)

#define UMK_DECLARE_FAMILY(family)              \
  extern const SyscallRow kSys##family##Rows[]; \
  extern const size_t kSys##family##RowCount;
UMK_SYSCALL_FAMILIES(UMK_DECLARE_FAMILY)
#undef UMK_DECLARE_FAMILY

}  // namespace umk
