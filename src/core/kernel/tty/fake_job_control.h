// For tests: a family of processes that consists of what the test says, and the signals that it got.
#pragma once

#include <mutex>
#include <string>

#include "core/kernel/tty/job_control.h"
#include "core/kernel/vfs/open_file.h"
#include "core/kernel/vfs/anonymous_inode.h"

namespace umk::tty {

class FakeJobControl final : public JobControl {
 public:
  // What the test sets.
  JobMember member;
  bool ignores = false;
  bool orphaned = false;
  RefPtr<ProcessGroup> known;

  JobMember current() override {
    JobMember result = member;
    if (result.session) result.terminal = result.session->controlling_tty;
    return result;
  }
  bool is_ignored(int) override { return ignores; }
  bool is_orphaned(ProcessGroup&) override { return orphaned; }
  void signal_group(ProcessGroup& group, int signal) override { note("group " + std::to_string(group.id()) + " signal " + std::to_string(signal)); }
  void hang_up_session(Session& session, RefPtr<ProcessGroup> foreground) override {
    note("hang up session " + std::to_string(session.id()) + " foreground " + (foreground ? std::to_string(foreground->id()) : "none"));
  }
  RefPtr<ProcessGroup> find_group(ProcessId id) override { return known && known->id() == id ? known : nullptr; }
  void set_terminal(Session& session, RefPtr<ControllingTerminal> terminal) override { std::swap(session.controlling_tty, terminal); }
  void leave_terminal() override { note("left"); }

  /// What happened since last asked, separated by "; ".
  std::string events() {
    std::lock_guard lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  void note(const std::string& text) {
    std::lock_guard lock(mutex_);
    if (!events_.empty()) events_ += "; ";
    events_ += text;
  }
  std::mutex mutex_;
  std::string events_;
};

inline RefPtr<vfs::Inode> fake_inode() {
  static const RefPtr<vfs::AnonymousSuperblock> superblock =
      vfs::AnonymousSuperblock::create(vfs::AnonymousKind::Pipe, vfs::DeviceNumber{0, 9}).take();
  return vfs::AnonymousInode::create(*superblock, 0600, 0, 0).take();
}

inline std::string read_text(vfs::OpenFile& file, size_t size = 4096) {
  std::string text(size, '\0');
  UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(text)));
  const Result<size_t> count = file.read_at(0, buffer);
  if (!count.ok()) return "errno " + std::to_string(count.code());
  text.resize(count.value());
  return text;
}

/// The count as text, or the error.
inline std::string write_text(vfs::OpenFile& file, std::string_view text) {
  UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(text)));
  uint64_t offset = 0;
  const Result<size_t> count = file.write_at(offset, buffer, false);
  return count.ok() ? std::to_string(count.value()) : "errno " + std::to_string(count.code());
}

/// ioctl with a pointer argument; the errno, or 0. No request that these tests make looks at the task.
template <typename T>
int control(vfs::OpenFile& file, uint32_t request, T& argument) {
  alignas(16) static char no_task[16];
  return file.ioctl(reinterpret_cast<Task&>(no_task), request, reinterpret_cast<uint64_t>(&argument)).code();
}
inline int control_value(vfs::OpenFile& file, uint32_t request, uint64_t argument) {
  alignas(16) static char no_task[16];
  return file.ioctl(reinterpret_cast<Task&>(no_task), request, argument).code();
}

}  // namespace umk::tty
