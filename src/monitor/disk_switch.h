// ubd0=FILE and its relatives: disks on files of the host, as User Mode Linux takes them.
//
//   ubd<N><flags>=<file>[,<backing file>][,<serial>]     N is a number or letters; fields are separated by commas or colons
//
// Flags: r read-only, s every write waits for the host's disk, d take the file as it is although it looks like a copy-on-write file, c do not lock it, t no discard.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "monitor/configuration.h"

namespace umk::monitor {

inline constexpr unsigned kMaximumDisks = 256;

/// True for texts of the form ubd...=...: those that apply_disk_switch is for.
bool is_disk_switch(std::string_view text);
/// Adds a disk to the configuration. Returns what is wrong with the switch.
std::optional<std::string> apply_disk_switch(Configuration& configuration, std::string_view text);

}  // namespace umk::monitor
