// What a task is doing, as ps(1) shows it.
#pragma once

#include "core/kernel/task/task.h"
#include "core/sync/sleep_state.h"

namespace umk {

/// R runs or could, S sleeps until something comes, D waits for something that is sure to come, T is stopped, Z has ended.
inline char state_of(const Task& task) {
  const char state = task.state.load(std::memory_order_acquire);
  if (state != 'R') return state;
  switch (sync::sleep_of(task.stack())) {
    case sync::SleepState::Awake: return 'R';
    case sync::SleepState::Light: return 'S';
    case sync::SleepState::Deep: return 'D';
  }
  return 'R';
}

}  // namespace umk
