#include "core/kernel/vfs/timer_file.h"

#include "core/kernel/time/clocks.h"

namespace umk::vfs {

using namespace poll_bits;

void TimerFile::on_expired() {
  {
    MutexLock lock(mutex_);
    // It may have been set anew since it ran out.
    if (next_ns_ == 0 || has_expired_ || time::monotonic_ns() < next_ns_) return;
    has_expired_ = true;
    ++expirations_;
  }
  expired_.wake(kIn | kReadNormal);
}

void TimerFile::catch_up_locked() {
  if (!has_expired_) return;
  has_expired_ = false;
  if (interval_ns_ == 0) {
    next_ns_ = 0;
    return;
  }
  const uint64_t now = time::monotonic_ns();
  // One expiration was counted when the timer ran out.
  const uint64_t periods = now > next_ns_ ? (now - next_ns_) / interval_ns_ : 0;
  expirations_ += periods;
  next_ns_ += (periods + 1) * interval_ns_;
  queue_.arm(*this, next_ns_);
}

TimerFile::Setting TimerFile::get_locked() {
  catch_up_locked();
  if (next_ns_ == 0) return {0, interval_ns_};
  const uint64_t now = time::monotonic_ns();
  // An armed timer never shows zero, which would mean disarmed.
  return {next_ns_ > now ? next_ns_ - now : 1, interval_ns_};
}

TimerFile::Setting TimerFile::get() {
  MutexLock lock(mutex_);
  return get_locked();
}

Result<TimerFile::Setting> TimerFile::set(Setting setting, bool is_absolute) {
  uint64_t deadline = 0;
  if (setting.value_ns != 0) {
    if (is_absolute) {
      deadline = TRY(time::to_monotonic(clock_id_, setting.value_ns));
      // A moment before the monotonic clock's start is long past, and zero would mean disarmed.
      if (deadline == 0) deadline = 1;
    } else {
      deadline = time::monotonic_ns() + setting.value_ns;
    }
  }
  MutexLock lock(mutex_);
  const Setting before = get_locked();
  queue_.disarm(*this);
  next_ns_ = deadline;
  interval_ns_ = setting.interval_ns;
  expirations_ = 0;
  has_expired_ = false;
  if (deadline != 0) queue_.arm(*this, deadline);
  return before;
}

Result<size_t> TimerFile::read_at(uint64_t, UserOutBuffer& buffer) {
  uint64_t taken;
  if (buffer.remaining() < sizeof(taken)) return error(EINVAL);
  {
    MutexLock lock(mutex_);
    while (expirations_ == 0) {
      if (is_nonblocking()) return error(EAGAIN);
      TRY(expired_.wait(mutex_));
    }
    catch_up_locked();
    taken = expirations_;
    expirations_ = 0;
  }
  return buffer.put(std::as_bytes(std::span(&taken, 1)));
}

uint32_t TimerFile::poll(PollTable* table) {
  if (table) table->watch(expired_);
  MutexLock lock(mutex_);
  return expirations_ > 0 ? kIn : 0;
}

void TimerFile::last_reference_dropped() {
  // Not in the destructor: on_expired may be running, and must not meet a half-destroyed object.
  queue_.cancel(*this);
  OpenFile::last_reference_dropped();
}

void TimerFile::describe_details(TextSink& sink) {
  MutexLock lock(mutex_);
  const uint64_t expirations = expirations_;
  const Setting setting = get_locked();
  format(sink, "clockid: {}\nticks: {}\nit_value: ({}, {})\nit_interval: ({}, {})\n", clock_id_, expirations,
         setting.value_ns / kNanosecondsPerSecond, setting.value_ns % kNanosecondsPerSecond, setting.interval_ns / kNanosecondsPerSecond,
         setting.interval_ns % kNanosecondsPerSecond);
}

}  // namespace umk::vfs
