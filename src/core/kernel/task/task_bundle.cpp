#include "core/kernel/task/task_bundle.h"

#include "core/kernel/task/kernel.h"

namespace umk {

Result<TaskBundle*> TaskBundle::create(guest::Engine& engine) {
  KernelStackHead* const stack = TRY(engine.allocate_stack());
  return new (engine.task_storage(stack)) TaskBundle(engine, stack);
}

RefPtr<Task> TaskBundle::make_task(Kernel& kernel, ThreadId tid, RefPtr<Process> process) {
  users_.fetch_add(1, std::memory_order_relaxed);
  Task* const task = new (task_) Task(kernel, *stack_, *this, tid, std::move(process));
  stack_->task = task;
  return adopt_ref(task);
}

RefPtr<Process> TaskBundle::make_process(Kernel& kernel, ProcessId pid) {
  users_.fetch_add(1, std::memory_order_relaxed);
  return adopt_ref(new (process_) Process(kernel, pid, this));
}

RefPtr<SignalHandlers> TaskBundle::make_handlers() {
  users_.fetch_add(1, std::memory_order_relaxed);
  return adopt_ref(new (handlers_) SignalHandlers(this));
}

void TaskBundle::release() {
  if (users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  guest::Engine& engine = engine_;
  KernelStackHead* const stack = stack_;
  stack->task = nullptr;
  this->~TaskBundle();
  engine.free_stack(stack);
}

}  // namespace umk
