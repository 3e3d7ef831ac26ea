// How a context sleeps, for those who show or hold tasks.
#pragma once

#include "core/host/kernel_stack.h"

namespace umk::sync {

enum class SleepState {
  Awake,
  Light,  // a signal, or at least a kill, ends the sleep
  Deep,   // nothing but what it waits for
};
SleepState sleep_of(const KernelStackHead& context);

}  // namespace umk::sync
