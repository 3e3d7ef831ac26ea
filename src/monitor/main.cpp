// umk: reads the command line, builds the machine, and looks after it until it ends. umk(1).
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "monitor/command_line.h"
#include "monitor/host_root.h"
#include "monitor/machine/core_dump.h"
#include "monitor/machine/disk_images.h"
#include "monitor/machine/session.h"
#include "monitor/version.h"

namespace {

using umk::monitor::Configuration;

void print_configuration() {
  fmt::print("UMK_VERSION={}\nUMK_COMPILER={}\nUMK_ENGINE=resident\n", umk::monitor::kVersion, __VERSION__);
}

/// A standard stream that the caller closed leads nowhere; else the next files that umk opens would get its number.
void fill_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", O_RDWR);
}

void report(const std::exception& failure) {
  if (dynamic_cast<const std::bad_alloc*>(&failure)) fmt::print(stderr, "umk: the host gives no more memory. Check its limits (ulimit -d, ulimit -v)\n");
  else fmt::print(stderr, "{}\n", failure.what());
}

/// Ends the process or boots again in its place, and returns in no case: kernel threads still sleep in what destructors would take away.
[[noreturn]] void run(Configuration configuration, char** argv) {
  umk::monitor::choose_default_disks(configuration);
  if (const std::optional<std::string> problem = umk::monitor::settle_host_root(configuration)) throw std::runtime_error(*problem);
  umk::monitor::Session session(configuration);
  int status = 1;
  try {
    status = session.run();
  } catch (const std::exception& failure) {
    session.leave();
    report(failure);
  }
  std::fflush(nullptr);
  if (status == umk::monitor::Session::kRestart) {
    // Same process, same arguments.
    execv("/proc/self/exe", argv);
    fmt::print(stderr, "umk: cannot start again: {}\n", std::strerror(errno));
    status = 1;
  }
  if (session.has_panicked()) umk::monitor::dump_core();
  _exit(status);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto parsed = umk::monitor::parse_command_line(arguments);
  if (const auto* error = std::get_if<umk::monitor::CommandLineError>(&parsed)) {
    fmt::print(stderr, "{}\n", error->text);
    return 1;
  }
  const auto& configuration = std::get<Configuration>(parsed);
  switch (configuration.action) {
    case Configuration::Action::Help:
      fmt::print("{}", umk::monitor::help_text());
      return 0;
    case Configuration::Action::RunHelp:
      fmt::print("{}", umk::monitor::run_help_text());
      return 0;
    case Configuration::Action::Version:
      fmt::print("umk {}\n", umk::monitor::kVersion);
      return 0;
    case Configuration::Action::ShowConfiguration:
      print_configuration();
      return 0;
    case Configuration::Action::Boot:
    case Configuration::Action::Run:
      break;
  }
  fill_standard_streams();
  // A limit of file sizes is an error of who writes, and no reason to die without a word.
  signal(SIGXFSZ, SIG_IGN);
  try {
    run(configuration, argv);
  } catch (const std::exception& failure) {
    report(failure);
    return 1;
  }
}
