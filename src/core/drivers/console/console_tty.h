// Console 0: the terminal at the end of channel 0, as /dev/console, /dev/tty0 and /dev/tty1.
//
// Output goes through the line discipline into the channel's ring and wakes the monitor only when that sleeps. Input, size changes, hang-up
// and room in the ring arrive by the console thread (console_thread.h).
#pragma once

#include "core/drivers/console/console_ring.h"
#include "core/kernel/tty/tty.h"

namespace umk::console {

/// Wakes the monitor's event loop.
void wake_monitor(ConsoleBoard& board);

class ConsoleTty final : public tty::Tty {
 public:
  /// The number that it shows as a controlling terminal: tty0, as in UML.
  static constexpr vfs::DeviceNumber kDevice{4, 0};

  ConsoleTty(tty::JobControl& jobs, ConsoleBoard& board) : Tty(jobs, kDevice), board_(board), channel_(board.console) {}

  /// Does what the monitor's side announced. Called by the console thread, in a loop.
  void serve();

 private:
  size_t output_room() const override { return channel_.output.room(); }
  void output(std::span<const uint8_t> bytes) override;
  size_t output_pending() const override { return channel_.output.used(); }
  void want_room(bool all) override { channel_.output.want_room(all); }
  void on_input_room() override;

  void serve_input();

  ConsoleBoard& board_;
  ConsoleChannel& channel_;
  // Of the console thread alone:
  bool had_input_ = false;
  bool end_was_passed_on_ = false;
  // Cleared by the console thread when the line discipline is full, set by readers.
  std::atomic<bool> input_has_room_{true};
};

}  // namespace umk::console
