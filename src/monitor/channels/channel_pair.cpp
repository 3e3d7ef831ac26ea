#include "monitor/channels/channel_pair.h"

#include <cerrno>
#include <climits>
#include <cstdlib>

namespace umk::monitor {

namespace {

using Kind = ChannelEnd::Kind;

enum class Argument { None, Descriptor, Port, Path };

struct Keyword {
  std::string_view name;
  Kind kind;
  Argument argument;
};
constexpr Keyword kKeywords[] = {
    {"fd", Kind::Descriptor, Argument::Descriptor}, {"null", Kind::Null, Argument::None},   {"none", Kind::None, Argument::None},
    {"port", Kind::Port, Argument::Port},           {"pty", Kind::Pty, Argument::None},     {"pts", Kind::Pts, Argument::None},
    {"tty", Kind::Terminal, Argument::Path},        {"xterm", Kind::Xterm, Argument::None},
};

/// As strtoul(3) takes it, with 0x and 0.
std::optional<int> parse_number(const std::string& text, long most) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return {};
  char* end = nullptr;
  errno = 0;
  const long number = std::strtol(text.c_str(), &end, 0);
  if (errno != 0 || *end != '\0' || number > most) return {};
  return static_cast<int>(number);
}

/// Returns what is wrong, for the log.
std::optional<std::string> parse_end(std::string_view text, ChannelEnd& end) {
  for (const Keyword& keyword : kKeywords) {
    if (!text.starts_with(keyword.name)) continue;
    end = {};
    end.kind = keyword.kind;
    if (keyword.argument == Argument::None) return {};
    const std::string_view rest = text.substr(keyword.name.size());
    const std::string argument(rest.starts_with(':') ? rest.substr(1) : std::string_view());
    switch (keyword.argument) {
      case Argument::Descriptor: {
        if (argument.empty()) return "fd_init : channel type 'fd' must specify a file descriptor";
        const std::optional<int> number = parse_number(argument, INT_MAX);
        if (!number) return "fd_init : couldn't parse file descriptor '" + argument + "'";
        end.number = *number;
        return {};
      }
      case Argument::Port: {
        if (argument.empty()) return "port_init : channel type 'port' must specify a port number";
        const std::optional<int> number = parse_number(argument, 65535);
        if (!number || *number == 0) return "port_init : couldn't parse port number '" + argument + "'";
        end.number = *number;
        return {};
      }
      case Argument::Path:
        if (argument.empty()) return "tty_init : channel type 'tty' must specify a device";
        end.path = argument;
        return {};
      case Argument::None: break;
    }
  }
  return "No match for configured backends";
}

}  // namespace

bool ChannelPair::is_inherited() const {
  const auto is_simple = [](const ChannelEnd& end) {
    return end.kind == Kind::None || end.kind == Kind::Null || end.kind == Kind::Descriptor;
  };
  return is_simple(input) && is_simple(output);
}

std::optional<ChannelProblem> parse_channel_pair(std::string_view text, ChannelPair& pair) {
  const size_t comma = text.find(',');
  ChannelPair parsed;
  std::optional<std::string> wrong = parse_end(text.substr(0, comma), parsed.input);
  if (!wrong) {
    parsed.output = parsed.input;
    if (comma != std::string_view::npos) wrong = parse_end(text.substr(comma + 1), parsed.output);
  }
  if (wrong) return ChannelProblem{"failed to parse channel pair", *wrong};
  pair = std::move(parsed);
  return {};
}

std::string describe_channel(const ChannelEnd& end) {
  switch (end.kind) {
    case Kind::None: return "none";
    case Kind::Null: return "null";
    case Kind::Descriptor: return "fd:" + std::to_string(end.number);
    case Kind::Terminal: return "tty:" + end.path;
    case Kind::Pty: return "pty";
    case Kind::Pts: return "pts";
    case Kind::Xterm: return "xterm";
    case Kind::Port: return "port:" + std::to_string(end.number);
  }
  return {};
}

std::string describe_channel_pair(const ChannelPair& pair) {
  if (pair.input == pair.output) return describe_channel(pair.input);
  return describe_channel(pair.input) + "," + describe_channel(pair.output);
}

}  // namespace umk::monitor
