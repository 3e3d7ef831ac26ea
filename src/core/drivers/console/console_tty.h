// ConsoleTty: a console or a serial line: a terminal whose other end is a channel of the host, as /dev/tty3 or /dev/ttyS0.
//
//   Closed --open(2)--> Opening --the monitor: it is open--> Open --last close--> Closed
//                          |                                  |
//                          +--failed: open(2) fails--> Closed <--lost: everything is hung up--+
//
// Output goes through the line discipline into the channel's ring and wakes the monitor only when that sleeps; while the line is Opening
// writers wait, while it is Closed (of files opened as /dev/console, which no hang-up ends) output is thrown away. Reports of the monitor,
// input, size changes and room in the ring arrive by the console thread.
//
// Life: made by ConsoleDriver when somebody first looks for the line, and stays, also when the line is removed: then it cannot be opened.
//
// Locks: everything is guarded by the terminal's lock, the core's ends of the rings too.
#pragma once

#include "core/drivers/console/console_ring.h"
#include "core/kernel/tty/tty.h"

namespace umk::console {

/// Wakes the monitor's event loop.
void wake_monitor(ConsoleBoard& board);

/// The number that a line shows, as controlling terminal too.
vfs::DeviceNumber device_of_line(unsigned line);

class ConsoleTty final : public tty::Tty {
 public:
  ConsoleTty(tty::JobControl& jobs, ConsoleBoard& board, unsigned line)
      : Tty(jobs, device_of_line(line)), board_(board), line_(line), shared_(board.lines[line]) {}

  /// The line is open from the start, and is held. Before the first open.
  Result<void> start_open() EXCLUDES(mutex_);
  /// The kernel speaks there: it stays open when no program uses it, and cannot be removed.
  void hold() EXCLUDES(mutex_);
  void set_exists() EXCLUDES(mutex_);
  /// Text of the kernel's, as if written; returns how much was taken. A line that was never open is opened for it; when it was and is not now, text is
  /// thrown away.
  size_t show(std::span<const uint8_t> text) EXCLUDES(mutex_);
  /// It cannot be opened any more. EBUSY when somebody has it open or is about to.
  Result<void> remove() EXCLUDES(mutex_);

  /// Does what the monitor's side announced. Called by the console thread.
  void serve() EXCLUDES(mutex_);

 private:
  enum class Link { Closed, Opening, Open };

  size_t output_room() const override;
  void output(std::span<const uint8_t> bytes) override;
  size_t output_pending() const override { return link_ == Link::Open ? channel_->output.used() : 0; }
  void want_room(bool all) override;
  void discard_output() override;
  void on_input_room() REQUIRES(mutex_) override { serve_input_locked(); }
  Result<void> prepare_open(bool is_console) REQUIRES(mutex_) override;
  void on_last_use() REQUIRES(mutex_) override { close_if_unused_locked(); }

  Result<void> make_channel_locked() REQUIRES(mutex_);
  Result<void> start_session_locked() REQUIRES(mutex_);
  void close_if_unused_locked() REQUIRES(mutex_);
  void take_report_locked() REQUIRES(mutex_);
  void serve_input_locked() REQUIRES(mutex_);
  void tell_monitor();

  ConsoleBoard& board_;
  const unsigned line_;
  ConsoleLine& shared_;
  std::unique_ptr<ConsoleChannel> channel_;
  Link link_ = Link::Closed;
  uint32_t session_ = 0;
  int open_error_ = 0;       // why the last session did not come to be
  WaitQueue openers_;
  unsigned opener_count_ = 0;
  bool exists_ = false;
  bool is_held_ = false;
  bool had_input_ = false;
  bool end_was_passed_on_ = false;
};

}  // namespace umk::console
