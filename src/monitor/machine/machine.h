// Machine: one running umk, seen from its monitor. Makes the kernel's memory, starts nursery and kernel threads, starts the guest, and waits for its end.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "core/init/machine_start.h"
#include "monitor/configuration.h"
#include "monitor/machine/kernel_image.h"

namespace umk::monitor {

struct MachineOptions {
  uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  /// What find_shield_obstacle() found nothing against.
  bool shield = false;
  Configuration::Dispatch dispatch = Configuration::Dispatch::Auto;
  bool quiet = false;
  bool ends_with_init = false;
  std::string command_line;
};

class Machine {
 public:
  /// Maps the kernel, boots it and forks the nursery: call it before the process has other threads. Throws std::runtime_error.
  explicit Machine(const MachineOptions& options);
  ~Machine();

  const engine::ImageHeader& image() const { return image_.header(); }
  bool has_panicked() const { return image_.header().status()->panicked != 0; }
  /// Readable when the kernel has news: a panic, or the end of the machine.
  int wake_fd() const { return wake_fd_; }
  /// The host offers no Syscall User Dispatch, or it is not wanted.
  bool filters_calls() const { return filters_calls_; }

  /// Starts the guest. The request's cache_fd is filled in here.
  init::StartOutcome start(init::StartRequest request);
  /// Starts a thread of the monitor that runs `body` as a kernel thread; it lives until the machine ends.
  void start_kernel_thread(const char* name, void (*body)(void*), void* argument);
  /// Runs `body` now, as a kernel thread, on the caller's thread.
  void run_attached(void (*body)(void*), void* argument) { image_.header().run_attached(body, argument); }

  /// Takes note of host processes that ended. The text is what happened when one did that should have lived: the machine is lost then.
  std::optional<std::string> reap_children();
  /// A child of this process that is none of the machine's: it may end. On the event loop's thread, before it looks at SIGCHLD.
  void expect_end_of(int pid) { helpers_.insert(pid); }
  /// Ends all host processes of the machine. Called by the destructor too.
  void stop();

 private:
  KernelImage image_;
  int wake_fd_ = -1;
  int nursery_pid_ = -1;
  std::set<int> helpers_;
  bool filters_calls_ = false;
};

}  // namespace umk::monitor
