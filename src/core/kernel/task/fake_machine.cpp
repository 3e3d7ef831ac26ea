#include "core/kernel/task/fake_machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/kernel/task/signal_delivery.h"

namespace umk::fake {

namespace {

constexpr size_t kWindowBytes = size_t{64} << 20;

BootOptions options() {
  BootOptions options;
  options.memory_bytes = 1 << 30;
  options.cpus = 2;
  options.ends_with_init = true;
  return options;
}

}  // namespace

struct FakeMachine::Bundle {
  KernelStackHead head;
  Registers registers{};
  alignas(64) std::byte storage[guest::kTaskStorageBytes];
};

FakeMachine::Bundle& FakeMachine::bundle_of(KernelStackHead& head) { return reinterpret_cast<Bundle&>(head); }

FakeMachine::FakeMachine()
    : window_fd_(memfd_create("cache", 0)),
      kernel_(std::make_unique<Kernel>(*this, options())),
      kernel(*kernel_) {
  CHECK(ftruncate(window_fd_, kWindowBytes) == 0, "a test can have some memory");
  window_memory_ = static_cast<std::byte*>(mmap(nullptr, kWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, window_fd_, 0));
  window_ = std::make_unique<mm::CacheWindow>(window_memory_, kWindowBytes, window_fd_, account_);
  kernel.cache_window = window_.get();
  InitContext context;
  context.fds = make_ref<vfs::FdTable>().take();
  context.fs = make_ref<vfs::FsContext>(vfs::Path(), vfs::Path(), 022u).take();
  context.address_space = mm::AddressSpace::create(*this, *window_).take();
  init_ = create_init_task(kernel, std::move(context)).take();
  adopt_stack(&init_->stack());
}

FakeMachine::~FakeMachine() {
  if (timer_thread_.joinable()) {
    kernel.timers->stop();
    timer_thread_.join();
  }
  for (std::thread& thread : threads_) thread.join();
  const RefPtr<Process> process = init_->process_;
  {
    // Whatever the test left behind.
    MutexLock lock(kernel.tasks.mutex);
    while (!process->children.empty()) reap_locked(kernel, &process->children.front());
  }
  try {
    exit_group(*init_, 0);
  } catch (const Ended& ended) {
    adopt_stack(nullptr);
    ended.released(*init_);
  }
  {
    MutexLock lock(kernel.tasks.mutex);
    reap_locked(kernel, process);
  }
  init_ = nullptr;
  window_.reset();
  munmap(window_memory_, kWindowBytes);
  close(window_fd_);
}

void FakeMachine::set_next_program(Program program) {
  std::lock_guard lock(mutex_);
  next_program_ = std::move(program);
}

ProcessId FakeMachine::fork(Task& parent, Program program, uint64_t flags, int exit_signal) {
  set_next_program(std::move(program));
  return static_cast<ProcessId>(clone_task(parent, {.flags = flags, .exit_signal = exit_signal}).take());
}

ThreadId FakeMachine::thread(Task& parent, Program program) {
  using namespace clone_flags;
  set_next_program(std::move(program));
  return static_cast<ThreadId>(clone_task(parent, {.flags = kVm | kFs | kFiles | kSigHand | kThread}).take());
}

void FakeMachine::return_to_user(Task& task) {
  if (task.stack().interrupts.load() != 0) handle_pending_work(task, task.registers());
}

void FakeMachine::start_timers() {
  timer_thread_ = std::thread([this] { time::run_timer_thread(*kernel.timers); });
}

Result<KernelStackHead*> FakeMachine::allocate_stack() {
  ++stacks;
  return &(new Bundle)->head;
}

void FakeMachine::free_stack(KernelStackHead* stack) {
  --stacks;
  delete &bundle_of(*stack);
}

void* FakeMachine::task_storage(KernelStackHead* stack) { return bundle_of(*stack).storage; }
Registers& FakeMachine::registers(Task& task) { return bundle_of(task.stack()).registers; }

void FakeMachine::run(Task& task, const Program& program) {
  adopt_stack(&task.stack());
  try {
    return_to_user(task);
    program(task);
    return_to_user(task);
    exit_group(task, 0);
  } catch (const Ended& ended) {
    adopt_stack(nullptr);
    ended.released(task);
  }
}

Result<void> FakeMachine::start(Task& child) {
  std::lock_guard lock(mutex_);
  threads_.emplace_back([this, &child, program = std::move(next_program_)] { run(child, program); });
  return {};
}

Result<void> FakeMachine::start_forked(Task& child) { return start(child); }
Result<void> FakeMachine::start_thread(Task& child) { return start(child); }

void FakeMachine::run_borrowed(Task& child) {
  KernelStackHead& parent = current_stack();
  Program program;
  {
    std::lock_guard lock(mutex_);
    program = std::move(next_program_);
  }
  run(child, program);
  adopt_stack(&parent);
}

void FakeMachine::exit_current(Task&, void (*task_released)(Task&)) { throw Ended{task_released}; }

}  // namespace umk::fake
