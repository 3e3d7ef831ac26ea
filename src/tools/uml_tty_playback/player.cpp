#include "tools/uml_tty_playback/player.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace umk::uml_tty_playback {

namespace format = tty_log_format;

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecondNs + now.tv_nsec;
}

bool write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

}  // namespace

bool Player::play(const Record& record) {
  if (!record.is(format::What::Write)) return true;
  if (!(record.head.direction == format::Direction::Read ? options_.shows_input : options_.shows_output)) return true;
  if (options_.waits && !has_caught_up_) wait_for(record);
  return write_all(options_.is_visible ? visible(record.data) + '\n' : record.data);
}

/// Moments are counted from the first, so that what each step is late does not add up.
void Player::wait_for(const Record& record) {
  if (!last_us_) due_ns_ = now_ns();
  const double distance = static_cast<double>(record.microseconds() - last_us_.value_or(record.microseconds())) / 1e6;
  last_us_ = record.microseconds();
  // The clock may have been set back.
  const double wait = std::max(distance, 0.0) / options_.speed;
  due_ns_ += static_cast<int64_t>(std::min(wait, options_.longest_wait.value_or(wait)) * 1e9);
  const timespec due{due_ns_ / kSecondNs, due_ns_ % kSecondNs};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr) == EINTR) {
  }
}

}  // namespace umk::uml_tty_playback
