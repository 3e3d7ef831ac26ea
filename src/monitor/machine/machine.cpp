#include "monitor/machine/machine.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "core/kernel/mm/layout.h"
#include "monitor/machine/host_facts.h"
#include "monitor/machine/host_shield.h"

namespace umk::monitor {

namespace {

/// All guest descriptors that lead to the host share one table with the monitor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

/// What glibc registered with the host for the thread that forked: its memory is about to be unmapped.
void forget_thread_registrations() {
#if defined(SYS_rseq)
  // glibc's registration: the signature and size are fixed by its ABI, the place is beside the thread pointer.
  if (__rseq_size != 0) {
    auto* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    constexpr unsigned kSignature = 0x53053053, kUnregister = 1, kOriginalSize = 32;
    syscall(SYS_rseq, area, kOriginalSize, kUnregister, kSignature);
  }
#endif
  syscall(SYS_set_robust_list, nullptr, sizeof(void*) * 3);
  syscall(SYS_set_tid_address, nullptr);
}

}  // namespace

Machine::Machine(const MachineOptions& options) {
  raise_descriptor_limit();
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) throw std::runtime_error(fmt::format("umk: cannot create an event descriptor: {}", std::strerror(errno)));

  engine::BootParameters parameters;
  parameters.kernel_data_bytes = layout::kKernelDataBytes;
  parameters.kernel_data_used = image_.data_bytes_used();
  parameters.cache_fd = image_.cache_fd();
  parameters.wake_fd = wake_fd_;
  parameters.log_fd = STDERR_FILENO;
  parameters.monitor_pid = getpid();
  parameters.host_nice = getpriority(PRIO_PROCESS, 0);
  parameters.memory_bytes = options.memory_bytes;
  parameters.cpus = options.cpus;
  parameters.quiet = options.quiet;
  parameters.ends_with_init = options.ends_with_init;
  parameters.shield = options.shield;
  options.command_line.copy(parameters.command_line, sizeof parameters.command_line - 1);
  parameters.filters_calls = filters_calls_ = must_filter_calls(options.dispatch);
  examine_host(parameters);
  if (options.shield) {
    allocate_shield_keys();
    image_.close_to_guests();
    parameters.signal_frame_bytes = signal_frame_bytes();
  }
  image_.header().boot(&parameters);

  // As fork(2), but with the descriptor table shared: what any process of the machine opens, all can use.
  nursery_pid_ = static_cast<int>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (nursery_pid_ < 0) throw std::runtime_error(fmt::format("umk: cannot start a process: {}. The host limits how many there may be (ulimit -u)", std::strerror(errno)));
  if (nursery_pid_ == 0) {
    forget_thread_registrations();
    image_.header().run_nursery();
    _exit(1);
  }
}

Machine::~Machine() { stop(); }

init::StartOutcome Machine::start(init::StartRequest request) {
  request.cache_fd = image_.cache_fd();
  struct Call {
    const engine::ImageHeader& image;
    const init::StartRequest& request;
    init::StartOutcome outcome;
  } call{image_.header(), request, {}};
  run_attached([](void* argument) {
    auto& start = *static_cast<Call*>(argument);
    start.image.start_machine(&start.request, &start.outcome);
  }, &call);
  return call.outcome;
}

void Machine::start_kernel_thread(const char* name, void (*body)(void*), void* argument) {
  // Host signals are the main thread's matter.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([this, body, argument] { image_.header().run_attached(body, argument); });
  pthread_setname_np(thread.native_handle(), name);
  thread.detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::optional<std::string> Machine::reap_children() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (helpers_.erase(pid) != 0) continue;
    struct Call {
      const engine::ImageHeader& image;
      pid_t pid;
      engine::VesselEnd end;
    } call{image_.header(), pid, engine::VesselEnd::Fatal};
    run_attached([](void* argument) {
      auto& ended = *static_cast<Call*>(argument);
      ended.end = ended.image.vessel_ended(ended.pid);
    }, &call);
    if (call.end != engine::VesselEnd::Fatal) continue;
    const char* who = pid == nursery_pid_ ? "the process that makes processes" : "a process of the machine";
    const char* state = pid == nursery_pid_ ? "" : " while it ran kernel code and may have held locks";
    if (WIFSIGNALED(status)) return fmt::format("{} (host pid {}) was killed by signal {} ({}){}", who, pid, WTERMSIG(status), strsignal(WTERMSIG(status)), state);
    return fmt::format("{} (host pid {}) ended with status {}", who, pid, WEXITSTATUS(status));
  }
  return std::nullopt;
}

void Machine::stop() {
  if (nursery_pid_ < 0) return;
  // Every vessel is our child, by CLONE_PARENT; their death signal covers the case that we die ourselves.
  kill(nursery_pid_, SIGKILL);
  nursery_pid_ = -1;
  if (FILE* children = std::fopen(fmt::format("/proc/self/task/{}/children", getpid()).c_str(), "r")) {
    int pid = 0;
    while (std::fscanf(children, "%d", &pid) == 1) kill(pid, SIGKILL);
    std::fclose(children);
  }
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
}

}  // namespace umk::monitor
