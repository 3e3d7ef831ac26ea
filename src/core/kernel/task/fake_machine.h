// FakeMachine: a Kernel whose tasks are threads of the test. A task's program is a function; what it returns from is its exit.
//
// The test's own thread is process 1. Children made by clone_task run `next_program` on a thread of their own (vfork children on their parent's).
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/fake_engine.h"
#include "core/kernel/task/clone.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/kernel.h"

namespace umk::fake {

class FakeMachine final : public mm::fake::TasklessEngine {
 public:
  using Program = std::function<void(Task&)>;

  FakeMachine();
  ~FakeMachine() override;

  Task& init() { return *init_; }
  /// What the next child does.
  void set_next_program(Program program);
  /// fork of `parent`, with `program` for the child.
  ProcessId fork(Task& parent, Program program, uint64_t flags = 0, int exit_signal = signals::kChild);
  ThreadId thread(Task& parent, Program program);
  /// What happens on the way to user mode; ends the task when it was killed.
  static void return_to_user(Task& task);
  /// Runs the kernel's timer thread until the end of the test.
  void start_timers();

  // guest::Engine
  Result<KernelStackHead*> allocate_stack() override;
  void free_stack(KernelStackHead* stack) override;
  void* task_storage(KernelStackHead* stack) override;
  Registers& registers(Task& task) override;
  Result<void> start_forked(Task& child) override;
  Result<void> start_thread(Task& child) override;
  void run_borrowed(Task& child) override;
  [[noreturn]] void exit_current(Task& task, void (*task_released)(Task&)) override;
  guest::Usage usage(Task&) override { return {.user_ns = 10'000'000, .system_ns = 20'000'000}; }
  Result<void> map_anonymous(uint64_t, uint64_t, int, bool) override { return {}; }
  Result<void> map_cache(uint64_t, uint64_t, int, uint64_t, bool) override { return {}; }
  Result<void> map_host_file(uint64_t, uint64_t, int, int, uint64_t, bool) override { return {}; }
  Result<void> unmap(uint64_t, uint64_t) override { return {}; }
  Result<void> protect(uint64_t, uint64_t, int) override { return {}; }
  Result<void> advise(uint64_t, uint64_t, int) override { return {}; }
  Result<void> move(uint64_t, uint64_t, uint64_t) override { return {}; }
  Result<void> residency(uint64_t, uint64_t, uint8_t*) override { return {}; }
  /// Guests' memory is the test's own.
  size_t copy_memory(uint64_t address, std::byte* bytes, size_t length, bool to_guest) override {
    auto* const memory = reinterpret_cast<std::byte*>(address);
    std::copy_n(to_guest ? bytes : memory, length, to_guest ? memory : bytes);
    return length;
  }
  Result<void> load_vectors(uint64_t) override { return {}; }

  std::atomic<int> stacks{0};

 private:
  struct Bundle;
  struct Ended {
    void (*released)(Task&);
  };
  static Bundle& bundle_of(KernelStackHead& head);
  void run(Task& task, const Program& program);
  Result<void> start(Task& child);

  MemoryAccount account_;
  std::unique_ptr<mm::CacheWindow> window_;
  std::byte* window_memory_;
  int window_fd_;
  std::unique_ptr<Kernel> kernel_;

 public:
  Kernel& kernel;

 private:
  RefPtr<Task> init_;
  std::mutex mutex_;
  Program next_program_;
  std::vector<std::thread> threads_;
  std::thread timer_thread_;
};

}  // namespace umk::fake
