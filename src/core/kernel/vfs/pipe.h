// Pipe: bytes on their way from writers to readers. pipe(7), fifo(7).
//
// The inode of an open pipe refers to it, with and without a name, so that further ends can be opened: of a FIFO by its path, of any by /proc/PID/fd.
//
// The content is a ring of slots, each a page with a run of bytes; a write goes on in the last page when it fits there as a whole and takes new
// pages otherwise, so that a full pipe holds what it holds on Linux. A write of at most a page is never mixed with others (PIPE_BUF).
//
// Life: made by pipe(2), or by the first open of a FIFO; PipeFiles hold it and count as its readers and writers. When one side is gone the other is told:
// end of file for readers, EPIPE for writers (the call sends SIGPIPE).
//
// Locks: one mutex; user memory is copied under it, as nothing that a page fault needs ranks above it. Sleepers are woken after it is released.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

class Pipe : public RefCounted {
 public:
  static constexpr uint32_t kDefaultSlots = 16;
  static constexpr size_t kMaximumUnprivilegedBytes = 1 << 20;  // fs.pipe-max-size
  static constexpr uint32_t kMaximumSlots = 1 << 15;

  static Result<RefPtr<Pipe>> create();

  /// A page of bytes in the pipe, or taken out of it by splice.
  struct Slot {
    std::unique_ptr<std::byte[]> page;
    uint16_t offset = 0;
    uint16_t length = 0;
    bool is_packet = false;  // O_DIRECT: a read takes one packet and drops what does not fit
    std::span<std::byte> bytes() const { return {page.get() + offset, length}; }
  };

  /// What is to be counted as one more (or one less) reader or writer.
  struct Ends {
    bool reader;
    bool writer;
  };
  struct OpenCounts {
    uint32_t readers, writers, readers_ever, writers_ever;
  };
  /// Returns the counts with the new ends, as of that moment.
  OpenCounts add_ends(Ends ends);
  void remove_ends(Ends ends);

  /// read(2): what is there, at least one byte; 0 at the end of file.
  Result<size_t> read(UserOutBuffer& buffer, bool nonblocking);
  /// write(2): everything, or what was written before a signal, a fault or, when non-blocking, a full pipe.
  Result<size_t> write(UserInBuffer& buffer, bool nonblocking, bool packets = false);

  /// poll(2) for one who has `ends`. `silent_until` is the writer count at which a FIFO was opened without writer: no hang-up is reported until it changes.
  uint32_t poll(Ends ends, uint32_t silent_until, PollTable* table);

  size_t available_bytes();
  size_t capacity_bytes();
  AsyncLists async_lists(Ends ends) { return {ends.reader ? &readers_told_ : nullptr, ends.writer ? &writers_told_ : nullptr}; }
  /// F_SETPIPE_SZ: the size that was set. EPERM, EBUSY, EINVAL as fcntl(2).
  Result<size_t> set_capacity(uint64_t bytes, bool privileged);

  // --- for splice(2) and tee(2) (splice.cpp): content in units of slots
  /// Waits until the pipe has content; false at the end of file.
  Result<bool> wait_readable(bool nonblocking);
  /// Waits for a free slot; EPIPE without readers.
  Result<void> wait_writable(bool nonblocking);
  /// Takes the first slot, or a copy of its first `limit` bytes; none when the pipe is empty. One slot at a time may be out: every taken slot is followed
  /// by give_back() of what was not used.
  Result<std::optional<Slot>> take_front(size_t limit);
  void give_back(Slot rest);
  /// Appends a slot and leaves it empty; false when the pipe is full. EPIPE without readers.
  Result<bool> append(Slot& slot);
  /// Copies up to `limit` bytes of `from` into free slots of `to` without taking them; 0 when one is empty or the other full.
  static Result<size_t> duplicate(Pipe& from, Pipe& to, size_t limit);
  static Result<std::unique_ptr<std::byte[]>> allocate_page();

  // --- for FIFOs (fifo.cpp)
  OpenCounts counts();
  /// Sleeps until a reader (or writer) has come since the count was `ever`.
  Result<void> wait_for_partner(bool wants_reader, uint32_t ever);

 private:
  template <typename T, typename... Arguments>
  friend Result<RefPtr<T>> umk::make_ref(Arguments&&...);
  Pipe() = default;

  bool is_full() const REQUIRES(mutex_) { return used_ >= capacity_; }
  Slot& slot(uint32_t index) REQUIRES(mutex_) { return ring_[(first_ + index) % ring_.size()]; }
  Result<std::unique_ptr<std::byte[]>> take_page() REQUIRES(mutex_);
  void recycle(std::unique_ptr<std::byte[]> page) REQUIRES(mutex_);
  void drop_front() REQUIRES(mutex_);
  Result<size_t> read_content(UserOutBuffer& buffer) REQUIRES(mutex_);
  Result<size_t> write_content(UserInBuffer& buffer, bool packets, size_t tail_bytes) REQUIRES(mutex_);

  Mutex mutex_{LockRank::Pipe};
  // One slot more than the capacity, so that a slot that was taken out can always come back.
  Vector<Slot> ring_ GUARDED_BY(mutex_);
  uint32_t first_ GUARDED_BY(mutex_) = 0;
  uint32_t used_ GUARDED_BY(mutex_) = 0;
  uint32_t capacity_ GUARDED_BY(mutex_) = kDefaultSlots;
  uint32_t readers_ GUARDED_BY(mutex_) = 0;
  uint32_t writers_ GUARDED_BY(mutex_) = 0;
  uint32_t readers_ever_ GUARDED_BY(mutex_) = 0;
  uint32_t writers_ever_ GUARDED_BY(mutex_) = 0;
  // An emptied page is kept for the next write: the common small exchange allocates nothing.
  std::unique_ptr<std::byte[]> spare_page_ GUARDED_BY(mutex_);
  bool slot_is_out_ GUARDED_BY(mutex_) = false;

  WaitQueue readable_;
  WaitQueue writable_;
  WaitQueue opened_;
  AsyncList readers_told_;
  AsyncList writers_told_;
};

/// An open end of a pipe, or both ends of a FIFO opened for reading and writing.
class PipeFile final : public OpenFile {
 public:
  /// The pipe already counts this file's ends.
  PipeFile(RefPtr<Pipe> pipe, RefPtr<Inode> inode, uint32_t flags, uint32_t silent_until);
  ~PipeFile() override;

  FileKind kind() const override { return FileKind::Pipe; }
  Pipe& pipe() const { return *pipe_; }

  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  uint32_t poll(PollTable* table) override;
  Result<uint64_t> readable_bytes() override { return pipe_->available_bytes(); }
  Result<String> describe() override;
  AsyncLists async_lists() override { return pipe_->async_lists(ends()); }

 private:
  Pipe::Ends ends() const { return {is_readable(), is_writable()}; }

  RefPtr<Pipe> pipe_;
  uint32_t silent_until_;
};

/// The pipe behind an open file, or null.
inline Pipe* pipe_of(OpenFile& file) { return file.kind() == FileKind::Pipe ? &static_cast<PipeFile&>(file).pipe() : nullptr; }

struct PipePair {
  RefPtr<OpenFile> reader;
  RefPtr<OpenFile> writer;
};
/// pipe2(2): `flags` may hold O_NONBLOCK and O_DIRECT. `inode` is a new anonymous one of type FIFO.
Result<PipePair> make_pipe(RefPtr<Inode> inode, uint32_t flags);

/// Opens a FIFO (fifo.cpp), waiting for the other side as fifo(7) tells, or an end of a pipe without a name, without waiting. ENXIO, ERESTARTSYS.
Result<RefPtr<OpenFile>> open_fifo(Inode& inode, uint32_t flags);
/// True for the inode of pipe(2), false for a FIFO's.
bool is_nameless_pipe(const Inode& inode);
/// Called by each user of an inode's pipe who leaves: the last one lets go of it.
void forget_fifo_pipe(Inode& inode, Pipe& pipe);

// Between open files, at least one of them a pipe (splice.cpp). An offset belongs to a file that is not a pipe; null: the file's own position.
/// splice(2). EINVAL when neither is a pipe.
Result<size_t> splice(OpenFile& from, uint64_t* from_offset, OpenFile& to, uint64_t* to_offset, size_t length, bool nonblocking);
/// tee(2). EINVAL unless both are pipes, and different ones.
Result<size_t> tee(OpenFile& from, OpenFile& to, size_t length, bool nonblocking);

}  // namespace umk::vfs
