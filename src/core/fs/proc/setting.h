// Numbers of /proc/sys: how they are shown and what may be written.
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

/// A setting that is a constant of this kernel.
template <uint64_t value>
Result<void> show_number(const Context&, TextSink& sink) {
  format(sink, "{}\n", value);
  return {};
}

/// What a write to a number brings: text up to the end of the line. EINVAL outside [0, highest].
inline Result<uint64_t> parse_setting(std::string_view text, uint64_t highest) {
  const std::optional<uint64_t> value = parse_unsigned(trim(text.substr(0, text.find('\n'))), 0);
  if (!value || *value > highest) return error(EINVAL);
  return *value;
}

}  // namespace umk::proc
