// Contexts: their bundles, their beginning, and the switch from one to another.
#include <errno.h>

#include "engine/vessel/machine.h"

namespace umk::engine {

template <typename T>
Result<T*> allocate_bundle() {
  void* memory = ::operator new(UMK_BUNDLE_BYTES, std::align_val_t{UMK_BUNDLE_BYTES}, std::nothrow);
  if (!memory) return error(ENOMEM);
  // The vector area and the stack are left as they are: only the fields are initialised.
  T* bundle = new (memory) T;
  return bundle;
}
template Result<Bundle*> allocate_bundle<Bundle>();
template Result<HostThread*> allocate_bundle<HostThread>();

void free_bundle(void* bundle) { ::operator delete(bundle, std::align_val_t{UMK_BUNDLE_BYTES}); }

void prepare_context(Context& context, uint64_t stack_top, void (*function)(void*), void* argument) {
  auto* stack = reinterpret_cast<uint64_t*>(stack_top & ~uint64_t{15});
  // As umk_switch_stack leaves it: r15 r14 r13 r12 rbx rbp, return address; 16-byte aligned at the call that umk_context_start makes.
  *--stack = 0;
  *--stack = 0;
  *--stack = reinterpret_cast<uint64_t>(&umk_context_start);
  *--stack = 0;                                          // rbp
  *--stack = 0;                                          // rbx
  *--stack = reinterpret_cast<uint64_t>(function);       // r12
  *--stack = reinterpret_cast<uint64_t>(argument);       // r13
  *--stack = 0;                                          // r14
  *--stack = 0;                                          // r15
  context.switch_rsp = reinterpret_cast<uint64_t>(stack);
}

void switch_to(Context& to) {
  auto& from = reinterpret_cast<Context&>(current_stack());
  HostThread& host = *from.host;
  to.host = &host;
  to.head.selector = &host.line->selector;
  to.head.host_clock = host.head.host_clock;
  host.current = &to;
  if (to.head.task) host.enter_on(static_cast<Bundle&>(to));
  umk_switch_stack(&from.switch_rsp, to.switch_rsp);
}

void hand_to(HostThread& host, Context& context) {
  host.handed.store(&context);
  sync::unpark(host.head);
}

bool finish_switch() {
  HostThread& host = current_host();
  const HostThread::Left left = std::exchange(host.left, HostThread::Left::Nothing);
  if (left == HostThread::Left::HandedOver) {
    hand_to(*host.handed_to, *host.left_bundle);
  } else if (left == HostThread::Left::Ended) {
    host.task_released(*host.left_bundle->head.task);
  } else if (left == HostThread::Left::LostThread) {
    drop_lost_vessel(*host.left_thread->vessel);
  }
  return left == HostThread::Left::Ended || left == HostThread::Left::LostThread;
}

}  // namespace umk::engine
