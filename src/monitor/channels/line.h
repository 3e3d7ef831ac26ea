// Line: the monitor's side of one console or serial line: opens its channels when the guest wants it, moves bytes between them and the rings of the
// board, and tells the guest when they are gone. The protocol is that of console::ConsoleLine.
//
//   Closed    -- the guest opens -->  Opening  -- the channels are there -->  Open
//   Open      -- the guest closes -->  Lingering: what it wrote is passed on. When it opens the line again soon, as login(1) and getty(8) do, it finds the
//                                      same window or telnet connection; else the channels are closed
//   any       -- a channel ends -->    Closed, and the guest's terminal hangs up; its next open begins anew
//
// A line has one channel for both directions, or one for each. When the one for output alone ends, what is written is forgotten and the line goes on.
#pragma once

#include <memory>
#include <string>

#include "core/drivers/console/console_ring.h"
#include "monitor/channels/channel.h"
#include "monitor/channels/message_lines.h"
#include "monitor/timer.h"

namespace umk::monitor {

class Line final : private ChannelUser {
 public:
  /// `output` is null where `input` serves both directions.
  Line(const ChannelContext& context, console::ConsoleBoard& board, unsigned index, std::unique_ptr<Channel> input,
       std::unique_ptr<Channel> output);
  ~Line();

  /// The kernel's messages are shown on this line too, ahead of what programs write.
  void show_messages(console::ConsoleRing& messages) { messages_ = &messages; }
  /// Looks at the wish and at the rings.
  void serve();
  /// Nothing is left that the host could be given.
  bool is_drained() const;
  /// The channels as they are now: pts:/dev/pts/4. Empty when they are closed.
  std::string describe() const;

 private:
  enum class Phase { Closed, Opening, Open, Lingering };

  void on_opened(Channel& channel) override;
  void on_failed(Channel& channel, int error) override;
  void on_window(Channel& channel) override;
  void on_output(Channel& channel) override;

  Channel& output() const { return output_ ? *output_ : *input_; }
  void begin(uint32_t session);
  int open_one(Channel& channel, bool& is_open);
  void finish_opening();
  void start_session(uint32_t session);
  void close();
  void lose();
  void report(console::ConsoleLine::State state, int error = 0);
  void notify_core();

  void pump();
  bool pass_on(console::ConsoleRing& ring);
  void pass_on_all();
  void take_input();
  void tell_window();
  void watch();
  void watch_one(Channel& channel, uint32_t events, uint32_t& watched);

  EventLoop& loop_;
  const std::chrono::milliseconds patience_;
  console::ConsoleBoard& board_;
  const unsigned index_;
  console::ConsoleLine& line_;
  const std::unique_ptr<Channel> input_, output_;
  console::ConsoleRing* messages_ = nullptr;
  MessageLines message_lines_;
  Phase phase_ = Phase::Closed;
  uint32_t session_ = 0;
  bool is_adopted_ = false;  // a session that was open before its channel was: of the console
  bool input_is_open_ = false, output_is_open_ = false;
  bool output_is_lost_ = false;
  bool waits_for_output_ = false, wants_input_ = false;
  bool had_window_ = false;
  uint32_t input_events_ = 0, output_events_ = 0;  // what is watched
  Timer linger_;
};

}  // namespace umk::monitor
