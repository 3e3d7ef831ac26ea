// Freezer: holds all guest tasks, for `stop` of the management console.
//
// A task is held on its way to user mode: it is asked to come there as for other work (sync::interrupt::kWork) and sleeps until the tasks are released. A task
// that sleeps in a call is left asleep; should its sleep end, it is held when the call is done. Timers go on: what expires meanwhile is
// found by the tasks when they are released. Kernel threads are not held.
//
// No lock: `word_` is a futex word that held tasks sleep on.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/kernel/task/task_list.h"

namespace umk {

class Freezer {
 public:
  explicit Freezer(TaskList& tasks) : tasks_(tasks) {}

  bool is_holding() const { return word_.load(std::memory_order_acquire) != 0; }
  /// Holds tasks from now on, and waits until each is held or sleeps, so that it changes nothing any more; but no longer than `patience_ns`. Returns how many
  /// are still busy. Not for guest tasks.
  uint32_t hold(uint64_t patience_ns);
  void release();
  /// For a task on its way to user mode, with no lock held: sleeps while tasks are held.
  void wait_here(Task& current);

 private:
  /// Asks all that run to come; returns how many have not.
  uint32_t ask_tasks();

  TaskList& tasks_;
  std::atomic<uint32_t> word_{0};
};

}  // namespace umk
