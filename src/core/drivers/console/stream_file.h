// Streams of `umk run`: the command's standard input, output and error when they are pipes or files on the host. No terminals: each is one
// ring between the monitor and open files that behave like one end of a pipe. pipe(7).
#pragma once

#include "core/drivers/console/console_ring.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::console {

/// The core's side of one ring. Lives as long as the console driver.
class StreamPort {
 public:
  StreamPort(ConsoleBoard& board, ConsoleRing& ring) : board_(board), ring_(ring) {}

  /// Returns 0 at the end; ERESTARTSYS, EAGAIN as read(2).
  Result<size_t> read(UserOutBuffer& buffer, bool nonblocking) EXCLUDES(mutex_);
  /// Writes everything unless interrupted; EPIPE when the host's side takes no more.
  Result<size_t> write(UserInBuffer& buffer, bool nonblocking) EXCLUDES(mutex_);
  uint32_t poll_input(vfs::PollTable* table);
  uint32_t poll_output(vfs::PollTable* table);
  uint32_t readable_bytes() const { return ring_.used(); }
  /// The other side has put or taken something. Called by the console thread.
  void on_change() { waiters_.wake_all(); }
  /// No more output comes: the last open file is gone.
  void end_output();

 private:
  ConsoleBoard& board_;
  ConsoleRing& ring_;
  Mutex mutex_{LockRank::Pipe};
  WaitQueue waiters_;
};

/// An open stream. Its direction is that of its flags.
class StreamFile final : public vfs::OpenFile {
 public:
  /// `inode` says what fstat(2) shows: a FIFO.
  StreamFile(RefPtr<vfs::Inode> inode, uint32_t flags, StreamPort& port) : OpenFile(std::move(inode), flags), port_(port) {}
  ~StreamFile() override {
    if (is_writable()) port_.end_output();
  }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override { return port_.read(buffer, is_nonblocking()); }
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override { return port_.write(buffer, is_nonblocking()); }
  uint32_t poll(vfs::PollTable* table) override { return is_readable() ? port_.poll_input(table) : port_.poll_output(table); }
  Result<int64_t> ioctl(Task&, uint32_t request, uint64_t argument) override;
  Result<String> describe() override;

 private:
  StreamPort& port_;
};

}  // namespace umk::console
