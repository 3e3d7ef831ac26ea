// Tty: a terminal: a line discipline with those who wait for it, its session, and its open files. tty(4), ioctl_tty(2), termios(3).
//
//   open file (TtyFile) --read, write, ioctl--> Tty --LineDevice--> the device: a console's ring, a pseudo-terminal's master
//
// Life: a console's Tty is made at boot and stays; a pseudo-terminal's is made with its master and lives as long as one end is open.
// Open files hold the Tty; the Tty lists them without holding them, to hang them up. A hung-up file never comes back: it reads end of file,
// and everything else fails; opening the terminal again gives a fresh one.
//
// The session holds its controlling terminal and the terminal its session and foreground group. That circle ends when the leader exits
// or gives the terminal up, or the terminal is hung up.
//
// Locks: `mutex_` (LockRank::Tty) guards everything here and in the line discipline, the device's functions are called with it held, and
// signals are sent under it. User memory is copied without it.
#pragma once

#include "core/kernel/tty/job_control.h"
#include "core/kernel/vfs/open_file.h"
#include "core/lib/line_discipline/line_discipline.h"

namespace umk {
class Task;
}

namespace umk::tty {

class TtyFile;
struct OpenFilesTag;

class Tty : public ControllingTerminal, protected LineDevice {
 public:
  vfs::DeviceNumber device_number() const final { return device_; }
  int32_t foreground_group_id() final;
  void on_leader_exit(Session& session) final;

  /// A new open file of this terminal; `flags` are open(2)'s. The session leader without a terminal gets it as its controlling one, unless
  /// O_NOCTTY. EIO when the other end is gone or locked, EBUSY when somebody has it exclusively (TIOCEXCL).
  Result<RefPtr<vfs::OpenFile>> open(RefPtr<vfs::Inode> inode, uint32_t flags, bool is_console = false);

  /// Makes it the controlling terminal of the calling process's session, as TIOCSCTTY does. EPERM when that is not to be.
  Result<void> acquire(const JobMember& member, bool steal, bool is_readable) EXCLUDES(mutex_);

  /// Back to the settings of a new terminal, whatever a program has made of them: echo, lines, signals.
  void restore_settings() EXCLUDES(mutex_);
  void hang_up() final EXCLUDES(mutex_);
  /// The device's side changed its size: SIGWINCH to the foreground group when it did.
  void set_window_size(const WindowSize& size) EXCLUDES(mutex_);
  WindowSize window_size() EXCLUDES(mutex_);

  /// Bytes typed. Returns how many were taken; the device keeps the rest until on_input_room().
  size_t receive(std::span<const uint8_t> bytes) EXCLUDES(mutex_);
  /// The device has room again.
  void resume_writers() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    resume_writers_locked();
  }

 protected:
  Tty(JobControl& jobs, vfs::DeviceNumber device, const KernelTermios& settings = termios::kDefaults)
      : mutex_(LockRank::Tty), jobs_(jobs), device_(device), initial_settings_(settings), discipline_(*this, settings) {}
  ~Tty() override = default;

  // --- what the device adds to LineDevice; called with mutex_ held.
  /// Bytes that the device has taken and not yet passed on: TIOCOUTQ, and what tcdrain(3) waits for.
  virtual size_t output_pending() const { return 0; }
  /// Forgets them.
  virtual void discard_output() {}
  /// Somebody is about to sleep until there is room, or until all is passed on: resume_writers() is to be called then.
  virtual void want_room(bool all) { (void)all; }
  /// Programs read: the line discipline may take more. Called when it was full before.
  virtual void on_input_room() {}
  /// Before an open: EIO when it cannot be. May sleep with mutex_ released; `is_console` says that it is opened as /dev/console.
  virtual Result<void> prepare_open(bool is_console) {
    (void)is_console;
    return {};
  }
  /// After the last open file is gone.
  virtual void on_last_close() {}
  /// No open file is left but some that were hung up: also when the last others were hung up just now.
  virtual void on_last_use() {}
  /// What was typed was forgotten.
  virtual void on_input_flushed() {}
  /// The other end is gone: reads and writes of files that were not hung up fail with EIO.
  virtual bool is_disconnected() const { return false; }
  virtual void on_settings_changed(const KernelTermios& before) { (void)before; }
  /// What the line cannot do is left out of new settings.
  virtual void adjust_settings(KernelTermios& settings) const { (void)settings; }
  /// When the session's leader exits the line hangs up, as a modem's does; else the jobs only get SIGHUP.
  virtual bool hangs_up_with_leader() const { return true; }
  /// Requests of one kind of terminal: ENOTTY when it is none of them.
  virtual Result<int64_t> device_ioctl(TtyFile& file, uint32_t request, uint64_t argument);

  // LineDevice, the part that is alike for all.
  void signal(TerminalSignal signal) final;
  void flow_changed(bool is_stopped) override;
  void flushed() override;

  /// Wakes readers after input came or an end was reached.
  void wake_readers() { readers_.wake(vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal); }
  void wake_writers() {
    writers_.wake(vfs::poll_bits::kOut | vfs::poll_bits::kWriteNormal);
    if (lacked_room_) told_.notify(vfs::AsyncEvent::Output);
    lacked_room_ = false;
  }
  void hang_up_locked(bool leader_exits) REQUIRES(mutex_);
  void change_window_size_locked(const WindowSize& size) REQUIRES(mutex_);
  /// Open files that were not hung up.
  bool has_users() const REQUIRES(mutex_);
  /// What was typed and not read is forgotten, and held output goes on.
  void start_anew_locked() REQUIRES(mutex_);
  void resume_writers_locked() REQUIRES(mutex_);
  /// Hands bytes to the line discipline and wakes readers; returns how many it took.
  size_t receive_locked(std::span<const uint8_t> bytes) REQUIRES(mutex_);
  /// Requests that a pseudo-terminal's master makes of its slave too (`from_master`). ENOTTY when it is none of them.
  Result<int64_t> common_ioctl(vfs::OpenFile& file, uint32_t request, uint64_t argument, bool from_master);

  Mutex mutex_;
  JobControl& jobs_;
  const vfs::DeviceNumber device_;
  const KernelTermios initial_settings_;
  LineDiscipline discipline_;
  WaitQueue readers_;
  WaitQueue writers_;
  vfs::AsyncList told_;            // signal-driven I/O; its signals are sent with mutex_ held
  bool lacked_room_ = false;       // a write stopped short: who asked for signals hears when there is room
  WindowSize window_size_{};
  RefPtr<Session> session_;
  RefPtr<ProcessGroup> foreground_;
  bool input_is_held_ = false;     // the device keeps input since the discipline was full
  bool is_exclusive_ = false;      // TIOCEXCL

 private:
  friend class TtyFile;

  // What TtyFile calls; see there.
  Result<size_t> read(TtyFile& file, UserOutBuffer& buffer);
  Result<size_t> write(TtyFile& file, UserInBuffer& buffer);
  uint32_t poll(TtyFile& file, vfs::PollTable* table);
  Result<int64_t> ioctl(TtyFile& file, uint32_t request, uint64_t argument);
  void flush_input_locked() REQUIRES(mutex_);
  void close(TtyFile& file);

  // read_write.cpp
  Result<void> take_turn_locked(bool nonblocking) REQUIRES(mutex_);
  void end_turn_locked() REQUIRES(mutex_);
  bool is_hung_up(const vfs::OpenFile& file) const REQUIRES(mutex_);
  Result<void> drain_locked(const vfs::OpenFile& file) REQUIRES(mutex_);

  // controlling.cpp
  /// Stops a background process: `signal` to its group and ERESTARTSYS; EIO when that makes no sense. Success for the foreground.
  Result<void> check_foreground_locked(int signal) REQUIRES(mutex_);
  Result<void> acquire_locked(const JobMember& member, bool steal, bool is_readable) REQUIRES(mutex_);
  void set_session_locked(const JobMember& member) REQUIRES(mutex_);
  Result<void> give_up() EXCLUDES(mutex_);
  /// `from_master`: asked through a pseudo-terminal's other end, whose holder need not be in the session.
  Result<ProcessId> foreground_for(bool from_master) EXCLUDES(mutex_);
  Result<ProcessId> session_for(bool from_master) EXCLUDES(mutex_);
  Result<void> set_foreground(ProcessId id) EXCLUDES(mutex_);

  // ioctl.cpp
  Result<void> take_settings(vfs::OpenFile& file, uint32_t request, uint64_t argument);
  Result<void> flow_control(vfs::OpenFile& file, uint64_t action);
  Result<void> simulate_input(uint64_t argument);
  void set_settings_locked(const KernelTermios& settings) REQUIRES(mutex_);
  void restore_settings_locked() REQUIRES(mutex_);
  /// `wanted`, with what is locked as it is.
  KernelTermios with_locks_locked(KernelTermios wanted) const REQUIRES(mutex_);

  List<TtyFile, OpenFilesTag> files_ GUARDED_BY(mutex_);
  bool is_writing_ = false;        // a write of several steps is going on; others wait, so that they do not mix
  KernelTermios locks_{};          // settings that cannot be changed: each bit of the flags, and characters that are not 0
  uint32_t speed_ = 38400;         // bits a second; lines of ours have no speed, this is remembered for TCGETS2
};

/// An open terminal.
class TtyFile final : public vfs::OpenFile, public ListHook<OpenFilesTag> {
 public:
  TtyFile(RefPtr<vfs::Inode> inode, uint32_t flags, RefPtr<Tty> terminal, bool is_console)
      : OpenFile(std::move(inode), flags), tty_(std::move(terminal)), is_console_(is_console) {}
  ~TtyFile() override { tty_->close(*this); }

  Tty& tty() const { return *tty_; }
  /// Opened as /dev/console: messages of the system come and go here whoever is in the foreground, and no hang-up ends it.
  bool is_console() const { return is_console_; }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override { return tty_->read(*this, buffer); }
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override { return tty_->write(*this, buffer); }
  uint32_t poll(vfs::PollTable* table) override { return tty_->poll(*this, table); }
  Result<int64_t> ioctl(Task&, uint32_t request, uint64_t argument) override { return tty_->ioctl(*this, request, argument); }
  vfs::AsyncLists async_lists() override { return {&tty_->told_, nullptr}; }
  std::optional<int32_t> default_async_group() override { return tty_->foreground_group_id(); }

 private:
  friend class Tty;
  const RefPtr<Tty> tty_;
  const bool is_console_;
  bool is_hung_up_ = false;  // guarded by the terminal's lock
};

}  // namespace umk::tty
