#include "core/fs/proc/terminal_files.h"

#include "core/kernel/tty/tty_registry.h"

namespace umk::proc {

namespace {

// ps(1) finds the name of a terminal from its number here, by the first column's names of nodes and the range of minors.
Result<void> show_terminal_drivers(const Context&, TextSink& sink) {
  struct Driver {
    std::string_view name, node;
    uint32_t major, first, last;
    std::string_view type;
  };
  constexpr uint32_t kLastPty = (1 << 20) - 1, kMasterMajor = 128, kLastConsole = tty::kFirstSerialMinor - 1;
  constexpr Driver kDrivers[] = {
      {"/dev/tty", "/dev/tty", tty::kAuxiliaryMajor, tty::kTtyMinor, tty::kTtyMinor, "system:/dev/tty"},
      {"/dev/console", "/dev/console", tty::kAuxiliaryMajor, tty::kConsoleMinor, tty::kConsoleMinor, "system:console"},
      {"/dev/ptmx", "/dev/ptmx", tty::kAuxiliaryMajor, tty::kMultiplexerMinor, tty::kMultiplexerMinor, "system"},
      {"UML serial line", "/dev/ttyS", tty::kConsoleMajor, tty::kFirstSerialMinor, tty::kFirstSerialMinor + tty::kSerialLines - 1, "serial"},
      {"UML virtual console", "/dev/tty", tty::kConsoleMajor, 0, kLastConsole, "console"},
      {"pty_slave", "/dev/pts", tty::kSlaveMajor, 0, kLastPty, "pty:slave"},
      {"pty_master", "/dev/ptm", kMasterMajor, 0, kLastPty, "pty:master"},
  };
  for (const Driver& driver : kDrivers) {
    format(sink, "{-20} /dev/{-8} {3} ", driver.name, driver.node.substr(5), driver.major);
    if (driver.first == driver.last) format(sink, "{7} ", driver.first);
    else format(sink, "{}-{} ", driver.first, driver.last);
    format(sink, "{}\n", driver.type);
  }
  return {};
}

Result<void> show_line_disciplines(const Context&, TextSink& sink) {
  sink.put("n_tty       0\n");
  return {};
}

}  // namespace

constexpr Entry kTerminalEntries[2] = {
    file_entry("drivers", show_terminal_drivers),
    file_entry("ldiscs", show_line_disciplines),
};

}  // namespace umk::proc
