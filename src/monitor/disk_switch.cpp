#include "monitor/disk_switch.h"

#include <algorithm>
#include <cctype>

namespace umk::monitor {

namespace {

/// The number at the front of `text`, which is taken off: digits, or a letter (more letters would be flags).
std::optional<unsigned> take_number(std::string_view& text) {
  if (text.empty()) return {};
  if (std::islower(static_cast<unsigned char>(text[0]))) {
    const unsigned number = static_cast<unsigned>(text[0] - 'a');
    text.remove_prefix(1);
    return number;
  }
  unsigned number = 0;
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) {
    if (digits == 6) return {};
    number = number * 10 + static_cast<unsigned>(text[digits++] - '0');
  }
  if (digits == 0) return {};
  text.remove_prefix(digits);
  return number;
}

}  // namespace

bool is_disk_switch(std::string_view text) { return text.starts_with("ubd") && text.find('=') != std::string_view::npos; }

std::optional<std::string> apply_disk_switch(Configuration& configuration, std::string_view text) {
  std::string_view rest = text.substr(3);
  const auto fail = [&](std::string_view why) {
    return std::string(text) + ": Failed to initialize device with \"" + std::string(text.substr(3)) + "\" : " + std::string(why);
  };
  if (rest == "=sync") {
    configuration.disks_are_synchronous = true;
    return {};
  }
  if (rest.starts_with('=')) {
    // Of old kernels: a second major number, or images that are mapped.
    configuration.notes.push_back(std::string(text) + " has no effect: fake major not supported any more");
    return {};
  }
  const std::optional<unsigned> number = take_number(rest);
  if (!number) return fail("Couldn't parse device number");
  if (*number >= kMaximumDisks) return fail("Device number out of range");
  if (std::any_of(configuration.disks.begin(), configuration.disks.end(), [&](const DiskOption& disk) { return disk.number == *number; }))
    return fail("Device is already configured");

  DiskOption disk;
  disk.number = *number;
  disk.is_synchronous = configuration.disks_are_synchronous;
  size_t flags = 0;
  for (; !rest.empty() && rest[0] != '='; rest.remove_prefix(1)) {
    if (++flags > 5) return fail("Too many flags specified");
    switch (rest[0]) {
      case 'r': disk.is_read_only = true; break;
      case 's': disk.is_synchronous = true; break;
      case 'd': disk.is_plain = true; break;
      case 'c': disk.is_shared = true; break;
      case 't': disk.can_discard = false; break;
      default: return fail("Expected '=' or flag letter (r, s, c, t or d)");
    }
  }
  if (rest.empty()) return fail("Missing '='");
  rest.remove_prefix(1);

  std::string* const fields[] = {&disk.file, &disk.second_file, &disk.serial};
  for (size_t field = 0; field < 3; ++field) {
    // The last field may contain anything.
    const size_t end = field == 2 ? std::string_view::npos : rest.find_first_of(",:");
    *fields[field] = rest.substr(0, end);
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  if (disk.file.empty()) return fail("a file is missing after '='");
  if (disk.is_plain && !disk.second_file.empty()) return fail("Can't specify both 'd' and a cow file");
  configuration.disks.push_back(std::move(disk));
  return {};
}

}  // namespace umk::monitor
