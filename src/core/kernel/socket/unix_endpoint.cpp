#include "core/kernel/socket/unix_endpoint.h"

#include <bit>

#include "core/kernel/socket/socket_layer.h"

namespace umk::socket {

using namespace vfs::poll_bits;

// --- packets

Result<std::unique_ptr<UnixPacket>> UnixPacket::create(size_t size) {
  void* memory = ::operator new(sizeof(UnixPacket) + size, std::nothrow);
  if (!memory) return error(ENOMEM);
  return std::unique_ptr<UnixPacket>(new (memory) UnixPacket(size));
}

UnixPacket::~UnixPacket() {
  if (sender) sender->credit(cost);
}

uint32_t UnixPacket::cost_of(int type, size_t size) {
  // A buffer head, a first piece that is rounded up with its trailer to a power of two, and whole pages for the rest.
  constexpr size_t kHead = 256, kTrailer = 320;
  const size_t largest_first = (type == socket_types::kStream ? kPageSize : 4 * kPageSize) - kTrailer;
  const size_t in_pages = size > largest_first ? page_up(size - largest_first) : 0;
  const size_t first = size > in_pages ? size - in_pages : 0;
  return static_cast<uint32_t>(kHead + std::bit_ceil(first + kTrailer) + in_pages);
}

void PacketList::clear() {
  while (!packets.empty()) {
    UnixPacket& packet = packets.front();
    packets.pop_front();
    delete &packet;
  }
}

// --- endpoints

UnixEndpoint::~UnixEndpoint() { CHECK(queue_.empty() && pending_.empty(), "an endpoint is closed before it dies"); }

UnixPacket& UnixEndpoint::pop_locked() {
  UnixPacket& packet = queue_.front();
  queue_.pop_front();
  --queue_length_;
  return packet;
}

void UnixEndpoint::push_locked(UnixPacket& packet) {
  queue_.push_back(packet);
  ++queue_length_;
}

Result<void> UnixEndpoint::wait_locked(Deadline deadline) { return changed_.wait(mutex_, Sleep::Interruptible, deadline); }

RefPtr<UnixAddress> UnixEndpoint::address() {
  MutexLock lock(mutex_);
  return address_;
}

Result<SocketAddress> UnixEndpoint::peer_address() {
  RefPtr<UnixEndpoint> peer;
  {
    MutexLock lock(mutex_);
    peer = peer_;
  }
  if (!peer) return error(ENOTCONN);
  return UnixAddress::spell(peer->address().get());
}

UnixEndpoint::PeerCredentials UnixEndpoint::peer_credentials() {
  MutexLock lock(mutex_);
  return peer_credentials_;
}

int UnixEndpoint::take_error() {
  MutexLock lock(mutex_);
  return std::exchange(error_, 0);
}

bool UnixEndpoint::is_listening() {
  MutexLock lock(mutex_);
  return state_ == State::Listening;
}

uint32_t UnixEndpoint::poll(vfs::PollTable* table) {
  if (table) table->watch(changed_);
  uint32_t bits = 0;
  RefPtr<UnixEndpoint> destination;
  {
    MutexLock lock(mutex_);
    if (error_ != 0) bits |= kError;
    if (receive_shut_) bits |= kReadHangUp | kIn | kReadNormal;
    if (receive_shut_ && send_shut_) bits |= kHangUp;
    if (!queue_.empty() || !pending_.empty()) bits |= kIn | kReadNormal;
    if (is_connection_based() && state_ == State::Unconnected) bits |= kHangUp;
    if (!is_writable_locked()) {
      lacked_room_.store(true, std::memory_order_relaxed);
      return bits;
    }
    if (type_ == socket_types::kDatagram) destination = peer_;
  }
  // A datagram socket is also not writable while its destination, when that does not answer to it, has a full queue.
  if (destination && destination != this) {
    MutexLock lock(destination->mutex_);
    if (destination->peer_ != this && destination->is_full_locked() && !destination->is_dead_) return bits;
  }
  return bits | kOut | kWriteNormal | kWriteBand;
}

void UnixEndpoint::credit(uint32_t cost) {
  bool writable;
  {
    MutexLock lock(mutex_);
    sent_cost_.fetch_sub(cost, std::memory_order_relaxed);
    writable = is_writable_locked();
  }
  if (!writable) return;
  changed_.wake(kOut | kWriteNormal | kWriteBand);
  if (lacked_room_.load(std::memory_order_relaxed) && lacked_room_.exchange(false, std::memory_order_relaxed)) told_.notify(vfs::AsyncEvent::Output);
}

Result<void> UnixEndpoint::shutdown(int how) {
  if (how < 0 || how > 2) return error(EINVAL);
  const bool reading = how != 1, writing = how != 0;
  RefPtr<UnixEndpoint> peer;
  {
    MutexLock lock(mutex_);
    receive_shut_ = receive_shut_ || reading;
    send_shut_ = send_shut_ || writing;
    if (is_connection_based()) peer = peer_;
  }
  if (peer) {
    MutexLock lock(peer->mutex_);
    peer->receive_shut_ = peer->receive_shut_ || writing;
    peer->send_shut_ = peer->send_shut_ || reading;
  }
  changed_.wake_all();
  if (!peer) return {};
  peer->changed_.wake_all();
  // What the other end can still do decides what it is told: the end of what it reads, or of everything.
  if (how == 2) peer->tell_input(vfs::AsyncEvent::HangUp);
  if (how == 1) peer->tell_input();
  return {};
}

void UnixEndpoint::close(bool unaccepted) {
  RefPtr<UnixEndpoint> peer;
  RefPtr<vfs::Inode> node;
  RefPtr<UnixAddress> address;
  PacketList unread;
  List<UnixEndpoint, AcceptTag> unaccepted_connections;
  bool had_unread;
  {
    MutexLock lock(mutex_);
    is_dead_ = receive_shut_ = send_shut_ = true;
    // A last message without bytes is not missed.
    had_unread = queue_length_ > 1 || (queue_length_ == 1 && !queue_.front().rest().empty());
    unread.packets.splice(unread.packets.end(), queue_);
    queue_length_ = 0;
    unaccepted_connections.splice(unaccepted_connections.end(), pending_);
    pending_count_ = 0;
    state_ = State::Unconnected;
    if (is_connection_based()) peer = std::move(peer_);
    node = std::move(node_);
    address = address_;
  }
  // A connection that was not accepted has its listener's name, and no entry of its own.
  if (address && address->kind() == UnixAddress::Kind::Abstract) layer_.abstract_names().remove(*this);
  if (node) {
    RefPtr<RefCounted> bound;
    MutexLock lock(node->mutex());
    if (node->bound_socket == this) std::swap(node->bound_socket, bound);
  }
  if (!is_connection_based()) {
    forget_destination();
    MutexLock lock(mutex_);
    for (UnixEndpoint& client : clients_) client.changed_.wake_all();
  }
  if (peer) {
    {
      MutexLock lock(peer->mutex_);
      peer->receive_shut_ = peer->send_shut_ = true;
      if (had_unread || unaccepted) peer->error_ = ECONNRESET;
    }
    peer->changed_.wake_all();
    peer->tell_input(vfs::AsyncEvent::HangUp);
  }
  changed_.wake_all();
  while (!unaccepted_connections.empty()) {
    RefPtr<UnixEndpoint> connection = RefPtr<UnixEndpoint>::adopt(&unaccepted_connections.front());
    unaccepted_connections.pop_front();
    connection->close(true);
  }
}

Result<uint64_t> UnixEndpoint::readable_bytes() {
  MutexLock lock(mutex_);
  if (state_ == State::Listening) return error(EINVAL);
  if (queue_.empty()) return uint64_t{0};
  if (type_ == socket_types::kDatagram) return uint64_t{queue_.front().rest().size()};
  uint64_t total = 0;
  for (UnixPacket& packet : queue_) total += packet.rest().size();
  return total;
}

void UnixEndpoint::take_packets(PacketList& packets) {
  MutexLock lock(mutex_);
  packets.packets.splice(packets.packets.end(), queue_);
  queue_length_ = 0;
  for (UnixEndpoint& connection : pending_) connection.take_packets(packets);
}

}  // namespace umk::socket
