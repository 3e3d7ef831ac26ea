#include "core/kernel/time/timer_queue.h"

#include "core/host/calls.h"

namespace umk::time {

void TimerQueue::arm(Timer& timer, uint64_t deadline_ns) {
  bool is_first;
  {
    MutexLock lock(mutex_);
    if (static_cast<TreeHook<TimerTag>&>(timer).is_linked()) timers_.erase(timers_.iterator_to(timer));
    timer.deadline_ns_ = deadline_ns;
    const auto place = timers_.insert(timer);
    is_first = place == timers_.begin();
  }
  if (is_first) earlier_.wake();
}

bool TimerQueue::disarm(Timer& timer) {
  MutexLock lock(mutex_);
  if (!static_cast<TreeHook<TimerTag>&>(timer).is_linked()) return false;
  timers_.erase(timers_.iterator_to(timer));
  return true;
}

bool TimerQueue::cancel(Timer& timer) {
  MutexLock lock(mutex_);
  bool was_armed = false;
  for (;;) {
    // on_expired may arm its timer again, so look anew after each wait.
    if (static_cast<TreeHook<TimerTag>&>(timer).is_linked()) {
      timers_.erase(timers_.iterator_to(timer));
      was_armed = true;
    }
    if (running_ != &timer || runner_ == &current_stack()) return was_armed;
    (void)finished_.wait(mutex_, Sleep::Uninterruptible);
  }
}

uint64_t TimerQueue::run_expired(uint64_t now_ns) {
  MutexLock lock(mutex_);
  return run_expired_locked(now_ns);
}

uint64_t TimerQueue::run_expired_locked(uint64_t now_ns) {
  while (!timers_.empty() && timers_.begin()->deadline_ns_ <= now_ns) {
    Timer& timer = *timers_.begin();
    timers_.erase(timers_.begin());
    running_ = &timer;
    runner_ = &current_stack();
    mutex_.unlock();
    timer.on_expired();
    mutex_.lock();
    running_ = nullptr;
    finished_.wake_all();
  }
  return timers_.empty() ? UINT64_MAX : timers_.begin()->deadline_ns_;
}

size_t TimerQueue::list(std::span<Armed> into) {
  MutexLock lock(mutex_);
  size_t count = 0;
  for (const Timer& timer : timers_) {
    // An object with virtual functions begins with the address of their table (Itanium C++ ABI, 2.4).
    if (count < into.size()) into[count] = {*reinterpret_cast<const uint64_t*>(&timer), timer.deadline_ns_};
    ++count;
  }
  return count;
}

void TimerQueue::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  earlier_.wake_all();
}

void run_timer_thread(TimerQueue& queue) {
  MutexLock lock(queue.mutex_);
  while (!queue.stopping_) {
    const uint64_t next = queue.run_expired_locked(host::now_ns(host::Clock::Monotonic));
    if (queue.stopping_) return;
    if (next <= host::now_ns(host::Clock::Monotonic)) continue;
    (void)queue.earlier_.wait(queue.mutex_, Sleep::Uninterruptible, Deadline{next});
  }
}

}  // namespace umk::time
