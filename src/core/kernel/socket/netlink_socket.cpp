#include "core/kernel/socket/netlink_socket.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/kernel/task/task.h"

namespace umk::socket {

using namespace vfs::poll_bits;

namespace {

Result<KernelNetlinkAddress> parse(const SocketAddress& address) {
  KernelNetlinkAddress parsed;
  if (address.length < sizeof parsed) return error(EINVAL);
  memcpy(&parsed, address.bytes.data(), sizeof parsed);
  if (parsed.family != address_families::kNetlink) return error(EINVAL);
  return parsed;
}

SocketAddress spell(uint32_t port, uint32_t groups) {
  const KernelNetlinkAddress address{address_families::kNetlink, 0, port, groups};
  SocketAddress spelled;
  memcpy(spelled.bytes.data(), &address, sizeof address);
  spelled.length = sizeof address;
  return spelled;
}

/// Of several groups the lowest counts, as on Linux; 0: none.
uint32_t first_group(uint32_t groups) { return groups == 0 ? 0 : static_cast<uint32_t>(std::countr_zero(groups)) + 1; }
uint32_t bit_of(uint32_t group) { return group == 0 ? 0 : uint32_t{1} << (group - 1); }

/// Something that the kernel would have to answer. Everything else that is sent to its port is dropped by Linux, too.
bool is_request(std::span<const std::byte> bytes) {
  KernelNetlinkHeader header;
  if (bytes.size() < sizeof header) return false;
  memcpy(&header, bytes.data(), sizeof header);
  return header.length >= sizeof header && header.length <= bytes.size() && (header.flags & netlink::kRequest) &&
         header.type >= netlink::kFirstOwnType;
}

}  // namespace

// --- names

Result<void> NetlinkSocket::bind(const SocketCaller& caller, const SocketAddress& address) {
  const KernelNetlinkAddress wanted = TRY(parse(address));
  if (const uint32_t present = port(); present != 0 && wanted.port != present) return error(EINVAL);
  TRY(family_.bind(*this, wanted.port, caller.pid));
  family_.set_groups(*this, wanted.groups);
  return {};
}

Result<void> NetlinkSocket::connect(const SocketCaller& caller, const SocketAddress& address) {
  if (address.length < sizeof(uint16_t)) return error(EINVAL);
  if (address.family() == address_families::kUnspecified) {
    MutexLock lock(mutex_);
    is_connected_ = false;
    peer_port_ = peer_group_ = 0;
    return {};
  }
  const KernelNetlinkAddress wanted = TRY(parse(address));
  if ((wanted.groups != 0 || wanted.port != 0) && !caller.credentials->has(Capability::NetAdmin)) return error(EPERM);
  TRY(family_.bind(*this, 0, caller.pid));
  MutexLock lock(mutex_);
  is_connected_ = true;
  peer_port_ = wanted.port;
  peer_group_ = first_group(wanted.groups);
  return {};
}

Result<SocketAddress> NetlinkSocket::local_address() { return spell(port(), groups()); }

Result<SocketAddress> NetlinkSocket::peer_address() {
  MutexLock lock(mutex_);
  return spell(peer_port_, bit_of(peer_group_));
}

// --- options

Result<void> NetlinkSocket::set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value) {
  if (level == kSocketLevel && option == socket_options::kAttachFilter) return attach_filter(value);
  if (level == kSocketLevel && option == socket_options::kDetachFilter) {
    MutexLock lock(mutex_);
    if (!filter_) return error(ENOENT);
    filter_.reset();
    return {};
  }
  if (level == kSocketLevel) return Socket::set_option(caller, level, option, value);
  if (level != netlink::kLevel) return error(ENOPROTOOPT);
  uint32_t number;
  if (value.size() < sizeof number) return error(EINVAL);
  memcpy(&number, value.data(), sizeof number);
  switch (option) {
    case netlink::kAddMembership:
    case netlink::kDropMembership:
      if (number == 0 || number > netlink::kGroups) return error(EINVAL);
      family_.set_groups(*this, option == netlink::kAddMembership ? groups() | bit_of(number) : groups() & ~bit_of(number));
      return {};
    case netlink::kNoOverrunError: {
      tells_losses_.store(number == 0, std::memory_order_relaxed);
      if (number == 0) return {};
      MutexLock lock(mutex_);
      is_congested_ = false;
      changed_.wake_all(kOut | kWriteNormal | kWriteBand);
      return {};
    }
    default: return error(ENOPROTOOPT);
  }
}

Result<void> NetlinkSocket::attach_filter(std::span<const std::byte> value) {
  using packet_filter::Instruction, packet_filter::PacketFilter;
  KernelFilterProgram given;
  if (value.size() != sizeof given) return error(EINVAL);
  memcpy(&given, value.data(), sizeof given);
  if (given.length == 0 || given.length > PacketFilter::kMostInstructions) return error(EINVAL);
  Vector<Instruction> program;
  TRY(program.resize(given.length));
  if (copy_from_user(program.data(), given.instructions, given.length * sizeof(Instruction)).faulted) return error(EFAULT);
  PacketFilter filter = TRY(PacketFilter::create(std::move(program)));
  MutexLock lock(mutex_);
  filter_ = std::move(filter);
  return {};
}

Result<void> NetlinkSocket::get_option(int level, int option, Vector<std::byte>& value) {
  if (level == kSocketLevel) return Socket::get_option(level, option, value);
  if (level != netlink::kLevel) return error(ENOPROTOOPT);
  uint32_t number;
  switch (option) {
    case netlink::kNoOverrunError: number = !tells_losses_.load(std::memory_order_relaxed); break;
    case netlink::kListMemberships: number = groups(); break;
    default: return error(ENOPROTOOPT);
  }
  return value.append(std::as_bytes(std::span(&number, 1)));
}

// --- sending

size_t NetlinkSocket::filtered_size_locked(const NetlinkMessage& message) const {
  const size_t size = message.bytes.size();
  return filter_ ? std::min<size_t>(size, filter_->run(message.bytes)) : size;
}

Result<void> NetlinkSocket::push_locked(const RefPtr<NetlinkMessage>& message, size_t size) {
  std::unique_ptr<Packet> packet = TRY(umk::make_unique<Packet>());
  packet->message = message;
  packet->size = size;
  queued_cost_ += message->cost();
  queue_.push_back(*packet.release());
  return {};
}

void NetlinkSocket::note_loss_locked() {
  if (!tells_losses_.load(std::memory_order_relaxed) || std::exchange(is_congested_, true)) return;
  error_ = ENOBUFS;
}

void NetlinkSocket::deliver(const RefPtr<NetlinkMessage>& message) {
  {
    MutexLock lock(mutex_);
    const size_t size = filtered_size_locked(*message);
    if (size == 0) return;
    if (!has_room_locked() || !push_locked(message, size).ok()) note_loss_locked();
  }
  changed_.wake(kIn | kReadNormal | kReadBand | kError);
}

Result<void> NetlinkSocket::accept_from(const NetlinkSocket& sender, const RefPtr<NetlinkMessage>& message, bool may_wait,
                                        Deadline deadline) {
  {
    MutexLock lock(mutex_);
    if (is_connected_ && peer_port_ != sender.port()) return error(ECONNREFUSED);
    const size_t size = filtered_size_locked(*message);
    if (size == 0) return {};
    while (!has_room_locked()) {
      if (!may_wait) return error(EAGAIN);
      TRY(changed_.wait(mutex_, Sleep::Interruptible, deadline));
    }
    TRY(push_locked(message, size));
  }
  changed_.wake(kIn | kReadNormal | kReadBand);
  return {};
}

Result<size_t> NetlinkSocket::send(const SocketCaller* caller, Outgoing& outgoing) {
  if (outgoing.flags & message_flags::kOutOfBand) return error(EOPNOTSUPP);
  if (outgoing.files) return error(EINVAL);
  const size_t size = outgoing.data.remaining();
  if (size == 0) return error(ENODATA);
  uint32_t to_port, to_group;
  if (outgoing.to && outgoing.to->length != 0) {
    const KernelNetlinkAddress to = TRY(parse(*outgoing.to));
    to_port = to.port;
    to_group = first_group(to.groups);
    if ((to_port != 0 || to_group != 0) && !(caller && caller->credentials->has(Capability::NetAdmin))) return error(EPERM);
  } else {
    MutexLock lock(mutex_);
    to_port = peer_port_;
    to_group = peer_group_;
  }
  const Task* const task = Task::current_or_null();
  TRY(family_.bind(*this, 0, caller ? caller->pid : task ? task->process().pid() : 0));
  if (size > send_buffer_bytes() - 32) return error(EMSGSIZE);

  RefPtr<NetlinkMessage> message = TRY(make_ref<NetlinkMessage>());
  TRY(message->bytes.resize(size));
  if (TRY(outgoing.data.get(message->bytes)) < size) return error(EFAULT);
  message->sender_port = port();
  message->group = to_group;
  message->identity = outgoing.identity ? *outgoing.identity : caller ? caller->identity() : Identity{};
  if (to_group != 0) family_.broadcast(message);
  if (to_port == 0) return is_request(message->bytes) ? Result<size_t>(error(EOPNOTSUPP)) : size;

  const RefPtr<NetlinkSocket> receiver = family_.find(to_port);
  if (!receiver) return error(ECONNREFUSED);
  const Deadline deadline = send_deadline();
  const Result<void> sent = receiver->accept_from(*this, message, !must_not_wait(outgoing.flags), deadline);
  if (!sent.ok()) return wait_failure(sent.failure(), deadline);
  return size;
}

// --- receiving

std::unique_ptr<NetlinkSocket::Packet> NetlinkSocket::pop_locked() {
  std::unique_ptr<Packet> packet(&queue_.front());
  queue_.pop_front();
  queued_cost_ -= packet->message->cost();
  if (queue_.empty()) is_congested_ = false;
  return packet;
}

Result<size_t> NetlinkSocket::receive(Incoming& incoming) {
  if (incoming.flags & message_flags::kOutOfBand) return error(EOPNOTSUPP);
  const Deadline deadline = receive_deadline();
  std::unique_ptr<Packet> taken;  // dies when the lock is free
  size_t size, copied;
  Result<size_t> put = size_t{0};
  {
    MutexLock lock(mutex_);
    for (;;) {
      if (error_ != 0) return error(std::exchange(error_, 0));
      if (!queue_.empty()) break;
      if (must_not_wait(incoming.flags)) return error(EAGAIN);
      const Result<void> woken = changed_.wait(mutex_, Sleep::Interruptible, deadline);
      if (!woken.ok()) return wait_failure(woken.failure(), deadline);
    }
    const NetlinkMessage& message = *queue_.front().message;
    size = queue_.front().size;
    copied = std::min(size, incoming.data.remaining());
    put = incoming.data.put(std::span(message.bytes).first(copied));
    incoming.from = spell(message.sender_port, bit_of(message.group));
    if (passes_credentials()) incoming.identity = message.identity;
    if (!(incoming.flags & message_flags::kPeek)) taken = pop_locked();
  }
  if (taken) changed_.wake(kOut | kWriteNormal | kWriteBand);
  if (!put.ok() || put.value() < copied) return error(EFAULT);
  if (size > copied) incoming.returned_flags |= message_flags::kTruncated;
  return (incoming.flags & message_flags::kTruncated) ? size : copied;
}

uint32_t NetlinkSocket::poll(vfs::PollTable* table) {
  if (table) table->watch(changed_);
  MutexLock lock(mutex_);
  uint32_t bits = kOut | kWriteNormal | kWriteBand;
  if (!queue_.empty()) bits |= kIn | kReadNormal;
  if (error_ != 0) bits |= kError;
  return bits;
}

int NetlinkSocket::take_error() {
  MutexLock lock(mutex_);
  return std::exchange(error_, 0);
}

void NetlinkSocket::last_reference_dropped() {
  family_.remove(*this);
  {
    MutexLock lock(mutex_);
    while (!queue_.empty()) pop_locked();
  }
  Socket::last_reference_dropped();
}

}  // namespace umk::socket
