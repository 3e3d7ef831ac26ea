// A directory of the host as the root filesystem: what there is to know of it before the machine starts.
#pragma once

#include <optional>
#include <string>

#include "monitor/configuration.h"

namespace umk::monitor {

/// Where the root is a hostfs: names its directory from the host's top, for the kernel knows no other place to begin at. What is wrong with it, if anything is.
std::optional<std::string> settle_host_root(Configuration& configuration);

/// The HOME of a command: /root, as its user is the superuser. In a tree whose /root is closed to the user of umk, as that of the host itself, the home of
/// that user where the tree has it, else the top: programs fail for a home that they may not look into.
std::string home_of_command(const Configuration& configuration);

}  // namespace umk::monitor
