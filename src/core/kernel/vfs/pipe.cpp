#include "core/kernel/vfs/pipe.h"

#include <algorithm>
#include <bit>


namespace umk::vfs {

using namespace poll_bits;

Result<RefPtr<Pipe>> Pipe::create() {
  RefPtr<Pipe> pipe = TRY(make_ref<Pipe>());
  MutexLock lock(pipe->mutex_);
  TRY(pipe->ring_.resize(kDefaultSlots + 1));
  return pipe;
}

Result<std::unique_ptr<std::byte[]>> Pipe::allocate_page() {
  std::unique_ptr<std::byte[]> page(new (std::nothrow) std::byte[kPageSize]);
  if (!page) return error(ENOMEM);
  return page;
}

Result<std::unique_ptr<std::byte[]>> Pipe::take_page() {
  if (spare_page_) return std::move(spare_page_);
  return allocate_page();
}

void Pipe::recycle(std::unique_ptr<std::byte[]> page) {
  if (!spare_page_) spare_page_ = std::move(page);
}

void Pipe::drop_front() {
  recycle(std::move(slot(0).page));
  first_ = (first_ + 1) % ring_.size();
  --used_;
}

Pipe::OpenCounts Pipe::add_ends(Ends ends) {
  OpenCounts counts;
  {
    MutexLock lock(mutex_);
    if (ends.reader) ++readers_, ++readers_ever_;
    if (ends.writer) ++writers_, ++writers_ever_;
    counts = {readers_, writers_, readers_ever_, writers_ever_};
  }
  opened_.wake();
  return counts;
}

void Pipe::remove_ends(Ends ends) {
  bool one_side_left;
  {
    MutexLock lock(mutex_);
    if (ends.reader) --readers_;
    if (ends.writer) --writers_;
    one_side_left = (readers_ == 0) != (writers_ == 0);
  }
  if (!one_side_left) return;
  readable_.wake_all(kIn | kReadNormal | kHangUp);
  writable_.wake_all(kOut | kWriteNormal | kError);
  readers_told_.notify(AsyncEvent::Input);
  writers_told_.notify(AsyncEvent::Output);
}

// Takes what fits in the buffer. As on Linux a slot that could not be copied whole stays as it was: EFAULT loses no data.
Result<size_t> Pipe::read_content(UserOutBuffer& buffer) {
  size_t total = 0;
  while (used_ > 0 && buffer.remaining() > 0) {
    Slot& front = slot(0);
    const size_t wanted = std::min<size_t>(front.length, buffer.remaining());
    Result<size_t> copied = buffer.put(front.bytes().first(wanted));
    if (!copied.ok() || copied.value() < wanted) {
      if (total > 0) break;
      return error(EFAULT);
    }
    total += wanted;
    const bool packet_ends = front.is_packet;
    front.offset = static_cast<uint16_t>(front.offset + wanted);
    front.length = static_cast<uint16_t>(front.length - wanted);
    if (front.length == 0 || packet_ends) drop_front();
    if (packet_ends) break;
  }
  return total;
}

Result<size_t> Pipe::read(UserOutBuffer& buffer, bool nonblocking) {
  if (buffer.remaining() == 0) return size_t{0};
  Result<size_t> outcome = size_t{0};
  bool slept = false;
  bool left_full = false;
  bool left_content;
  {
    MutexLock lock(mutex_);
    for (;;) {
      if (used_ > 0) {
        const bool was_full = is_full();
        outcome = read_content(buffer);
        left_full = was_full && !is_full();
        break;
      }
      if (writers_ == 0) break;
      if (nonblocking) {
        outcome = error(EAGAIN);
        break;
      }
      slept = true;
      if (Result<void> woken = readable_.wait(mutex_, Sleep::Interruptible, Deadline::never(), true); !woken.ok()) {
        outcome = woken.failure();
        break;
      }
    }
    left_content = used_ > 0;
  }
  if (left_full) writable_.wake(kOut | kWriteNormal);
  // Readers are woken one at a time: who was woken and leaves something passes the wake-up on.
  if (slept && left_content) readable_.wake(kIn | kReadNormal);
  writers_told_.notify(AsyncEvent::Output);
  return outcome;
}

// Puts in what fits. `tail_bytes`, the part of the whole write that does not fill a page, may go on in the last page.
Result<size_t> Pipe::write_content(UserInBuffer& buffer, bool packets, size_t tail_bytes) {
  size_t total = 0;
  if (!packets && used_ > 0 && tail_bytes > 0) {
    Slot& last = slot(used_ - 1);
    const size_t end = size_t{last.offset} + last.length;
    if (!last.is_packet && end + tail_bytes <= kPageSize) {
      Result<size_t> copied = buffer.get({last.page.get() + end, tail_bytes});
      if (!copied.ok() || copied.value() < tail_bytes) return error(EFAULT);
      last.length = static_cast<uint16_t>(last.length + tail_bytes);
      total = tail_bytes;
    }
  }
  while (buffer.remaining() > 0 && !is_full()) {
    const size_t wanted = std::min(kPageSize, buffer.remaining());
    Result<std::unique_ptr<std::byte[]>> page = take_page();
    if (!page.ok()) {
      if (total > 0) break;
      return page.failure();
    }
    std::unique_ptr<std::byte[]> memory = page.take();
    Result<size_t> copied = buffer.get({memory.get(), wanted});
    if (!copied.ok() || copied.value() < wanted) {
      recycle(std::move(memory));
      if (total > 0) break;
      return error(EFAULT);
    }
    Slot& next = slot(used_);
    next.page = std::move(memory);
    next.offset = 0;
    next.length = static_cast<uint16_t>(wanted);
    next.is_packet = packets;
    ++used_;
    total += wanted;
  }
  return total;
}

Result<size_t> Pipe::write(UserInBuffer& buffer, bool nonblocking, bool packets) {
  if (buffer.remaining() == 0) return size_t{0};
  const size_t wanted = buffer.remaining();
  size_t total = 0;
  size_t tail_bytes = wanted % kPageSize;
  std::optional<Error> failure;
  bool slept = false;
  bool has_room = false;
  {
    MutexLock lock(mutex_);
    for (;;) {
      if (readers_ == 0) {
        failure = error(EPIPE);
        break;
      }
      const size_t before = total;
      const size_t asked = buffer.remaining();
      Result<size_t> copied = write_content(buffer, packets, tail_bytes);
      tail_bytes = 0;
      if (!copied.ok()) {
        failure = copied.failure();
        break;
      }
      total += copied.value();
      if (total == wanted) break;
      // Room was left, so user memory or kernel memory ended the copy.
      if (total - before < asked && !is_full()) break;
      if (nonblocking) {
        failure = error(EAGAIN);
        break;
      }
      if (total > before) {
        // Readers must drain what is there while this writer sleeps.
        mutex_.unlock();
        readable_.wake(kIn | kReadNormal);
        readers_told_.notify(AsyncEvent::Input);
        mutex_.lock();
        // The last reader may have gone meanwhile, and told nobody as nobody slept.
        if (!is_full() || readers_ == 0) continue;
      }
      slept = true;
      if (Result<void> woken = writable_.wait(mutex_, Sleep::Interruptible, Deadline::never(), true); !woken.ok()) {
        failure = woken.failure();
        break;
      }
    }
    has_room = !is_full();
  }
  // Also when nothing was written: edge-triggered watchers on Linux hear of an attempt on a full pipe, and programs depend on that.
  readable_.wake(kIn | kReadNormal);
  readers_told_.notify(AsyncEvent::Input);
  if (slept && has_room) writable_.wake(kOut | kWriteNormal);
  if (failure && total == 0) return *failure;
  return total;
}

uint32_t Pipe::poll(Ends ends, uint32_t silent_until, PollTable* table) {
  if (table) {
    if (ends.reader) table->watch(readable_);
    if (ends.writer) table->watch(writable_);
  }
  MutexLock lock(mutex_);
  uint32_t bits = 0;
  if (ends.reader) {
    if (used_ > 0) bits |= kIn | kReadNormal;
    if (writers_ == 0 && writers_ever_ != silent_until) bits |= kHangUp;
  }
  if (ends.writer) {
    if (!is_full()) bits |= kOut | kWriteNormal;
    // A poller for both ends is its own reader, so this says that all readers are gone.
    if (readers_ == 0) bits |= kError;
  }
  return bits;
}

size_t Pipe::available_bytes() {
  MutexLock lock(mutex_);
  size_t bytes = 0;
  for (uint32_t i = 0; i < used_; ++i) bytes += slot(i).length;
  return bytes;
}

size_t Pipe::capacity_bytes() {
  MutexLock lock(mutex_);
  return size_t{capacity_} * kPageSize;
}

Result<size_t> Pipe::set_capacity(uint64_t bytes, bool privileged) {
  if (bytes > uint64_t{1} << 31) return error(EINVAL);
  const uint64_t rounded = std::bit_ceil(std::max<uint64_t>(bytes, kPageSize));
  if (rounded > kMaximumUnprivilegedBytes && !privileged) return error(EPERM);
  const auto slots = static_cast<uint32_t>(rounded / kPageSize);
  if (slots > kMaximumSlots) return error(ENOMEM);

  bool has_room;
  {
    MutexLock lock(mutex_);
    if (slots < used_) return error(EBUSY);
    Vector<Slot> ring;
    TRY(ring.resize(slots + 1));
    for (uint32_t i = 0; i < used_; ++i) ring[i] = std::move(slot(i));
    ring_ = std::move(ring);
    first_ = 0;
    capacity_ = slots;
    has_room = !is_full();
  }
  if (has_room) writable_.wake(kOut | kWriteNormal);
  return static_cast<size_t>(rounded);
}

Pipe::OpenCounts Pipe::counts() {
  MutexLock lock(mutex_);
  return {readers_, writers_, readers_ever_, writers_ever_};
}

Result<void> Pipe::wait_for_partner(bool wants_reader, uint32_t ever) {
  MutexLock lock(mutex_);
  const auto has_come = [&]() REQUIRES(mutex_) { return (wants_reader ? readers_ever_ : writers_ever_) != ever; };
  while (!has_come()) {
    Result<void> woken = opened_.wait(mutex_);
    // Who came may have written, closed and ended, and SIGCHLD interrupts: starting again would lose what was written.
    if (!woken.ok() && !has_come()) return woken;
  }
  return {};
}

PipeFile::PipeFile(RefPtr<Pipe> pipe, RefPtr<Inode> inode, uint32_t flags, uint32_t silent_until)
    : OpenFile(std::move(inode), flags), pipe_(std::move(pipe)), silent_until_(silent_until) {}

PipeFile::~PipeFile() {
  pipe_->remove_ends(ends());
  forget_fifo_pipe(inode(), *pipe_);
}

Result<size_t> PipeFile::read_at(uint64_t, UserOutBuffer& buffer) { return pipe_->read(buffer, is_nonblocking()); }

Result<size_t> PipeFile::write_at(uint64_t&, UserInBuffer& buffer, bool) {
  return pipe_->write(buffer, is_nonblocking(), (flags() & open_flags::kDirect) != 0);
}

uint32_t PipeFile::poll(PollTable* table) { return pipe_->poll(ends(), silent_until_, table); }

Result<String> PipeFile::describe() {
  if (!is_nameless_pipe(inode())) return String{};
  return format_string("pipe:[{}]", inode().number());
}

Result<PipePair> make_pipe(RefPtr<Inode> inode, uint32_t flags) {
  RefPtr<Pipe> pipe = TRY(Pipe::create());
  {
    MutexLock lock(inode->mutex());
    inode->fifo_pipe = pipe;
  }
  flags &= open_flags::kNonBlock | open_flags::kDirect;
  // Count an end only when its file exists: its destructor takes it off again.
  pipe->add_ends({true, false});
  Result<RefPtr<PipeFile>> reader = make_ref<PipeFile>(pipe, inode, flags | open_flags::kReadOnly, 0u);
  if (!reader.ok()) return reader.failure();
  pipe->add_ends({false, true});
  Result<RefPtr<PipeFile>> writer = make_ref<PipeFile>(pipe, inode, flags | open_flags::kWriteOnly, 0u);
  if (!writer.ok()) return writer.failure();
  return PipePair{reader.take(), writer.take()};
}

}  // namespace umk::vfs
