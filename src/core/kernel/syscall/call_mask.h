// The signal mask that some calls (ppoll, pselect6, epoll_pwait) put in place for as long as they wait.
#pragma once

#include "core/kernel/task/signals.h"

namespace umk {

class CallMask {
 public:
  /// Sets the mask that the guest gave, if any. EINVAL unless `size` is that of a signal set; EFAULT.
  static Result<CallMask> set(Task& task, UserPtr<uint64_t> mask, uint64_t size) {
    if (!mask) return CallMask(false);
    if (size != sizeof(SignalSet)) return error(EINVAL);
    set_temporary_mask(task, SignalSet{TRY(mask.read())});
    return CallMask(true);
  }

  /// Puts the old mask back, unless a signal ended the call: then its handler runs under this one.
  void finish(Task& task, bool interrupted) const {
    if (is_set_ && !interrupted) restore_blocked(task);
  }

 private:
  explicit CallMask(bool is_set) : is_set_(is_set) {}
  bool is_set_;
};

}  // namespace umk
