// Lines: all consoles and serial lines of a machine, as they are configured: con=, ssl=, and the management console's config and remove.
//
// Life: made before the machine, so that ports listen and the kernel can be told which lines there are; start() when the board is there. A line that is
// configured costs nothing until the guest opens it, but for the listener of a port.
//
// Console 0 with descriptors that umk was started with is not served here but by ConsolePump: it is there from the machine's first message on.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/drivers/console/console_ring.h"
#include "monitor/channels/channel.h"
#include "monitor/channels/line.h"
#include "monitor/channels/port_listener.h"
#include "monitor/configuration.h"

namespace umk::monitor {

class Lines {
 public:
  /// `log` takes lines for the kernel's log; before start(), too.
  Lines(EventLoop& loop, const Configuration& configuration, std::string machine_name, std::function<void(const std::string&)> log);
  ~Lines();
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  // Before start(): see ChannelContext.
  void on_helper(std::function<void(pid_t)> callback) { context_.on_helper = std::move(callback); }
  void set_patience(std::chrono::milliseconds patience) { context_.patience = patience; }

  /// Bit n: console or serial line n is there.
  uint64_t consoles() const;
  uint64_t serial_lines() const;
  /// True when console 0 is served here.
  bool serves_console() const { return entries_.contains(0); }

  void start(console::ConsoleBoard& board);
  /// At each wake-up of the core.
  void serve();
  /// When the machine has ended: passes on what the lines still hold, as far as the host takes it in time.
  void drain(std::chrono::milliseconds patience);

  // By number on the board; in the event loop's thread.
  /// The line is to be closed for the guest. Throws ChannelError, and the line is none then.
  void configure(unsigned index, const ChannelPair& pair);
  void remove(unsigned index);
  /// What the management console shows: channels with their devices while they are open.
  std::string describe(unsigned index) const;

 private:
  struct Entry {
    std::string text;
    std::unique_ptr<Channel> input, output;  // until the board is there
    std::unique_ptr<Line> line;
  };

  /// Lines for the log, but no flood of them: a guest may try to open a line again and again.
  void log(const std::string& text);
  void start_line(unsigned index, Entry& entry);
  bool is_drained() const;
  uint64_t existing(unsigned first, unsigned count) const;

  EventLoop& loop_;
  const std::function<void(const std::string&)> log_;
  std::chrono::steady_clock::time_point log_turn_{};
  unsigned log_lines_ = 0, log_lines_left_out_ = 0;
  PortListeners ports_;
  ChannelContext context_;
  const bool serial_lines_are_raw_;
  console::ConsoleBoard* board_ = nullptr;
  std::map<unsigned, Entry> entries_;
  std::map<unsigned, std::string> elsewhere_;  // console 0 of ConsolePump
};

}  // namespace umk::monitor
