// Pending signals and handlers of a task or process: the data. Sending and delivery are in signals.h and signal_delivery.h.
#pragma once

#include <array>
#include <optional>

#include "core/base/make.h"
#include "core/kernel/task/signal_set.h"
#include "core/sync/mutex.h"

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
  SignalSet mask{};
  bool is_default() const { return handler == 0; }
  bool is_ignored() const { return handler == 1; }
};
static_assert(sizeof(SignalAction) == 32);

/// The actions of a process; shared between processes by CLONE_SIGHAND without CLONE_THREAD. Has its own lock, taken last.
/// It lives in the bundle of the task it was made for (task_bundle.h) or on the heap.
class SignalHandlers : public RefCounted {
 public:
  SignalAction of(int signal) {
    MutexLock lock(mutex_);
    return actions_[static_cast<size_t>(signal - 1)];
  }
  /// Puts `action` in place and returns what was there.
  SignalAction exchange(int signal, const SignalAction& action);
  /// Sets the action back to default when it is still `taken` and that one says SA_RESETHAND.
  void reset_after(int signal, const SignalAction& taken);
  void copy_from(SignalHandlers& other);
  /// exec: handlers go back to default, ignored signals stay ignored.
  void reset_for_exec();
  /// CLONE_CLEAR_SIGHAND: as exec, and ignored signals go back to default unless they are ignored by default.
  void reset_handled();
  /// Signals that are ignored / that have a handler, for /proc.
  SignalSet ignored();
  SignalSet caught();

  explicit SignalHandlers(class TaskBundle* bundle = nullptr) : bundle_(bundle) {}

 protected:
  void last_reference_dropped() override;

 private:
  Mutex mutex_{LockRank::Signals};
  std::array<SignalAction, signals::kLast> actions_ GUARDED_BY(mutex_){};
  TaskBundle* bundle_;
};

struct QueuedSignal : ListHook<> {
  SignalInfo info;
};

/// Pending signals: one instance of each classic signal, any number of real-time ones (limited by RLIMIT_SIGPENDING).
class SignalQueue {
 public:
  ~SignalQueue() { clear({~uint64_t{0}}); }
  static constexpr uint32_t kMaximumQueued = 32768;
  SignalSet set() const { return set_; }
  /// Adds a signal. A classic one that is pending already is dropped. Without memory the signal still becomes pending, with plain information.
  void add(const SignalInfo& info);
  /// As add, but fails with EAGAIN when `limit` instances are queued already or memory is short: for signals that must carry their value.
  Result<void> add_queued(const SignalInfo& info, uint64_t limit);
  /// Takes the lowest pending signal outside `blocked`, synchronous faults first.
  std::optional<SignalInfo> take(SignalSet blocked);
  /// Removes all instances of the given signals.
  void clear(SignalSet which);
  /// Adds `extra` to the overrun count of a pending signal of timer `timer_id`; false when none is pending.
  bool add_overrun(int signal, int timer_id, int extra);
  uint32_t queued_count() const { return queued_count_; }

 private:
  SignalSet set_;
  uint32_t queued_count_ = 0;
  List<QueuedSignal> queued_;
};

}  // namespace umk
