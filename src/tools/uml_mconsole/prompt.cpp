#include "tools/uml_mconsole/prompt.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>

#include <readline/history.h>
#include <readline/readline.h>

namespace umk::uml_mconsole {

namespace {

constexpr const char* kCommands[] = {"version", "help", "halt",  "reboot", "config", "remove",           "sysrq", "cad", "stop", "go",
                                     "log",     "proc", "stack", "quit",   "switch", "mconsole-version", "int"};
constexpr const char* kDevices[] = {"ubd", "con", "ssl", "mem"};
constexpr int kHistoryLines = 500;

template <size_t count>
char* next_match(const char* const (&words)[count], const char* text, int state) {
  static size_t index;
  if (state == 0) index = 0;
  while (index < count) {
    const char* const word = words[index++];
    if (std::strncmp(word, text, std::strlen(text)) == 0) return strdup(word);
  }
  return nullptr;
}

/// Machines of the user, for `switch`.
char* next_machine(const char* text, int state) {
  static std::filesystem::directory_iterator at, end;
  if (state == 0) {
    const char* home = std::getenv("HOME");
    std::error_code failure;
    at = std::filesystem::directory_iterator(std::string(home ? home : "") + "/.uml", failure);
  }
  while (at != end) {
    const std::string name = at->path().filename().string();
    ++at;
    if (name.starts_with(text)) return strdup(name.c_str());
  }
  return nullptr;
}

char** complete(const char* text, int start, int) {
  const std::string before(rl_line_buffer, static_cast<size_t>(start));
  rl_attempted_completion_over = 1;
  if (before.find_first_not_of(' ') == std::string::npos)
    return rl_completion_matches(text, [](const char* word, int state) { return next_match(kCommands, word, state); });
  if (before.starts_with("config") || before.starts_with("remove")) {
    rl_completion_suppress_append = 1;
    return rl_completion_matches(text, [](const char* word, int state) { return next_match(kDevices, word, state); });
  }
  if (before.starts_with("switch")) return rl_completion_matches(text, next_machine);
  // File names: after `log -f`.
  rl_attempted_completion_over = 0;
  return nullptr;
}

std::string history_file() {
  const char* home = std::getenv("HOME");
  return home ? std::string(home) + "/.uml_mconsole_history" : std::string();
}

/// False at the end.
bool read_line(const std::string& prompt, bool is_terminal, std::string& line) {
  if (!is_terminal) return static_cast<bool>(std::getline(std::cin, line));
  const std::unique_ptr<char, void (*)(void*)> typed(readline(prompt.c_str()), std::free);
  if (!typed) return false;
  line = typed.get();
  if (!line.empty()) add_history(line.c_str());
  return true;
}

}  // namespace

int run_prompt(Session& session) {
  const bool is_terminal = isatty(STDIN_FILENO) != 0;
  const std::string history = history_file();
  if (is_terminal) {
    rl_readline_name = "uml_mconsole";
    rl_attempted_completion_function = complete;
    read_history(history.c_str());
  }
  int status = 0;
  std::string line;
  while (!session.has_quit() && read_line(fmt::format("({}) ", session.name()), is_terminal, line)) {
    try {
      status = session.run(line);
    } catch (const ConnectionError& failure) {
      fmt::print(stderr, "uml_mconsole: {}\n", failure.what());
      status = 1;
    }
  }
  if (is_terminal) {
    if (!session.has_quit()) fmt::print("\n");
    if (!history.empty() && write_history(history.c_str()) == 0) history_truncate_file(history.c_str(), kHistoryLines);
  }
  return session.has_quit() ? 0 : status;
}

}  // namespace umk::uml_mconsole
