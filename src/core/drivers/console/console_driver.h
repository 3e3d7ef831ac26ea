// ConsoleDriver: the board shared with the monitor, the machine's consoles and serial lines, and the standard streams.
//
// Life: init/ makes it once, before the first task, and hands the board's address to the monitor, which sets `monitor_event`. The
// monitor then attaches one kernel thread that calls run(); it returns after stop().
//
//   Lines: which exist is said at boot and later by add_line() and remove_line(); their nodes come and go with them. A line's terminal is
//   made when it is first looked for. Console 0 is open from the start. While there is no console 1, /dev/tty1 is console 0 too, so that
//   a root filesystem with a getty there shows a login on a machine with one console.
//
//   Standard streams of `umk run`: for each of 0, 1 and 2 either the terminal (tty().open(...), the same for all that are one) or
//   open_stream(). The monitor decides by what they are on the host.
#pragma once

#include <memory>

#include "core/drivers/console/console_tty.h"
#include "core/drivers/console/message_line.h"
#include "core/drivers/console/stream_file.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::console {

class ConsoleDriver final : public tty::LineSource {
 public:
  /// Console 0 exists; other lines are added.
  static Result<std::unique_ptr<ConsoleDriver>> create(tty::JobControl& jobs);
  ConsoleDriver(tty::JobControl& jobs, std::unique_ptr<ConsoleBoard> board, RefPtr<ConsoleTty> terminal);
  virtual ~ConsoleDriver() = default;

  ConsoleBoard& board() { return *board_; }
  /// Console 0.
  ConsoleTty& terminal() { return *terminal_; }
  /// A line's terminal, whether it exists or not. ENOMEM.
  Result<RefPtr<ConsoleTty>> terminal_of(unsigned line) EXCLUDES(lines_mutex_);

  Result<RefPtr<tty::Tty>> find_line(uint32_t minor) override EXCLUDES(lines_mutex_);
  bool has_line(unsigned line) const override { return exists_[line].load(std::memory_order_relaxed); }
  Result<void> add_line(unsigned line) override EXCLUDES(lines_mutex_);
  Result<void> remove_line(unsigned line) override EXCLUDES(lines_mutex_);
  /// Shows nodes for the lines, now and when they come and go.
  Result<void> attach(device::DeviceRegistry& registry) EXCLUDES(lines_mutex_);

  /// Stream 0 for reading, 1 and 2 for writing; the stream ends for the host when the last such file of it is closed.
  Result<RefPtr<vfs::OpenFile>> open_stream(unsigned number, RefPtr<vfs::Inode> inode);
  /// An inode for open_stream that can be opened again by /proc/PID/fd.
  Result<RefPtr<vfs::Inode>> make_stream_inode(unsigned number, vfs::AnonymousSuperblock& superblock);

  /// Serves both sides until stop(); on an attached kernel thread.
  void run();
  void stop();

  /// Shows the log on a line too, from its beginning; such a line stays open. At boot. Tell of each new record by notify_log().
  Result<void> show_log_on(unsigned line, KernelLog& log) EXCLUDES(lines_mutex_);
  void notify_log();

  /// Log text for the terminal, with newlines; cut when the ring is full. Takes only a lock of rank Log: may be called from everywhere.
  void show_message(std::string_view text);

 private:
  /// The line that a minor number means; kLines for none.
  unsigned line_of(uint32_t minor) const;
  device::Node node_of(unsigned line) const;
  Result<RefPtr<ConsoleTty>> terminal_of_locked(unsigned line) REQUIRES(lines_mutex_);

  tty::JobControl& jobs_;
  std::unique_ptr<ConsoleBoard> board_;
  RefPtr<ConsoleTty> terminal_;
  Mutex lines_mutex_{LockRank::Session};
  RefPtr<ConsoleTty> terminals_[kLines] GUARDED_BY(lines_mutex_);
  std::atomic<bool> exists_[kLines] = {};  // written under the lock
  char names_[kLines][8];                  // of nodes
  device::DeviceRegistry* registry_ = nullptr;
  StreamPort ports_[3];
  Mutex messages_mutex_{LockRank::Log};
  Vector<std::unique_ptr<MessageLine>> message_lines_;  // of the console thread, once it runs
};

}  // namespace umk::console
