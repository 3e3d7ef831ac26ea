// Sockets: socket, bind, connect, accept and the rest of socket(2), send(2), recv(2), getsockopt(2).
#include <iterator>

#include "core/abi/time.h"
#include "core/kernel/syscall/broken_pipe.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/new_file.h"
#include "core/kernel/syscall/socket_message.h"

namespace umk {

namespace {

using socket::Incoming;
using socket::Outgoing;
using socket::Socket;
using socket::SocketAddress;
namespace open_flags = vfs::open_flags;

constexpr uint32_t kSocketFlags = open_flags::kCloseOnExec | open_flags::kNonBlock;

Result<RefPtr<vfs::AnonymousInode>> make_socket_inode(Task& task) {
  return make_anonymous_inode(task, vfs::AnonymousKind::Socket, static_cast<uint32_t>(vfs::FileType::Socket) | 0777);
}

// A socket and the reference that keeps it for the length of a call.
struct HeldSocket {
  RefPtr<vfs::OpenFile> file;
  Socket* operator->() const { return static_cast<Socket*>(file.get()); }
  Socket& operator*() const { return *static_cast<Socket*>(file.get()); }
};

Result<HeldSocket> find_socket(Task& task, Fd fd) {
  RefPtr<vfs::OpenFile> file = TRY(task.fds().usable(fd));
  TRY(socket::socket_of(*file));
  return HeldSocket{std::move(file)};
}

bool closes_on_exec(uint32_t flags) { return (flags & open_flags::kCloseOnExec) != 0; }

// The type argument carries flags. EINVAL for unknown ones and for numbers that are no type.
Result<int> split_type(int32_t type, uint32_t& flags) {
  flags = static_cast<uint32_t>(type) & ~static_cast<uint32_t>(socket_types::kMask);
  if (flags & ~kSocketFlags) return error(EINVAL);
  return type & socket_types::kMask;
}

Result<RefPtr<Socket>> make_socket(Task& task, int32_t family, int type, int32_t protocol, uint32_t flags) {
  if (family < 0 || family >= address_families::kMaximum) return error(EAFNOSUPPORT);
  if (type >= socket_types::kMaximum) return error(EINVAL);
  socket::SocketFamily& maker = TRY(task.kernel().sockets->family(family));
  return maker.create(TRY(make_socket_inode(task)), type, protocol, flags, TaskSocketCaller(task));
}

// socket(2)
Result<Fd> sys_socket(Task& task, int32_t family, int32_t raw_type, int32_t protocol) {
  uint32_t flags;
  const int type = TRY(split_type(raw_type, flags));
  return add_descriptor(task, TRY(make_socket(task, family, type, protocol, flags)), closes_on_exec(flags));
}

// socketpair(2)
Result<void> sys_socketpair(Task& task, int32_t family, int32_t raw_type, int32_t protocol, UserPtr<int32_t> descriptors) {
  uint32_t flags;
  const int type = TRY(split_type(raw_type, flags));
  RefPtr<Socket> first = TRY(make_socket(task, family, type, protocol, flags));
  RefPtr<Socket> second = TRY(make_socket(task, family, type, protocol, flags));
  TRY(TRY(task.kernel().sockets->family(family)).join(*first, *second, TaskSocketCaller(task)));

  const Fd first_fd = TRY(add_descriptor(task, std::move(first), closes_on_exec(flags)));
  Result<Fd> second_fd = add_descriptor(task, std::move(second), closes_on_exec(flags));
  if (!second_fd.ok()) {
    (void)task.fds().close(first_fd, nullptr);
    return second_fd.failure();
  }
  const int32_t numbers[2] = {first_fd.number, second_fd.value().number};
  Result<void> written = descriptors.write_array(numbers);
  if (!written.ok()) {
    (void)task.fds().close(first_fd, nullptr);
    (void)task.fds().close(second_fd.value(), nullptr);
  }
  return written;
}

// bind(2)
Result<void> sys_bind(Task& task, Fd fd, uint64_t address, int32_t length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return socket->bind(TaskSocketCaller(task), TRY(read_address(address, length)));
}

// connect(2)
Result<void> sys_connect(Task& task, Fd fd, uint64_t address, int32_t length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return socket->connect(TaskSocketCaller(task), TRY(read_address(address, length)));
}

// listen(2)
Result<void> sys_listen(Task& task, Fd fd, int32_t backlog) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return socket->listen(TaskSocketCaller(task), backlog);
}

// accept4(2)
Result<Fd> sys_accept4(Task& task, Fd fd, uint64_t address, UserPtr<int32_t> length, uint32_t flags) {
  if (flags & ~kSocketFlags) return error(EINVAL);
  HeldSocket socket = TRY(find_socket(task, fd));
  RefPtr<Socket> accepted = TRY(socket->accept(TRY(make_socket_inode(task)), flags));
  if (address != 0) {
    // A peer that is gone already has no name: Linux says so and drops the connection.
    Result<SocketAddress> peer = accepted->peer_address();
    if (!peer.ok()) return error(ECONNABORTED);
    TRY(write_address(peer.value(), address, length));
  }
  return add_descriptor(task, std::move(accepted), closes_on_exec(flags));
}

Result<Fd> sys_accept(Task& task, Fd fd, uint64_t address, UserPtr<int32_t> length) { return sys_accept4(task, fd, address, length, 0); }

// shutdown(2)
Result<void> sys_shutdown(Task& task, Fd fd, int32_t how) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return socket->shutdown(how);
}

// getsockname(2), getpeername(2)
Result<void> sys_getsockname(Task& task, Fd fd, uint64_t address, UserPtr<int32_t> length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return write_address(TRY(socket->local_address()), address, length);
}

Result<void> sys_getpeername(Task& task, Fd fd, uint64_t address, UserPtr<int32_t> length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return write_address(TRY(socket->peer_address()), address, length);
}

// setsockopt(2)
Result<void> sys_setsockopt(Task& task, Fd fd, int32_t level, int32_t option, uint64_t value, int32_t length) {
  if (length < 0) return error(EINVAL);
  HeldSocket socket = TRY(find_socket(task, fd));
  // No option here is longer than this; the rest of a longer value is ignored, as Linux does.
  std::array<std::byte, 128> bytes;
  const size_t used = static_cast<size_t>(length) < bytes.size() ? static_cast<size_t>(length) : bytes.size();
  if (copy_from_user(bytes.data(), value, used).faulted) return error(EFAULT);
  return socket->set_option(TaskSocketCaller(task), level, option, std::span(bytes).first(used));
}

// getsockopt(2)
Result<void> sys_getsockopt(Task& task, Fd fd, int32_t level, int32_t option, uint64_t address, UserPtr<int32_t> length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  const int32_t room = TRY(length.read());
  if (room < 0) return error(EINVAL);
  Vector<std::byte> value;
  TRY(socket->get_option(level, option, value));
  if (level == kSocketLevel && option == socket_options::kPeerGroups && value.size() > static_cast<size_t>(room)) {
    // A list that does not fit is not cut: the caller learns how long it is.
    TRY(length.write(static_cast<int32_t>(value.size())));
    return error(ERANGE);
  }
  const size_t copied = value.size() < static_cast<size_t>(room) ? value.size() : static_cast<size_t>(room);
  if (copy_to_user(address, value.data(), copied).faulted) return error(EFAULT);
  return length.write(static_cast<int32_t>(copied));
}

// --- sending

Result<size_t> send_message(Task& task, Socket& socket, Outgoing& message) {
  const TaskSocketCaller caller(task);
  const socket::SocketCaller& socket_caller = caller;
  Result<size_t> sent = socket.send(&socket_caller, message);
  if ((message.flags & message_flags::kNoSignal) || !socket.signals_broken_pipe()) return sent;
  return with_broken_pipe_signal(task, std::move(sent));
}

// sendto(2); send(2) is the same without an address.
Result<size_t> sys_sendto(Task& task, Fd fd, UserInBuffer data, uint32_t flags, uint64_t address, int32_t length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  Outgoing message{data, flags, nullptr, {}, {}};
  SocketAddress to;
  if (address != 0) {
    to = TRY(read_address(address, length));
    message.to = &to;
  }
  return send_message(task, *socket, message);
}

Result<KernelMessageHeader> read_header(UserPtr<KernelMessageHeader> address) {
  KernelMessageHeader header = TRY(address.read());
  if (header.name == 0) header.name_length = 0;
  if (header.name_length < 0) return error(EINVAL);
  if (header.name_length > static_cast<int32_t>(kMaximumSocketAddress)) header.name_length = kMaximumSocketAddress;
  if (header.vector_count > IoVector::kMaximumPieces) return error(EMSGSIZE);
  return header;
}

Result<size_t> send_header(Task& task, Socket& socket, UserPtr<KernelMessageHeader> address, uint32_t flags) {
  const KernelMessageHeader header = TRY(read_header(address));
  IoVector vector;
  TRY(vector.read(header.vector, header.vector_count));
  UserInBuffer data(vector.pieces());
  Outgoing message{data, flags, nullptr, {}, {}};
  SocketAddress to;
  if (header.name != 0 && header.name_length != 0) {
    to = TRY(read_address(header.name, header.name_length));
    message.to = &to;
  }
  if (header.control_length > INT32_MAX) return error(ENOBUFS);
  if (header.control_length > 0) TRY(read_control(task, header.control, header.control_length, message));
  return send_message(task, socket, message);
}

// sendmsg(2)
Result<size_t> sys_sendmsg(Task& task, Fd fd, UserPtr<KernelMessageHeader> header, uint32_t flags) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return send_header(task, *socket, header, flags);
}

UserPtr<KernelMessageHeader> header_of(UserPtr<KernelMultiMessage> message) { return UserPtr<KernelMessageHeader>(message.address()); }
UserPtr<uint32_t> length_of(UserPtr<KernelMultiMessage> message) {
  return UserPtr<uint32_t>(message.address() + offsetof(KernelMultiMessage, length));
}

// sendmmsg(2): what was sent before a failure counts.
Result<size_t> sys_sendmmsg(Task& task, Fd fd, UserPtr<KernelMultiMessage> messages, uint32_t count, uint32_t flags) {
  HeldSocket socket = TRY(find_socket(task, fd));
  if (count > IoVector::kMaximumPieces) count = IoVector::kMaximumPieces;
  for (size_t i = 0; i < count; ++i) {
    Result<size_t> sent = send_header(task, *socket, header_of(messages + i), flags);
    Result<void> noted = sent.ok() ? length_of(messages + i).write(static_cast<uint32_t>(sent.value())) : Result<void>(sent.failure());
    if (noted.ok()) continue;
    if (i > 0) return i;
    return noted.failure();
  }
  return size_t{count};
}

// --- receiving

// recvfrom(2); recv(2) is the same without an address.
Result<size_t> sys_recvfrom(Task& task, Fd fd, UserOutBuffer data, uint32_t flags, uint64_t address, UserPtr<int32_t> length) {
  HeldSocket socket = TRY(find_socket(task, fd));
  Incoming message{data, flags, 0, {}, {}, {}};
  const size_t received = TRY(socket->receive(message));
  if (address != 0) TRY(write_address(message.from, address, length));
  return received;
}

Result<size_t> receive_header(Task& task, Socket& socket, UserPtr<KernelMessageHeader> address, uint32_t flags) {
  const KernelMessageHeader header = TRY(read_header(address));
  IoVector vector;
  TRY(vector.read(header.vector, header.vector_count));
  UserOutBuffer data(vector.pieces());
  Incoming message{data, flags, 0, {}, {}, {}};
  const size_t received = TRY(socket.receive(message));

  const size_t control = write_control(task, header.control, header.control_length, message);
  if (header.name != 0)
    TRY(write_address(message.from, header.name, UserPtr<int32_t>(address.address() + offsetof(KernelMessageHeader, name_length))));
  const uint32_t returned = message.returned_flags | (flags & message_flags::kCloseOnExec);
  TRY(UserPtr<uint32_t>(address.address() + offsetof(KernelMessageHeader, flags)).write(returned));
  TRY(UserPtr<uint64_t>(address.address() + offsetof(KernelMessageHeader, control_length)).write(control));
  return received;
}

// recvmsg(2)
Result<size_t> sys_recvmsg(Task& task, Fd fd, UserPtr<KernelMessageHeader> header, uint32_t flags) {
  HeldSocket socket = TRY(find_socket(task, fd));
  return receive_header(task, *socket, header, flags);
}

// recvmmsg(2): the timeout is looked at between messages only, as on Linux.
Result<size_t> sys_recvmmsg(Task& task, Fd fd, UserPtr<KernelMultiMessage> messages, uint32_t count, uint32_t flags, UserPtr<KernelTimespec> timeout) {
  Deadline deadline = Deadline::never();
  if (timeout) {
    const KernelTimespec value = TRY(timeout.read());
    if (!value.is_valid()) return error(EINVAL);
    deadline = Deadline::after_ns(value.to_ns());
  }
  HeldSocket socket = TRY(find_socket(task, fd));
  if (count > IoVector::kMaximumPieces) count = IoVector::kMaximumPieces;
  size_t done = 0;
  while (done < count) {
    Result<size_t> received = receive_header(task, *socket, header_of(messages + done), flags & ~message_flags::kWaitForOne);
    Result<void> noted = received.ok() ? length_of(messages + done).write(static_cast<uint32_t>(received.value())) : Result<void>(received.failure());
    if (!noted.ok()) {
      if (done == 0) return noted.failure();
      break;
    }
    ++done;
    if (flags & message_flags::kWaitForOne) flags |= message_flags::kDontWait;
    if (deadline.has_passed()) break;
  }
  if (timeout) {
    const uint64_t now = host::now_ns(host::Clock::Monotonic);
    TRY(timeout.write(KernelTimespec::from_ns(deadline.monotonic_ns > now ? deadline.monotonic_ns - now : 0)));
  }
  return done;
}

}  // namespace

const SyscallRow kSysSocketRows[] = {
    partial<sys_socket>(41, "socket", "AF_UNIX, and AF_NETLINK for events of devices"),
    full<sys_connect>(42, "connect"),
    full<sys_accept>(43, "accept"),
    full<sys_sendto>(44, "sendto"),
    full<sys_recvfrom>(45, "recvfrom"),
    full<sys_sendmsg>(46, "sendmsg"),
    full<sys_recvmsg>(47, "recvmsg"),
    full<sys_shutdown>(48, "shutdown"),
    full<sys_bind>(49, "bind"),
    full<sys_listen>(50, "listen"),
    full<sys_getsockname>(51, "getsockname"),
    full<sys_getpeername>(52, "getpeername"),
    full<sys_socketpair>(53, "socketpair"),
    full<sys_setsockopt>(54, "setsockopt"),
    full<sys_getsockopt>(55, "getsockopt"),
    full<sys_accept4>(288, "accept4"),
    full<sys_recvmmsg>(299, "recvmmsg"),
    full<sys_sendmmsg>(307, "sendmmsg"),
};
const size_t kSysSocketRowCount = std::size(kSysSocketRows);

}  // namespace umk
