// MessageLines: the kernel's messages on their way to a terminal. They end lines by a newline alone; terminals that umk uses are in raw mode, or at the
// end of a connection, and want a carriage return before it, or each line would begin where the one before ended.
//
//   for (;;) { count = write(lines.next(text)); text = text.subspan(lines.written(count)); }
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace umk::monitor {

class MessageLines {
 public:
  /// What to write next of `text`, which is not empty.
  std::span<const uint8_t> next(std::span<const uint8_t> text) {
    static constexpr uint8_t kReturn[] = {'\r'};
    is_return_ = text[0] == '\n' && !has_returned_;
    if (is_return_) return kReturn;
    return text.first(static_cast<size_t>(std::find(text.begin() + 1, text.end(), '\n') - text.begin()));
  }
  /// So many bytes of that were written, one at least: how many of the text are done with.
  size_t written(size_t count) {
    has_returned_ = is_return_;
    return is_return_ ? 0 : count;
  }

 private:
  bool is_return_ = false, has_returned_ = false;
};

}  // namespace umk::monitor
