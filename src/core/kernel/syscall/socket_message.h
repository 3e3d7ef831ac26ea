// Messages of sendmsg(2) and recvmsg(2) between the guest's form and the sockets': addresses, buffers, control messages.
#pragma once

#include "core/abi/socket.h"
#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/syscall/io_vector.h"
#include "core/kernel/task/task.h"

namespace umk {

/// The caller as sockets see it; lives as long as one call.
class TaskSocketCaller {
 public:
  explicit TaskSocketCaller(Task& task)
      : caller_(task.caller()), socket_caller_{caller_, task.credentials_ref(), task.process().pid()} {}
  operator const socket::SocketCaller&() const { return socket_caller_; }

 private:
  vfs::Caller caller_;
  socket::SocketCaller socket_caller_;
};

/// An address of the guest. EINVAL for impossible lengths, EFAULT.
Result<socket::SocketAddress> read_address(uint64_t address, int64_t length);
/// Writes an address as accept and getsockname do: cut to the guest's room, with the true length in `length`. A null `address` asks for nothing.
Result<void> write_address(const socket::SocketAddress& from, uint64_t address, UserPtr<int32_t> length);

/// Takes SCM_RIGHTS and SCM_CREDENTIALS of a message to be sent. EINVAL, EBADF, EPERM, ETOOMANYREFS.
Result<void> read_control(Task& task, uint64_t address, uint64_t length, socket::Outgoing& message);
/// Gives a received message's credentials and files to the guest; returns the bytes used and adds kControlTruncated to the message's flags when
/// not everything fitted. Files without room are closed.
size_t write_control(Task& task, uint64_t address, uint64_t length, socket::Incoming& message);

}  // namespace umk
