#include "core/host/kernel_stack.h"

namespace umk {

KernelStackHead& current_stack() {
  thread_local KernelStackHead head;
  return head;
}

}  // namespace umk
