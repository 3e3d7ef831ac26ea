#include "monitor/machine/watchdog_helper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "monitor/mconsole/kernel_calls.h"

namespace umk::monitor {

namespace {

constexpr char kProgram[] = "uml_watchdog", kUsualPlace[] = "/usr/bin/uml_watchdog";

/// Of umk's descriptors the program gets these two; and no signal is blocked or ignored for it. An errno.
int spawn(const std::vector<std::string>& words, int input, int output, pid_t& pid) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  int error = posix_spawnp(&pid, kProgram, &files, &attributes, pointers.data(), environ);
  if (error == ENOENT) error = posix_spawn(&pid, kUsualPlace, &files, &attributes, pointers.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

}  // namespace

WatchdogHelper::WatchdogHelper(EventLoop& loop, Machine& machine, std::string notify_socket)
    : loop_(loop), machine_(machine), notify_socket_(std::move(notify_socket)) {}

WatchdogHelper::~WatchdogHelper() { close_pipes(); }

void WatchdogHelper::look() {
  if (machine_.has_panicked()) return;
  switch (KernelCalls(machine_).take_watchdog_order()) {
    case watchdog::Order::None: break;
    case watchdog::Order::Start: start(); break;
    case watchdog::Order::Stop: stop(); break;
  }
}

void WatchdogHelper::start() {
  KernelCalls kernel(machine_);
  int input[2], output[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) != 0) return kernel.note_watchdog_started(-errno);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, output) != 0) {
    const int error = errno;
    close(input[0]);
    close(input[1]);
    return kernel.note_watchdog_started(-error);
  }
  std::vector<std::string> words = {kProgram, "-pid", fmt::format("{}", getpid())};
  if (!notify_socket_.empty()) words = {kProgram, "-mconsole", notify_socket_};
  pid_t pid = -1;
  const int error = spawn(words, input[1], output[1], pid);
  if (error == 0) machine_.expect_end_of(pid);
  close(input[1]);
  close(output[1]);
  to_dog_ = input[0];
  from_dog_ = output[0];
  if (error != 0) {
    kernel.log(fmt::format("harddog_open: {} cannot be started: {}", kProgram, std::strerror(error)));
    close_pipes();
    return kernel.note_watchdog_started(-error);
  }
  // A dog that is full would let whoever pets it wait.
  fcntl(to_dog_, F_SETFL, O_NONBLOCK);
  loop_.watch(from_dog_, EPOLLIN, [this](uint32_t) { hear(); });
}

void WatchdogHelper::hear() {
  char byte;
  const bool is_ready = read(from_dog_, &byte, 1) == 1;
  loop_.forget(from_dog_);
  KernelCalls kernel(machine_);
  if (!is_ready) {
    kernel.log("harddog_open: the watchdog process died before it was ready");
    close_pipes();
    return kernel.note_watchdog_started(-EIO);
  }
  kernel.note_watchdog_started(to_dog_);
}

void WatchdogHelper::stop() {
  close_pipes();
  KernelCalls(machine_).note_watchdog_stopped();
}

void WatchdogHelper::close_pipes() {
  if (to_dog_ < 0) return;
  loop_.forget(from_dog_);
  close(std::exchange(to_dog_, -1));
  close(std::exchange(from_dog_, -1));
}

}  // namespace umk::monitor
