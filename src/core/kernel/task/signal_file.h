// SignalFile: signals that are read. signalfd(2).
//
// It belongs to no process: whoever reads or polls it sees their own pending signals, as on Linux. Processes in which somebody watches it lastingly (epoll) are
// kept as objects, so that their queue of waiters outlives the watch.
#pragma once

#include <atomic>

#include "core/kernel/task/task.h"
#include "core/kernel/vfs/open_file.h"

namespace umk {

class SignalFile final : public vfs::OpenFile {
 public:
  /// `flags` may hold O_NONBLOCK.
  SignalFile(RefPtr<vfs::Inode> inode, SignalSet wanted, uint32_t flags);

  /// What it reports; SIGKILL and SIGSTOP never.
  void set_wanted(SignalSet wanted);

  vfs::FileKind kind() const override { return vfs::FileKind::Signal; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  uint32_t poll(vfs::PollTable* table) override;
  Result<String> describe() override { return String::from("anon_inode:[signalfd]"); }
  void describe_details(TextSink& sink) override;

 private:
  SignalSet wanted() const { return {wanted_.load(std::memory_order_relaxed)}; }
  Result<SignalInfo> take(Task& task, bool nonblocking);

  std::atomic<uint64_t> wanted_;
  Mutex mutex_{LockRank::None};
  Vector<RefPtr<Process>> watched_processes_ GUARDED_BY(mutex_);
};

}  // namespace umk
