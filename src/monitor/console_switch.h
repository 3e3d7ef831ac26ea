// con=, con0=, ssl=, ssl0=, xterm=: what consoles and serial lines are connected to, as User Mode Linux takes it. channels/channel_pair.h has the channels.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "monitor/configuration.h"

namespace umk::monitor {

/// True for texts of the form con...=... and ssl...=... with a number or nothing between: those that apply_console_switch is for.
bool is_console_switch(std::string_view text);
/// Returns what is wrong with the switch.
std::optional<std::string> apply_console_switch(Configuration& configuration, std::string_view text);
/// The value of xterm=: emulator, title switch, execute switch. Fields that are empty keep what they were.
std::optional<std::string> set_xterm(Configuration& configuration, std::string_view value);

}  // namespace umk::monitor
