#include "core/kernel/sysrq/sysrq.h"
#include "core/kernel/task/kernel_stack_trace.h"
#include "core/kernel/task/task_state.h"

namespace umk::sysrq {

namespace {

bool is_wanted(const Task& task, WhichTasks which) {
  switch (which) {
    case WhichTasks::All: return true;
    case WhichTasks::Blocked: return state_of(task) == 'D';
    case WhichTasks::Running: return state_of(task) == 'R';
  }
  return false;
}

std::string_view name_of(const Task& task) {
  const std::string_view text(task.name, sizeof task.name);
  return text.substr(0, std::min(text.find('\0'), text.size()));
}

void report_task(Printer& printer, const Task& task) {
  printer.print("task:{-15} state:{} stack:0     pid:{-5} tgid:{-5} ppid:{-6} flags:0x{08x}", name_of(task), state_of(task), task.tid(),
                task.process().pid(), task.process().parent_pid.load(), task.exiting.load() ? 4u : 0u);
  const KernelStackTrace trace = trace_kernel_stack(task.stack());
  if (trace.count == 0) return;
  StringSink sink;
  print_call_trace(sink, trace);
  printer.lines(sink.view());
}

/// The list is left between tasks: nothing is printed under its lock.
template <typename Visit>
void for_each_task(Kernel& kernel, Visit visit) {
  for (ThreadId next = 1;;) {
    RefPtr<Task> task;
    {
      MutexLock lock(kernel.tasks.mutex);
      task = kernel.tasks.next_task(next);
    }
    if (!task) return;
    next = task->tid() + 1;
    visit(*task);
  }
}

}  // namespace

void report_tasks(Kernel& kernel, Printer& printer, WhichTasks which) {
  for_each_task(kernel, [&](const Task& task) {
    if (is_wanted(task, which)) report_task(printer, task);
  });
}

/// Of the tasks that run, as they last came to the kernel: what they do in user mode now only their processors know.
void report_registers(Kernel& kernel, Printer& printer) {
  for_each_task(kernel, [&](Task& task) {
    if (state_of(task) != 'R' || !task.is_started.load() || task.exiting.load()) return;
    const Registers r = task.registers();
    printer.print("CPU: - PID: {} Comm: {}", task.tid(), name_of(task));
    printer.print("RIP: {04x}:{016x} RSP: {016x} EFLAGS: {08x} ORIG_RAX: {016x}", r.cs, r.rip, r.rsp, r.eflags, r.orig_rax);
    printer.print("RAX: {016x} RBX: {016x} RCX: {016x} RDX: {016x}", r.rax, r.rbx, r.rcx, r.rdx);
    printer.print("RSI: {016x} RDI: {016x} RBP: {016x} R08: {016x}", r.rsi, r.rdi, r.rbp, r.r8);
    printer.print("R09: {016x} R10: {016x} R11: {016x} R12: {016x}", r.r9, r.r10, r.r11, r.r12);
    printer.print("R13: {016x} R14: {016x} R15: {016x} FS: {016x}", r.r13, r.r14, r.r15, kernel.engine.fs_base(task));
  });
}

}  // namespace umk::sysrq
