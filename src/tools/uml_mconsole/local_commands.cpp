#include "tools/uml_mconsole/local_commands.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace umk::uml_mconsole {

namespace {

constexpr std::string_view kVersionText = "uml_mconsole client version 2";
constexpr std::string_view kLocalHelp =
    "Additional local mconsole commands:\n"
    "    quit - Quit mconsole\n"
    "    switch <socket-name> - Switch control to the given machine\n"
    "    log -f <filename> - use contents of <filename> as UML log messages\n"
    "    mconsole-version - version of this mconsole program\n"
    "    int  - Interrupt UML session\n";

std::string_view trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\n");
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(" \t\n") - start + 1);
}

std::string json_text(std::string_view text) {
  std::string result = "\"";
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (character == '"' || character == '\\') result += fmt::format("\\{}", character);
    else if (character == '\n') result += "\\n";
    else if (character == '\t') result += "\\t";
    else if (byte < 0x20) result += fmt::format("\\u{:04x}", byte);
    else result += character;
  }
  return result + "\"";
}

/// A negative errno becomes what a shell sees of it, as of the original tool: -19 is 237.
int status_of(int error) { return error & 0xff; }

}  // namespace

std::string with_absolute_names(const std::string& line) {
  constexpr std::string_view kConfig = "config";
  std::string_view rest(line);
  if (!rest.starts_with(kConfig)) return line;
  const size_t device = rest.find("ubd", kConfig.size());
  const size_t equals = rest.find('=');
  if (device == std::string_view::npos || equals == std::string_view::npos || equals < device) return line;
  if (!trimmed(rest.substr(kConfig.size(), device - kConfig.size())).empty()) return line;
  std::string result(rest.substr(0, equals + 1));
  rest.remove_prefix(equals + 1);
  // Two file names; a third field is a serial number.
  for (int field = 0; !rest.empty(); ++field) {
    const size_t end = field < 2 ? std::min(rest.find_first_of(",:"), rest.size()) : rest.size();
    const std::string name(rest.substr(0, end));
    result += field < 2 && !name.empty() ? std::filesystem::absolute(name).lexically_normal().string() : name;
    if (end < rest.size()) result += rest[end];
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return result;
}

int Session::report(const Outcome& outcome, std::string_view command) {
  if (output_ == Output::Json) {
    fmt::print("{{\"machine\":{},\"command\":{},\"ok\":{},\"error\":{},\"text\":{}}}\n", json_text(name()), json_text(command),
               outcome.error == 0, outcome.error, json_text(outcome.text));
  } else {
    fmt::print("{}{}\n", outcome.error == 0 ? "OK " : "ERR ", outcome.text);
  }
  std::fflush(stdout);
  return status_of(outcome.error);
}

int Session::ask(const std::string& request) {
  if (output_ == Output::Json) return report(connection_->ask(request), request);
  bool is_first = true;
  const Outcome outcome = connection_->ask(request, [&](std::string_view text, const Outcome& so_far) {
    fmt::print("{}{}", !is_first ? "" : so_far.error == 0 ? "OK " : "ERR ", text);
    std::fflush(stdout);
    is_first = false;
  });
  fmt::print("\n");
  return status_of(outcome.error);
}

int Session::quit() {
  has_quit_ = true;
  return 0;
}

int Session::switch_to(const std::string& name) {
  connection_ = std::make_unique<Connection>(name, connection_->patience());
  if (output_ == Output::Text) fmt::print("Switched to '{}'\n", name);
  return 0;
}

/// In pieces that fit into requests, cut at the ends of lines where there are some.
int Session::log_text(std::string_view text) {
  constexpr size_t kPieceBytes = 506;
  while (!text.empty()) {
    std::string_view piece = text.substr(0, kPieceBytes);
    if (piece.size() < text.size())
      if (const size_t end = piece.rfind('\n'); end != std::string_view::npos) piece = piece.substr(0, end + 1);
    const Outcome outcome = connection_->ask("log " + std::string(piece));
    if (outcome.error != 0) return report(outcome, "log");
    text.remove_prefix(piece.size());
  }
  return report(Outcome{}, "log");
}

int Session::log_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ConnectionError(fmt::format("{}: {}", path, std::strerror(errno)));
  return log_text(std::string(std::istreambuf_iterator<char>(file), {}));
}

int Session::interrupt() {
  const std::filesystem::path path = std::filesystem::path(connection_->socket_path()).parent_path() / "pid";
  int pid = 0;
  std::ifstream(path) >> pid;
  if (pid <= 0) throw ConnectionError(fmt::format("{}: cannot determine the PID of the machine", path.string()));
  if (kill(pid, SIGINT) != 0) throw ConnectionError(fmt::format("process {}: {}", pid, std::strerror(errno)));
  return report(Outcome{}, "int");
}

int Session::help() {
  Outcome outcome = connection_->ask("help");
  if (outcome.error == 0) outcome.text += "\n" + std::string(kLocalHelp);
  if (outcome.text.ends_with('\n')) outcome.text.pop_back();
  return report(outcome, "help");
}

int Session::run(const std::string& line) {
  const std::string_view text = trimmed(line);
  if (text.empty()) return 0;
  const size_t end = std::min(text.find_first_of(" \t"), text.size());
  const std::string_view word = text.substr(0, end), rest = trimmed(text.substr(end));
  if (word == "quit") return quit();
  if (word == "help") return help();
  if (word == "int") return interrupt();
  if (word == "mconsole-version") {
    fmt::print("{}\n", output_ == Output::Json ? fmt::format("{{\"version\":{}}}", json_text(kVersionText)) : std::string(kVersionText));
    return 0;
  }
  if (word == "switch" && !rest.empty()) return switch_to(std::string(rest));
  if (word == "log" && rest.starts_with("-f")) return log_file(std::string(trimmed(rest.substr(2))));
  if (word == "log" && !rest.empty()) return log_text(rest);
  return ask(with_absolute_names(std::string(text)));
}

}  // namespace umk::uml_mconsole
