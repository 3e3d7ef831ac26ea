// JobControl: what terminals ask and tell the family of processes. credentials(7) "Process groups and sessions".
//
// The rules of job control are the terminal's (controlling.cpp); who is in which group, who ignores what, and how a signal is sent are
// the tasks'. This interface lies between, so that tests can play a family without processes. All functions may be called with a
// terminal's lock held (LockRank::Tty), and take the TaskList lock inside; none sleeps.
#pragma once

#include "core/kernel/task/process.h"
#include "core/kernel/task/tty_recorder.h"

namespace umk::tty {

class Tty;

/// The process that is calling, as a terminal sees it.
struct JobMember {
  RefPtr<Session> session;
  RefPtr<ProcessGroup> group;
  /// Its session's controlling terminal, unless it gave that up by TIOCNOTTY.
  RefPtr<ControllingTerminal> terminal;
  bool is_leader = false;           // of its session
  bool may_administer = false;      // CAP_SYS_ADMIN
  explicit operator bool() const { return static_cast<bool>(session); }
};

class JobControl {
 public:
  /// Who is told what happens on the terminals; null for nobody. Set before the first open.
  TtyRecorder* recorder = nullptr;

  /// The current process; empty on a kernel thread, which no rule of job control holds back.
  virtual JobMember current() = 0;
  /// The current task blocks or ignores `signal`.
  virtual bool is_ignored(int signal) = 0;
  /// No member of the group has a parent in the same session but another group: nobody would continue it.
  virtual bool is_orphaned(ProcessGroup& group) = 0;

  /// Sends a signal of the kernel to every member.
  virtual void signal_group(ProcessGroup& group, int signal) = 0;
  /// The session's line hung up: SIGHUP and SIGCONT to its leader, if it lives. `foreground` gets them when the leader exits.
  virtual void hang_up_session(Session& session, RefPtr<ProcessGroup> foreground) = 0;

  /// A process group by number; null when there is none.
  virtual RefPtr<ProcessGroup> find_group(ProcessId id) = 0;

  /// Makes `terminal` (or null) the session's controlling terminal.
  virtual void set_terminal(Session& session, RefPtr<ControllingTerminal> terminal) = 0;
  /// TIOCNOTTY of a process that is not the leader: it alone goes without.
  virtual void leave_terminal() = 0;

 protected:
  ~JobControl() = default;
};

}  // namespace umk::tty
