#include "core/drivers/ubd/host_queue.h"

#include "core/base/bits.h"
#include "core/base/log.h"
#include "core/host/calls.h"

namespace umk::ubd {

namespace {
/// Of the ring's read of the event; no transfer has this address.
constexpr uint64_t kEventTag = 0;

// Where the host finds no page when it copies from the cache, Linux 6.18 copies up to there, zeroes the rest of the large folio that it copies
// to, and begins again behind the fault. So the pages are brought in before, many at once (Linux 5.14; without that it is slower, no more).
void bring_in(std::span<const host::IoVector> memory) {
  constexpr int kPopulateRead = 22;
  for (const host::IoVector& piece : memory) {
    const auto start = reinterpret_cast<uint64_t>(piece.data), first = round_down(start, kPageSize);
    (void)host::madvise(first, round_up(start + piece.bytes - first, kPageSize), kPopulateRead);
  }
}

}  // namespace

void HostQueue::submit(QueuedTransfer& transfer) {
  {
    MutexLock lock(mutex_);
    waiting_.push_back(transfer);
    if (!std::exchange(sleeps_in_ring_, false)) return thread_.wake();
  }
  const uint64_t one = 1;
  (void)host::write(event_, std::as_bytes(std::span(&one, 1)));
}

QueuedTransfer* HostQueue::take(bool may_sleep) {
  MutexLock lock(mutex_);
  while (waiting_.empty()) {
    // With something in flight the thread sleeps where it hears of its end, and of the event.
    sleeps_in_ring_ = !may_sleep;
    if (!may_sleep || is_stopping_) return nullptr;
    (void)thread_.wait(mutex_, Sleep::Uninterruptible);
  }
  QueuedTransfer& first = waiting_.front();
  first.unlink();
  return &first;
}

void HostQueue::complete(QueuedTransfer& transfer, int32_t result) {
  // What the host gave up half-way is done by plain calls, which know what an end of file means.
  if (transfer.is_write_out) return transfer.on_done(result < 0 ? -result : 0);
  constexpr int32_t kInterrupted = -EINTR, kAgain = -EAGAIN;
  if (result < 0 && result != kInterrupted && result != kAgain) return transfer.on_done(-result);
  if (result > 0) transfer.advance(static_cast<uint64_t>(result));
  transfer.on_done(transfer.finish().code());
}

void HostQueue::serve_by_calls() {
  while (QueuedTransfer* const transfer = take(true)) {
    (transfer->is_write_out ? counters.write_outs : counters.by_calls).fetch_add(1, std::memory_order_relaxed);
    const Result<void> outcome = transfer->is_write_out ? host::start_write_out(transfer->fd, transfer->offset, transfer->bytes) : transfer->finish();
    transfer->on_done(outcome.code());
  }
}

void HostQueue::serve_by_ring(host::IoRing& ring, int event) {
  uint64_t event_count = 0;
  const host::IoVector event_memory{reinterpret_cast<std::byte*>(&event_count), sizeof event_count};
  bool awaits_event = false;
  const auto transfers = [&] { return ring.in_flight() - (awaits_event ? 1 : 0); };
  for (;;) {
    // One entry is the event's.
    while (transfers() + 1 < kEntries) {
      QueuedTransfer* const transfer = take(transfers() == 0);
      if (!transfer) break;
      (transfer->is_write_out ? counters.write_outs : counters.by_ring).fetch_add(1, std::memory_order_relaxed);
      const auto tag = reinterpret_cast<uint64_t>(transfer);
      if (transfer->is_write_out) {
        ring.start_write_out(transfer->fd, transfer->offset, static_cast<uint32_t>(transfer->bytes), tag);
        continue;
      }
      const std::span<const host::IoVector> memory = transfer->memory.next(transfer->bytes);
      if (transfer->is_write) bring_in(memory);
      if (transfer->is_write) ring.write(transfer->fd, memory, transfer->offset, tag);
      else ring.read(transfer->fd, memory, transfer->offset, tag);
    }
    if (transfers() == 0) return;
    if (!awaits_event) {
      ring.read(event, std::span(&event_memory, 1), 0, kEventTag);
      awaits_event = true;
    }
    ring.submit_and_wait();
    {
      MutexLock lock(mutex_);
      sleeps_in_ring_ = false;
    }
    while (const std::optional<host::IoRing::Completion> completion = ring.next()) {
      if (completion->tag == kEventTag) awaits_event = false;
      else complete(*reinterpret_cast<QueuedTransfer*>(completion->tag), completion->result);
    }
  }
}

void HostQueue::run() {
  std::unique_ptr<host::IoRing> ring;
  if (ring_ == Ring::Allowed) {
    Result<std::unique_ptr<host::IoRing>> made = host::IoRing::create(kEntries);
    Result<int> event = host::make_event();
    if (made.ok() && event.ok()) {
      ring = made.take();
      event_ = event.value();
    } else {
      log(LogLevel::Notice, "ubd: the host refuses io_uring (errno {}); what is read ahead and written is so by one call after the other", made.ok() ? event.code() : made.code());
      if (event.ok()) host::close(event.value());
    }
  }
  is_running_.store(true, std::memory_order_release);
  if (ring) serve_by_ring(*ring, event_);
  else serve_by_calls();
  is_running_.store(false, std::memory_order_release);
  ring = nullptr;
  if (event_ >= 0) host::close(event_);
}

void HostQueue::stop() {
  MutexLock lock(mutex_);
  is_stopping_ = true;
  thread_.wake_all();
}

}  // namespace umk::ubd
