#include "monitor/machine/debugger_notice.h"

// Names and layouts are the interface's: gdb looks for them.
extern "C" {

struct jit_code_entry {
  jit_code_entry* next_entry;
  jit_code_entry* prev_entry;
  const unsigned char* symfile_addr;
  uint64_t symfile_size;
};

struct jit_descriptor {
  uint32_t version;
  uint32_t action_flag;  // 1: an entry was added
  jit_code_entry* relevant_entry;
  jit_code_entry* first_entry;
};

[[gnu::used]] jit_descriptor __jit_debug_descriptor = {1, 0, nullptr, nullptr};

/// gdb has a breakpoint here.
[[gnu::noinline, gnu::used]] void __jit_debug_register_code() { asm volatile("" ::: "memory"); }
}

namespace umk::monitor {

void tell_debuggers(const unsigned char* image, uint64_t bytes) {
  static jit_code_entry entry{nullptr, nullptr, image, bytes};
  __jit_debug_descriptor.first_entry = __jit_debug_descriptor.relevant_entry = &entry;
  __jit_debug_descriptor.action_flag = 1;
  __jit_debug_register_code();
}

}  // namespace umk::monitor
