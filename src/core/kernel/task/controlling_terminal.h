// ControllingTerminal: what sessions and /proc know of a terminal. kernel/tty implements it; tasks are below terminals.
//
// Session::controlling_tty holds it; the terminal holds its session back until the leader exits, gives it up, or it is hung up.
#pragma once

#include "core/base/ref_ptr.h"
#include "core/kernel/vfs/inode.h"

namespace umk {

class Session;

class ControllingTerminal : public RefCounted {
 public:
  /// The leader of `session` is exiting: its jobs get SIGHUP, and the terminal is free for another session. Sends signals and takes
  /// the TaskList lock: called with no lock held, while the exiting process is still in its session.
  virtual void on_leader_exit(Session& session) = 0;
  /// As if its line were gone: every open file hangs up, the session loses it and gets SIGHUP and SIGCONT. Locks as above.
  virtual void hang_up() = 0;
  /// tty_nr of /proc/PID/stat.
  virtual vfs::DeviceNumber device_number() const = 0;
  /// tpgid of /proc/PID/stat: the foreground process group, -1 for none.
  virtual int32_t foreground_group_id() = 0;
};

}  // namespace umk
