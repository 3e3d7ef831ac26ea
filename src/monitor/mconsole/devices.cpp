#include "monitor/mconsole/devices.h"

#include <charconv>

namespace umk::monitor {

ManagedDevice* ManagedDevices::find(std::string_view text) const {
  for (const auto& device : devices_)
    if (text.starts_with(device->prefix())) return device.get();
  return nullptr;
}

Answer ManagedDevices::config(std::string_view text) const {
  ManagedDevice* const device = find(text);
  if (!device) return Answer::failed(1, "Bad configuration option");
  const std::string_view rest = text.substr(device->prefix().size());
  return rest.find('=') == std::string_view::npos ? device->query(rest) : device->configure(rest);
}

Answer ManagedDevices::remove(std::string_view text) const {
  ManagedDevice* const device = find(text);
  if (!device) return Answer::failed(1, "Bad remove option");
  return device->remove(text.substr(device->prefix().size()));
}

int take_device_number(std::string_view& text) {
  int number = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc()) return -1;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

}  // namespace umk::monitor
