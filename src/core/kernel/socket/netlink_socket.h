// NetlinkSocket: one socket of AF_NETLINK (netlink_family.h). A filter, SO_ATTACH_FILTER, decides what gets into its queue, and how much of it.
#pragma once

#include <optional>

#include "core/kernel/socket/netlink_family.h"
#include "core/lib/packet_filter/packet_filter.h"

namespace umk::socket {

class NetlinkSocket final : public Socket, public ListHook<> {
 public:
  NetlinkSocket(NetlinkFamily& family, RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags)
      : Socket(std::move(inode), address_families::kNetlink, type, protocol, flags), family_(family) {}

  Result<void> bind(const SocketCaller& caller, const SocketAddress& address) override;
  Result<void> listen(const SocketCaller&, int) override { return error(EOPNOTSUPP); }
  Result<void> connect(const SocketCaller& caller, const SocketAddress& address) override;
  Result<RefPtr<Socket>> accept(RefPtr<vfs::Inode>, uint32_t) override { return error(EOPNOTSUPP); }
  Result<size_t> send(const SocketCaller* caller, Outgoing& message) override;
  Result<size_t> receive(Incoming& message) override;
  Result<void> shutdown(int) override { return error(EOPNOTSUPP); }
  Result<SocketAddress> local_address() override;
  Result<SocketAddress> peer_address() override;
  Result<void> set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value) override;
  Result<void> get_option(int level, int option, Vector<std::byte>& value) override;
  uint32_t poll(vfs::PollTable* table) override;

  /// From a group: the message is lost when there is no room, and the receiver is told.
  void deliver(const RefPtr<NetlinkMessage>& message) EXCLUDES(mutex_);

 protected:
  void last_reference_dropped() override;
  int take_error() override;

 private:
  friend class NetlinkFamily;
  struct Packet : ListHook<> {
    RefPtr<NetlinkMessage> message;
    size_t size = 0;  // what the filter has left of it
  };

  /// A message for this socket alone, which waits for room. ECONNREFUSED when it talks to somebody else.
  Result<void> accept_from(const NetlinkSocket& sender, const RefPtr<NetlinkMessage>& message, bool may_wait, Deadline deadline)
      EXCLUDES(mutex_);
  bool has_room_locked() const REQUIRES(mutex_) { return !is_congested_ && queued_cost_ <= receive_buffer_bytes(); }
  Result<void> attach_filter(std::span<const std::byte> value) EXCLUDES(mutex_);
  /// How much of a message gets in; 0: nothing, and it is as if it had been received.
  size_t filtered_size_locked(const NetlinkMessage& message) const REQUIRES(mutex_);
  Result<void> push_locked(const RefPtr<NetlinkMessage>& message, size_t size) REQUIRES(mutex_);
  void note_loss_locked() REQUIRES(mutex_);
  std::unique_ptr<Packet> pop_locked() REQUIRES(mutex_);
  uint32_t groups() const { return groups_.load(std::memory_order_relaxed); }
  uint32_t port() const { return port_.load(std::memory_order_acquire); }

  NetlinkFamily& family_;
  // Changed under the family's lock.
  std::atomic<uint32_t> port_{0};  // 0: not bound
  std::atomic<uint32_t> groups_{0};

  Mutex mutex_{LockRank::Socket};
  uint32_t peer_port_ GUARDED_BY(mutex_) = 0, peer_group_ GUARDED_BY(mutex_) = 0;
  bool is_connected_ GUARDED_BY(mutex_) = false;
  List<Packet> queue_ GUARDED_BY(mutex_);
  uint64_t queued_cost_ GUARDED_BY(mutex_) = 0;
  bool is_congested_ GUARDED_BY(mutex_) = false;  // lost something, and takes nothing more from groups until its queue is empty
  int error_ GUARDED_BY(mutex_) = 0;
  std::optional<packet_filter::PacketFilter> filter_ GUARDED_BY(mutex_);
  std::atomic<bool> tells_losses_{true};
  WaitQueue changed_;
};

}  // namespace umk::socket
