// TtyRegistry: the terminals of a machine by device number. Kernel::ttys; made once at boot, before the first open.
//
//   /dev/tty 5:0       the controlling terminal of whoever opens it
//   /dev/console 5:1   the system's console, never a controlling terminal by being opened
//   /dev/ptmx 5:2      a new pseudo-terminal: of the devpts that the node lies in, else of the one mounted at `pts` beside it
//   /dev/ttyN 4:N      consoles, N < 64: which of them exist is the LineSource's business
//   /dev/ttySN 4:64+N  serial lines, likewise
//   /dev/pts/N 136:N   slaves, of the devpts that the node lies in
#pragma once

#include <atomic>

#include "core/kernel/tty/tty.h"
#include "core/kernel/vfs/device_opener.h"

namespace umk::vfs {
class Vfs;
}

namespace umk::tty {

inline constexpr uint32_t kConsoleMajor = 4, kAuxiliaryMajor = 5, kSlaveMajor = 136;
inline constexpr uint32_t kFirstSerialMinor = 64, kSerialLines = 64;  // of the consoles' major
inline constexpr uint32_t kTtyMinor = 0, kConsoleMinor = 1, kMultiplexerMinor = 2;

/// Makes pseudo-terminals: an instance of devpts.
class PseudoTerminalSource {
 public:
  virtual vfs::Superblock& superblock() = 0;
  virtual Result<RefPtr<vfs::OpenFile>> open_master(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) = 0;
  virtual Result<RefPtr<vfs::OpenFile>> open_slave(unsigned number, RefPtr<vfs::Inode> inode, uint32_t flags) = 0;

 protected:
  ~PseudoTerminalSource() = default;
};

/// Consoles and serial lines, which come and go.
class LineSource {
 public:
  /// The line with a minor number of major 4. ENXIO when there is none; it may be removed before it is opened, and says so then.
  virtual Result<RefPtr<Tty>> find_line(uint32_t minor) = 0;
  /// Lines by the numbers of the board that is shared with the monitor: consoles, then serial lines.
  virtual bool has_line(unsigned line) const = 0;
  /// EEXIST, ENODEV; EBUSY when it is in use.
  virtual Result<void> add_line(unsigned line) = 0;
  virtual Result<void> remove_line(unsigned line) = 0;

 protected:
  ~LineSource() = default;
};

class TtyRegistry {
 public:
  explicit TtyRegistry(JobControl& jobs) : jobs_(jobs) {}
  JobControl& jobs() { return jobs_; }

  /// What the keys of sysrq/ may do: 1 all, 0 nothing, else the bits of sysrq.h. `/proc/sys/kernel/sysrq`.
  std::atomic<int> sysrq_keys{1};

  /// At boot only.
  void set_lines(LineSource& lines) { lines_ = &lines; }
  LineSource* lines() const { return lines_; }
  /// What /dev/console is; null: it cannot be opened. At boot only.
  void set_console(RefPtr<Tty> terminal) { console_ = std::move(terminal); }
  Tty* console() const { return console_.get(); }

  /// Opens a character device of major 4, 5 or 136; arguments are DeviceOpener's. ENXIO when nothing stands behind the number.
  /// `vfs` finds the devpts beside a multiplexer.
  Result<RefPtr<vfs::OpenFile>> open(vfs::Vfs& vfs, const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber device,
                                     const vfs::Path& path, uint32_t flags);

  /// Instances announce themselves while they live.
  Result<void> add_source(PseudoTerminalSource& source);
  void remove_source(PseudoTerminalSource& source);

 private:
  Result<RefPtr<vfs::OpenFile>> open_controlling(RefPtr<vfs::Inode> inode, uint32_t flags);
  Result<RefPtr<vfs::Superblock>> devpts_for(vfs::Vfs& vfs, const vfs::Caller& caller, const vfs::Inode& inode, const vfs::Path& path);
  PseudoTerminalSource* source_of(const vfs::Superblock& superblock) EXCLUDES(mutex_);

  JobControl& jobs_;
  LineSource* lines_ = nullptr;
  RefPtr<Tty> console_;
  Mutex mutex_{LockRank::Tty};
  Vector<PseudoTerminalSource*> sources_ GUARDED_BY(mutex_);
};

}  // namespace umk::tty
