// EventFile: a counter that can be waited for. eventfd(2).
#pragma once

#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

class EventFile final : public OpenFile {
 public:
  /// A semaphore gives 1 to each read; otherwise a read takes the whole count. `flags` may hold O_NONBLOCK.
  EventFile(RefPtr<Inode> inode, uint64_t count, bool is_semaphore, uint32_t flags)
      : OpenFile(std::move(inode), open_flags::kReadWrite | (flags & open_flags::kNonBlock)), is_semaphore_(is_semaphore), count_(count) {}

  FileKind kind() const override { return FileKind::Event; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  uint32_t poll(PollTable* table) override;
  Result<String> describe() override { return String::from("anon_inode:[eventfd]"); }
  void describe_details(TextSink& sink) override;

 private:
  static constexpr uint64_t kMaximum = UINT64_MAX - 1;

  const bool is_semaphore_;
  Mutex mutex_{LockRank::Pipe};
  uint64_t count_ GUARDED_BY(mutex_);
  WaitQueue changed_;
};

}  // namespace umk::vfs
