#include "core/base/log.h"

namespace umk {

// The one mutable global that the "no globals" rule allows: log lines must work before and after any Kernel object.
static LogWriter log_writer = nullptr;

void set_log_writer(LogWriter writer) { log_writer = writer; }

void log_line(LogLevel level, std::string_view line) {
  if (log_writer) log_writer(level, line);
}

}  // namespace umk
