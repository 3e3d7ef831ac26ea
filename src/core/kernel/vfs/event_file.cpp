#include "core/kernel/vfs/event_file.h"

namespace umk::vfs {

using namespace poll_bits;

Result<size_t> EventFile::read_at(uint64_t, UserOutBuffer& buffer) {
  uint64_t taken;
  if (buffer.remaining() < sizeof(taken)) return error(EINVAL);
  {
    MutexLock lock(mutex_);
    while (count_ == 0) {
      if (is_nonblocking()) return error(EAGAIN);
      TRY(changed_.wait(mutex_));
    }
    taken = is_semaphore_ ? 1 : count_;
    count_ -= taken;
  }
  changed_.wake(kOut | kWriteNormal);
  return buffer.put(std::as_bytes(std::span(&taken, 1)));
}

Result<size_t> EventFile::write_at(uint64_t&, UserInBuffer& buffer, bool) {
  uint64_t added;
  if (buffer.remaining() < sizeof(added)) return error(EINVAL);
  if (TRY(buffer.get(std::as_writable_bytes(std::span(&added, 1)))) < sizeof(added)) return error(EFAULT);
  if (added > kMaximum) return error(EINVAL);
  {
    MutexLock lock(mutex_);
    while (added > kMaximum - count_) {
      if (is_nonblocking()) return error(EAGAIN);
      TRY(changed_.wait(mutex_));
    }
    count_ += added;
  }
  // A write of zero wakes as well, as on Linux: edge-triggered watchers see it when the count is not zero.
  changed_.wake(kIn | kReadNormal);
  return sizeof(added);
}

uint32_t EventFile::poll(PollTable* table) {
  if (table) table->watch(changed_);
  MutexLock lock(mutex_);
  uint32_t bits = 0;
  // Not the "normal" bits: Linux's eventfd reports these two alone.
  if (count_ > 0) bits |= kIn;
  if (count_ < kMaximum) bits |= kOut;
  return bits;
}

void EventFile::describe_details(TextSink& sink) {
  MutexLock lock(mutex_);
  format(sink, "eventfd-count: {:16x}\neventfd-semaphore: {}\n", count_, is_semaphore_ ? 1 : 0);
}

}  // namespace umk::vfs
