// ConsolePump: moves bytes between the rings of the console board and the host's descriptors, in the event loop.
//
// Nothing is read that the ring has no room for, and a ring is emptied only as fast as the host takes it: so a slow reader of umk's output slows
// the guest's writer, and a guest that does not read slows whoever feeds umk. At the end drain() passes on what is left.
//
// Ends of input: a terminal that is gone hangs the console up; a plain file or pipe that ends, ends its ring. A host that takes no more of a
// standard stream (EPIPE) makes the guest's writers fail likewise; console output without a taker is thrown away.
//
// Life: made after the machine started (the board exists), before the event loop runs; dies before the board.
#pragma once

#include <memory>
#include <vector>

#include "core/drivers/console/console_ring.h"
#include "monitor/channels/host_stream.h"
#include "monitor/channels/host_terminal.h"
#include "monitor/channels/message_lines.h"
#include "monitor/event_loop.h"

namespace umk::monitor {

class ConsolePump {
 public:
  /// Sets `board.monitor_event` to the loop's, and serves the board at each wake-up.
  ConsolePump(EventLoop& loop, console::ConsoleBoard& board);
  ~ConsolePump();
  ConsolePump(const ConsolePump&) = delete;
  ConsolePump& operator=(const ConsolePump&) = delete;

  /// Console 0. Descriptors of -1 are null: input never comes, output vanishes.
  void connect_console(int input_fd, int output_fd);
  /// Console 0 on a terminal: also its size, now and at each SIGWINCH, stops and continues. `terminal` must outlive the pump.
  /// Output goes to `output_fd` where that is another place, as in `umk | tee log`.
  void connect_terminal(HostTerminal& terminal, int output_fd = -1);
  /// Standard streams of `umk run` that are no terminals.
  void connect_stream(unsigned number, int fd);
  /// Where kernel messages go: a descriptor, or -1 to throw them away. Without a call they go where console 0's output goes.
  void connect_messages(int fd);

  /// Looks at all rings. Called by itself; also useful right after the machine started.
  void serve();
  /// Passes on what the rings still hold, up to `timeout_ms` (-1: as long as it takes). False when something is left.
  bool drain(int timeout_ms = -1);

 private:
  /// One ring that the host feeds.
  struct Source {
    console::ConsoleRing* ring = nullptr;
    std::unique_ptr<HostStream> stream;  // null: nothing (more) comes
    bool is_console = false;
    bool is_paused = false;        // a terminal in whose background we are: reading would stop us
    bool is_watched = false;
  };
  /// One ring that the host empties.
  struct Drain {
    console::ConsoleRing* ring = nullptr;
    std::shared_ptr<HostStream> stream;  // null: thrown away
    bool is_stream = false;        // a standard stream, whose writers learn that nobody reads
    bool waits = false;            // the host takes nothing now
    bool is_connected = false;
  };

  void connect_source(Source& source, int fd);
  void connect_drain(Drain& drain, std::shared_ptr<HostStream> stream);
  void serve_source(Source& source);
  void serve_drain(Drain& drain);
  void end_source(Source& source);
  void lose(const std::shared_ptr<HostStream>& stream);
  void watch_source(Source& source, bool watched);
  void watch_drains();
  void notify_core();
  void notify_core(unsigned line);
  void wake_core(bool is_asleep);
  void report_console(console::ConsoleLine::State state, int error = 0);
  void serve_wish();

  EventLoop& loop_;
  console::ConsoleBoard& board_;
  HostTerminal* terminal_ = nullptr;
  // Console 0: whether it is served here, which session of it, and whether its terminal has gone away.
  bool has_console_ = false, console_is_gone_ = false, console_had_input_ = false;
  uint32_t session_ = 1;
  Source console_input_, standard_input_;
  // Messages come before the console's own output: what the kernel says about a moment is shown before what programs print after it.
  Drain messages_, console_output_, standard_output_[2];
  MessageLines message_lines_;
  std::vector<int> watched_drains_;
  Drain* const drains_[4] = {&messages_, &console_output_, &standard_output_[0], &standard_output_[1]};
};

}  // namespace umk::monitor
