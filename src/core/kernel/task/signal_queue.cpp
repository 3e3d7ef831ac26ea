#include "core/kernel/task/signal_queue.h"

#include "core/kernel/task/task_bundle.h"

namespace umk {

SignalAction SignalHandlers::exchange(int signal, const SignalAction& action) {
  MutexLock lock(mutex_);
  return std::exchange(actions_[static_cast<size_t>(signal - 1)], action);
}

void SignalHandlers::reset_after(int signal, const SignalAction& taken) {
  if (!(taken.flags & action_flags::kResetHand)) return;
  MutexLock lock(mutex_);
  SignalAction& action = actions_[static_cast<size_t>(signal - 1)];
  if (action.handler == taken.handler) action.handler = 0;
}

void SignalHandlers::copy_from(SignalHandlers& other) {
  // A fresh object is the target: nobody else knows it, so holding both locks cannot deadlock.
  MutexLock other_lock(other.mutex_);
  MutexLock lock(mutex_);
  actions_ = other.actions_;
}

void SignalHandlers::reset_for_exec() {
  MutexLock lock(mutex_);
  for (SignalAction& action : actions_) {
    const uint64_t handler = action.is_ignored() ? action.handler : 0;
    action = {};
    action.handler = handler;
  }
}

void SignalHandlers::reset_handled() {
  MutexLock lock(mutex_);
  for (SignalAction& action : actions_)
    if (!action.is_ignored()) action = {};
}

SignalSet SignalHandlers::ignored() {
  MutexLock lock(mutex_);
  SignalSet set;
  for (int signal = 1; signal <= signals::kLast; ++signal)
    if (actions_[static_cast<size_t>(signal - 1)].is_ignored()) set.add(signal);
  return set;
}

SignalSet SignalHandlers::caught() {
  MutexLock lock(mutex_);
  SignalSet set;
  for (int signal = 1; signal <= signals::kLast; ++signal) {
    const SignalAction& action = actions_[static_cast<size_t>(signal - 1)];
    if (!action.is_ignored() && !action.is_default()) set.add(signal);
  }
  return set;
}

void SignalHandlers::last_reference_dropped() {
  TaskBundle* const bundle = bundle_;
  if (!bundle) {
    delete this;
    return;
  }
  this->~SignalHandlers();
  bundle->release();
}

void SignalQueue::add(const SignalInfo& info) { (void)add_queued(info, UINT64_MAX); }

Result<void> SignalQueue::add_queued(const SignalInfo& info, uint64_t limit) {
  const int signal = info.number;
  const bool is_classic = signal < signals::kFirstRealtime;
  if (is_classic && set_.has(signal)) return {};
  QueuedSignal* entry = nullptr;
  if (queued_count_ < limit && queued_count_ < kMaximumQueued) entry = new (std::nothrow) QueuedSignal;
  if (!entry && limit != UINT64_MAX) return error(EAGAIN);
  set_.add(signal);
  if (!entry) return {};
  entry->info = info;
  queued_.push_back(*entry);
  ++queued_count_;
  return {};
}

std::optional<SignalInfo> SignalQueue::take(SignalSet blocked) {
  const SignalSet available = set_ & ~blocked;
  if (available.empty()) return std::nullopt;
  const SignalSet synchronous = available & kSynchronous;
  const int signal = __builtin_ctzll(synchronous.empty() ? available.bits : synchronous.bits) + 1;
  std::optional<SignalInfo> taken;
  bool more = false;
  for (auto place = queued_.begin(); place != queued_.end();) {
    QueuedSignal& entry = *place++;
    if (entry.info.number != signal) continue;
    if (taken) {
      more = true;
      break;
    }
    taken = entry.info;
    entry.unlink();
    --queued_count_;
    delete &entry;
  }
  if (!more) set_.remove(signal);
  // Without an entry there was no memory for one: the number alone is known.
  if (!taken) taken = SignalInfo::from_user(signal, signal_codes::kUser, 0, 0);
  return taken;
}

void SignalQueue::clear(SignalSet which) {
  if ((set_ & which).empty()) return;
  set_ = set_ & ~which;
  for (auto place = queued_.begin(); place != queued_.end();) {
    QueuedSignal& entry = *place++;
    if (!which.has(entry.info.number)) continue;
    entry.unlink();
    --queued_count_;
    delete &entry;
  }
}

bool SignalQueue::add_overrun(int signal, int timer_id, int extra) {
  if (!set_.has(signal)) return false;
  for (QueuedSignal& entry : queued_) {
    if (entry.info.number != signal || entry.info.code != signal_codes::kTimer || entry.info.timer.timer_id != timer_id) continue;
    if (__builtin_add_overflow(entry.info.timer.overrun, extra, &entry.info.timer.overrun)) entry.info.timer.overrun = INT32_MAX;
    return true;
  }
  return false;
}

}  // namespace umk
