#include "core/kernel/syscall/dispatch.h"
#include "core/kernel/syscall/families.h"

namespace umk {

// Filled once at boot, constant afterwards: kept outside the Kernel object so that the way to a call is one load.
static constinit SyscallTable table{};

const SyscallTable& syscall_table() { return table; }

void build_syscall_table() {
  auto add = [](const SyscallRow* rows, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      CHECK(rows[i].number < kSyscallTableSize, "a call's number fits the table");
      CHECK(!table[rows[i].number] || table[rows[i].number] == &rows[i], "one call has one row");
      table[rows[i].number] = &rows[i];
    }
  };
#define UMK_ADD_FAMILY(family) add(kSys##family##Rows, kSys##family##RowCount);
  UMK_SYSCALL_FAMILIES(UMK_ADD_FAMILY)
#undef UMK_ADD_FAMILY
}

}  // namespace umk
