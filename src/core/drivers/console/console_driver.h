// ConsoleDriver: the board shared with the monitor, the terminal on channel 0, and the standard streams.
//
// Life: init/ makes it once, before the first task, and hands the board's address to the monitor, which sets `monitor_event`. The
// monitor then attaches one kernel thread that calls run(); it returns after stop().
//
//   Standard streams of `umk run`: for each of 0, 1 and 2 either the terminal (tty().open(...), the same for all that are one) or
//   open_stream(). The monitor decides by what they are on the host.
#pragma once

#include <memory>

#include "core/drivers/console/console_tty.h"
#include "core/drivers/console/stream_file.h"

namespace umk::console {

class ConsoleDriver {
 public:
  static Result<std::unique_ptr<ConsoleDriver>> create(tty::JobControl& jobs);
  ConsoleDriver(std::unique_ptr<ConsoleBoard> board, RefPtr<ConsoleTty> terminal);

  ConsoleBoard& board() { return *board_; }
  ConsoleTty& terminal() { return *tty_; }

  /// Stream 0 for reading, 1 and 2 for writing; the stream ends for the host when the last such file of it is closed.
  Result<RefPtr<vfs::OpenFile>> open_stream(unsigned number, RefPtr<vfs::Inode> inode);
  /// An inode for open_stream that can be opened again by /proc/PID/fd.
  Result<RefPtr<vfs::Inode>> make_stream_inode(unsigned number, vfs::AnonymousSuperblock& superblock);

  /// Serves both sides until stop(); on an attached kernel thread.
  void run();
  void stop();

  /// Log text for the terminal, with newlines; cut when the ring is full. Takes only a lock of rank Log: may be called from everywhere.
  void show_message(std::string_view text);

 private:
  std::unique_ptr<ConsoleBoard> board_;
  RefPtr<ConsoleTty> tty_;
  StreamPort ports_[3];
  Mutex messages_mutex_{LockRank::Log};
};

}  // namespace umk::console
