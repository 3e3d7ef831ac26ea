// Pseudo-terminals: a terminal whose line ends in a program. pty(7), ioctl_tty(2).
//
//   program under control --TtyFile--> PtySlave (a Tty) --output queue--> PtyMasterFile --> terminal emulator, sshd, script ...
//                                             <--line discipline, held input--
//
// Life: opening a multiplexer (/dev/ptmx, /dev/pts/ptmx) makes the pair: the slave's Tty and the master's only open file, which holds it. Its
// devpts instance, the owner, lists it under its number. When the master closes, the name goes, every file of the slave hangs up and the session
// gets SIGHUP. When the last slave file closes, the master reads what is left and then EIO, until a slave is opened again.
//
// One lock, the slave's, guards both ends.
#pragma once

#include "core/kernel/tty/byte_queue.h"
#include "core/kernel/tty/tty.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::tty {

/// The devpts instance that a pair belongs to.
class PtyOwner {
 public:
  /// The master closed: the name goes.
  virtual void on_master_closed(unsigned number) = 0;
  /// Nothing of the pair is left: the number may be used again.
  virtual void free_number(unsigned number) = 0;
  /// The file in devpts of a slave, for TIOCGPTPEER; null when it is gone.
  virtual RefPtr<vfs::Inode> slave_inode(unsigned number) = 0;
  /// What keeps the owner alive.
  virtual RefPtr<RefCounted> hold() = 0;

 protected:
  ~PtyOwner() = default;
};

class PtyMasterFile;

class PtySlave final : public Tty {
 public:
  PtySlave(JobControl& jobs, PtyOwner& owner, unsigned number);
  ~PtySlave() override;
  unsigned number() const { return device_number().minor; }

  /// The master's open file; once.
  Result<RefPtr<vfs::OpenFile>> open_master(RefPtr<vfs::Inode> inode, uint32_t flags);

 private:
  friend class PtyMasterFile;
  /// As much as Linux lets pile up in each direction, about.
  static constexpr size_t kQueueBytes = 16 * 1024;
  /// What Linux would have passed on to the master's own input queue: a flush no longer reaches it.
  static constexpr size_t kPassedOnBytes = 4095;

  // LineDevice and Tty
  size_t output_room() const override { return to_master_.room(); }
  void output(std::span<const uint8_t> bytes) override;
  void discard_output() override;
  void on_input_room() REQUIRES(mutex_) override;
  Result<void> prepare_open(bool is_console) override;
  void on_last_close() override;
  bool is_disconnected() const override { return !master_is_open_; }
  bool hangs_up_with_leader() const override { return false; }
  void adjust_settings(KernelTermios& settings) const override;

  // packet mode
  void flow_changed(bool is_stopped) override;
  void flushed() override;
  void on_input_flushed() override { report(termios::kPacketFlushRead); }
  void on_settings_changed(const KernelTermios& before) override;
  void report(uint8_t set, uint8_t clear = 0);

  // what PtyMasterFile calls
  Result<size_t> read_as_master(UserOutBuffer& buffer, bool nonblocking) EXCLUDES(mutex_);
  Result<size_t> write_as_master(UserInBuffer& buffer, bool nonblocking) EXCLUDES(mutex_);
  uint32_t poll_as_master(vfs::PollTable* table) EXCLUDES(mutex_);
  Result<int64_t> ioctl_as_master(Task& task, PtyMasterFile& file, uint32_t request, uint64_t argument) EXCLUDES(mutex_);
  Result<int64_t> open_peer(Task& task, uint32_t flags);
  void close_master() EXCLUDES(mutex_);

  size_t type_locked(std::span<const uint8_t> bytes) REQUIRES(mutex_);

  PtyOwner& owner_;
  const RefPtr<RefCounted> owner_hold_;
  ByteQueue<kQueueBytes> to_master_;
  ByteQueue<kQueueBytes> held_;   // typed, while the line discipline is full
  WaitQueue master_events_;
  vfs::AsyncList master_told_;
  bool master_is_open_ = false;
  bool is_locked_ = true;         // TIOCSPTLCK: a slave cannot be opened before unlockpt(3)
  bool slave_has_closed_ = false; // and was not opened since
  bool is_packet_ = false;        // TIOCPKT
  uint8_t packet_status_ = 0;
};

/// The master end: one open file a pair (dup and fork share it).
class PtyMasterFile final : public vfs::OpenFile {
 public:
  PtyMasterFile(RefPtr<vfs::Inode> inode, uint32_t flags, RefPtr<PtySlave> slave) : OpenFile(std::move(inode), flags), slave_(std::move(slave)) {}
  ~PtyMasterFile() override { slave_->close_master(); }
  unsigned number() const { return slave_->number(); }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override { return slave_->read_as_master(buffer, is_nonblocking()); }
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override { return slave_->write_as_master(buffer, is_nonblocking()); }
  uint32_t poll(vfs::PollTable* table) override { return slave_->poll_as_master(table); }
  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override { return slave_->ioctl_as_master(task, *this, request, argument); }
  vfs::AsyncLists async_lists() override { return {&slave_->master_told_, nullptr}; }
  std::optional<int32_t> default_async_group() override { return 0; }
  void describe_details(TextSink& sink) override { format(sink, "tty-index:\t{}\n", slave_->number()); }

 private:
  const RefPtr<PtySlave> slave_;
};

}  // namespace umk::tty
