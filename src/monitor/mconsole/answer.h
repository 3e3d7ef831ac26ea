// Answer: what a command of the management console says to who sent it.
#pragma once

#include <string>
#include <vector>

namespace umk::monitor {

struct Answer {
  /// 0; or 1 or a negative errno, as User Mode Linux gives them.
  int error = 0;
  /// Texts of any length. Each begins a packet of its own.
  std::vector<std::string> texts{std::string()};
  /// The end is told by an empty packet: commands that print while they work do so.
  bool ends_with_empty_packet = false;

  static Answer ok(std::string text = {}) { return {0, {std::move(text)}, false}; }
  static Answer failed(int error, std::string text) { return {error, {std::move(text)}, false}; }
  static Answer stream(std::vector<std::string> texts) { return {0, std::move(texts), true}; }
};

}  // namespace umk::monitor
