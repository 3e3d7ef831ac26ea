// The kernel's log: lines with a level, formatted as in text.h. Who keeps and shows them is decided above (kernel log ring).
#pragma once

#include "core/base/text.h"

namespace umk {

/// Levels as in syslog(2).
enum class LogLevel : uint8_t { Emergency, Alert, Critical, Error, Warning, Notice, Info, Debug };

/// Receives each finished line, without the newline. Set once at boot; lines before that are dropped in hosted tests and
/// go to the monitor's standard error in the kernel.
using LogWriter = void (*)(LogLevel level, std::string_view line);
void set_log_writer(LogWriter writer);
void log_line(LogLevel level, std::string_view line);

template <typename... Arguments>
void log(LogLevel level, std::string_view pattern, const Arguments&... arguments) {
  char buffer[512];
  BufferSink sink(buffer);
  format(sink, pattern, arguments...);
  log_line(level, sink.view());
}

}  // namespace umk
