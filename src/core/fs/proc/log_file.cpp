#include "core/fs/proc/log_file.h"

#include "core/kernel/task/log_reader.h"
#include "core/kernel/vfs/poll.h"

namespace umk::proc {

Result<RefPtr<vfs::OpenFile>> LogFile::open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags) {
  if (!caller.credentials.has(Capability::Syslog) && !caller.credentials.has(Capability::SysAdmin)) return error(EPERM);
  return RefPtr<vfs::OpenFile>(TRY(make_ref<LogFile>(std::move(node), flags)));
}

Result<size_t> LogFile::read_at(uint64_t, UserOutBuffer& buffer) {
  if (buffer.remaining() == 0) return size_t{0};
  return log_reader::read_next(log(), buffer, is_nonblocking());
}

Result<uint64_t> LogFile::seek(int64_t offset, int whence) {
  if (whence < 0 || whence > 1 || offset < 0) return error(EINVAL);
  return static_cast<uint64_t>(offset);
}

uint32_t LogFile::poll(vfs::PollTable* table) {
  if (table) table->watch(log().arrivals());
  return log().read_position() < log().next_sequence() ? vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal : 0;
}

}  // namespace umk::proc
