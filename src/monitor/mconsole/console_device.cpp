#include "monitor/mconsole/console_device.h"

#include <fmt/format.h>

#include <cerrno>

#include "monitor/switches.h"

namespace umk::monitor {

Answer ConsoleDevice::configure(std::string_view text) {
  if (text.starts_with('=')) return Answer::failed(-EINVAL, "Can't configure all devices from mconsole");
  const int number = take_device_number(text);
  if (number < 0 || !text.starts_with('=')) return Answer::failed(-EINVAL, "Couldn't parse device number");
  if (number >= static_cast<int>(count_)) return Answer::failed(-EINVAL, "Device number out of range");
  if (number == open_) return Answer::failed(-EBUSY, "Device is already open");
  ChannelPair pair;
  text.remove_prefix(1);
  // Channels that this machine does not have, and texts that name none, leave the line unconnected.
  if (parse_channel_pair(prefix_, text, pair)) {
    channels_.erase(static_cast<unsigned>(number));
    return Answer::failed(-EPERM, "failed to parse channel pair");
  }
  const bool is_connected = pair.input.kind == ChannelEnd::Kind::Descriptor || pair.output.kind == ChannelEnd::Kind::Descriptor;
  if (is_connected) return Answer::failed(-ENODEV, fmt::format("{}{} is no line of this machine", prefix_, number));
  channels_[static_cast<unsigned>(number)] = std::string(text);
  return Answer::ok();
}

Answer ConsoleDevice::query(std::string_view text) {
  const int number = take_device_number(text);
  if (number < 0) return Answer::failed(1, "line_get_config failed to parse device number");
  if (number >= static_cast<int>(count_)) return Answer::failed(1, "device number out of range");
  const auto found = channels_.find(static_cast<unsigned>(number));
  return Answer::ok(found == channels_.end() ? "none" : found->second);
}

Answer ConsoleDevice::remove(std::string_view text) {
  const int number = take_device_number(text);
  if (number < 0) return Answer::failed(1, "Couldn't parse device number");
  if (number >= static_cast<int>(count_))
    return Answer::failed(1, fmt::format("Invalid device number - must be between 0 and {}", count_ - 1));
  if (number == open_) return Answer::failed(-EBUSY, "Device is already open");
  channels_.erase(static_cast<unsigned>(number));
  return Answer::ok();
}

}  // namespace umk::monitor
