// Streams of `umk run`: the command's standard input, output and error when they are pipes or files on the host. No terminals: each is one
// ring between the monitor and open files that behave like one end of a pipe. pipe(7).
#pragma once

#include "core/drivers/console/console_ring.h"
#include "core/kernel/vfs/anonymous_inode.h"
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
  void on_change() EXCLUDES(mutex_);
  /// Output files come and go; when the last is gone, the stream ends for the host.
  void add_writer() { writers_.fetch_add(1, std::memory_order_relaxed); }
  void drop_writer();

 private:
  ConsoleBoard& board_;
  ConsoleRing& ring_;
  Mutex mutex_{LockRank::Pipe};
  WaitQueue waiters_;
  std::atomic<uint32_t> writers_{0};
};

/// An open stream. Its direction is that of its flags.
class StreamFile final : public vfs::OpenFile {
 public:
  /// `inode` says what fstat(2) shows: a FIFO.
  StreamFile(RefPtr<vfs::Inode> inode, uint32_t flags, StreamPort& port) : OpenFile(std::move(inode), flags), port_(port) {
    if (is_writable()) port_.add_writer();
  }
  ~StreamFile() override {
    if (is_writable()) port_.drop_writer();
  }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override { return port_.read(buffer, is_nonblocking()); }
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override { return port_.write(buffer, is_nonblocking()); }
  uint32_t poll(vfs::PollTable* table) override { return is_readable() ? port_.poll_input(table) : port_.poll_output(table); }
  Result<int64_t> ioctl(Task&, uint32_t request, uint64_t argument) override;
  Result<String> describe() override;

 private:
  StreamPort& port_;
};

/// What fstat(2) shows of a stream, and through which /dev/stdin and its kin open it again.
class StreamInode final : public vfs::AnonymousInode {
 public:
  StreamInode(vfs::AnonymousSuperblock& superblock, StreamPort& port, bool is_input)
      : AnonymousInode(superblock, static_cast<uint32_t>(vfs::FileType::Fifo) | 0600, 0, 0), port_(port), is_input_(is_input) {}

  bool has_own_pipe() const override { return true; }
  /// The other end is the host's: EACCES for who wants only that.
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, uint32_t flags) override;

 private:
  StreamPort& port_;
  const bool is_input_;
};

}  // namespace umk::console
