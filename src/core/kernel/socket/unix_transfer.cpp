// Sending and receiving on AF_UNIX sockets.
#include <algorithm>

#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/socket/unix_endpoint.h"

namespace umk::socket {

using namespace vfs::poll_bits;

namespace {

constexpr uint32_t kReadable = kIn | kPriority | kReadNormal | kReadBand;
constexpr uint32_t kWritable = kOut | kWriteNormal | kWriteBand;

}  // namespace

// Waits until the send buffer has room and takes `cost` of it; returns the peer. A packet gives it back when it dies.
Result<RefPtr<UnixEndpoint>> UnixEndpoint::reserve(uint32_t cost, bool needs_peer, Waiting waiting) {
  MutexLock lock(mutex_);
  for (;;) {
    if (needs_peer && !peer_) return error(ENOTCONN);
    if (send_shut_) return error(EPIPE);
    if (error_ != 0) return error(std::exchange(error_, 0));
    if (sent_cost_.load(std::memory_order_relaxed) < send_buffer.load(std::memory_order_relaxed)) {
      sent_cost_.fetch_add(cost, std::memory_order_relaxed);
      return peer_;
    }
    lacked_room_.store(true, std::memory_order_relaxed);
    if (waiting.nonblocking) return error(EAGAIN);
    TRY(wait_locked(waiting.deadline));
  }
}

// A packet with the next `size` bytes of the message; `cost` was reserved and goes with it, also when this fails.
Result<std::unique_ptr<UnixPacket>> UnixEndpoint::fill_packet(Outgoing& message, size_t size, uint32_t cost, const Identity& identity) {
  Result<std::unique_ptr<UnixPacket>> made = UnixPacket::create(size);
  if (!made.ok()) {
    credit(cost);
    return made;
  }
  UnixPacket& packet = *made.value();
  packet.sender = RefPtr<UnixEndpoint>(this);
  packet.cost = cost;
  packet.identity = identity;
  packet.from = address();
  if (size > 0) {
    const size_t copied = TRY(message.data.get(packet.bytes()));
    if (copied < size) return error(EFAULT);
  }
  packet.files = std::move(message.files);
  return made;
}

Result<size_t> UnixEndpoint::send(const SocketCaller* caller, Outgoing& message, Waiting waiting) {
  if (message.flags & message_flags::kOutOfBand) return error(EOPNOTSUPP);
  const Identity identity = message.identity ? *message.identity : caller->identity();
  if (type_ == socket_types::kStream) {
    if (message.to) {
      MutexLock lock(mutex_);
      return error(state_ == State::Connected ? EISCONN : EOPNOTSUPP);
    }
    return send_stream(message, identity, waiting);
  }
  if (type_ == socket_types::kSequencedPacket) {
    // unix(7) has no addresses for them; Linux ignores one that is given.
    message.to = nullptr;
    MutexLock lock(mutex_);
    if (!peer_) return error(ENOTCONN);
  }
  return send_packet(caller, message, identity, waiting);
}

Result<size_t> UnixEndpoint::send_stream(Outgoing& message, const Identity& identity, Waiting waiting) {
  if (message.data.remaining() == 0) {
    MutexLock lock(mutex_);
    if (!peer_) return error(ENOTCONN);
    if (send_shut_) return error(EPIPE);
    return size_t{0};
  }
  size_t total = 0;
  const auto send_piece = [&]() -> Result<void> {
    const size_t half = send_buffer.load(std::memory_order_relaxed) / 2 - 64;
    const size_t size = std::min({message.data.remaining(), half, kMaximumPiece});
    const uint32_t cost = UnixPacket::cost_of(type_, size);
    RefPtr<UnixEndpoint> peer = TRY(reserve(cost, true, waiting));
    std::unique_ptr<UnixPacket> packet = TRY(fill_packet(message, size, cost, identity));
    {
      MutexLock lock(peer->mutex_);
      if (peer->is_dead_ || peer->receive_shut_) return error(EPIPE);
      peer->push_locked(*packet.release());
    }
    peer->changed_.wake(kReadable);
    peer->tell_input();
    total += size;
    return {};
  };
  while (message.data.remaining() > 0) {
    Result<void> sent = send_piece();
    if (sent.ok()) continue;
    if (total > 0) break;
    return sent.failure();
  }
  return total;
}

Result<size_t> UnixEndpoint::send_packet(const SocketCaller* caller, Outgoing& message, const Identity& identity, Waiting waiting) {
  const size_t size = message.data.remaining();
  const bool is_addressed = message.to != nullptr;
  if (passes_credentials.load(std::memory_order_relaxed)) TRY(bind_if_unnamed());
  {
    MutexLock lock(mutex_);
    if (error_ != 0) return error(std::exchange(error_, 0));
    if (send_shut_) return error(EPIPE);
    if (!is_addressed && !peer_) return error(ENOTCONN);
  }
  RefPtr<UnixEndpoint> target;
  if (is_addressed) target = TRY(find(*caller, *message.to));
  if (size > send_buffer.load(std::memory_order_relaxed) - 32) return error(EMSGSIZE);

  const uint32_t cost = UnixPacket::cost_of(type_, size);
  RefPtr<UnixEndpoint> peer = TRY(reserve(cost, false, waiting));
  std::unique_ptr<UnixPacket> packet = TRY(fill_packet(message, size, cost, identity));
  if (!is_addressed) target = std::move(peer);
  if (!target) return error(ENOTCONN);

  bool destination_died = false;
  {
    MutexLock lock(target->mutex_);
    for (;;) {
      if (target->is_dead_) {
        if (is_connection_based()) return error(EPIPE);
        destination_died = true;
        break;
      }
      if (!is_connection_based() && target->peer_ && target->peer_ != this) return error(EPERM);
      if (target->receive_shut_) return error(EPIPE);
      const bool answers = target == this || target->peer_ == this;
      if (answers || !target->is_full_locked()) {
        target->push_locked(*packet.release());
        break;
      }
      if (waiting.nonblocking) return error(EAGAIN);
      TRY(target->wait_locked(waiting.deadline));
    }
  }
  if (destination_died) {
    if (!is_addressed) lose_destination();
    return error(ECONNREFUSED);
  }
  target->changed_.wake(kReadable);
  target->tell_input();
  return size;
}

// --- receiving

void UnixEndpoint::note_origin(Incoming& message, const UnixPacket& packet) {
  if (packet.from) message.from = UnixAddress::spell(packet.from.get());
  if (passes_credentials.load(std::memory_order_relaxed)) message.identity = packet.identity;
}

Result<size_t> UnixEndpoint::receive(Incoming& message, Waiting waiting) {
  if (message.flags & message_flags::kOutOfBand) return error(type_ == socket_types::kStream ? EINVAL : EOPNOTSUPP);
  return type_ == socket_types::kStream ? receive_stream(message, waiting) : receive_packet(message, waiting);
}

void UnixEndpoint::move_peek_start(bool peeked, size_t bytes) {
  int32_t old = peek_offset.load(std::memory_order_relaxed);
  while (old >= 0) {
    const int64_t moved = peeked ? int64_t{old} + static_cast<int64_t>(bytes) : int64_t{old} - static_cast<int64_t>(bytes);
    const auto next = static_cast<int32_t>(std::clamp<int64_t>(moved, 0, INT32_MAX));
    if (peek_offset.compare_exchange_weak(old, next, std::memory_order_relaxed)) return;
  }
}

Result<size_t> UnixEndpoint::receive_stream(Incoming& message, Waiting waiting) {
  const bool peeking = (message.flags & message_flags::kPeek) != 0;
  const size_t target = (message.flags & message_flags::kWaitAll) ? std::max<size_t>(message.data.remaining(), 1) : 1;
  size_t total = 0;
  std::optional<Error> failure;
  std::unique_ptr<PassedFiles> arrived;
  bool has_origin = false;
  PacketList used;
  {
    MutexLock lock(mutex_);
    if (state_ != State::Connected) return error(EINVAL);
    // A peek passes packets without taking them, and looks on from here. It never waits after the first packet, so the place stays good.
    auto next = queue_.begin();
    size_t skip = peeking ? peek_start() : 0;
    for (;;) {
      if (!peeking || !has_origin) {
        next = queue_.begin();
        skip = peeking ? peek_start() : 0;
        while (next != queue_.end() && skip > 0 && skip >= next->rest().size()) skip -= (next++)->rest().size();
      }
      if (next == queue_.end()) {
        if (total >= target || (peeking && has_origin)) break;
        if (error_ != 0) {
          failure = error(std::exchange(error_, 0));
          break;
        }
        if (receive_shut_) break;
        if (waiting.nonblocking) {
          failure = error(EAGAIN);
          break;
        }
        if (!used.packets.empty()) {
          // The sender may wait for the room that these take.
          mutex_.unlock();
          used.clear();
          mutex_.lock();
          continue;
        }
        sleeping_readers_.fetch_add(1, std::memory_order_relaxed);
        Result<void> woken = wait_locked(waiting.deadline);
        sleeping_readers_.fetch_sub(1, std::memory_order_relaxed);
        if (!woken.ok()) {
          failure = woken.failure();
          break;
        }
        continue;
      }
      UnixPacket& packet = *next;
      // Bytes of different senders are not mixed when the reader wants to know who sent them.
      if (has_origin && message.identity && (message.identity->pid != packet.identity.pid || message.identity->uid != packet.identity.uid ||
                                             message.identity->gid != packet.identity.gid))
        break;
      const std::span<std::byte> rest = packet.rest().subspan(std::exchange(skip, 0));
      const size_t wanted = std::min(rest.size(), message.data.remaining());
      if (wanted > 0) {
        Result<size_t> copied = message.data.put(rest.first(wanted));
        if (!copied.ok() || copied.value() < wanted) {
          failure = error(EFAULT);
          break;
        }
      }
      total += wanted;
      if (!has_origin) note_origin(message, packet);
      has_origin = true;
      if (peeking) {
        if (packet.files) {
          Result<Vector<RefPtr<vfs::OpenFile>>> copies = packet.files->copy();
          if (copies.ok()) message.files = copies.take();
          break;
        }
        ++next;
      } else {
        packet.offset += wanted;
        if (packet.files) arrived = std::move(packet.files);
        if (packet.rest().empty()) used.push_back(pop_locked());
        // unix(7): a read does not go past a packet that brought files.
        if (arrived) break;
      }
      if (message.data.remaining() == 0) break;
    }
  }
  used.clear();
  if (arrived) message.files = arrived->arrive();
  if (failure && total == 0) return *failure;
  move_peek_start(peeking, total);
  return total;
}

Result<size_t> UnixEndpoint::receive_packet(Incoming& message, Waiting waiting) {
  const bool peeking = (message.flags & message_flags::kPeek) != 0;
  PacketList used;
  std::unique_ptr<PassedFiles> arrived;
  size_t size = 0, copied = 0;
  Result<size_t> put = size_t{0};
  {
    MutexLock lock(mutex_);
    auto place = queue_.begin();
    size_t skip;
    for (;;) {
      if (type_ == socket_types::kSequencedPacket && state_ != State::Connected) return error(ENOTCONN);
      if (error_ != 0) return error(std::exchange(error_, 0));
      place = queue_.begin();
      skip = peeking ? peek_start() : 0;
      while (place != queue_.end() && skip > 0 && skip >= place->rest().size()) skip -= (place++)->rest().size();
      if (place != queue_.end()) break;
      // A datagram socket that was shut down reports the end only to those who would wait.
      if (receive_shut_ && (is_connection_based() || !waiting.nonblocking)) return size_t{0};
      if (waiting.nonblocking) return error(EAGAIN);
      TRY(wait_locked(waiting.deadline));
    }
    UnixPacket& packet = *place;
    const std::span<std::byte> rest = packet.rest().subspan(skip);
    size = rest.size();
    copied = std::min(size, message.data.remaining());
    note_origin(message, packet);
    if (copied > 0) put = message.data.put(rest.first(copied));
    if (peeking) {
      if (packet.files) message.files = TRY(packet.files->copy());
    } else {
      const bool was_full = is_full_locked();
      arrived = std::move(packet.files);
      used.push_back(pop_locked());
      if (was_full && !is_full_locked()) {
        changed_.wake_all(kWritable);
        for (UnixEndpoint& client : clients_) client.changed_.wake(kWritable);
      }
    }
  }
  if (!put.ok() || put.value() < copied) return error(EFAULT);
  move_peek_start(peeking, peeking ? copied : size);
  if (arrived) message.files = arrived->arrive();
  if (size > copied) message.returned_flags |= message_flags::kTruncated;
  return (message.flags & message_flags::kTruncated) ? size : copied;
}

}  // namespace umk::socket
