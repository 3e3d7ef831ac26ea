#include "core/kernel/syscall/socket_message.h"

#include <algorithm>
#include <cstring>

#include "core/base/bits.h"
#include "core/kernel/syscall/new_file.h"

namespace umk {

using socket::Incoming;
using socket::Outgoing;
using socket::SocketAddress;

Result<SocketAddress> read_address(uint64_t address, int64_t length) {
  SocketAddress read;
  if (length < 0 || static_cast<uint64_t>(length) > read.bytes.size()) return error(EINVAL);
  read.length = static_cast<size_t>(length);
  if (copy_from_user(read.bytes.data(), address, read.length).faulted) return error(EFAULT);
  return read;
}

Result<void> write_address(const SocketAddress& from, uint64_t address, UserPtr<int32_t> length) {
  const int32_t room = TRY(length.read());
  if (room < 0) return error(EINVAL);
  const size_t copied = std::min<size_t>(from.length, static_cast<size_t>(room));
  if (copied > 0 && copy_to_user(address, from.bytes.data(), copied).faulted) return error(EFAULT);
  return length.write(static_cast<int32_t>(from.length));
}

namespace {

constexpr size_t kHeaderBytes = sizeof(KernelControlHeader);
/// net.core.optmem_max bounds what the kernel takes at once.
constexpr uint64_t kMaximumControl = 128 * 1024;

Result<Vector<RefPtr<vfs::OpenFile>>> read_rights(Task& task, uint64_t address, size_t bytes) {
  const size_t count = bytes / sizeof(int32_t);
  if (count > kMaximumPassedFiles) return error(EINVAL);
  std::array<int32_t, kMaximumPassedFiles> numbers;
  TRY(UserPtr<int32_t>(address).read_array(std::span(numbers).first(count)));
  Vector<RefPtr<vfs::OpenFile>> files;
  for (size_t i = 0; i < count; ++i) TRY(files.push_back(TRY(task.fds().get(Fd{numbers[i]}))));
  return files;
}

// SCM_CREDENTIALS: who one is, or with a capability anybody. unix(7), credentials(7).
Result<socket::Identity> check_credentials(Task& task, const KernelSocketCredentials& claimed) {
  const Credentials& own = task.credentials();
  const bool pid_ok = claimed.pid == task.process().pid() || own.has(Capability::SysAdmin);
  const bool uid_ok = claimed.uid == own.uid || claimed.uid == own.euid || claimed.uid == own.suid || own.has(Capability::Setuid);
  const bool gid_ok = claimed.gid == own.gid || claimed.gid == own.egid || claimed.gid == own.sgid || own.has(Capability::Setgid);
  if (!pid_ok || !uid_ok || !gid_ok) return error(EPERM);
  if (claimed.pid != task.process().pid()) {
    TaskList& tasks = task.kernel().tasks;
    MutexLock lock(tasks.mutex);
    if (!tasks.find_process(claimed.pid)) return error(ESRCH);
  }
  return socket::Identity{claimed.pid, claimed.uid, claimed.gid};
}

}  // namespace

Result<void> read_control(Task& task, uint64_t address, uint64_t length, Outgoing& message) {
  if (length > kMaximumControl) return error(ENOBUFS);
  Vector<RefPtr<vfs::OpenFile>> files;
  for (uint64_t at = 0; at + kHeaderBytes <= length;) {
    const KernelControlHeader header = TRY(UserPtr<KernelControlHeader>(address + at).read());
    if (header.length < kHeaderBytes || header.length > length - at) return error(EINVAL);
    const uint64_t body = address + at + kHeaderBytes;
    const size_t body_bytes = header.length - kHeaderBytes;
    at += round_up(header.length, 8);
    if (header.level != kSocketLevel) continue;
    switch (header.type) {
      case control_types::kRights: {
        Vector<RefPtr<vfs::OpenFile>> more = TRY(read_rights(task, body, body_bytes));
        if (files.size() + more.size() > kMaximumPassedFiles) return error(EINVAL);
        for (RefPtr<vfs::OpenFile>& file : more) TRY(files.push_back(std::move(file)));
        break;
      }
      case control_types::kCredentials:
        if (body_bytes != sizeof(KernelSocketCredentials)) return error(EINVAL);
        message.identity = TRY(check_credentials(task, TRY(UserPtr<KernelSocketCredentials>(body).read())));
        break;
      default: return error(EINVAL);
    }
  }
  if (files.empty()) return {};
  const Credentials& own = task.credentials();
  const bool unlimited = own.has(Capability::SysResource) || own.has(Capability::SysAdmin);
  const uint64_t limit = unlimited ? UINT64_MAX : task.process().limits.soft(Resource::OpenFiles);
  message.files = TRY(socket::PassedFiles::create(task.kernel().sockets->in_flight(), std::move(files), own.uid, limit));
  return {};
}

namespace {

// Writes one control message at `used`, which moves on; false when the header does not fit.
bool put_control(uint64_t address, uint64_t length, size_t& used, int type, std::span<const std::byte> body, Incoming& message) {
  if (length - used < kHeaderBytes) {
    message.returned_flags |= message_flags::kControlTruncated;
    return false;
  }
  size_t copied = body.size();
  if (copied > length - used - kHeaderBytes) {
    copied = length - used - kHeaderBytes;
    message.returned_flags |= message_flags::kControlTruncated;
  }
  const KernelControlHeader header{kHeaderBytes + copied, kSocketLevel, type};
  if (!UserPtr<KernelControlHeader>(address + used).write(header).ok()) return false;
  if (copy_to_user(address + used + kHeaderBytes, body.data(), copied).faulted) return false;
  used = std::min<uint64_t>(length, used + round_up(header.length, 8));
  return true;
}

// Installs as many files as there is room and limit for, like Linux one by one; what is left is dropped by the caller.
void put_rights(Task& task, uint64_t address, uint64_t length, size_t& used, Incoming& message) {
  size_t installed = 0;
  const bool close_on_exec = (message.flags & message_flags::kCloseOnExec) != 0;
  const size_t room = length - used > kHeaderBytes ? (length - used - kHeaderBytes) / sizeof(int32_t) : 0;
  const uint64_t numbers = address + used + kHeaderBytes;
  while (installed < message.files.size() && installed < room) {
    Result<Fd> fd = add_descriptor(task, message.files[installed], close_on_exec);
    if (!fd.ok()) break;
    if (!UserPtr<int32_t>(numbers + installed * sizeof(int32_t)).write(fd.value().number).ok()) {
      (void)task.fds().close(fd.value(), nullptr);
      break;
    }
    ++installed;
  }
  if (installed < message.files.size()) message.returned_flags |= message_flags::kControlTruncated;
  if (installed == 0) return;
  const KernelControlHeader header{kHeaderBytes + installed * sizeof(int32_t), kSocketLevel, control_types::kRights};
  if (!UserPtr<KernelControlHeader>(address + used).write(header).ok()) return;
  used = std::min<uint64_t>(length, used + round_up(header.length, 8));
}

}  // namespace

size_t write_control(Task& task, uint64_t address, uint64_t length, Incoming& message) {
  size_t used = 0;
  if (message.identity) {
    const KernelSocketCredentials credentials{message.identity->pid, message.identity->uid, message.identity->gid};
    put_control(address, length, used, control_types::kCredentials, std::as_bytes(std::span(&credentials, 1)), message);
  }
  if (!message.files.empty()) put_rights(task, address, length, used, message);
  message.files.clear();
  return used;
}

}  // namespace umk
