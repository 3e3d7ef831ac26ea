#include "core/kernel/task/kernel_stack_trace.h"

#include "core/kernel/mm/layout.h"

namespace umk {

namespace {

/// What umk_raw_call leaves on the stack (core/host/image/raw_call.S), from the stack pointer up.
struct SavedCall {
  uint64_t r15, r14, r13, r12, rbx, rbp, return_address;
};

bool is_text(uint64_t address) { return address >= layout::kImage && address < layout::kImage + layout::kImageBytes; }

}  // namespace

KernelStackTrace trace_kernel_stack(const KernelStackHead& context) {
  KernelStackTrace trace;
  const auto start = reinterpret_cast<uint64_t>(&context);
  const auto is_on_stack = [&](uint64_t address, size_t bytes) {
    return address % 8 == 0 && address >= start + sizeof context && address + bytes <= start + kKernelStackBundleBytes;
  };
  // Read once: the context may go on at any moment.
  const uint64_t call_rsp = __atomic_load_n(&context.call_rsp, __ATOMIC_ACQUIRE);
  if (!is_on_stack(call_rsp, sizeof(SavedCall))) return trace;
  const auto& saved = *reinterpret_cast<const volatile SavedCall*>(call_rsp);
  trace.stack_pointer = call_rsp + sizeof(SavedCall);
  uint64_t address = saved.return_address, frame = saved.rbp;
  while (is_text(address) && trace.count < KernelStackTrace::kMaximumFrames) {
    trace.addresses[trace.count++] = address;
    if (!is_on_stack(frame, 16)) break;
    const auto* const words = reinterpret_cast<const volatile uint64_t*>(frame);
    address = words[1];
    // A chain leads upwards; a stale one may lead anywhere.
    if (words[0] <= frame) break;
    frame = words[0];
  }
  return trace;
}

void print_stack_words(TextSink& sink, const KernelStackTrace& trace) {
  constexpr size_t kLines = 3, kWordsOfLine = 4;
  sink.put("Stack:\n");
  const uint64_t end = (trace.stack_pointer | (kKernelStackBundleBytes - 1)) + 1;
  uint64_t place = trace.stack_pointer;
  for (size_t line = 0; line < kLines && place != 0 && place < end; ++line) {
    for (size_t word = 0; word < kWordsOfLine && place < end; ++word, place += 8)
      format(sink, " {:016x}", *reinterpret_cast<const volatile uint64_t*>(place) + 0);
    sink.put("\n");
  }
}

void print_call_trace(TextSink& sink, const KernelStackTrace& trace) {
  sink.put("Call Trace:\n");
  for (size_t i = 0; i < trace.count; ++i) format(sink, " [<{:x}>]\n", trace.addresses[i]);
}

}  // namespace umk
