#include "monitor/channels/console_pump.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

namespace umk::monitor {

using console::ConsoleLine;
using console::ConsoleRing;

namespace {
constexpr unsigned kConsole = console::line_of_console(0);
}

ConsolePump::ConsolePump(EventLoop& loop, console::ConsoleBoard& board) : loop_(loop), board_(board) {
  console_input_.ring = &board.console().input;
  console_input_.is_console = true;
  standard_input_.ring = &board.standard[0];
  messages_.ring = &board.messages;
  console_output_.ring = &board.console().output;
  for (unsigned i = 0; i < 2; ++i) {
    standard_output_[i].ring = &board.standard[i + 1];
    standard_output_[i].is_stream = true;
  }
  signal(SIGPIPE, SIG_IGN);
  loop_.on_wake([this] { serve(); });
  board_.monitor_event.store(loop_.wake_fd());
}

ConsolePump::~ConsolePump() {
  board_.monitor_event.store(-1);
  loop_.on_wake({});
  for (Source* source : {&console_input_, &standard_input_})
    if (source->stream) watch_source(*source, false);
  for (const int fd : watched_drains_) loop_.forget(fd);
}

void ConsolePump::connect_console(int input_fd, int output_fd) {
  has_console_ = true;
  console_had_input_ = input_fd >= 0;
  if (input_fd >= 0) connect_source(console_input_, input_fd);
  connect_drain(console_output_, output_fd >= 0 ? std::make_shared<HostStream>(output_fd, HostStream::Direction::Output) : nullptr);
  if (!messages_.is_connected) connect_drain(messages_, console_output_.stream);
  serve();
}

void ConsolePump::connect_terminal(HostTerminal& terminal, int output_fd) {
  terminal_ = &terminal;
  terminal.enter_raw_mode();
  console_input_.is_paused = !terminal.is_raw();
  const auto tell_size = [this] {
    board_.console().set_window(terminal_->window_size());
    notify_core(kConsole);
  };
  loop_.watch_signal(SIGWINCH, [tell_size](const signalfd_siginfo&) { tell_size(); });
  // Control-Z goes to the guest; this is kill -TSTP. The shell gets its terminal back while umk is stopped.
  loop_.watch_signal(SIGTSTP, [this](const signalfd_siginfo&) {
    terminal_->restore();
    raise(SIGSTOP);
  });
  loop_.watch_signal(SIGCONT, [this, tell_size](const signalfd_siginfo&) {
    terminal_->enter_raw_mode();
    console_input_.is_paused = !terminal_->is_raw();
    tell_size();
    serve();
  });
  tell_size();
  connect_console(terminal.fd(), output_fd >= 0 ? output_fd : terminal.fd());
}

void ConsolePump::connect_stream(unsigned number, int fd) {
  if (number == 0) {
    connect_source(standard_input_, fd);
  } else {
    connect_drain(standard_output_[number - 1], std::make_shared<HostStream>(fd, HostStream::Direction::Output));
  }
  serve();
}

void ConsolePump::connect_messages(int fd) {
  connect_drain(messages_, fd >= 0 ? std::make_shared<HostStream>(fd, HostStream::Direction::Output) : nullptr);
  serve();
}

void ConsolePump::connect_source(Source& source, int fd) { source.stream = std::make_unique<HostStream>(fd, HostStream::Direction::Input); }

void ConsolePump::connect_drain(Drain& drain, std::shared_ptr<HostStream> stream) {
  drain.stream = std::move(stream);
  drain.is_connected = true;
}

void ConsolePump::wake_core(bool is_asleep) {
  if (is_asleep) syscall(SYS_futex, &board_.core_wake, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}
void ConsolePump::notify_core() { wake_core(board_.notify_core()); }
void ConsolePump::notify_core(unsigned line) { wake_core(board_.notify_core(line)); }

void ConsolePump::serve() {
  serve_wish();
  for (Drain* drain : drains_) serve_drain(*drain);
  watch_drains();
  for (Source* source : {&console_input_, &standard_input_})
    if (source->stream) serve_source(*source);
}

// Descriptors are watched only while there is something to wait for: an end that hung up is always ready, and would keep the loop awake.

void ConsolePump::watch_drains() {
  std::vector<int> wanted;
  for (const Drain* drain : drains_)
    if (drain->stream && drain->waits && std::find(wanted.begin(), wanted.end(), drain->stream->fd()) == wanted.end())
      wanted.push_back(drain->stream->fd());
  for (const int fd : watched_drains_)
    if (std::find(wanted.begin(), wanted.end(), fd) == wanted.end()) loop_.forget(fd);
  for (const int fd : wanted)
    if (std::find(watched_drains_.begin(), watched_drains_.end(), fd) == watched_drains_.end()) loop_.watch(fd, EPOLLOUT, [this](uint32_t) { serve(); });
  watched_drains_ = std::move(wanted);
}

void ConsolePump::watch_source(Source& source, bool watched) {
  if (source.is_watched == watched) return;
  if (watched) {
    // Plain files cannot be watched; they are read to the end, or as far as the ring has room.
    source.is_watched = loop_.watch(source.stream->fd(), EPOLLIN, [this, &source](uint32_t) { serve_source(source); });
  } else {
    loop_.forget(source.stream->fd());
    source.is_watched = false;
  }
}

void ConsolePump::serve_source(Source& source) {
  if (source.is_paused) return watch_source(source, false);
  uint8_t bytes[16 * 1024];
  for (;;) {
    if (source.ring->room() == 0) source.ring->want_room(false);
    const size_t room = source.ring->room();
    if (room == 0) return watch_source(source, false);
    const ssize_t count = source.stream->read(std::span(bytes, std::min(room, sizeof bytes)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return watch_source(source, true);
    if (count <= 0) return end_source(source);
    source.ring->put(std::span(bytes, static_cast<size_t>(count)));
    source.is_console ? notify_core(kConsole) : notify_core();
  }
}

void ConsolePump::end_source(Source& source) {
  watch_source(source, false);
  const bool was_terminal = source.stream->is_terminal();
  source.stream.reset();
  if (source.is_console && was_terminal) {
    console_is_gone_ = true;
    report_console(ConsoleLine::State::Lost);
  } else {
    source.ring->end();
    notify_core();
  }
}

void ConsolePump::report_console(ConsoleLine::State state, int error) {
  board_.lines[kConsole].set_report({session_, state, static_cast<uint16_t>(error)});
  notify_core(kConsole);
}

/// The line was closed or lost in the guest, and is wanted again: its descriptors are still there, or gone for good.
void ConsolePump::serve_wish() {
  const ConsoleLine::Wish wish = board_.lines[kConsole].wish();
  if (!has_console_ || wish.session == session_ || !wish.is_open) return;
  session_ = wish.session;
  if (console_is_gone_) return report_console(ConsoleLine::State::Failed, EIO);
  console_input_.ring->restart();
  console_output_.ring->restart();
  // A file or pipe that has ended stays so.
  if (!console_input_.stream && console_had_input_) console_input_.ring->end();
  report_console(ConsoleLine::State::Open);
}

void ConsolePump::serve_drain(Drain& drain) {
  ConsoleRing& ring = *drain.ring;
  // Without a place to go nothing is taken yet: connect_... may still come. A stream that nobody connected is not open in the guest either.
  if (!drain.is_connected) return;
  drain.waits = false;
  for (;;) {
    if (ring.drop_forgotten() && ring.must_wake_producer()) notify_core(kConsole);
    std::span<const uint8_t> piece = ring.front();
    if (piece.empty()) {
      ring.want_bytes();
      if (ring.empty()) return;
      continue;
    }
    const bool is_message = &drain == &messages_ && drain.stream && drain.stream->is_terminal();
    if (is_message) piece = message_lines_.next(piece);
    size_t taken = piece.size();
    if (drain.stream) {
      const ssize_t count = drain.stream->write(piece);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) {
        drain.waits = true;
        return;
      }
      if (count < 0) {
        lose(drain.stream);
        continue;
      }
      taken = is_message ? message_lines_.written(static_cast<size_t>(count)) : static_cast<size_t>(count);
    }
    ring.drop(static_cast<uint32_t>(taken));
    if (ring.must_wake_producer()) notify_core(kConsole);
  }
}

/// Nobody reads any more.
void ConsolePump::lose(const std::shared_ptr<HostStream>& stream) {
  const std::shared_ptr<HostStream> gone = stream;
  for (Drain* drain : drains_) {
    if (drain->stream != gone) continue;
    drain->stream = nullptr;
    drain->waits = false;
    if (drain->is_stream) drain->ring->abandon();
    if (drain->ring->must_wake_producer()) notify_core(kConsole);
  }
  watch_drains();
}

bool ConsolePump::drain(int timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    serve();
    const bool is_empty =
        std::all_of(std::begin(drains_), std::end(drains_), [](const Drain* drain) { return !drain->is_connected || drain->ring->empty(); });
    if (is_empty) return true;
    int wait_ms = -1;
    if (timeout_ms >= 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      if (left <= 0) return false;
      wait_ms = static_cast<int>(left);
    }
    loop_.run_once(wait_ms);
  }
}

}  // namespace umk::monitor
