// splice(2) and tee(2): content moved between a pipe and another open file. Between two pipes whole pages change their owner; otherwise bytes are copied once.
#include <algorithm>
#include <cstring>

#include "core/kernel/vfs/pipe.h"

namespace umk::vfs {

using namespace poll_bits;

Result<bool> Pipe::wait_readable(bool nonblocking) {
  MutexLock lock(mutex_);
  while (used_ == 0) {
    if (writers_ == 0) return false;
    if (nonblocking) return error(EAGAIN);
    TRY(readable_.wait(mutex_));
  }
  return true;
}

Result<void> Pipe::wait_writable(bool nonblocking) {
  MutexLock lock(mutex_);
  for (;;) {
    if (readers_ == 0) return error(EPIPE);
    if (!is_full()) return {};
    if (nonblocking) return error(EAGAIN);
    TRY(writable_.wait(mutex_));
  }
}

Result<std::optional<Pipe::Slot>> Pipe::take_front(size_t limit) {
  MutexLock lock(mutex_);
  while (slot_is_out_) TRY(opened_.wait(mutex_));
  if (used_ == 0) return std::optional<Slot>();
  Slot& front = slot(0);
  Slot taken;
  if (front.length <= limit) {
    taken = std::move(front);
    first_ = (first_ + 1) % static_cast<uint32_t>(ring_.size());
    --used_;
  } else {
    taken.page = TRY(take_page());
    taken.length = static_cast<uint16_t>(limit);
    std::memcpy(taken.page.get(), front.bytes().data(), limit);
    front.offset = static_cast<uint16_t>(front.offset + limit);
    front.length = static_cast<uint16_t>(front.length - limit);
  }
  slot_is_out_ = true;
  return std::optional<Slot>(std::move(taken));
}

void Pipe::give_back(Slot rest) {
  bool has_room, has_content;
  {
    MutexLock lock(mutex_);
    slot_is_out_ = false;
    if (rest.length > 0) {
      first_ = (first_ + static_cast<uint32_t>(ring_.size()) - 1) % static_cast<uint32_t>(ring_.size());
      ++used_;
      slot(0) = std::move(rest);
    } else if (rest.page) {
      recycle(std::move(rest.page));
    }
    has_room = !is_full();
    has_content = used_ > 0;
  }
  opened_.wake();
  if (has_room) writable_.wake(kOut | kWriteNormal);
  if (has_content) readable_.wake(kIn | kReadNormal);
  writers_told_.notify(AsyncEvent::Output);
}

Result<bool> Pipe::append(Slot& appended) {
  {
    MutexLock lock(mutex_);
    if (readers_ == 0) return error(EPIPE);
    if (is_full()) return false;
    slot(used_) = std::move(appended);
    ++used_;
    appended.length = 0;
  }
  readable_.wake(kIn | kReadNormal);
  readers_told_.notify(AsyncEvent::Input);
  return true;
}

// Both locks are of one rank and are taken in the order of their addresses.
Result<size_t> Pipe::duplicate(Pipe& from, Pipe& to, size_t limit) NO_THREAD_SAFETY_ANALYSIS {
  size_t total = 0;
  {
    MutexLock first(&from < &to ? from.mutex_ : to.mutex_);
    MutexLock second(&from < &to ? to.mutex_ : from.mutex_);
    if (to.readers_ == 0) return error(EPIPE);
    for (uint32_t i = 0; i < from.used_ && total < limit && !to.is_full(); ++i) {
      const Slot& source = from.slot(i);
      const size_t length = std::min<size_t>(source.length, limit - total);
      Result<std::unique_ptr<std::byte[]>> page = to.take_page();
      if (!page.ok()) {
        if (total > 0) break;
        return page.failure();
      }
      std::memcpy(page.value().get(), source.bytes().data(), length);
      Slot& copy = to.slot(to.used_++);
      copy.page = page.take();
      copy.offset = 0;
      copy.length = static_cast<uint16_t>(length);
      copy.is_packet = source.is_packet;
      total += length;
    }
  }
  if (total > 0) {
    to.readable_.wake(kIn | kReadNormal);
    to.readers_told_.notify(AsyncEvent::Input);
  }
  return total;
}

namespace {

Result<size_t> write_bytes(OpenFile& to, uint64_t* offset, std::span<const std::byte> bytes) {
  UserInBuffer buffer = UserInBuffer::kernel(bytes);
  if (!offset) return to.write(buffer);
  uint64_t at = *offset;
  const size_t written = TRY(to.write_at(at, buffer, false));
  *offset = at + written;
  return written;
}

Result<size_t> read_bytes(OpenFile& from, uint64_t* offset, std::span<std::byte> bytes) {
  UserOutBuffer buffer = UserOutBuffer::kernel(bytes);
  if (!offset) return from.read(buffer);
  const size_t read = TRY(from.read_at(*offset, buffer));
  *offset += read;
  return read;
}

Result<size_t> pipe_to_file(Pipe& from, OpenFile& to, uint64_t* offset, size_t length, bool nonblocking) {
  // splice(2): EINVAL for a target opened in append mode.
  if (to.flags() & open_flags::kAppend) return error(EINVAL);
  if (!TRY(from.wait_readable(nonblocking))) return size_t{0};
  size_t total = 0;
  while (total < length) {
    std::optional<Pipe::Slot> slot = TRY(from.take_front(length - total));
    if (!slot) break;
    Result<size_t> written = write_bytes(to, offset, slot->bytes());
    const size_t used = written.ok() ? std::min<size_t>(written.value(), slot->length) : 0;
    slot->offset = static_cast<uint16_t>(slot->offset + used);
    slot->length = static_cast<uint16_t>(slot->length - used);
    const bool is_short = slot->length > 0;
    from.give_back(std::move(*slot));
    total += used;
    if (!written.ok() && total == 0) return written.failure();
    if (is_short) break;
  }
  return total;
}

Result<size_t> file_to_pipe(OpenFile& from, uint64_t* offset, Pipe& to, size_t length, bool nonblocking) {
  size_t total = 0;
  while (total < length) {
    // Once something was moved, the call does not wait for more room.
    if (Result<void> room = to.wait_writable(nonblocking || total > 0); !room.ok()) {
      if (total > 0) break;
      return room.failure();
    }
    Pipe::Slot slot;
    slot.page = TRY(Pipe::allocate_page());
    const size_t wanted = std::min(kPageSize, length - total);
    Result<size_t> read = read_bytes(from, offset, {slot.page.get(), wanted});
    if (!read.ok()) {
      if (total > 0) break;
      return read.failure();
    }
    if (read.value() == 0) break;
    slot.length = static_cast<uint16_t>(read.value());
    // What was read must not be lost when another writer took the room meanwhile.
    while (!TRY(to.append(slot))) TRY(to.wait_writable(false));
    total += read.value();
    // A stream may have no more for now.
    if (!from.is_seekable() || read.value() < wanted) break;
  }
  return total;
}

Result<size_t> pipe_to_pipe(Pipe& from, Pipe& to, size_t length, bool nonblocking) {
  if (&from == &to) return error(EINVAL);
  size_t total = 0;
  while (total < length) {
    const bool wait = !nonblocking && total == 0;
    Result<bool> readable = from.wait_readable(!wait);
    if (readable.ok() && !readable.value()) break;
    Result<void> writable = readable.ok() ? to.wait_writable(!wait) : Result<void>(readable.failure());
    if (!writable.ok()) {
      if (total > 0) break;
      return writable.failure();
    }
    std::optional<Pipe::Slot> slot = TRY(from.take_front(length - total));
    if (!slot) continue;
    const size_t moved = slot->length;
    Result<bool> appended = to.append(*slot);
    from.give_back(std::move(*slot));
    if (!appended.ok()) {
      if (total > 0) break;
      return appended.failure();
    }
    if (appended.value()) total += moved;
  }
  return total;
}

}  // namespace

Result<size_t> splice(OpenFile& from, uint64_t* from_offset, OpenFile& to, uint64_t* to_offset, size_t length, bool nonblocking) {
  Pipe* source = pipe_of(from);
  Pipe* target = pipe_of(to);
  if (source && target)
    return pipe_to_pipe(*source, *target, length, nonblocking || from.is_nonblocking() || to.is_nonblocking());
  if (source) return pipe_to_file(*source, to, to_offset, length, nonblocking);
  if (target) return file_to_pipe(from, from_offset, *target, length, nonblocking);
  return error(EINVAL);
}

Result<size_t> tee(OpenFile& from, OpenFile& to, size_t length, bool nonblocking) {
  Pipe* source = pipe_of(from);
  Pipe* target = pipe_of(to);
  if (!source || !target || source == target) return error(EINVAL);
  nonblocking = nonblocking || from.is_nonblocking() || to.is_nonblocking();
  for (;;) {
    if (!TRY(source->wait_readable(nonblocking))) return size_t{0};
    TRY(target->wait_writable(nonblocking));
    // Somebody may have been faster; then wait again.
    if (const size_t copied = TRY(Pipe::duplicate(*source, *target, length)); copied > 0 || length == 0) return copied;
  }
}

}  // namespace umk::vfs
