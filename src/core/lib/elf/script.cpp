#include "core/lib/elf/script.h"

#include <algorithm>

#include "core/abi/errno.h"

namespace umk::elf {

namespace {

constexpr std::string_view kBlanks = " \t";

// Linux looks at a buffer of 256 bytes, filled with zeroes behind the end of the file; its last byte is no part of a line.
constexpr size_t kLongestLine = kScriptLineBytes - 1;

bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

}  // namespace

Result<Script> parse_script(std::span<const std::byte> start) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), std::min(start.size(), kScriptLineBytes));
  if (!text.starts_with("#!")) return error(ENOEXEC);

  // A zero ends the line like a newline, but the blanks before it stay: they separate the name from an empty argument.
  const size_t end = std::min(text.find_first_of(std::string_view("\n\0", 2)), text.size());
  const bool has_newline = end < text.size() && text[end] == '\n';
  const bool has_zero = !has_newline && end < kLongestLine;
  std::string_view line = text.substr(2, (has_newline ? end : std::min(end, kLongestLine)) - 2);

  const size_t name_start = line.find_first_not_of(kBlanks);
  if (name_start == std::string_view::npos) return error(has_zero ? EACCES : ENOEXEC);
  line.remove_prefix(name_start);

  size_t name_end = line.find_first_of(kBlanks);
  // A name that fills the buffer may go on behind it.
  const bool may_go_on = !has_newline && end == kScriptLineBytes && !is_blank(text.back());
  if (name_end == std::string_view::npos && may_go_on) return error(ENOEXEC);
  if (!has_zero) line = line.substr(0, line.find_last_not_of(kBlanks) + 1);

  name_end = std::min(name_end, line.size());
  Script script{.interpreter = line.substr(0, name_end), .argument = std::nullopt};
  if (name_end < line.size()) script.argument = line.substr(std::min(line.find_first_not_of(kBlanks, name_end), line.size()));
  return script;
}

}  // namespace umk::elf
