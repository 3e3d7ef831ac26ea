#include "core/kernel/vfs/poll_wait.h"

#include "core/base/make.h"

namespace umk::vfs {

PollWaiters::~PollWaiters() {
  const size_t inlined = used_ < kInline ? used_ : kInline;
  for (size_t i = 0; i < inlined; ++i) inline_[i].queue->remove(inline_[i]);
  for (std::unique_ptr<Entry>& entry : more_) entry->queue->remove(*entry);
}

bool PollWaiters::Entry::on_wake(uint32_t events, sync::WakeBatch& batch) {
  if (!(events & wanted)) return false;
  batch.add(*context);
  return true;
}

void PollWaiters::watch(WaitQueue& queue) {
  Entry* entry = nullptr;
  if (used_ < kInline) {
    entry = &inline_[used_];
  } else {
    Result<std::unique_ptr<Entry>> made = make_unique<Entry>();
    if (made.ok()) entry = made.value().get();
    if (!made.ok() || !more_.push_back(made.take()).ok()) {
      out_of_memory_ = true;
      return;
    }
  }
  ++used_;
  entry->context = &context_;
  entry->queue = &queue;
  entry->wanted = wanted_;
  queue.add(*entry);
}

Result<size_t> wait_for_files(std::span<PolledFile> files, Deadline deadline) {
  PollWaiters waiters;
  // Registration is for the first look only, and ends with the first file that is ready: then nobody will sleep.
  bool registering = deadline.monotonic_ns != 0;
  bool timed_out = !registering;
  for (;;) {
    sync::prepare_to_park();
    size_t count = 0;
    for (PolledFile& polled : files) {
      if (!polled.file) continue;
      waiters.set_wanted(polled.wanted);
      const uint32_t bits = polled.file->poll(registering && count == 0 ? &waiters : nullptr);
      polled.ready = bits & polled.wanted;
      if (polled.ready != 0) ++count;
    }
    if (count > 0 || timed_out) return count;
    if (waiters.out_of_memory()) return error(ENOMEM);
    registering = false;
    if (Result<void> woken = sync::park(Sleep::Interruptible, deadline); !woken.ok()) {
      if (woken.code() != ETIMEDOUT) return woken.failure();
      timed_out = true;
    }
  }
}

}  // namespace umk::vfs
