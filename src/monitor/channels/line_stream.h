// LineStream: an open descriptor as the host's end of a line. A terminal is raw as long as the stream lives, and as it was before afterwards;
// changes of its size are told.
#pragma once

#include <functional>
#include <memory>

#include "monitor/channels/host_stream.h"
#include "monitor/channels/host_terminal.h"
#include "monitor/event_loop.h"

namespace umk::monitor {

class LineStream {
 public:
  /// `on_window` is called in the event loop when a terminal has another size than before; `on_monitor_death` by HostTerminal's guardian.
  LineStream(EventLoop& loop, std::unique_ptr<HostStream> stream, bool is_raw, std::function<void()> on_window,
             std::function<void()> on_monitor_death = {});
  ~LineStream();
  LineStream(const LineStream&) = delete;
  LineStream& operator=(const LineStream&) = delete;

  int fd() const { return stream_->fd(); }
  ssize_t read(std::span<uint8_t> into) { return stream_->read(into); }
  ssize_t write(std::span<const uint8_t> from) { return stream_->write(from); }
  WindowSize window() const { return terminal_ ? terminal_->window_size() : WindowSize{}; }

 private:
  EventLoop& loop_;
  std::unique_ptr<HostStream> stream_;
  std::unique_ptr<HostTerminal> terminal_;  // null: it is none
};

}  // namespace umk::monitor
