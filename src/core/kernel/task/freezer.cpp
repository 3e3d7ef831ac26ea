#include "core/kernel/task/freezer.h"

#include "core/host/calls.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task_state.h"

namespace umk {

namespace {

constexpr uint64_t kLookNs = 1'000'000;

/// Held or stopped, gone, the parent of a vfork, or asleep in a call. Who waits for a disk will go on by itself, and is waited for.
bool is_quiet(const Task& task) {
  if (task.state.load(std::memory_order_acquire) != 'R') return true;
  return state_of(task) == 'S';
}

}  // namespace

uint32_t Freezer::ask_tasks() {
  MutexLock lock(tasks_.mutex);
  uint32_t busy = 0;
  for (RefPtr<Task> task = tasks_.next_task(1); task; task = tasks_.next_task(task->tid() + 1)) {
    if (!(task->stack().interrupts.load(std::memory_order_relaxed) & sync::interrupt::kWork)) interrupt_task(*task, sync::interrupt::kWork);
    if (!is_quiet(*task)) ++busy;
  }
  return busy;
}

uint32_t Freezer::hold(uint64_t patience_ns) {
  word_.store(1, std::memory_order_seq_cst);
  const Deadline deadline = Deadline::after_ns(patience_ns);
  // Twice in a row: who was asleep may have been on the point of waking.
  for (int quiet_looks = 0;;) {
    const uint32_t busy = ask_tasks();
    quiet_looks = busy == 0 ? quiet_looks + 1 : 0;
    if (quiet_looks == 2 || deadline.has_passed()) return busy;
    const uint32_t nobody_wakes = 0;
    host::futex_wait(&nobody_wakes, 0, Deadline::after_ns(kLookNs).monotonic_ns);
  }
}

void Freezer::release() {
  word_.store(0, std::memory_order_seq_cst);
  host::futex_wake(&word_, INT32_MAX);
}

void Freezer::wait_here(Task& current) {
  if (!is_holding()) return;
  current.state.store('T', std::memory_order_release);
  while (is_holding()) host::futex_wait(&word_, 1);
  current.state.store('R', std::memory_order_release);
}

}  // namespace umk
