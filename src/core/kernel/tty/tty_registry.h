// TtyRegistry: the terminals of a machine by device number. Kernel::ttys; made once at boot, before the first open.
//
//   /dev/tty 5:0       the controlling terminal of whoever opens it
//   /dev/console 5:1   the system's console, never a controlling terminal by being opened
//   /dev/ptmx 5:2      a new pseudo-terminal of the devpts instance that was mounted first
//   /dev/ttyN 4:N      consoles
//   /dev/pts/N 136:N   slaves, opened through devpts, which knows its own
#pragma once

#include "core/kernel/tty/tty.h"

namespace umk::tty {

inline constexpr uint32_t kConsoleMajor = 4, kAuxiliaryMajor = 5, kSlaveMajor = 136;
inline constexpr uint32_t kTtyMinor = 0, kConsoleMinor = 1, kMultiplexerMinor = 2;

/// Makes pseudo-terminals: an instance of devpts.
class PseudoTerminalSource {
 public:
  /// Opens a new master.
  virtual Result<RefPtr<vfs::OpenFile>> open_master(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) = 0;
  /// Keeps the object alive; false when it is going away.
  virtual bool try_hold() = 0;
  virtual void release() = 0;

 protected:
  ~PseudoTerminalSource() = default;
};

class TtyRegistry {
 public:
  static constexpr size_t kConsoles = 16;

  explicit TtyRegistry(JobControl& jobs) : jobs_(jobs) {}
  JobControl& jobs() { return jobs_; }

  /// /dev/ttyN; the first one is also /dev/console. At boot only.
  void set_console(unsigned number, RefPtr<Tty> terminal);
  Tty* console() const { return consoles_[0].get(); }

  /// Opens a character device of major 4 or 5. ENXIO when nothing stands behind the number.
  Result<RefPtr<vfs::OpenFile>> open(vfs::DeviceNumber device, RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who);

  void add_source(PseudoTerminalSource& source);
  void remove_source(PseudoTerminalSource& source);

 private:
  Result<RefPtr<vfs::OpenFile>> open_controlling(RefPtr<vfs::Inode> inode, uint32_t flags);
  Result<RefPtr<vfs::OpenFile>> open_multiplexer(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who);

  JobControl& jobs_;
  RefPtr<Tty> consoles_[kConsoles];
  Mutex mutex_{LockRank::Tty};
  Vector<PseudoTerminalSource*> sources_ GUARDED_BY(mutex_);  // the oldest first
};

}  // namespace umk::tty
