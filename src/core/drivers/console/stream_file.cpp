#include "core/drivers/console/stream_file.h"

#include "core/abi/termios.h"
#include "core/base/make.h"
#include "core/drivers/console/console_tty.h"

namespace umk::console {

namespace {
constexpr size_t kChunkBytes = 4096;
}

Result<size_t> StreamPort::read(UserOutBuffer& buffer, bool nonblocking) {
  if (buffer.remaining() == 0) return size_t{0};
  uint8_t bytes[kChunkBytes];
  size_t done = 0;
  for (;;) {
    size_t count = 0;
    {
      MutexLock lock(mutex_);
      for (;;) {
        // The end is looked at first: what was put before it is still there.
        const bool is_ended = ring_.is_ended();
        count = ring_.take(std::span(bytes, std::min(sizeof bytes, buffer.remaining())));
        if (count > 0 || done > 0) break;
        if (is_ended) return size_t{0};
        if (nonblocking) return error(EAGAIN);
        TRY(waiters_.wait(mutex_));
      }
      if (ring_.must_wake_producer()) wake_monitor(board_);
    }
    if (count == 0) return done;
    const Result<size_t> copied = buffer.put(std::as_bytes(std::span(bytes, count)));
    if (!copied.ok()) return done > 0 ? Result<size_t>(done) : copied.failure();
    done += copied.value();
    if (copied.value() < count || buffer.remaining() == 0) return done;
  }
}

Result<size_t> StreamPort::write(UserInBuffer& buffer, bool nonblocking) {
  uint8_t bytes[kChunkBytes];
  size_t done = 0;
  Result<void> outcome;
  while (outcome.ok() && buffer.remaining() > 0) {
    const Result<size_t> chunk = buffer.get(std::as_writable_bytes(std::span(bytes)));
    if (!chunk.ok()) {
      outcome = chunk.failure();
      break;
    }
    std::span<const uint8_t> rest(bytes, chunk.value());
    MutexLock lock(mutex_);
    while (!rest.empty()) {
      if (ring_.is_abandoned()) {
        outcome = error(EPIPE);
        break;
      }
      uint32_t taken = ring_.put(rest);
      if (taken == 0) {
        ring_.want_room(false);
        taken = ring_.put(rest);
      }
      if (taken > 0) {
        if (ring_.must_wake_consumer()) wake_monitor(board_);
        done += taken;
        rest = rest.subspan(taken);
        continue;
      }
      if (ring_.is_abandoned()) continue;
      outcome = nonblocking ? error(EAGAIN) : waiters_.wait(mutex_);
      if (!outcome.ok()) break;
    }
  }
  if (!outcome.ok() && done == 0) return outcome.failure();
  return done;
}

void StreamPort::on_change() {
  // The monitor changes the ring without the lock. Who has looked at it before that and holds the lock is on its way to sleep: it is waited for here, until it can be woken.
  { MutexLock lock(mutex_); }
  waiters_.wake_all();
}

uint32_t StreamPort::poll_input(vfs::PollTable* table) {
  using namespace vfs::poll_bits;
  if (table) table->watch(waiters_);
  const bool is_ended = ring_.is_ended();
  uint32_t ready = ring_.empty() ? 0 : kIn | kReadNormal;
  if (is_ended) ready |= kHangUp;
  return ready;
}

uint32_t StreamPort::poll_output(vfs::PollTable* table) {
  using namespace vfs::poll_bits;
  if (table) table->watch(waiters_);
  // As a pipe: writable while a page fits.
  if (ring_.room() < kPageSize) ring_.want_room(false);
  uint32_t ready = ring_.room() < kPageSize ? 0 : kOut | kWriteNormal;
  if (ring_.is_abandoned()) ready |= kError;
  return ready;
}

void StreamPort::drop_writer() {
  if (writers_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  ring_.end();
  if (ring_.must_wake_consumer()) wake_monitor(board_);
}

Result<int64_t> StreamFile::ioctl(Task&, uint32_t request, uint64_t argument) {
  if (request != termios::kFionread) return error(ENOTTY);
  TRY(UserPtr<int32_t>(argument).write(static_cast<int32_t>(port_.readable_bytes())));
  return int64_t{0};
}

Result<String> StreamFile::describe() { return format_string("pipe:[{}]", inode().number()); }

Result<RefPtr<vfs::OpenFile>> StreamInode::open(const vfs::Caller&, uint32_t flags) {
  using namespace vfs::open_flags;
  const uint32_t mine = is_input_ ? kReadOnly : kWriteOnly;
  const uint32_t access = flags & kAccessMask;
  if (access != mine && access != kReadWrite) return error(EACCES);
  return RefPtr<vfs::OpenFile>(TRY(make_ref<StreamFile>(RefPtr<vfs::Inode>(this), (flags & ~kAccessMask) | mine, port_)));
}

}  // namespace umk::console
