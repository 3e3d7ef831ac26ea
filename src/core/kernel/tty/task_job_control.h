// The family of processes as terminals see it: JobControl on tasks.
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/tty/job_control.h"

namespace umk::tty {

class TaskJobControl final : public JobControl {
 public:
  explicit TaskJobControl(Kernel& kernel) : kernel_(kernel) {}

  JobMember current() override;
  bool is_ignored(int signal) override;
  bool is_orphaned(ProcessGroup& group) override;
  void signal_group(ProcessGroup& group, int signal) override;
  void hang_up_session(Session& session, RefPtr<ProcessGroup> foreground) override;
  RefPtr<ProcessGroup> find_group(ProcessId id) override;
  void set_terminal(Session& session, RefPtr<ControllingTerminal> terminal) override;
  void leave_terminal() override;

 private:
  Kernel& kernel_;
};

}  // namespace umk::tty
