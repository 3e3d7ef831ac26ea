// Where in the kernel a sleeping task is: the return addresses on its kernel stack.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/text.h"
#include "core/host/kernel_stack.h"

namespace umk {

struct KernelStackTrace {
  static constexpr size_t kMaximumFrames = 48;
  /// Innermost first. Whoever has the image's symbols gives them names.
  uint64_t addresses[kMaximumFrames];
  size_t count = 0;
  /// The stack pointer; 0 when the context runs, and nothing can be said.
  uint64_t stack_pointer = 0;
};

/// Follows the frame pointers from the host call that the context sleeps in. A context that wakes up meanwhile gives a wrong trace, and no harm is done: nothing
/// outside of its own bundle is read.
KernelStackTrace trace_kernel_stack(const KernelStackHead& context);

/// Lines as Linux shows them: words of the stack, four a line, and the trace.
void print_stack_words(TextSink& sink, const KernelStackTrace& trace);
void print_call_trace(TextSink& sink, const KernelStackTrace& trace);

}  // namespace umk
