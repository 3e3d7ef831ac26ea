// Player: shows what a terminal showed, at the pace at which it happened.
#pragma once

#include <optional>

#include "tools/uml_tty_playback/record.h"

namespace umk::uml_tty_playback {

class Player {
 public:
  struct Options {
    bool shows_input = false, shows_output = true;
    bool waits = true;
    double speed = 1;
    std::optional<double> longest_wait;  // in seconds
    bool is_visible = false;             // control characters are spelled
  };

  explicit Player(const Options& options) : options_(options) {}

  /// Shows a write, at its time. Others are nothing to be seen. False when nobody reads what is shown any more.
  bool play(const Record& record);
  /// From now on things are shown as they come: the end of a log was reached that is being written.
  void catch_up() { has_caught_up_ = true; }

 private:
  void wait_for(const Record& record);

  const Options options_;
  std::optional<int64_t> last_us_;  // of the log
  int64_t due_ns_ = 0;              // of the monotonic clock
  bool has_caught_up_ = false;
};

}  // namespace umk::uml_tty_playback
