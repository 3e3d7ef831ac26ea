// The command line: UML's form and `umk run`, umk(1).
//
//   umk [SWITCH...] [-- INIT-ARG...]
//   umk run [--root DIR|IMAGE] [--cow FILE] [--ro] [--mem SIZE] [--cpus N] [--env K=V] [--workdir DIR] [SWITCH...] -- COMMAND [ARG...]
//
// Switches are UML's (switches.cpp lists them). As in Linux, an unknown NAME=value goes to init's environment and an unknown word to its
// arguments; but one that looks like a misspelt switch stops, since a machine that ignores `men=2G` is worse than none.
#pragma once

#include <span>
#include <string>
#include <variant>

#include "monitor/configuration.h"

namespace umk::monitor {

/// Why umk does not start: one or more lines for standard error, without a newline at the end.
struct CommandLineError {
  std::string text;
};

/// `arguments` are argv from 1 on. A function of its arguments, and of what kind of file --root names.
std::variant<Configuration, CommandLineError> parse_command_line(std::span<const std::string> arguments);

/// What --help prints, of umk and of `umk run`.
std::string help_text();
std::string run_help_text();

}  // namespace umk::monitor
