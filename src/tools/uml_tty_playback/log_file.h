// LogFile: a log of terminals, read from the front, record by record.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "tools/uml_tty_playback/record.h"

namespace umk::uml_tty_playback {

/// The log cannot be read, or holds what is no record; says where.
class LogError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class LogFile {
 public:
  enum class Follow { No, Yes };

  /// "-" is the standard input. Without a layout it is guessed from the beginning.
  LogFile(std::string path, Follow follow, std::optional<tty_log_format::Layout> layout);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// The next record; nothing at the end. Who follows waits there for more, after `on_wait` was called.
  template <typename OnWait>
  std::optional<Record> next(OnWait on_wait) {
    for (;;) {
      if (std::optional<Record> record = take()) return record;
      if (fill()) continue;
      if (follow_ == Follow::No) {
        check_end();
        return {};
      }
      on_wait();
      wait();
    }
  }
  std::optional<Record> next() {
    return next([] {});
  }

 private:
  /// A record that is there as a whole.
  std::optional<Record> take();
  /// Reads more; false at the end.
  bool fill();
  void wait();
  void check_end();

  const std::string path_;
  const Follow follow_;
  std::optional<tty_log_format::Layout> layout_;
  int fd_;
  std::string bytes_;
  size_t at_ = 0;          // what of them is taken
  uint64_t offset_ = 0;    // of bytes_ in the log
  bool is_at_end_ = false;
};

}  // namespace umk::uml_tty_playback
