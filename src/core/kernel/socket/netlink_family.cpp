#include "core/kernel/socket/netlink_family.h"

#include <bit>

#include "core/kernel/socket/netlink_socket.h"

namespace umk::socket {

uint32_t NetlinkMessage::cost() const {
  constexpr size_t kHead = 256, kTrailer = 320;
  return static_cast<uint32_t>(kHead + std::bit_ceil(bytes.size() + kTrailer));
}

// Here, where the list's sockets are known.
NetlinkFamily::NetlinkFamily() = default;
NetlinkFamily::~NetlinkFamily() = default;

Result<RefPtr<Socket>> NetlinkFamily::create(RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags, const SocketCaller&) {
  if (type != socket_types::kRaw && type != socket_types::kDatagram) return error(ESOCKTNOSUPPORT);
  if (protocol != netlink::kObjectEvents) return error(EPROTONOSUPPORT);
  RefPtr<NetlinkSocket> socket = TRY(make_ref<NetlinkSocket>(*this, std::move(inode), type, protocol, flags));
  MutexLock lock(mutex_);
  sockets_.push_back(*socket);
  return RefPtr<Socket>(std::move(socket));
}

NetlinkSocket* NetlinkFamily::find_locked(uint32_t port) {
  for (NetlinkSocket& socket : sockets_)
    if (socket.port() == port) return &socket;
  return nullptr;
}

RefPtr<NetlinkSocket> NetlinkFamily::find(uint32_t port) {
  MutexLock lock(mutex_);
  NetlinkSocket* const socket = find_locked(port);
  // One that is about to go takes itself off the list.
  if (!socket || !socket->try_add_reference()) return {};
  return adopt_ref(socket);
}

Result<void> NetlinkFamily::bind(NetlinkSocket& socket, uint32_t wanted, int32_t pid) {
  MutexLock lock(mutex_);
  if (const uint32_t present = socket.port(); present != 0) return wanted == 0 || wanted == present ? Result<void>() : error(EINVAL);
  uint32_t port = wanted != 0 ? wanted : static_cast<uint32_t>(pid);
  if (wanted != 0 && find_locked(port)) return error(EADDRINUSE);
  while (port == 0 || find_locked(port)) port = last_chosen_--;
  socket.port_.store(port, std::memory_order_release);
  return {};
}

void NetlinkFamily::set_groups(NetlinkSocket& socket, uint32_t groups) {
  MutexLock lock(mutex_);
  const bool was_member = socket.groups() & kDeviceGroup, is_member = groups & kDeviceGroup;
  socket.groups_.store(groups, std::memory_order_relaxed);
  if (is_member && !was_member) listeners_.fetch_add(1, std::memory_order_relaxed);
  if (was_member && !is_member) listeners_.fetch_sub(1, std::memory_order_relaxed);
}

void NetlinkFamily::remove(NetlinkSocket& socket) {
  set_groups(socket, 0);
  MutexLock lock(mutex_);
  static_cast<ListHook<>&>(socket).unlink();
}

void NetlinkFamily::broadcast(const RefPtr<NetlinkMessage>& message) {
  const uint32_t bit = uint32_t{1} << (message->group - 1);
  MutexLock lock(mutex_);
  for (NetlinkSocket& socket : sockets_)
    if ((socket.groups() & bit) && (message->sender_port == 0 || socket.port() != message->sender_port)) socket.deliver(message);
}

void NetlinkFamily::receive(RefPtr<device::UeventMessage> event) {
  Result<RefPtr<NetlinkMessage>> message = make_ref<NetlinkMessage>();
  // Who listens is told of a loss in either case.
  if (message.ok() && message.value()->bytes.append(std::as_bytes(std::span(event->text()))).ok()) {
    message.value()->group = kDeviceGroup;
    return broadcast(message.value());
  }
  MutexLock lock(mutex_);
  for (NetlinkSocket& socket : sockets_) {
    if (!(socket.groups() & kDeviceGroup)) continue;
    MutexLock socket_lock(socket.mutex_);
    socket.note_loss_locked();
  }
}

}  // namespace umk::socket
