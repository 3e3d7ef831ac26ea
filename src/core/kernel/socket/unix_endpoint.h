// UnixEndpoint: one end of local communication. UnixSocket: the open file through which a process holds it. unix(7).
//
// They are two objects since they live for different times: a connection is an endpoint before accept makes a file for it, and what a closed socket has sent stays
// in its peer's queue. The peer is held by reference on both sides; closing one side lets go of the other.
//
// Life: unconnected; then listening, or connected (streams and sequenced packets, for good), or with a default destination (datagrams, can change); dead after the
// file is closed.
//
// Locks: `mutex_` guards everything of one endpoint. Two are taken in the order of their addresses. Packets die outside of them: that credits the sender and drops
// files. `destination_mutex_` comes before it and makes changes of a datagram socket's destination one at a time.
#pragma once

#include <algorithm>
#include <atomic>

#include "core/kernel/socket/in_flight.h"
#include "core/kernel/socket/socket.h"
#include "core/kernel/socket/unix_address.h"

namespace umk::socket {

class SocketLayer;
class UnixEndpoint;
struct AcceptTag;
struct ClientTag;

/// One message, or a piece of a stream, in a receive queue; its bytes follow the object in memory.
class UnixPacket : public ListHook<> {
 public:
  static Result<std::unique_ptr<UnixPacket>> create(size_t size);
  ~UnixPacket();
  static void operator delete(void* memory) { ::operator delete(memory); }

  std::span<std::byte> bytes() { return {reinterpret_cast<std::byte*>(this + 1), size_}; }
  /// Not yet read.
  std::span<std::byte> rest() { return bytes().subspan(offset); }
  /// What it counts against the sender's buffer: the bytes and what Linux spends on keeping them, so that as many messages fit as there.
  static uint32_t cost_of(int type, size_t size);

  RefPtr<UnixEndpoint> sender;  // credited when the packet dies
  uint32_t cost = 0;
  size_t offset = 0;
  RefPtr<UnixAddress> from;
  Identity identity;
  std::unique_ptr<PassedFiles> files;

 private:
  explicit UnixPacket(size_t size) : size_(size) {}
  size_t size_;
};

/// Packets that are to die as soon as no lock is held.
class PacketList {
 public:
  PacketList() = default;
  PacketList(const PacketList&) = delete;
  PacketList& operator=(const PacketList&) = delete;
  ~PacketList() { clear(); }
  void clear();
  void push_back(UnixPacket& packet) { packets.push_back(packet); }
  List<UnixPacket> packets;
};

class UnixEndpoint final : public RefCounted, public ListHook<AcceptTag>, public ListHook<ClientTag> {
 public:
  /// What the calls know of the file: options and flags.
  struct Waiting {
    bool nonblocking;
    Deadline deadline;
  };
  struct PeerCredentials {
    int32_t pid = 0;
    RefPtr<const Credentials> credentials;
  };

  UnixEndpoint(SocketLayer& layer, int type) : layer_(layer), type_(type) {}

  int type() const { return type_; }
  bool is_connection_based() const { return type_ != socket_types::kDatagram; }

  // unix_endpoint.cpp
  RefPtr<UnixAddress> address();
  Result<SocketAddress> peer_address();
  PeerCredentials peer_credentials();
  int take_error();
  bool is_listening();
  uint32_t poll(vfs::PollTable* table);
  vfs::AsyncLists async_lists() { return {&told_, nullptr}; }
  Result<void> shutdown(int how);
  /// The file is gone, or a listener closes before the connection was accepted (`unaccepted`).
  void close(bool unaccepted);
  Result<uint64_t> readable_bytes();
  uint32_t unsent_bytes() const { return sent_cost_.load(std::memory_order_relaxed); }
  void credit(uint32_t cost);
  std::atomic<uint32_t> send_buffer{212992};
  std::atomic<bool> passes_credentials{false};
  /// SO_PEEK_OFF, socket(7): where the next peek begins, moved on by peeks and back by reads; negative: always at the front.
  std::atomic<int32_t> peek_offset{-1};

  // unix_connect.cpp
  Result<void> bind(const SocketCaller& caller, RefPtr<UnixAddress> address);
  Result<void> bind_if_unnamed();
  Result<void> listen(const SocketCaller& caller, int backlog);
  Result<void> connect(const SocketCaller& caller, const SocketAddress& address, Waiting waiting);
  Result<RefPtr<UnixEndpoint>> accept(Waiting waiting);
  static void join(UnixEndpoint& first, UnixEndpoint& second, const SocketCaller& caller);

  // unix_transfer.cpp
  Result<size_t> send(const SocketCaller* caller, Outgoing& message, Waiting waiting);
  Result<size_t> receive(Incoming& message, Waiting waiting);

  /// Calls `body(PassedFiles&)` for what waits in its queue and in those of connections it has not accepted.
  template <typename Body>
  void for_each_passed_files(Body&& body);
  /// Empties those queues, for the collection of what is unreachable.
  void take_packets(PacketList& packets);

 protected:
  ~UnixEndpoint() override;

 private:
  enum class State { Unconnected, Listening, Connected };
  /// net.unix.max_dgram_qlen: a queue takes one datagram more than this.
  static constexpr size_t kMaximumDatagrams = 10;
  static constexpr size_t kMaximumPiece = 32 * 1024;
  static constexpr int kMaximumBacklog = 4096;  // net.core.somaxconn

  bool is_writable_locked() const REQUIRES(mutex_) {
    return state_ != State::Listening && uint64_t{sent_cost_.load(std::memory_order_relaxed)} * 4 <= send_buffer.load(std::memory_order_relaxed);
  }
  bool is_full_locked() const REQUIRES(mutex_) { return queue_length_ > kMaximumDatagrams; }
  UnixPacket& pop_locked() REQUIRES(mutex_);
  void push_locked(UnixPacket& packet) REQUIRES(mutex_);
  Result<void> wait_locked(Deadline deadline) REQUIRES(mutex_);
  void tell_input(vfs::AsyncEvent event = vfs::AsyncEvent::Input) {
    if (sleeping_readers_.load(std::memory_order_relaxed) == 0) told_.notify(event);
  }

  // connecting
  Result<RefPtr<UnixEndpoint>> find(const SocketCaller& caller, const SocketAddress& raw);
  Result<void> connect_stream(const SocketCaller& caller, const SocketAddress& address, Waiting waiting);
  Result<bool> try_connect(UnixEndpoint& listener, UnixEndpoint& accepted, const SocketCaller& caller, Waiting waiting);
  Result<void> set_destination(const SocketCaller& caller, const SocketAddress& address);
  void forget_destination();
  RefPtr<UnixEndpoint> forget_destination_locked() REQUIRES(destination_mutex_);
  void lose_destination();
  void drop_messages_of(UnixEndpoint& old);

  // transfer
  Result<RefPtr<UnixEndpoint>> reserve(uint32_t cost, bool needs_peer, Waiting waiting);
  Result<std::unique_ptr<UnixPacket>> fill_packet(Outgoing& message, size_t size, uint32_t cost, const Identity& identity);
  Result<size_t> send_stream(Outgoing& message, const Identity& identity, Waiting waiting);
  Result<size_t> send_packet(const SocketCaller* caller, Outgoing& message, const Identity& identity, Waiting waiting);
  Result<size_t> receive_stream(Incoming& message, Waiting waiting);
  Result<size_t> receive_packet(Incoming& message, Waiting waiting);
  void note_origin(Incoming& message, const UnixPacket& packet);
  size_t peek_start() const { return static_cast<size_t>(std::max(peek_offset.load(std::memory_order_relaxed), 0)); }
  void move_peek_start(bool peeked, size_t bytes);

  SocketLayer& layer_;
  const int type_;

  Mutex destination_mutex_{LockRank::None};

  Mutex mutex_{LockRank::Socket};
  State state_ GUARDED_BY(mutex_) = State::Unconnected;
  bool is_dead_ GUARDED_BY(mutex_) = false;
  bool receive_shut_ GUARDED_BY(mutex_) = false;
  bool send_shut_ GUARDED_BY(mutex_) = false;
  int error_ GUARDED_BY(mutex_) = 0;
  RefPtr<UnixAddress> address_ GUARDED_BY(mutex_);
  RefPtr<vfs::Inode> node_ GUARDED_BY(mutex_);  // of a path name
  RefPtr<UnixEndpoint> peer_ GUARDED_BY(mutex_);
  PeerCredentials peer_credentials_ GUARDED_BY(mutex_);  // of a listener: its own, for those who connect
  List<UnixPacket> queue_ GUARDED_BY(mutex_);
  size_t queue_length_ GUARDED_BY(mutex_) = 0;
  // Connections that wait for accept, each held by a reference of the list.
  List<UnixEndpoint, AcceptTag> pending_ GUARDED_BY(mutex_);
  size_t pending_count_ GUARDED_BY(mutex_) = 0;
  size_t backlog_ GUARDED_BY(mutex_) = 0;
  // Datagram sockets whose destination this is; told when the queue has room again.
  List<UnixEndpoint, ClientTag> clients_ GUARDED_BY(mutex_);

  std::atomic<uint32_t> sent_cost_{0};
  WaitQueue changed_;
  // Signal-driven I/O: input is not told while a reader of a stream sleeps, output only after somebody found no room, as on Linux.
  vfs::AsyncList told_;
  std::atomic<uint32_t> sleeping_readers_{0};
  std::atomic<bool> lacked_room_{false};
};

class UnixSocket final : public Socket {
 public:
  UnixSocket(SocketLayer& layer, RefPtr<UnixEndpoint> endpoint, RefPtr<vfs::Inode> inode, uint32_t flags);
  static Result<RefPtr<UnixSocket>> create(SocketLayer& layer, RefPtr<UnixEndpoint> endpoint, RefPtr<vfs::Inode> inode, uint32_t flags);

  UnixEndpoint& endpoint() const { return *endpoint_; }
  /// Guarded by the mutex of the layer's InFlight.
  struct Flight final : FlightState {
    explicit Flight(UnixSocket& socket) : socket(socket) {}
    UnixSocket& socket;
  } flight{*this};

  Result<void> bind(const SocketCaller& caller, const SocketAddress& address) override;
  Result<void> listen(const SocketCaller& caller, int backlog) override { return endpoint_->listen(caller, backlog); }
  Result<void> connect(const SocketCaller& caller, const SocketAddress& address) override;
  Result<RefPtr<Socket>> accept(RefPtr<vfs::Inode> inode, uint32_t flags) override;
  Result<size_t> send(const SocketCaller* caller, Outgoing& message) override;
  Result<size_t> receive(Incoming& message) override;
  Result<void> shutdown(int how) override { return endpoint_->shutdown(how); }
  Result<SocketAddress> local_address() override { return UnixAddress::spell(endpoint_->address().get()); }
  Result<SocketAddress> peer_address() override { return endpoint_->peer_address(); }
  Result<void> set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value) override;
  Result<void> get_option(int level, int option, Vector<std::byte>& value) override;

  uint32_t poll(vfs::PollTable* table) override { return endpoint_->poll(table); }
  vfs::AsyncLists async_lists() override { return endpoint_->async_lists(); }
  Result<uint64_t> readable_bytes() override { return endpoint_->readable_bytes(); }
  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override;

 protected:
  void last_reference_dropped() override;
  int take_error() override { return endpoint_->take_error(); }
  bool is_listening() override { return endpoint_->is_listening(); }
  void on_options_changed() override;

 private:
  SocketLayer& layer_;
  RefPtr<UnixEndpoint> endpoint_;
};

template <typename Body>
void UnixEndpoint::for_each_passed_files(Body&& body) {
  MutexLock lock(mutex_);
  for (UnixPacket& packet : queue_)
    if (packet.files) body(*packet.files);
  for (UnixEndpoint& connection : pending_) connection.for_each_passed_files(body);
}

}  // namespace umk::socket
