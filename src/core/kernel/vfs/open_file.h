// OpenFile: an open file description (open(2)): what descriptors, of one process or of many, refer to.
//
// It holds the position and the status flags; the path by which it was opened when there is one. Derived classes implement pipes, terminals,
// sockets, event files and so on; files of filesystems use InodeFile, which calls the inode.
#pragma once

#include <atomic>

#include "core/kernel/mm/mappable_file.h"
#include "core/kernel/vfs/async_io.h"
#include "core/kernel/vfs/inode.h"
#include "core/kernel/vfs/path.h"
#include "core/kernel/vfs/poll.h"

namespace umk {
class Task;
}

namespace umk::vfs {

/// Flags of open(2) on x86-64.
namespace open_flags {
inline constexpr uint32_t kAccessMask = 03, kReadOnly = 0, kWriteOnly = 01, kReadWrite = 02;
inline constexpr uint32_t kCreate = 0100, kExclusive = 0200, kNoControllingTty = 0400, kTruncate = 01000, kAppend = 02000, kNonBlock = 04000;
inline constexpr uint32_t kDataSync = 010000, kAsync = 020000, kDirect = 040000, kLargeFile = 0100000, kDirectory = 0200000, kNoFollow = 0400000;
inline constexpr uint32_t kNoAccessTime = 01000000, kCloseOnExec = 02000000, kSync = 04010000, kPath = 010000000, kTemporary = 020200000;
/// What F_SETFL may change; O_ASYNC besides, where a file has an opinion of it (OpenFile::set_async).
inline constexpr uint32_t kChangeable = kAppend | kNonBlock | kDirect | kNoAccessTime;
}  // namespace open_flags

class EpollWatchers;  // epoll items that watch a file (epoll.h)

/// What calls that serve one kind of file alone (sockets, pipes, event files) ask before they cast.
enum class FileKind : uint8_t { Other, Pipe, Socket, Epoll, Event, Timer, Signal, Inotify, Process, ProcessDirectory };

class OpenFile : public mm::MappableFile {
 public:
  virtual FileKind kind() const { return FileKind::Other; }

  Inode& inode() const { return *inode_; }
  RefPtr<Inode> inode_ref() const { return inode_; }
  /// Where it was opened; empty for pipes, sockets and anonymous files.
  const Path& path() const { return path_; }
  void set_path(Path path) { path_ = std::move(path); }
  /// Notes that the file may be written, after Inode::add_writer: undone when the file goes.
  void set_counted_as_writer();
  /// The same for one that only reads, after Inode::add_reader.
  void set_counted_as_reader() { counted_as_reader_ = true; }

  uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
  void set_status_flags(uint32_t flags);
  /// The access mode 3 was opened with both permissions and allows neither: open(2), "access mode 3 (nonstandard)".
  bool is_readable() const final { return (access_mode() + 1) & 1 && !is_path_only(); }
  bool is_writable() const final { return (access_mode() + 1) & 2 && !is_path_only(); }
  /// F_SEAL_WRITE or F_SEAL_FUTURE_WRITE was set: no new shared mapping may be written.
  bool forbids_shared_writes() final;
  bool is_path_only() const { return flags() & open_flags::kPath; }
  bool is_nonblocking() const { return flags() & open_flags::kNonBlock; }

  /// read(2), write(2): at and after the shared position for seekable files. Permission by access mode was checked.
  /// Blocking calls fail with ERESTARTSYS when interrupted and EAGAIN when non-blocking.
  Result<size_t> read(UserOutBuffer& buffer);
  Result<size_t> write(UserInBuffer& buffer);

  /// True when lseek, pread and pwrite work (else ESPIPE).
  virtual bool is_seekable() const { return false; }
  /// pread(2) for seekable files; read for streams, which ignore the offset.
  virtual Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer);
  virtual Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append);
  /// lseek(2). `whence`: 0 set, 1 current, 2 end, 3 data, 4 hole. ESPIPE; Linux lets event files be and answers 0.
  virtual Result<uint64_t> seek(int64_t offset, int whence);
  /// Present readiness; registers with `table` first when it is not null.
  virtual uint32_t poll(PollTable* table);
  /// False for files that are always ready and so of no use to epoll(7), which refuses them with EPERM.
  virtual bool is_pollable() const { return true; }
  /// ioctl(2); ENOTTY by default. Generic requests (FIONBIO, FIOCLEX...) are handled before.
  virtual Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument);
  /// getdents: lists from the shared position.
  virtual Result<void> list(DirectorySink& sink);
  /// Bytes that can be read at once, for FIONREAD; ENOTTY when the file has no such notion.
  virtual Result<uint64_t> readable_bytes();
  Result<void> sync(bool data_only) override;
  /// sync_file_range(2) for the bytes [offset, end). The default, for files without a cache, makes all durable that is asked for writing.
  virtual Result<void> sync_range(uint64_t offset, uint64_t end, bool wait_before, bool write, bool wait_after);
  /// posix_fadvise(2), with `length` 0 to the end of the file; the numbers are its own. Nothing by default: advice may be ignored.
  virtual Result<void> advise(uint64_t offset, uint64_t length, int advice);
  /// syncfs(2) of the filesystem that the file is in; write errors since it was opened are told once.
  Result<void> sync_filesystem();
  /// Called for each close(2) of a descriptor that refers to this file (record locks, POSIX semantics), before the reference goes.
  virtual void on_descriptor_closed(const void* lock_owner);
  /// What mmap maps; null: ENODEV.
  mm::PageSource* page_source() override;
  Result<void> punch_hole(uint64_t offset, uint64_t length) final {
    return inode_->allocate(static_cast<uint32_t>(FallocateMode::KeepSize) | static_cast<uint32_t>(FallocateMode::PunchHole), offset, length);
  }
  /// How /proc/PID/fd shows a file without a path, for example "pipe:[12]"; empty when it has a path.
  virtual Result<String> describe() { return String{}; }
  /// Lines of /proc/PID/fdinfo beyond pos, flags, mnt_id and ino.
  virtual void describe_details(TextSink&) {}

  uint64_t position() const { return position_.load(std::memory_order_relaxed); }
  void set_position(uint64_t position) { position_.store(position, std::memory_order_relaxed); }

  /// Signal-driven I/O of this file; null until somebody asked for it.
  AsyncIo* async() const { return async_.load(std::memory_order_acquire); }
  Result<AsyncIo&> make_async(AsyncSender& sender);
  /// Where it is told of changes; nowhere by default.
  virtual AsyncLists async_lists() { return {}; }
  /// Terminals name who is told when nobody else was: a process group, or 0 for the process that sets O_ASYNC.
  virtual std::optional<int32_t> default_async_group() { return std::nullopt; }
  /// Sets or clears O_ASYNC and enters or leaves the lists. Files that never tell take no notice. ENOMEM.
  Result<void> set_async(AsyncSender& sender, bool on, int fd);
  /// The file's lists were cleared: it has nothing to tell any more.
  void forget_async() { change_flag(open_flags::kAsync, false); }

  /// Epoll instances that watch this file; null until the first. They hold no reference: the last one of the file takes it out of them.
  std::atomic<EpollWatchers*> epoll_watchers{nullptr};

 protected:
  /// Leaves epoll instances while the derived object is still whole, then deletes (epoll.cpp). Overriders call it last.
  void last_reference_dropped() override;

  /// `position_rank` is for files whose reading takes locks that come before those of other files (proc).
  OpenFile(RefPtr<Inode> inode, uint32_t flags, LockRank position_rank = LockRank::OpenFile);
  ~OpenFile() override;

  /// Serialises reads and writes that move the position, as Linux does for regular files and directories.
  Mutex position_mutex_;

 private:
  void change_flag(uint32_t flag, bool on);
  uint32_t access_mode() const { return flags() & open_flags::kAccessMask; }

  std::atomic<uint32_t> filesystem_errors_seen_{0};  // mm::ErrorSequence::Position
  // In this order: the path holds the mount, which keeps the inode's filesystem alive.
  Path path_;
  RefPtr<Inode> inode_;
  bool counted_as_writer_ = false;
  bool counted_as_reader_ = false;
  std::atomic<uint32_t> flags_;
  std::atomic<uint64_t> position_{0};
  std::atomic<AsyncIo*> async_{nullptr};
};

/// The open file of a regular file or directory: everything is the inode's.
class InodeFile : public OpenFile {
 public:
  InodeFile(RefPtr<Inode> inode, uint32_t flags, LockRank position_rank = LockRank::OpenFile);
  bool is_seekable() const override { return true; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  uint32_t poll(PollTable*) override { return poll_bits::kAlwaysReady; }
  bool is_pollable() const override { return false; }
  Result<uint64_t> seek(int64_t offset, int whence) override;
  Result<void> list(DirectorySink& sink) override;
  Result<uint64_t> readable_bytes() override;
  Result<void> sync(bool data_only) override;
  mm::PageSource* page_source() override;
  Result<void> sync_range(uint64_t offset, uint64_t end, bool wait_before, bool write, bool wait_after) override;
  Result<void> advise(uint64_t offset, uint64_t length, int advice) override;

 private:
  mm::CachedFile* cached();

  std::atomic<uint32_t> errors_seen_{0};  // mm::ErrorSequence::Position
};

}  // namespace umk::vfs
