#include <cstring>

#include "core/abi/ioctl.h"
#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/socket/unix_endpoint.h"

namespace umk::socket {

namespace {

// Waits report the deadline as EAGAIN, and interruptions as what the timeout allows.
template <typename T>
Result<T> reported(Result<T> outcome, Error (*translate)(Error, Deadline), Deadline deadline) {
  if (outcome.ok()) return outcome;
  return translate(outcome.failure(), deadline);
}

}  // namespace

Result<RefPtr<Socket>> UnixFamily::create(RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags, const SocketCaller&) {
  if (protocol != 0 && protocol != address_families::kUnix) return error(EPROTONOSUPPORT);
  switch (type) {
    case socket_types::kStream:
    case socket_types::kSequencedPacket:
    case socket_types::kDatagram: break;
    // BSD's way to ask for datagrams, which Linux takes too.
    case socket_types::kRaw: type = socket_types::kDatagram; break;
    default: return error(ESOCKTNOSUPPORT);
  }
  RefPtr<UnixEndpoint> endpoint = TRY(make_ref<UnixEndpoint>(layer_, type));
  return RefPtr<Socket>(TRY(UnixSocket::create(layer_, std::move(endpoint), std::move(inode), flags)));
}

Result<void> UnixFamily::join(Socket& first, Socket& second, const SocketCaller& caller) {
  UnixEndpoint::join(static_cast<UnixSocket&>(first).endpoint(), static_cast<UnixSocket&>(second).endpoint(), caller);
  return {};
}

UnixSocket::UnixSocket(SocketLayer& layer, RefPtr<UnixEndpoint> endpoint, RefPtr<vfs::Inode> inode, uint32_t flags)
    : Socket(std::move(inode), address_families::kUnix, endpoint->type(), 0, flags), layer_(layer), endpoint_(std::move(endpoint)) {}

Result<RefPtr<UnixSocket>> UnixSocket::create(SocketLayer& layer, RefPtr<UnixEndpoint> endpoint, RefPtr<vfs::Inode> inode, uint32_t flags) {
  return make_ref<UnixSocket>(layer, std::move(endpoint), std::move(inode), flags);
}

void UnixSocket::last_reference_dropped() {
  endpoint_->close(false);
  // What this socket could reach may be garbage now. It is not among it: it is not in flight.
  layer_.in_flight().collect();
  Socket::last_reference_dropped();
}

void UnixSocket::on_options_changed() {
  endpoint_->send_buffer.store(send_buffer_bytes(), std::memory_order_relaxed);
  endpoint_->passes_credentials.store(passes_credentials(), std::memory_order_relaxed);
}

Result<void> UnixSocket::bind(const SocketCaller& caller, const SocketAddress& address) {
  return endpoint_->bind(caller, TRY(UnixAddress::parse(address)));
}

Result<void> UnixSocket::connect(const SocketCaller& caller, const SocketAddress& address) {
  const Deadline deadline = send_deadline();
  return reported(endpoint_->connect(caller, address, {is_nonblocking(), deadline}), wait_failure, deadline);
}

Result<RefPtr<Socket>> UnixSocket::accept(RefPtr<vfs::Inode> inode, uint32_t flags) {
  const Deadline deadline = receive_deadline();
  RefPtr<UnixEndpoint> accepted = TRY(reported(endpoint_->accept({is_nonblocking(), deadline}), wait_failure, deadline));
  Result<RefPtr<UnixSocket>> file = create(layer_, accepted, std::move(inode), flags);
  if (!file.ok()) {
    accepted->close(true);
    return file.failure();
  }
  return RefPtr<Socket>(file.take());
}

Result<size_t> UnixSocket::send(const SocketCaller* caller, Outgoing& message) {
  const Deadline deadline = send_deadline();
  return reported(endpoint_->send(caller, message, {must_not_wait(message.flags), deadline}), wait_failure, deadline);
}

Result<size_t> UnixSocket::receive(Incoming& message) {
  const Deadline deadline = receive_deadline();
  return reported(endpoint_->receive(message, {must_not_wait(message.flags), deadline}), wait_failure, deadline);
}

Result<void> UnixSocket::set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value) {
  if (level != kSocketLevel || option != socket_options::kPeekOffset) return Socket::set_option(caller, level, option, value);
  int32_t number;
  if (value.size() < sizeof number) return error(EINVAL);
  std::memcpy(&number, value.data(), sizeof number);
  endpoint_->peek_offset.store(number, std::memory_order_relaxed);
  return {};
}

Result<void> UnixSocket::get_option(int level, int option, Vector<std::byte>& value) {
  if (level != kSocketLevel) return error(EOPNOTSUPP);
  if (option == socket_options::kPeerCredentials) {
    const UnixEndpoint::PeerCredentials peer = endpoint_->peer_credentials();
    KernelSocketCredentials out{0, ~0u, ~0u};
    if (peer.credentials) out = {peer.pid, peer.credentials->euid, peer.credentials->egid};
    return value.append(std::as_bytes(std::span(&out, 1)));
  }
  if (option == socket_options::kPeerGroups) {
    const UnixEndpoint::PeerCredentials peer = endpoint_->peer_credentials();
    if (!peer.credentials) return error(ENODATA);
    return value.append(std::as_bytes(std::span<const GroupId>(peer.credentials->groups)));
  }
  if (option == socket_options::kPeekOffset) {
    const int32_t number = endpoint_->peek_offset.load(std::memory_order_relaxed);
    return value.append(std::as_bytes(std::span(&number, 1)));
  }
  return Socket::get_option(level, option, value);
}

Result<int64_t> UnixSocket::ioctl(Task&, uint32_t request, uint64_t argument) {
  uint64_t number;
  switch (request) {
    case ioctls::kBytesReadable: number = TRY(readable_bytes()); break;
    case ioctls::kBytesUnsent: number = endpoint_->unsent_bytes(); break;
    default: return error(ENOTTY);
  }
  TRY(UserPtr<int32_t>(argument).write(static_cast<int32_t>(number)));
  return int64_t{0};
}

}  // namespace umk::socket
