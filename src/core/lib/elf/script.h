// The first line of a script: "#!interpreter [argument]", execve(2) "Interpreter scripts".
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "core/base/result.h"

namespace umk::elf {

/// How much of a file decides what it is; a longer line is cut, its argument too.
inline constexpr size_t kScriptLineBytes = 256;

/// Both texts lie in the bytes that were parsed.
struct Script {
  std::string_view interpreter;
  std::optional<std::string_view> argument;  // one, however many words; may be empty
};

/// Reads the start of a file, of which only kScriptLineBytes count.
/// Fails with ENOEXEC if it is no script, names nothing, or names a path that does not fit; with EACCES if the name is empty,
/// which execve takes for a directory.
Result<Script> parse_script(std::span<const std::byte> start);

}  // namespace umk::elf
