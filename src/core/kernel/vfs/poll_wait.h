// Waiting for many files at once: what poll(2), ppoll, select and pselect6 do.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "core/base/vector.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

/// Waiters of one context on the queues of many files. They leave their queues when it dies, so the files must outlive it.
class PollWaiters final : public PollTable {
 public:
  PollWaiters() : context_(current_stack()) {}
  PollWaiters(const PollWaiters&) = delete;
  PollWaiters& operator=(const PollWaiters&) = delete;
  ~PollWaiters();

  /// What the file that is polled next is watched for: other changes do not wake.
  void set_wanted(uint32_t bits) { wanted_ = bits; }
  void watch(WaitQueue& queue) override;
  /// True when a waiter could not be allocated: the wait must fail with ENOMEM.
  bool out_of_memory() const { return out_of_memory_; }

 private:
  struct Entry final : sync::Waiter {
    bool on_wake(uint32_t events, sync::WakeBatch& batch) override;
    KernelStackHead* context = nullptr;
    WaitQueue* queue = nullptr;
    uint32_t wanted = 0;
  };
  // Enough for most calls without an allocation.
  static constexpr size_t kInline = 12;

  KernelStackHead& context_;
  uint32_t wanted_ = ~0u;
  bool out_of_memory_ = false;
  size_t used_ = 0;
  std::array<Entry, kInline> inline_;
  Vector<std::unique_ptr<Entry>> more_;
};

struct PolledFile {
  RefPtr<OpenFile> file;  // null: not polled
  uint32_t wanted = 0;
  uint32_t ready = 0;  // out: those of the wanted bits that are set
};

/// Waits until one of the files is ready; returns how many are, 0 at the deadline (0 ns: at once). ERESTARTSYS, ENOMEM.
Result<size_t> wait_for_files(std::span<PolledFile> files, Deadline deadline);

}  // namespace umk::vfs
