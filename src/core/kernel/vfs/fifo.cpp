// Named pipes: the pipe of a FIFO exists while the FIFO is open, and an open waits for the other side. fifo(7), open(2).
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/pipe.h"

namespace umk::vfs {

bool is_nameless_pipe(const Inode& inode) { return inode.superblock().type_name() == "pipefs"; }

void forget_fifo_pipe(Inode& inode, Pipe& pipe) {
  RefPtr<RefCounted> last;
  MutexLock lock(inode.mutex());
  const Pipe::OpenCounts counts = pipe.counts();
  if (inode.fifo_pipe == &pipe && counts.readers == 0 && counts.writers == 0) std::swap(inode.fifo_pipe, last);
}

namespace {

struct Joined {
  RefPtr<Pipe> pipe;
  Pipe::OpenCounts counts;
};

// Counts the new open under the inode's lock, so that the last closer either sees it or has removed the pipe before.
Result<Joined> join_pipe(Inode& inode, Pipe::Ends ends) {
  MutexLock lock(inode.mutex());
  if (!inode.fifo_pipe) inode.fifo_pipe = TRY(Pipe::create());
  RefPtr<Pipe> pipe(static_cast<Pipe*>(inode.fifo_pipe.get()));
  const Pipe::OpenCounts counts = pipe->add_ends(ends);
  return Joined{std::move(pipe), counts};
}

// `counts` are those of the moment in which this open was counted: who waited on the other side runs from then on, and may have written, closed and gone by now.
Result<void> wait_for_other_side(Pipe& pipe, const Pipe::OpenCounts& counts, Pipe::Ends ends, bool nonblocking, uint32_t& silent_until) {
  if (ends.reader && ends.writer) return {};
  if (ends.reader) {
    if (counts.writers != 0) return {};
    if (nonblocking) {
      // No writer was there yet, so its absence is no hang-up.
      silent_until = counts.writers_ever;
      return {};
    }
    return pipe.wait_for_partner(false, counts.writers_ever);
  }
  if (counts.readers != 0) return {};
  if (nonblocking) return error(ENXIO);
  return pipe.wait_for_partner(true, counts.readers_ever);
}

}  // namespace

Result<RefPtr<OpenFile>> open_fifo(Inode& inode, uint32_t flags) {
  const uint32_t access = flags & open_flags::kAccessMask;
  if (access == open_flags::kAccessMask) return error(EINVAL);
  const Pipe::Ends ends{access != open_flags::kWriteOnly, access != open_flags::kReadOnly};
  const Joined joined = TRY(join_pipe(inode, ends));
  const RefPtr<Pipe>& pipe = joined.pipe;

  // Hang-ups count from the first writer on; a reader that waited for one has seen it.
  uint32_t silent_until = 0;
  Result<void> met;
  if (!is_nameless_pipe(inode)) met = wait_for_other_side(*pipe, joined.counts, ends, (flags & open_flags::kNonBlock) != 0, silent_until);
  Result<RefPtr<PipeFile>> file =
      met.ok() ? make_ref<PipeFile>(pipe, RefPtr<Inode>(inode), flags, silent_until) : Result<RefPtr<PipeFile>>(met.failure());
  if (!file.ok()) {
    pipe->remove_ends(ends);
    forget_fifo_pipe(inode, *pipe);
    return file.failure();
  }
  return RefPtr<OpenFile>(file.take());
}

}  // namespace umk::vfs
