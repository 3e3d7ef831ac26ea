#include "monitor/mconsole/console_device.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <optional>

namespace umk::monitor {

int ConsoleDevice::take_away(unsigned index) {
  const int error = kernel_.remove_line(index);
  if (error != 0 && error != ENODEV) return error;
  loop_.call([&] { lines_.remove(index); });
  return 0;
}

Answer ConsoleDevice::configure(std::string_view text) {
  if (text.starts_with('=')) return Answer::failed(-EINVAL, "Can't configure all devices from mconsole");
  const int number = take_device_number(text);
  if (number < 0 || !text.starts_with('=')) return Answer::failed(-EINVAL, "Couldn't parse device number");
  if (number >= static_cast<int>(count_)) return Answer::failed(-EINVAL, "Device number out of range");
  text.remove_prefix(1);
  const unsigned index = first_ + static_cast<unsigned>(number);
  if (const int error = take_away(index))
    return error == EBUSY ? Answer::failed(-EBUSY, "Device is already open") : Answer::failed(-error, std::strerror(error));
  // A text that names no channel leaves the line without one.
  ChannelPair pair;
  if (const auto problem = parse_channel_pair(text, pair)) {
    kernel_.log(problem->detail);
    return Answer::failed(-EPERM, problem->answer);
  }
  std::optional<std::string> failure;
  loop_.call([&] {
    try {
      lines_.configure(index, pair);
    } catch (const ChannelError& error) {
      failure = error.what();
    }
  });
  if (failure) {
    kernel_.log(*failure);
    return Answer::failed(-EPERM, *failure);
  }
  if (pair.is_none()) return Answer::ok();
  const int error = kernel_.add_line(index);
  if (error == 0) return Answer::ok();
  loop_.call([&] { lines_.remove(index); });
  return Answer::failed(-error, std::strerror(error));
}

Answer ConsoleDevice::query(std::string_view text) {
  const int number = take_device_number(text);
  if (number < 0) return Answer::failed(1, "line_get_config failed to parse device number");
  if (number >= static_cast<int>(count_)) return Answer::failed(1, "device number out of range");
  std::string answer;
  loop_.call([&] { answer = lines_.describe(first_ + static_cast<unsigned>(number)); });
  return Answer::ok(answer);
}

Answer ConsoleDevice::remove(std::string_view text) {
  const int number = take_device_number(text);
  if (number < 0) return Answer::failed(1, "Couldn't parse device number");
  if (number >= static_cast<int>(count_))
    return Answer::failed(1, fmt::format("Invalid device number - must be between 0 and {}", count_ - 1));
  const int error = take_away(first_ + static_cast<unsigned>(number));
  if (error == EBUSY) return Answer::failed(-EBUSY, "Device is already open");
  return error == 0 ? Answer::ok() : Answer::failed(-error, std::strerror(error));
}

}  // namespace umk::monitor
