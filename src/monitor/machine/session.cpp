#include "monitor/machine/session.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "core/kernel/task/power_action.h"
#include "monitor/host_root.h"
#include "monitor/machine/host_facts.h"
#include "monitor/machine/host_shield.h"
#include "monitor/machine/root_archive.h"

namespace umk::monitor {

namespace {

uint64_t host_memory() {
  struct sysinfo info {};
  sysinfo(&info);
  return static_cast<uint64_t>(info.totalram) * info.mem_unit;
}

bool has_variable(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& variable : environment)
    if (variable.size() > name.size() && variable.compare(0, name.size(), name) == 0 && variable[name.size()] == '=') return true;
  return false;
}

void set_default(std::vector<std::string>& environment, const char* name, const std::string& value) {
  if (!has_variable(environment, name)) environment.push_back(fmt::format("{}={}", name, value));
}

std::vector<std::string_view> views_of(const std::vector<std::string>& texts) { return {texts.begin(), texts.end()}; }

}  // namespace

Session::Session(const Configuration& configuration) : configuration_(configuration) {}

void Session::choose_streams() {
  // Other channels of console 0 are served with the other lines.
  const ChannelPair channel = configuration_.console(0);
  if (channel.is_inherited()) {
    console_input_ = channel.input.number;
    console_output_ = channel.output.number;
  }
  if (!is_run()) return;
  // A command gets the caller's streams: those that are terminals are the console, the others are pipes of their own.
  for (int number = 0; number < 3; ++number) stream_is_pipe_[number] = isatty(number) == 0;
  console_input_ = stream_is_pipe_[0] ? -1 : 0;
  console_output_ = !stream_is_pipe_[1] ? 1 : !stream_is_pipe_[2] ? 2 : !stream_is_pipe_[0] ? 0 : -1;
}

bool Session::error_is_output() const { return stream_is_pipe_[1] && stream_is_pipe_[2] && are_same_file(1, 2); }

/// A machine is managed by way of its name; a command needs one only when it was given a name, or somebody who is to be told of it.
void Session::make_management() {
  if (is_run() && configuration_.name.empty() && configuration_.notify_socket.empty()) return;
  try {
    management_ = std::make_unique<ManagementConsole>(loop_, configuration_, notes_);
  } catch (const std::runtime_error& failure) {
    // As in User Mode Linux: the machine runs without.
    notes_.push_back(fmt::format("no management console: {}", failure.what()));
  }
}

void Session::make_lines() {
  // A line of the log: before the machine it is told with the notes.
  const auto log = [this](const std::string& text) {
    if (!started_.board) {
      notes_.push_back(text);
    } else if (!machine_->has_panicked()) {
      KernelCalls(*machine_).log(text);
    }
  };
  if (!is_run()) {
    notes_.push_back("Initialized stdio console driver");
    notes_.push_back("Console initialized on /dev/tty0");
    notes_.push_back("Initializing software serial port version 1");
    if (management_) notes_.push_back("printk: console [mc-1] enabled");
  }
  lines_ = std::make_unique<Lines>(loop_, configuration_, management_ ? management_->name() : configuration_.name, log);
}

void Session::open_terminal() {
  if (console_input_ < 0) return;
  terminal_ = HostTerminal::open(console_input_, [this] {
    if (management_) management_->remove_directory();
  });
}

void Session::open_tty_log() {
  if (configuration_.tty_log_descriptor < 0 && configuration_.tty_log_directory.empty()) return;
  tty_log_ = std::make_unique<TtyLogWriter>(loop_, configuration_.tty_log_descriptor, configuration_.tty_log_directory);
}

void Session::watch_signals() {
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) {
    loop_.watch_signal(signal, [this, signal](const signalfd_siginfo&) {
      // A command is told and decides.
      if (is_run() && !has_ended_.load()) {
        struct Call {
          const engine::ImageHeader& image;
          int signal;
        } call{machine_->image(), signal};
        machine_->run_attached([](void* argument) { static_cast<Call*>(argument)->image.signal_init(static_cast<Call*>(argument)->signal); }, &call);
      } else {
        on_end_signal(signal);
      }
    });
  }
  loop_.watch_signal(SIGCHLD, [this](const signalfd_siginfo&) {
    if (const auto loss = machine_->reap_children(); loss && loss_.empty()) {
      loss_ = *loss;
      loop_.stop();
    }
  });
}

/// SIGTERM asks the first process to end the machine, as Control-Alt-Delete does; a second one, SIGINT and SIGQUIT halt it at once. SIGHUP is of the terminal, and
/// the guest's console hears of that by itself.
void Session::on_end_signal(int signal) {
  if (signal == SIGHUP) return;
  if (signal == SIGTERM && !std::exchange(was_asked_to_end_, true)) {
    KernelCalls kernel(*machine_);
    kernel.log("umk: asked to end by SIGTERM; a second one halts at once");
    kernel.release();  // init cannot do anything while the machine is stopped
    return kernel.press_ctrl_alt_del();
  }
  stopped_by_signal_ = signal;
  loop_.stop();
}

init::StartRequest Session::make_request(Texts& texts) {
  init::StartRequest request;
  request.monitor_event = loop_.wake_fd();
  if (configuration_.root.empty() && configuration_.root_type.empty()) {
    texts.archive = embedded_root_archive();
    request.root_archive = texts.archive;
  }
  request.root_type = configuration_.root_type;
  request.root_source = configuration_.root.empty() ? std::string_view("none") : std::string_view(configuration_.root);
  request.root_flags = configuration_.root_flags;
  const bool is_on_disk = !configuration_.root.empty() && configuration_.root_type != "hostfs";
  if (is_on_disk) request.root_device = configuration_.root;
  // As Linux: a machine checks its root filesystem before it makes it writable. A command has nobody to do that.
  request.root_read_only = configuration_.root_is_read_only.value_or(is_on_disk && !is_run());
  request.disks = disks_->images();
  request.may_use_io_uring = configuration_.may_use_io_uring;
  request.host_name = configuration_.name.empty() ? std::string_view("umk") : std::string_view(configuration_.name);
  for (unsigned number = 0; number < 3; ++number) request.stream_is_pipe[number] = stream_is_pipe_[number];
  request.error_is_output = error_is_output();
  if (terminal_) request.window = terminal_->window_size();
  request.consoles = lines_->consoles() | 1;
  request.serial_lines = lines_->serial_lines();
  const char* terminal_type = std::getenv("TERM");
  if (is_run()) {
    texts.environment = configuration_.run.environment;
    set_default(texts.environment, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    set_default(texts.environment, "HOME", home_of_command(configuration_));
    set_default(texts.environment, "TERM", terminal_type ? terminal_type : "dumb");
    texts.argument_views = views_of(configuration_.run.command);
    request.program = texts.argument_views.front();
    request.arguments = std::span<const std::string_view>(texts.argument_views).subspan(1);
    request.is_command = true;
    request.mounts_system_filesystems = true;
    request.working_directory = configuration_.run.working_directory;
  } else {
    texts.environment = configuration_.init_environment;
    set_default(texts.environment, "HOME", "/");
    set_default(texts.environment, "TERM", terminal_type ? terminal_type : "linux");
    texts.argument_views = views_of(configuration_.init_arguments);
    request.program = configuration_.init;
    request.arguments = texts.argument_views;
  }
  constexpr int kQuiet = 4, kUsual = 7, kEverything = 10;  // as Linux
  request.console_level = configuration_.console_level.value_or(configuration_.debug ? kEverything : configuration_.quiet ? kQuiet : kUsual);
  if (configuration_.copies_log_to_error) request.log_copy_fd = STDERR_FILENO;
  request.ignores_log_level = configuration_.ignores_log_level;
  request.log_has_times = configuration_.log_has_times;
  request.program_lines = configuration_.program_lines;
  if (configuration_.shows_early_log) request.early_log_fd = STDERR_FILENO;
  request.keeps_early_log = configuration_.keeps_early_log;
  texts.console_views = views_of(configuration_.log_consoles);
  request.log_consoles = texts.console_views;
  request.records_terminals = tty_log_ != nullptr;
  texts.note_views = views_of(notes_);
  request.notes = texts.note_views;
  request.has_notice_listener = management_ && management_->has_notifier();
  texts.environment_views = views_of(texts.environment);
  request.environment = texts.environment_views;
  request.shield_state = shield_state_;
  return request;
}

bool Session::raise_shield() {
  if (configuration_.shield == Configuration::Shield::Off) return false;
  const std::string obstacle = must_filter_calls(configuration_.dispatch) ? "system calls are caught by seccomp, which can only test the instruction pointer"
                                                                           : find_shield_obstacle();
  if (obstacle.empty()) {
    shield_state_ = "on, not complete: guest code is not searched for instructions that open the kernel's memory; no seccomp filter and no Landlock stand behind it";
    return true;
  }
  if (configuration_.shield == Configuration::Shield::On)
    throw std::runtime_error(fmt::format("umk: shield=on is not possible: {}. shield=auto runs without the shield here", obstacle));
  shield_state_ = fmt::format("off, since {}: guest programs are not walled off from the kernel in their process", obstacle);
  return false;
}

void Session::start_kernel_threads() {
  // Each of them sleeps until the machine ends; the process's end ends them.
  machine_->start_kernel_thread("umk-timers", [](void* image) { static_cast<const engine::ImageHeader*>(image)->run_timers(); },
                                const_cast<engine::ImageHeader*>(&machine_->image()));
  machine_->start_kernel_thread("umk-writeback", [](void* image) { static_cast<const engine::ImageHeader*>(image)->run_write_back(); },
                                const_cast<engine::ImageHeader*>(&machine_->image()));
  struct DiskThread {
    const engine::ImageHeader& image;
    ubd::HostQueue* queue;
  };
  static DiskThread disks{machine_->image(), started_.disk_queue};
  if (disks.queue) machine_->start_kernel_thread("umk-disks", [](void*) { disks.image.run_disk_queue(disks.queue); }, nullptr);
  struct ConsoleThread {
    const engine::ImageHeader& image;
    console::ConsoleDriver* driver;
  };
  static ConsoleThread console{machine_->image(), started_.console};
  machine_->start_kernel_thread("umk-console", [](void*) { console.image.run_console(console.driver); }, nullptr);
  patcher_ = std::make_unique<PatchWorker>(machine_->image());
  machine_->start_kernel_thread("umk-patcher", [](void* worker) { static_cast<PatchWorker*>(worker)->run(); }, patcher_.get());
  sampler_ = std::make_unique<MemorySampler>(machine_->image());
  machine_->start_kernel_thread("umk-memory", [](void* sampler) { static_cast<MemorySampler*>(sampler)->run(); }, sampler_.get());
  machine_->start_kernel_thread("umk-end", [](void* self) {
    auto& session = *static_cast<Session*>(self);
    session.power_action_ = session.machine_->image().wait_for_end(&session.exit_code_);
    session.has_ended_.store(true);
    const uint64_t one = 1;
    (void)!write(session.loop_.wake_fd(), &one, sizeof one);
  }, this);
}

void Session::connect(console::ConsoleBoard& board) {
  pump_ = std::make_unique<ConsolePump>(loop_, board);
  if (tty_log_ && started_.tty_log) {
    tty_log_->connect(*started_.tty_log, [this](const std::string& line) {
      fmt::print(stderr, "umk: {}\n", line);
      if (!machine_->has_panicked()) KernelCalls(*machine_).log(line);
    });
  }
  // Before the console, which has them otherwise.
  if (is_run()) pump_->connect_messages(STDERR_FILENO);
  if (lines_->serves_console()) {
    // The pump has the streams alone.
  } else if (terminal_) {
    pump_->connect_terminal(*terminal_, console_output_);
  } else {
    pump_->connect_console(console_input_, console_output_);
  }
  for (unsigned number = 0; number < 3; ++number)
    if (stream_is_pipe_[number] && !(number == 2 && error_is_output())) pump_->connect_stream(number, static_cast<int>(number));
  lines_->on_helper([this](pid_t pid) { machine_->expect_end_of(pid); });
  lines_->start(board);
}

void Session::start_management() {
  if (!management_) return;
  management_->start(*machine_, *lines_, [this](PowerAction action) {
    power_action_ = static_cast<uint32_t>(action);
    exit_code_ = KernelCalls(*machine_).exit_code();
    loop_.stop();
  });
}

void Session::serve() {
  watchdog_ = std::make_unique<WatchdogHelper>(loop_, *machine_, configuration_.notify_socket);
  auto look = [this] {
    pump_->serve();
    lines_->serve();
    if (tty_log_) tty_log_->serve();
    watchdog_->look();
    if (management_) management_->look();
    if (has_ended_.load() || machine_->has_panicked()) loop_.stop();
  };
  loop_.on_wake(look);
  loop_.watch(machine_->wake_fd(), EPOLLIN, [look](uint32_t) { look(); });
  pump_->serve();
  loop_.run();
  if (management_ && machine_->has_panicked()) management_->notify_panic(machine_->image().status()->panic_reason);
  // What the guest has written is shown before umk ends, at the reader's pace for a command, for a while otherwise. Whoever of the guest is left
  // ends first: one who goes on writing would be shown for ever.
  machine_->stop();
  constexpr int kPatienceMs = 2000;
  if (tty_log_ && !tty_log_->drain(kPatienceMs)) fmt::print(stderr, "umk: the end of the tty log could not be written\n");
  pump_->drain(is_run() && stopped_by_signal_ == 0 && !machine_->has_panicked() ? -1 : kPatienceMs);
  lines_->drain(std::chrono::milliseconds(kPatienceMs));
}

int Session::status_of_end() const {
  constexpr int kAbort = 128 + SIGABRT;
  if (machine_->has_panicked() || !loss_.empty()) return kAbort;
  if (stopped_by_signal_ != 0) return 1;
  const auto action = static_cast<PowerAction>(power_action_);
  // Who asked for the end does not get another boot: init takes Control-Alt-Delete for a wish to restart.
  const bool restarts = (action == PowerAction::Restart || action == PowerAction::RestartNow) && !was_asked_to_end_;
  if (restarts && !configuration_.exits_on_reboot) return kRestart;
  if (is_run()) return (exit_code_ & 0x7f) ? 128 + (exit_code_ & 0x7f) : (exit_code_ >> 8) & 0xff;
  return exit_code_ & 0xff;  // of /proc/exitcode
}

int Session::run() {
  std::vector<std::string> notes = configuration_.notes;
  disks_ = std::make_unique<DiskImages>(configuration_.disks, notes);
  for (const std::string& note : notes) fmt::print(stderr, "umk: {}\n", note);
  choose_streams();
  make_management();
  make_lines();
  open_tty_log();
  open_terminal();
  watch_signals();
  MachineOptions options;
  options.memory_bytes = configuration_.memory_bytes ? configuration_.memory_bytes : host_memory();
  options.cpus = configuration_.cpus ? configuration_.cpus : static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN));
  options.quiet = configuration_.quiet;
  options.ends_with_init = is_run();
  options.dispatch = configuration_.dispatch;
  options.shield = raise_shield();
  options.command_line = configuration_.kernel_command_line;
  machine_ = std::make_unique<Machine>(options);

  {
    Texts texts;
    started_ = machine_->start(make_request(texts));
  }
  if (started_.problem) throw std::runtime_error(fmt::format("umk: {}: {}", started_.problem, std::strerror(started_.error)));
  connect(*started_.board);
  start_kernel_threads();
  start_management();
  serve();
  leave();
  if (!loss_.empty()) fmt::print(stderr, "umk: the machine is lost: {}\n", loss_);
  return status_of_end();
}

void Session::leave() {
  watchdog_ = nullptr;
  if (management_) management_->end();
  tty_log_ = nullptr;
  lines_ = nullptr;
  pump_ = nullptr;
  terminal_ = nullptr;
  if (machine_) machine_->stop();
}

}  // namespace umk::monitor
