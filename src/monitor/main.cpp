// umk: reads the command line, builds the machine, and looks after it until it ends. umk(1).
#include <fmt/format.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include "monitor/command_line.h"
#include "monitor/machine/session.h"
#include "monitor/version.h"

namespace {

using umk::monitor::Configuration;

void print_configuration() {
  fmt::print("UMK_VERSION={}\nUMK_COMPILER={}\nUMK_ENGINE=resident\n", umk::monitor::kVersion, __VERSION__);
}

/// Ends the process when the machine has ended for good: its kernel threads still sleep in what a destructor would take away.
int run(const Configuration& configuration) {
  umk::monitor::Session session(configuration);
  const int status = session.run();
  std::fflush(nullptr);
  if (status != umk::monitor::Session::kRestart) _exit(status);
  return status;
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
  int status = 1;
  try {
    status = run(configuration);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "{}\n", failure.what());
    return 1;
  }
  if (status == umk::monitor::Session::kRestart) {
    // Boots again in place: same process, same arguments.
    execv("/proc/self/exe", argv);
    fmt::print(stderr, "umk: cannot start again: {}\n", std::strerror(errno));
    return 1;
  }
  return status;
}
