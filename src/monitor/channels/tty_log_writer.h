// TtyLogWriter: writes what happens on the machine's terminals where tty_log_fd= or tty_log_dir= asked for it, from the ring of TtyLogBoard.
//
// A descriptor gets the records as they are (core/lib/tty_log_format). A directory gets a file for each time that a terminal is open, named by the
// moment of its opening, with what was read and written and nothing else; programs that start are not noted there. As in User Mode Linux.
//
// A descriptor that takes nothing now is waited for; one that fails ends the log, with a report.
//
// Life: made before the machine starts, so that a wrong switch ends umk with a message; connected once the board exists; drained at the end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/drivers/console/tty_log.h"
#include "core/lib/tty_log_format/tty_log_format.h"
#include "monitor/channels/host_stream.h"
#include "monitor/event_loop.h"

namespace umk::monitor {

class TtyLogWriter {
 public:
  /// For lines of the machine's log.
  using Report = std::function<void(const std::string& line)>;

  /// `fd` -1: to `directory`. Throws std::runtime_error with a message for people when nothing can be written there.
  TtyLogWriter(EventLoop& loop, int fd, std::string directory);
  ~TtyLogWriter();
  TtyLogWriter(const TtyLogWriter&) = delete;
  TtyLogWriter& operator=(const TtyLogWriter&) = delete;

  void connect(console::TtyLogBoard& board, Report report);
  /// Writes what is there. At each wake-up of the event loop.
  void serve();
  /// Writes what is left, for up to so long. False when it was too long; a log that has failed is no news.
  bool drain(int timeout_ms);

 private:
  /// How many of the bytes are done with; -1 when nothing can be written now.
  ssize_t write(std::span<const uint8_t> bytes);
  void fail(int error_code);
  // To a directory: the stream is cut into records.
  void take_records(std::span<const uint8_t> bytes);
  void take_record(const tty_log_format::Head& head, std::span<const std::byte> data);
  int open_file(const tty_log_format::Head& head);

  EventLoop& loop_;
  const std::string directory_;
  std::unique_ptr<HostStream> stream_;
  console::TtyLogBoard* board_ = nullptr;
  Report report_;
  bool is_watched_ = false;
  std::vector<std::byte> begun_;  // of a record that is not whole yet
  std::map<uint64_t, int> files_;  // by terminal; -1: could not be opened, or not written any more
};

}  // namespace umk::monitor
