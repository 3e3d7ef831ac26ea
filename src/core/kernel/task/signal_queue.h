// Pending signals and handlers of a task or process: the data. Sending and delivery are in signals.h and signal_delivery.h.
#pragma once

#include <array>
#include <optional>

#include "core/base/make.h"
#include "core/kernel/task/signal_set.h"

namespace umk {

/// sigaction(2) flags.
namespace action_flags {
inline constexpr uint64_t kNoChildStop = 1, kNoChildWait = 2, kSigInfo = 4, kRestorer = 0x04000000, kOnStack = 0x08000000, kRestart = 0x10000000,
                          kNoDefer = 0x40000000, kResetHand = 0x80000000;
}

/// What a guest registered for one signal; the layout of the kernel's struct sigaction on x86-64.
struct SignalAction {
  uint64_t handler = 0;  // 0 default, 1 ignore
  uint64_t flags = 0;
  uint64_t restorer = 0;
  SignalSet mask;
  bool is_default() const { return handler == 0; }
  bool is_ignored() const { return handler == 1; }
};
static_assert(sizeof(SignalAction) == 32);

/// The actions of a process; shared between processes by CLONE_SIGHAND without CLONE_THREAD. Guarded by the signal mutex of its process.
class SignalHandlers : public RefCounted {
 public:
  SignalAction& of(int signal) { return actions_[static_cast<size_t>(signal - 1)]; }
  Result<RefPtr<SignalHandlers>> clone();
  /// exec: handlers go back to default, ignored signals stay ignored.
  void reset_for_exec();

 private:
  std::array<SignalAction, signals::kLast> actions_{};
};

struct QueuedSignal : ListHook<> {
  SignalInfo info;
};

/// Pending signals: one instance of each classic signal, any number of real-time ones (limited by RLIMIT_SIGPENDING).
class SignalQueue {
 public:
  ~SignalQueue() { clear({~uint64_t{0}}); }
  SignalSet set() const { return set_; }
  /// Adds a signal. A classic one that is pending already is dropped. Without memory the signal still becomes pending, with plain information.
  void add(const SignalInfo& info);
  /// Takes the lowest pending signal outside `blocked`, synchronous faults first.
  std::optional<SignalInfo> take(SignalSet blocked);
  /// Removes all instances of the given signals.
  void clear(SignalSet which);

 private:
  SignalSet set_;
  List<QueuedSignal> queued_;
};

}  // namespace umk
