// The switches before `--`, one by one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "monitor/configuration.h"

namespace umk::monitor {

/// Applies one switch to the configuration. Returns what is wrong with it.
std::optional<std::string> apply_switch(Configuration& configuration, std::string_view text);

/// The switches that do something, for --help: name with value and what it does, a line each.
std::string describe_switches();

/// A size as `mem=` takes it: bytes, or with K, M, G.
std::optional<uint64_t> parse_memory_size(std::string_view text);
/// What is wrong with a value of mem= or --mem, of ncpus= or --cpus; `name` is what the user wrote.
std::optional<std::string> set_memory(Configuration& configuration, std::string_view name, std::string_view value);
std::optional<std::string> set_cpus(Configuration& configuration, std::string_view name, std::string_view value);

/// How many insertions, deletions, replacements and swaps of neighbours lie between two words.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace umk::monitor
