// Names and connections of AF_UNIX sockets: bind, listen, connect, accept, socketpair.
#include "core/kernel/socket/socket_layer.h"
#include "core/kernel/socket/unix_endpoint.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::socket {

using namespace vfs::poll_bits;

namespace {

constexpr uint32_t kSocketNode = static_cast<uint32_t>(vfs::FileType::Socket);

}  // namespace

Result<void> UnixEndpoint::bind(const SocketCaller& caller, RefPtr<UnixAddress> address) {
  if (!address) return bind_if_unnamed();
  // One bind at a time; the name itself is made without the endpoint's lock, as that may sleep.
  MutexLock binding(destination_mutex_);
  if (this->address()) return error(EINVAL);
  if (address->kind() == UnixAddress::Kind::Abstract) {
    TRY(layer_.abstract_names().add(type_, address, *this));
    MutexLock lock(mutex_);
    address_ = std::move(address);
    return {};
  }
  if (!layer_.vfs()) return error(EADDRNOTAVAIL);
  vfs::Path place;
  const uint32_t permissions = 0777 & ~caller.caller.fs.umask();
  Result<void> made = layer_.vfs()->make_node(caller.caller, vfs::At{nullptr, address->name()}, kSocketNode | permissions, {}, &place);
  if (!made.ok()) return made.code() == EEXIST ? Result<void>(error(EADDRINUSE)) : std::move(made);
  RefPtr<vfs::Inode> inode(place.dentry->inode());
  {
    MutexLock lock(inode->mutex());
    inode->bound_socket = RefPtr<RefCounted>(this);
  }
  MutexLock lock(mutex_);
  address_ = std::move(address);
  node_ = std::move(inode);
  return {};
}

// unix(7), "Autobind feature".
Result<void> UnixEndpoint::bind_if_unnamed() {
  MutexLock binding(destination_mutex_);
  if (address()) return {};
  RefPtr<UnixAddress> chosen = TRY(layer_.abstract_names().add_automatic(type_, *this));
  MutexLock lock(mutex_);
  address_ = std::move(chosen);
  return {};
}

Result<void> UnixEndpoint::listen(const SocketCaller& caller, int backlog) {
  if (!is_connection_based()) return error(EOPNOTSUPP);
  {
    MutexLock lock(mutex_);
    if (!address_ || state_ == State::Connected) return error(EINVAL);
    backlog_ = static_cast<size_t>(backlog < 0 || backlog > kMaximumBacklog ? kMaximumBacklog : backlog);
    state_ = State::Listening;
    peer_credentials_ = {caller.pid, caller.credentials};
  }
  // A larger backlog may have room for who waits.
  changed_.wake_all();
  return {};
}

// The endpoint that an address names, for connect and for sendto.
Result<RefPtr<UnixEndpoint>> UnixEndpoint::find(const SocketCaller& caller, const SocketAddress& raw) {
  RefPtr<UnixAddress> address = TRY(UnixAddress::parse(raw));
  if (!address) return error(EINVAL);
  if (address->kind() == UnixAddress::Kind::Abstract) {
    RefPtr<UnixEndpoint> found = layer_.abstract_names().find(type_, address->name());
    if (!found) return error(ECONNREFUSED);
    return found;
  }
  if (!layer_.vfs()) return error(ENOENT);
  const vfs::Path place = TRY(layer_.vfs()->lookup(caller.caller, vfs::At{nullptr, address->name()}));
  vfs::Inode& inode = *place.dentry->inode();
  constexpr unsigned kWrite = 2;
  TRY(layer_.vfs()->check_access(caller.caller, vfs::Target(place), kWrite));
  if (inode.type() != vfs::FileType::Socket) return error(ECONNREFUSED);
  RefPtr<UnixEndpoint> found;
  {
    MutexLock lock(inode.mutex());
    found = RefPtr<UnixEndpoint>(static_cast<UnixEndpoint*>(inode.bound_socket.get()));
  }
  if (!found) return error(ECONNREFUSED);
  if (found->type_ != type_) return error(EPROTOTYPE);
  return found;
}

Result<void> UnixEndpoint::connect(const SocketCaller& caller, const SocketAddress& address, Waiting waiting) {
  if (passes_credentials.load(std::memory_order_relaxed) && address.family() != address_families::kUnspecified) TRY(bind_if_unnamed());
  if (!is_connection_based()) return set_destination(caller, address);
  return connect_stream(caller, address, waiting);
}

Result<void> UnixEndpoint::connect_stream(const SocketCaller& caller, const SocketAddress& address, Waiting waiting) {
  RefPtr<UnixEndpoint> accepted = TRY(make_ref<UnixEndpoint>(layer_, type_));
  for (;;) {
    RefPtr<UnixEndpoint> listener = TRY(find(caller, address));
    if (TRY(try_connect(*listener, *accepted, caller, waiting))) {
      listener->changed_.wake(kIn | kReadNormal);
      listener->tell_input();
      return {};
    }
  }
}

// Queues `accepted`, the other end, at the listener. False: look again for who has the name.
Result<bool> UnixEndpoint::try_connect(UnixEndpoint& listener, UnixEndpoint& accepted, const SocketCaller& caller,
                                       Waiting waiting) NO_THREAD_SAFETY_ANALYSIS {
  const auto check_self = [this]() NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (state_ == State::Connected) return error(EISCONN);
    if (state_ == State::Listening) return error(EINVAL);
    return {};
  };
  {
    MutexLock lock(listener.mutex_);
    if (listener.is_dead_ || listener.state_ != State::Listening || listener.receive_shut_) return error(ECONNREFUSED);
    if (listener.pending_count_ > listener.backlog_) {
      if (waiting.nonblocking) return error(EAGAIN);
      Result<void> woken = listener.wait_locked(waiting.deadline);
      if (!woken.ok()) return woken.failure();
      return false;
    }
  }
  if (this == &listener) return error(EINVAL);
  // Everything is looked at again under both locks.
  MutexLock first(this < &listener ? mutex_ : listener.mutex_);
  MutexLock second(this < &listener ? listener.mutex_ : mutex_);
  TRY(check_self());
  if (listener.is_dead_ || listener.state_ != State::Listening || listener.pending_count_ > listener.backlog_) return false;

  accepted.state_ = State::Connected;
  accepted.peer_ = RefPtr<UnixEndpoint>(this);
  accepted.address_ = listener.address_;
  accepted.peer_credentials_ = {caller.pid, caller.credentials};
  state_ = State::Connected;
  peer_ = RefPtr<UnixEndpoint>(accepted);
  peer_credentials_ = listener.peer_credentials_;
  // A connection that was refused its other end before may be made anew.
  receive_shut_ = send_shut_ = false;
  accepted.add_reference();
  listener.pending_.push_back(accepted);
  ++listener.pending_count_;
  return true;
}

Result<RefPtr<UnixEndpoint>> UnixEndpoint::accept(Waiting waiting) {
  if (!is_connection_based()) return error(EOPNOTSUPP);
  RefPtr<UnixEndpoint> accepted;
  {
    MutexLock lock(mutex_);
    for (;;) {
      if (state_ != State::Listening) return error(EINVAL);
      if (pending_count_ > 0) break;
      if (receive_shut_) return error(EINVAL);
      if (waiting.nonblocking) return error(EAGAIN);
      TRY(wait_locked(waiting.deadline));
    }
    accepted = RefPtr<UnixEndpoint>::adopt(&pending_.front());
    pending_.pop_front();
    --pending_count_;
  }
  // Those who wait for room in the backlog.
  changed_.wake(kOut);
  return accepted;
}

void UnixEndpoint::join(UnixEndpoint& first, UnixEndpoint& second, const SocketCaller& caller) {
  for (UnixEndpoint* end : {&first, &second}) {
    UnixEndpoint& other = end == &first ? second : first;
    if (!end->is_connection_based()) {
      MutexLock lock(other.mutex_);
      other.clients_.push_back(*end);
    }
    MutexLock lock(end->mutex_);
    end->peer_ = RefPtr<UnixEndpoint>(other);
    end->peer_credentials_ = {caller.pid, caller.credentials};
    if (end->is_connection_based()) end->state_ = State::Connected;
  }
}

// connect(2) of a datagram socket: where messages without an address go, and from whom alone messages are taken. AF_UNSPEC dissolves it.
Result<void> UnixEndpoint::set_destination(const SocketCaller& caller, const SocketAddress& address) {
  if (address.length < sizeof(uint16_t)) return error(EINVAL);
  RefPtr<UnixEndpoint> destination;
  if (address.family() != address_families::kUnspecified) destination = TRY(find(caller, address));
  {
    MutexLock changing(destination_mutex_);
    if (destination) {
      MutexLock lock(destination->mutex_);
      if (destination->is_dead_) return error(ECONNREFUSED);
      if (destination->peer_ && destination->peer_ != this) return error(EPERM);
    }
    RefPtr<UnixEndpoint> old = forget_destination_locked();
    if (old && old != destination) drop_messages_of(*old);
    if (destination) {
      MutexLock lock(destination->mutex_);
      destination->clients_.push_back(*this);
    }
    MutexLock lock(mutex_);
    peer_ = std::move(destination);
  }
  changed_.wake_all();
  return {};
}

void UnixEndpoint::forget_destination() {
  MutexLock changing(destination_mutex_);
  (void)forget_destination_locked();
}

// A send found the destination dead: the association ends, and with it go the messages that came from there.
void UnixEndpoint::lose_destination() {
  MutexLock changing(destination_mutex_);
  if (RefPtr<UnixEndpoint> old = forget_destination_locked()) drop_messages_of(*old);
}

// As on Linux a datagram socket that changes its destination loses what it has not read, and the other side, when it was joined to this one, hears of it.
void UnixEndpoint::drop_messages_of(UnixEndpoint& old) {
  PacketList unread;
  {
    MutexLock lock(mutex_);
    if (queue_.empty()) return;
    unread.packets.splice(unread.packets.end(), queue_);
    queue_length_ = 0;
  }
  changed_.wake_all();
  {
    MutexLock lock(old.mutex_);
    if (old.is_dead_ || old.peer_ != this) return;
    old.error_ = ECONNRESET;
  }
  old.changed_.wake_all();
}

RefPtr<UnixEndpoint> UnixEndpoint::forget_destination_locked() {
  RefPtr<UnixEndpoint> old;
  {
    MutexLock lock(mutex_);
    old = std::move(peer_);
  }
  if (!old) return nullptr;
  MutexLock lock(old->mutex_);
  ListHook<ClientTag>::unlink();
  return old;
}

}  // namespace umk::socket
