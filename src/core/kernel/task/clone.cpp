#include "core/kernel/task/clone.h"

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/pidfd.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/task_bundle.h"
#include "core/kernel/time/clocks.h"

namespace umk {

namespace {

using namespace clone_flags;

Result<void> check_flags(const Task& parent, const CloneRequest& request) {
  const uint64_t flags = request.flags;
  if ((flags & kNewNs) && (flags & kFs)) return error(EINVAL);
  if ((flags & kNewUser) && (flags & kFs)) return error(EINVAL);
  if ((flags & kThread) && !(flags & kSigHand)) return error(EINVAL);
  if ((flags & kSigHand) && !(flags & kVm)) return error(EINVAL);
  if ((flags & kSigHand) && (flags & kClearSigHand)) return error(EINVAL);
  if ((flags & kParent) && parent.process().is_unkillable) return error(EINVAL);
  if ((flags & kThread) && (flags & (kNewUser | kNewPid))) return error(EINVAL);
  if ((flags & kPidFd) && (flags & (kDetached | kThread))) return error(EINVAL);
  if (flags & kIntoCgroup) return error(EINVAL);
  // A kernel without namespaces: without the capability EPERM, with it EINVAL.
  if (flags & kNewUser) return error(EINVAL);
  if (flags & kNamespaces) return error(parent.credentials().has(Capability::SysAdmin) ? EINVAL : EPERM);
  if ((flags & kSetTls) && request.tls >= (uint64_t{1} << 47)) return error(EPERM);
  return {};
}

/// The parts of a task that is being made. What is not handed over is given back.
struct Draft {
  explicit Draft(Kernel& kernel) : kernel(kernel) {}
  ~Draft() {
    if (id != 0) {
      MutexLock lock(kernel.tasks.mutex);
      kernel.tasks.release_id(id);
    }
    // Process and task refer to each other.
    if (task && task->is_leader()) task->process().leader = nullptr;
    task = nullptr;
    if (bundle) bundle->release();
  }
  Kernel& kernel;
  TaskBundle* bundle = nullptr;
  ThreadId id = 0;
  RefPtr<Task> task;
};

void copy_name(Task& to, const Task& from) {
  for (size_t i = 0; i < sizeof to.name; ++i) to.name[i] = from.name[i];
}

/// What a child takes from its parent besides tables and memory.
void inherit(Task& child, const Task& parent, uint64_t flags) {
  copy_name(child, parent);
  child.credentials_ = parent.credentials_;
  child.blocked_ = parent.blocked_;
  child.no_new_privileges = parent.no_new_privileges;
  child.timer_slack_ns = parent.timer_slack_ns;
  const int nice = parent.nice.load(std::memory_order_relaxed);
  child.nice = nice < 0 && parent.resets_scheduling_on_fork.load(std::memory_order_relaxed) ? 0 : nice;
  child.scheduling_policy = parent.scheduling_policy.load(std::memory_order_relaxed);
  child.io_priority = parent.io_priority.load(std::memory_order_relaxed);
  child.affinity = parent.affinity.load(std::memory_order_relaxed);
  child.start_time_ns = time::boottime_ns();
  // A thread cannot run its handlers on its creator's stack; a vfork child may, since the creator sleeps.
  if ((flags & (kVm | kVfork)) == kVm) return;
  child.alternate_stack_base = parent.alternate_stack_base;
  child.alternate_stack_size = parent.alternate_stack_size;
  child.alternate_stack_flags = parent.alternate_stack_flags;
}

Result<void> copy_tables(Draft& draft, Task& parent, uint64_t flags) {
  Task& child = *draft.task;
  child.fds_ = (flags & kFiles) ? parent.fds_ : TRY(parent.fds().clone());
  child.fs_ = (flags & kFs) ? parent.fs_ : TRY(parent.fs().clone());
  return {};
}

RefPtr<Process> make_process(Draft& draft, Task& parent, const CloneRequest& request) {
  Process& from = parent.process();
  RefPtr<Process> process = draft.bundle->make_process(parent.kernel(), draft.id);
  process->exit_signal = request.exit_signal;
  process->limits.copy_from(from.limits);
  process->is_dumpable = from.is_dumpable.load();
  process->refuses_huge_pages = from.refuses_huge_pages.load();
  process->oom_score_adjustment = from.oom_score_adjustment.load();
  process->personality = from.personality.load();
  if (request.flags & kSigHand) {
    process->handlers = from.handlers;
  } else {
    process->handlers = draft.bundle->make_handlers();
    process->handlers->copy_from(*from.handlers);
    if (request.flags & kClearSigHand) process->handlers->reset_handled();
  }
  return process;
}

/// RLIMIT_NPROC, getrlimit(2): the tasks of the caller's user, this one included.
Result<void> check_process_limit_locked(TaskList& tasks, const Task& parent) REQUIRES(tasks.mutex) {
  const Credentials& who = parent.credentials();
  const uint64_t limit = parent.process().limits.soft(Resource::Processes);
  // Counting is for the rare case that there can be as many.
  if (tasks.task_count() < limit || who.uid == 0 || who.has(Capability::SysResource) || who.has(Capability::SysAdmin)) return {};
  uint64_t count = 0;
  for (RefPtr<Task> task = tasks.next_task(1); task; task = tasks.next_task(task->tid() + 1))
    if (task->credentials_ref()->uid == who.uid && ++count >= limit) return error(EAGAIN);
  return {};
}

/// Makes the child known: from here on it can be signalled and waited for.
Result<void> publish(Draft& draft, Task& parent, const CloneRequest& request) {
  Task& child = *draft.task;
  TaskList& tasks = parent.kernel().tasks;
  Process& process = child.process();
  MutexLock lock(tasks.mutex);
  TRY(check_process_limit_locked(tasks, parent));
  // A signal to the parent's group that came just now must not miss the child: the call is done again after its delivery.
  if (parent.stack().interrupts.load() & (sync::interrupt::kSignal | sync::interrupt::kKill)) return error(ERESTARTNOINTR);
  {
    MutexLock signal_lock(process.signal_mutex);
    if ((request.flags & kThread) && (process.group_exiting || process.exec_task)) return error(ERESTARTNOINTR);
    process.tasks.push_back(child);
    ++process.live_threads;
    // A thread that is made while its process stops stops too.
    if (process.is_stopped) update_interrupts_locked(child);
  }
  tasks.add(child);
  draft.id = 0;
  if (request.flags & kThread) return {};
  Process& caller = parent.process();
  process.leader = &child;
  process.has_left_terminal = caller.has_left_terminal;
  process.set_parent((request.flags & kParent) ? caller.parent : &caller);
  if (request.flags & kParent) process.exit_signal = caller.exit_signal;
  process.parent->children.push_back(process);
  tasks.set_group(process, caller.group);
  return {};
}

/// The host could not start it: takes the child out of the world again. Nobody but senders of signals has seen it.
void unpublish(Task& child) {
  TaskList& tasks = child.kernel().tasks;
  Process& process = child.process();
  const RefPtr<Process> keep = &process;
  MutexLock lock(tasks.mutex);
  {
    MutexLock signal_lock(process.signal_mutex);
    static_cast<ListHook<TaskListTag>&>(child).unlink();
    --process.live_threads;
  }
  tasks.remove(child);
  if (!process.tasks.empty() || process.leader != &child) return;
  process.leader = nullptr;
  static_cast<ListHook<SiblingTag>&>(process).unlink();
  process.set_parent(nullptr);
  tasks.set_group(process, nullptr);
}

Result<void> start(Task& parent, Task& child, uint64_t flags) {
  guest::Engine& engine = parent.kernel().engine;
  if (flags & kVm) {
    child.exchange_address_space(parent.address_space_);
    return engine.start_thread(child);
  }
  // The list of mappings and the host's mappings must be copied as of one moment.
  MutexLock lock(parent.address_space().fork_mutex());
  child.exchange_address_space(TRY(parent.address_space().clone_for_fork()));
  return engine.start_forked(child);
}

/// Sleeps until a child with an address space of its own has exec'd or exited.
void wait_for_vfork(Task& parent, Task& child) {
  for (;;) {
    sync::prepare_to_park();
    if (child.vfork_is_over.load()) break;
    if (!sync::park(Sleep::Killable).ok()) break;
  }
  MutexLock lock(parent.kernel().tasks.mutex);
  child.vfork_parent = nullptr;
}

void set_up_registers(Task& parent, Task& child, const CloneRequest& request) {
  guest::Engine& engine = parent.kernel().engine;
  Registers& registers = engine.registers(child);
  registers = parent.registers();
  registers.rax = 0;
  registers.orig_rax = ~uint64_t{0};
  if (request.stack_top != 0) registers.rsp = request.stack_top;
  engine.set_fs_base(child, (request.flags & kSetTls) ? request.tls : engine.fs_base(parent));
}

}  // namespace

Result<int64_t> clone_task(Task& parent, const CloneRequest& request) {
  TRY(check_flags(parent, request));
  const uint64_t flags = request.flags;
  Kernel& kernel = parent.kernel();
  Draft draft(kernel);
  draft.bundle = TRY(TaskBundle::create(kernel.engine));
  {
    MutexLock lock(kernel.tasks.mutex);
    draft.id = TRY(kernel.tasks.allocate_id());
  }
  RefPtr<Process> process = (flags & kThread) ? parent.process_ : make_process(draft, parent, request);
  draft.task = draft.bundle->make_task(kernel, draft.id, std::move(process));
  Task& child = *draft.task;
  inherit(child, parent, flags);
  TRY(copy_tables(draft, parent, flags));
  set_up_registers(parent, child, request);
  if (flags & kChildClearTid) child.clear_child_tid = request.child_tid;
  if (flags & kChildSetTid) {
    child.set_child_tid = request.child_tid;
    child.stack().interrupts.fetch_or(sync::interrupt::kSignal);
  }

  const RefPtr<Task> keep = draft.task;
  const ThreadId tid = draft.id;
  std::optional<Fd> pidfd;
  if (flags & kPidFd) {
    RefPtr<vfs::OpenFile> file = TRY(make_pidfd(parent, &child.process(), false));
    pidfd = TRY(parent.fds().add(std::move(file), true, parent.process().limits.soft(Resource::OpenFiles)));
    const Result<void> written = UserPtr<int32_t>(request.pidfd).write(pidfd->number);
    if (!written.ok()) {
      (void)parent.fds().close(*pidfd, &parent.fds());
      return written.failure();
    }
  }
  auto give_up = [&](Error failure) {
    if (pidfd) (void)parent.fds().close(*pidfd, &parent.fds());
    return failure;
  };
  // Linux ignores a bad address here too.
  if (flags & kParentSetTid) (void)UserPtr<int32_t>(request.parent_tid).write(tid);

  const bool borrows = (flags & kVfork) && (flags & kVm) && !(flags & kThread);
  if ((flags & kVfork) && !borrows) child.vfork_parent = &parent.stack();
  if (const Result<void> published = publish(draft, parent, request); !published.ok()) return give_up(published.failure());

  // A limit on CPU time is inherited and has to be watched; without memory for that the child runs without.
  if (!(flags & kThread) && child.process().limits.soft(Resource::Cpu) != kUnlimited)
    if (Result<ProcessTimers&> timers = ProcessTimers::of(child.process()); timers.ok()) timers.value().watch_cpu_limit();

  // The host context holds the task and its bundle from here on; both are given back in exit.
  child.add_reference();
  TaskBundle* const bundle = std::exchange(draft.bundle, nullptr);
  draft.task = nullptr;
  if (borrows) {
    child.is_borrowing = true;
    child.exchange_address_space(parent.address_space_);
    child.is_started.store(true);
    // Switched out until the child gives the host thread back.
    parent.state.store('D', std::memory_order_release);
    kernel.engine.run_borrowed(child);
    parent.state.store('R', std::memory_order_release);
    return tid;
  }
  if (const Result<void> started = start(parent, child, flags); !started.ok()) {
    unpublish(child);
    child.drop_reference();
    draft.bundle = bundle;
    return give_up(started.failure());
  }
  child.is_started.store(true, std::memory_order_seq_cst);
  if (child.stack().interrupts.load() != 0) {
    // With the lock the child, which may have done all it had to do, does not exit meanwhile and lose its host thread.
    MutexLock lock(child.process().signal_mutex);
    if (!child.exiting.load()) kernel.engine.kick(child);
  }
  if (flags & kVfork) wait_for_vfork(parent, child);
  return tid;
}

void end_vfork(Task& task) {
  task.is_borrowing = false;
  if (task.vfork_is_over.load(std::memory_order_relaxed) || !task.vfork_parent) return;
  MutexLock lock(task.kernel().tasks.mutex);
  task.vfork_is_over.store(true);
  if (task.vfork_parent) sync::unpark(*task.vfork_parent);
}

/// A process without a parent, leader of session and group, under a number that was allocated for it. What was made is gone when it fails.
static Result<RefPtr<Task>> make_parentless_locked(Kernel& kernel, Draft& draft, ThreadId id, InitContext context, std::string_view name)
    REQUIRES(kernel.tasks.mutex) {
  RefPtr<const Credentials> root = TRY(Credentials::root());
  RefPtr<Session> session = TRY(kernel.tasks.make_session(id));
  RefPtr<ProcessGroup> group = TRY(kernel.tasks.make_group(id, session));
  const RefPtr<Process> process = draft.bundle->make_process(kernel, id);
  process->handlers = draft.bundle->make_handlers();
  RefPtr<Task> task = draft.bundle->make_task(kernel, id, process);
  task->fds_ = std::move(context.fds);
  task->fs_ = std::move(context.fs);
  task->address_space_ = std::move(context.address_space);
  task->credentials_ = std::move(root);
  task->start_time_ns = time::boottime_ns();
  for (size_t i = 0; i < name.size() && i + 1 < sizeof task->name; ++i) task->name[i] = name[i];
  {
    MutexLock signal_lock(process->signal_mutex);
    process->tasks.push_back(*task);
    process->live_threads = 1;
  }
  kernel.tasks.add(*task);
  process->leader = task;
  session->leader = process.get();
  kernel.tasks.set_group(*process, group);
  // The host context's share; the caller's reference is another.
  task->add_reference();
  draft.bundle = nullptr;
  return task;
}

Result<RefPtr<Task>> create_init_task(Kernel& kernel, InitContext context) {
  Draft draft(kernel);
  draft.bundle = TRY(TaskBundle::create(kernel.engine));
  MutexLock lock(kernel.tasks.mutex);
  const ThreadId id = TRY(kernel.tasks.allocate_id());
  CHECK(id == 1, "the first process is made first");
  RefPtr<Task> task = TRY(make_parentless_locked(kernel, draft, id, std::move(context), "init"));
  Process& process = task->process();
  process.is_unkillable = !kernel.options.ends_with_init;
  task->is_started.store(true);
  kernel.tasks.init = &process;
  return task;
}

Result<void> start_helper_task(Kernel& kernel, InitContext context, std::string_view name, void (*entry)(Task&)) {
  Draft draft(kernel);
  draft.bundle = TRY(TaskBundle::create(kernel.engine));
  TaskBundle* const bundle = draft.bundle;
  RefPtr<Task> task;
  {
    MutexLock lock(kernel.tasks.mutex);
    const ThreadId id = TRY(kernel.tasks.allocate_id());
    Result<RefPtr<Task>> made = make_parentless_locked(kernel, draft, id, std::move(context), name);
    if (!made.ok()) {
      kernel.tasks.release_id(id);
      return made.failure();
    }
    task = made.take();
  }
  if (const Result<void> started = kernel.engine.start_in_new_vessel(*task, entry); !started.ok()) {
    unpublish(*task);
    task->drop_reference();
    draft.bundle = bundle;
    return started;
  }
  task->is_started.store(true, std::memory_order_seq_cst);
  if (task->stack().interrupts.load() != 0) {
    MutexLock lock(task->process().signal_mutex);
    if (!task->exiting.load()) kernel.engine.kick(*task);
  }
  return {};
}

}  // namespace umk
