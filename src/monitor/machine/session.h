// Session: a machine from start to end, with its terminal, its event loop and its kernel threads.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "monitor/channels/console_pump.h"
#include "monitor/channels/host_terminal.h"
#include "monitor/channels/lines.h"
#include "monitor/channels/tty_log_writer.h"
#include "monitor/configuration.h"
#include "monitor/event_loop.h"
#include "monitor/machine/disk_images.h"
#include "monitor/machine/machine.h"
#include "monitor/machine/memory_sampler.h"
#include "monitor/machine/patch_worker.h"
#include "monitor/machine/watchdog_helper.h"
#include "monitor/mconsole/management_console.h"

namespace umk::monitor {

class Session {
 public:
  /// run() asks for another boot by this status.
  static constexpr int kRestart = -1;

  explicit Session(const Configuration& configuration);

  /// Boots, serves, and returns umk's exit status. Throws std::runtime_error with a message for people when the machine cannot start.
  int run();
  bool has_panicked() const { return machine_ && machine_->has_panicked(); }
  /// Restores the terminal and ends the machine's processes. run() does it at its end; for when it has thrown.
  void leave();

 private:
  /// Everything that a StartRequest points to.
  struct Texts {
    std::vector<std::byte> archive;
    std::vector<std::string> environment;
    std::vector<std::string_view> argument_views, environment_views, note_views, console_views;
  };

  bool is_run() const { return configuration_.action == Configuration::Action::Run; }
  /// Whether the machine gets a shield, with the line about it for the log. Throws std::runtime_error when one was asked for and cannot be had.
  bool raise_shield();
  void choose_streams();
  bool error_is_output() const;
  void make_management();
  void make_lines();
  void open_terminal();
  void open_tty_log();
  void watch_signals();
  init::StartRequest make_request(Texts& texts);
  void start_kernel_threads();
  void connect(console::ConsoleBoard& board);
  void start_management();
  void on_end_signal(int signal);
  void serve();
  int status_of_end() const;

  const Configuration& configuration_;
  EventLoop loop_;
  std::unique_ptr<HostTerminal> terminal_;
  std::unique_ptr<ManagementConsole> management_;  // null: the machine has none
  std::unique_ptr<DiskImages> disks_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<PatchWorker> patcher_;
  std::unique_ptr<MemorySampler> sampler_;
  std::unique_ptr<WatchdogHelper> watchdog_;
  std::unique_ptr<ConsolePump> pump_;
  std::unique_ptr<Lines> lines_;
  std::unique_ptr<TtyLogWriter> tty_log_;  // null: nothing is recorded
  init::StartOutcome started_;
  std::string shield_state_;
  /// For the log of the machine.
  std::vector<std::string> notes_;
  bool stream_is_pipe_[3] = {};
  int console_input_ = -1, console_output_ = -1;

  // Set by the kernel thread that waits for the end, or by a signal.
  std::atomic<bool> has_ended_{false};
  uint32_t power_action_ = 0;
  int exit_code_ = 0;
  int stopped_by_signal_ = 0;
  bool was_asked_to_end_ = false;  // by SIGTERM
  std::string loss_;
};

}  // namespace umk::monitor
