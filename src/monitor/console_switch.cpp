#include "monitor/console_switch.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "core/drivers/console/console_ring.h"

namespace umk::monitor {

namespace {

using Kind = ChannelEnd::Kind;

ChannelPair pair_of(ChannelEnd end) { return {end, end}; }

ChannelPair find_channels(const LineSwitches& switches, unsigned number, const ChannelPair& otherwise) {
  if (const auto found = switches.numbered.find(number); found != switches.numbered.end()) return found->second;
  return switches.all.value_or(otherwise);
}

}  // namespace

ChannelPair Configuration::console(unsigned number) const {
  if (number == 0) return find_channels(consoles, 0, {{Kind::Descriptor, 0, {}}, {Kind::Descriptor, 1, {}}});
  // Windows where there can be some: an image's getty on each console must not end in an error that repeats for ever. A command has one console.
  const bool has_windows = action == Action::Boot && std::getenv("DISPLAY") != nullptr;
  return find_channels(consoles, number, pair_of({has_windows ? Kind::Xterm : Kind::None, -1, {}}));
}

ChannelPair Configuration::serial_line(unsigned number) const {
  return find_channels(serial_lines, number, pair_of({action == Action::Boot ? Kind::Pty : Kind::None, -1, {}}));
}

bool is_console_switch(std::string_view text) {
  if (!text.starts_with("con") && !text.starts_with("ssl")) return false;
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals > 7) return false;
  const std::string_view number = text.substr(3, equals - 3);
  return std::all_of(number.begin(), number.end(), [](unsigned char c) { return std::isdigit(c); });
}

std::optional<std::string> apply_console_switch(Configuration& configuration, std::string_view text) {
  const bool is_console = text.starts_with("con");
  const unsigned count = is_console ? console::kConsoles : console::kSerialLines;
  LineSwitches& switches = is_console ? configuration.consoles : configuration.serial_lines;
  const auto fail = [&](const std::string& why) {
    return std::string(text) + ": Failed to set up " + (is_console ? "console" : "serial line") + " with configuration string \"" +
           std::string(text.substr(3)) + "\" : " + why;
  };
  const size_t equals = text.find('=');
  const std::string_view digits = text.substr(3, equals - 3);
  unsigned number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (number >= count)
    return fail("Device number out of range. There are " + std::string(is_console ? "con0" : "ssl0") + " to " +
                (is_console ? "con" : "ssl") + std::to_string(count - 1) + ".");
  ChannelPair pair;
  if (const auto problem = parse_channel_pair(text.substr(equals + 1), pair))
    return fail(problem->answer + ": " + problem->detail +
                ". Channels are fd:N, tty:PATH, pty, pts, port:N, xterm, null and none; a pair is INPUT,OUTPUT.");
  if (digits.empty()) {
    switches.all = pair;
  } else {
    switches.numbered[number] = pair;
  }
  return {};
}

std::optional<std::string> set_xterm(Configuration& configuration, std::string_view value) {
  std::string* const fields[] = {&configuration.xterm.emulator, &configuration.xterm.title_switch, &configuration.xterm.execute_switch};
  for (std::string* field : fields) {
    const size_t comma = value.find(',');
    const std::string_view part = value.substr(0, comma);
    if (!part.empty()) *field = part;
    if (comma == std::string_view::npos) return {};
    value.remove_prefix(comma + 1);
  }
  return "xterm=: there are more than three fields. It takes EMULATOR,TITLE-SWITCH,EXECUTE-SWITCH, as in xterm=xterm,-T,-e.";
}

}  // namespace umk::monitor
