#include "monitor/channels/line_stream.h"

#include <sys/epoll.h>
#include <unistd.h>

namespace umk::monitor {

LineStream::LineStream(EventLoop& loop, std::unique_ptr<HostStream> stream, bool is_raw, std::function<void()> on_window,
                       std::function<void()> on_monitor_death)
    : loop_(loop), stream_(std::move(stream)), terminal_(HostTerminal::open_further(stream_->fd(), std::move(on_monitor_death))) {
  if (!terminal_) return;
  if (is_raw) terminal_->enter_raw_mode();
  const int event = terminal_->size_event();
  if (event < 0) return;
  loop_.watch(event, EPOLLIN, [event, on_window = std::move(on_window)](uint32_t) {
    uint64_t count;
    if (::read(event, &count, sizeof count) > 0) on_window();
  });
}

LineStream::~LineStream() {
  if (terminal_ && terminal_->size_event() >= 0) loop_.forget(terminal_->size_event());
}

}  // namespace umk::monitor
