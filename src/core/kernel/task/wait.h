// Waiting for children: wait4(2), waitid(2).
#pragma once

#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"

namespace umk {

namespace wait_options {
inline constexpr uint32_t kNoHang = 1, kStopped = 2, kExited = 4, kContinued = 8, kNoWait = 0x01000000, kNoThread = 0x20000000, kAll = 0x40000000,
                          kClone = 0x80000000;
}

struct WaitRequest {
  enum class Who { Any, Process, Group } who = Who::Any;
  ProcessId id = 0;
  uint32_t options = 0;  // wait_options: at least one of kExited, kStopped, kContinued
};

struct WaitOutcome {
  ProcessId pid = 0;  // 0: nothing to report yet (WNOHANG)
  UserId uid = 0;
  int code = 0;       // CLD_*
  int status = 0;     // exit code or signal, as si_status
  int wait_status = 0;  // as wait4 encodes it
  guest::Usage usage;
};

/// ECHILD: no such child; ERESTARTSYS.
Result<WaitOutcome> wait_for_child(Task& current, const WaitRequest& request);

}  // namespace umk
