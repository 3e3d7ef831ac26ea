#include "core/kernel/task/pidfd.h"

#include "core/kernel/task/kernel.h"
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/vfs.h"

namespace umk {

namespace {

class PidFile final : public vfs::OpenFile {
 public:
  PidFile(RefPtr<vfs::Inode> inode, uint32_t flags, RefPtr<Process> process) : OpenFile(std::move(inode), flags), process_(std::move(process)) {}

  const RefPtr<Process>& process() const { return process_; }

  uint32_t poll(vfs::PollTable* table) override {
    if (table) table->watch(process_->exit_events);
    MutexLock lock(process_->kernel().tasks.mutex);
    return process_->is_zombie ? vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal : 0;
  }
  Result<String> describe() override { return String::from("anon_inode:[pidfd]"); }
  void describe_details(TextSink& sink) override {
    bool is_reaped;
    {
      MutexLock lock(process_->kernel().tasks.mutex);
      is_reaped = process_->is_zombie && !process_->leader;
    }
    format(sink, "Pid:\t{}\n", is_reaped ? -1 : process_->pid());
  }
  vfs::FileKind kind() const override { return vfs::FileKind::Process; }

 private:
  RefPtr<Process> process_;
};

}  // namespace

Result<RefPtr<vfs::OpenFile>> make_pidfd(Task& current, RefPtr<Process> process, bool non_blocking) {
  const Credentials& credentials = current.credentials();
  RefPtr<vfs::AnonymousInode> inode = TRY(vfs::AnonymousInode::create(current.kernel().vfs->anonymous(vfs::AnonymousKind::Event), 0600,
                                                                       credentials.fsuid, credentials.fsgid));
  const uint32_t flags = vfs::open_flags::kReadWrite | (non_blocking ? vfs::open_flags::kNonBlock : 0);
  return TRY(make_ref<PidFile>(std::move(inode), flags, std::move(process)));
}

Result<RefPtr<Process>> process_of_pidfd(vfs::OpenFile& file) {
  if (file.kind() != vfs::FileKind::Process) return error(EBADF);
  return static_cast<PidFile&>(file).process();
}

Result<RefPtr<Process>> process_to_signal(vfs::OpenFile& file) {
  if (file.kind() == vfs::FileKind::ProcessDirectory) return static_cast<ProcessDirectoryFile&>(file).process();
  return process_of_pidfd(file);
}

}  // namespace umk
