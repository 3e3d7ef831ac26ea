#include "core/host/kernel_stack.h"

namespace umk {

namespace {
thread_local KernelStackHead* adopted = nullptr;
}

KernelStackHead& current_stack() {
  thread_local KernelStackHead own;
  return adopted ? *adopted : own;
}

void adopt_stack(KernelStackHead* head) { adopted = head; }

}  // namespace umk
