#include "monitor/mconsole/memory_device.h"

#include <fmt/format.h>

#include <cerrno>

#include "monitor/switches.h"

namespace umk::monitor {

Answer MemoryDevice::configure(std::string_view text) {
  text.remove_prefix(text.find('=') + 1);
  if (text.empty() || (text[0] != '+' && text[0] != '-')) return Answer::failed(1, "Expected increment to start with '-' or '+'");
  const std::optional<uint64_t> bytes = parse_memory_size(text.substr(1));
  if (!bytes) return Answer::failed(1, "Failed to parse memory increment");
  if (text[0] == '+') {
    kernel_.give_memory(*bytes);
  } else if (const int error = kernel_.take_memory(*bytes)) {
    return Answer::failed(-error, "Failed to release memory");
  }
  return Answer::ok();
}

Answer MemoryDevice::query(std::string_view) { return Answer::ok(fmt::format("{}", kernel_.memory_bytes())); }

Answer MemoryDevice::remove(std::string_view) { return Answer::failed(-EBUSY, "Memory doesn't support the remove operation"); }

}  // namespace umk::monitor
