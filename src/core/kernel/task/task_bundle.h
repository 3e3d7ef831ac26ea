// TaskBundle: the objects that a new process touches first, in one piece with its kernel stack.
//
// A forked process takes a page fault for each kernel page that it touches first, so task, process and signal handlers lie together in the
// 64 KiB bundle of the kernel stack (Engine::task_storage). Each object in it, and the host context that runs on the stack, counts as a user;
// the last one gone gives the bundle back.
#pragma once

#include <atomic>

#include "core/kernel/task/task.h"

namespace umk {

class TaskBundle {
 public:
  /// A bundle with one user: the host context that will run on its stack. ENOMEM, EAGAIN.
  static Result<TaskBundle*> create(guest::Engine& engine);
  static TaskBundle& of(KernelStackHead& stack);

  KernelStackHead& stack() { return *stack_; }
  /// Objects in the bundle; each has one reference, the caller's. Each may be made once.
  RefPtr<Task> make_task(Kernel& kernel, ThreadId tid, RefPtr<Process> process);
  RefPtr<Process> make_process(Kernel& kernel, ProcessId pid);
  RefPtr<SignalHandlers> make_handlers();

  /// One user less.
  void release();

 private:
  TaskBundle(guest::Engine& engine, KernelStackHead* stack) : engine_(engine), stack_(stack) {}

  guest::Engine& engine_;
  KernelStackHead* stack_;
  std::atomic<uint32_t> users_{1};
  alignas(Task) std::byte task_[sizeof(Task)];
  alignas(Process) std::byte process_[sizeof(Process)];
  alignas(SignalHandlers) std::byte handlers_[sizeof(SignalHandlers)];
};
static_assert(sizeof(TaskBundle) <= guest::kTaskStorageBytes);

}  // namespace umk
