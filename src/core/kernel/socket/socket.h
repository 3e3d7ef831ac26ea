// Socket: an open file of one of the address families. socket(2), socket(7).
//
// The calls of sys_socket.cpp go to the virtual functions here; options that mean the same in every family are kept in this class. A family is registered
// by number (socket_layer.h); those that are not there answer EAFNOSUPPORT.
#pragma once

#include <array>
#include <optional>

#include "core/abi/socket.h"
#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::socket {

class SocketLayer;

/// A socket address as guests pass it, family number first. `length` 0: none.
struct SocketAddress {
  std::array<std::byte, kMaximumSocketAddress> bytes{};
  size_t length = 0;

  /// AF_UNSPEC when it is too short to tell.
  int family() const;
};

/// Who is at the other end: SO_PEERCRED, SCM_CREDENTIALS.
struct Identity {
  int32_t pid = 0;
  UserId uid = ~0u;
  GroupId gid = ~0u;
};

/// On whose behalf a call works.
struct SocketCaller {
  const vfs::Caller& caller;
  RefPtr<const Credentials> credentials;
  int32_t pid;
  /// What messages carry: the real ids.
  Identity identity() const { return {pid, credentials->uid, credentials->gid}; }
};

/// Files on their way in a message (in_flight.h).
class PassedFiles;

struct Outgoing {
  UserInBuffer& data;
  uint32_t flags = 0;                        // message_flags
  const SocketAddress* to = nullptr;         // null: the peer
  std::optional<Identity> identity;          // SCM_CREDENTIALS, checked; else the caller's
  std::unique_ptr<PassedFiles> files;        // SCM_RIGHTS
};

struct Incoming {
  UserOutBuffer& data;
  uint32_t flags = 0;
  // out:
  uint32_t returned_flags = 0;
  SocketAddress from;
  std::optional<Identity> identity;  // when the socket has SO_PASSCRED
  Vector<RefPtr<vfs::OpenFile>> files;
};

class Socket : public vfs::OpenFile {
 public:
  vfs::FileKind kind() const override { return vfs::FileKind::Socket; }
  int family() const { return family_; }
  int type() const { return type_; }
  int protocol() const { return protocol_; }

  virtual Result<void> bind(const SocketCaller& caller, const SocketAddress& address) = 0;
  virtual Result<void> listen(const SocketCaller& caller, int backlog) = 0;
  virtual Result<void> connect(const SocketCaller& caller, const SocketAddress& address) = 0;
  /// `inode` is for the new socket; `flags` may hold O_NONBLOCK and SOCK_CLOEXEC's bit.
  virtual Result<RefPtr<Socket>> accept(RefPtr<vfs::Inode> inode, uint32_t flags) = 0;
  /// `caller` may be null for a message with an identity and without an address.
  virtual Result<size_t> send(const SocketCaller* caller, Outgoing& message) = 0;
  virtual Result<size_t> receive(Incoming& message) = 0;
  /// `how`: 0 reading, 1 writing, 2 both.
  virtual Result<void> shutdown(int how) = 0;
  virtual Result<SocketAddress> local_address() = 0;
  virtual Result<SocketAddress> peer_address() = 0;
  /// True when EPIPE of a send comes with SIGPIPE.
  virtual bool signals_broken_pipe() const { return type_ == socket_types::kStream; }

  /// setsockopt(2), getsockopt(2). ENOPROTOOPT. A family overrides what it knows better.
  virtual Result<void> set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value);
  virtual Result<void> get_option(int level, int option, Vector<std::byte>& value);

  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  Result<String> describe() override;

 protected:
  Socket(RefPtr<vfs::Inode> inode, int family, int type, int protocol, uint32_t flags);

  virtual int take_error() { return 0; }
  virtual bool is_listening() { return false; }

  /// When a blocking call gives up: never for a non-blocking one, which does not get so far.
  Deadline receive_deadline() const { return deadline(receive_timeout_ns_); }
  Deadline send_deadline() const { return deadline(send_timeout_ns_); }
  /// What a wait with that deadline failed with, as the call reports it: EAGAIN at the deadline, EINTR where a restart would wait anew.
  static Error wait_failure(Error failure, Deadline deadline);
  bool must_not_wait(uint32_t message_flags) const { return is_nonblocking() || (message_flags & message_flags::kDontWait); }

  uint32_t receive_buffer_bytes() const { return receive_buffer_.load(std::memory_order_relaxed); }
  uint32_t send_buffer_bytes() const { return send_buffer_.load(std::memory_order_relaxed); }
  bool passes_credentials() const { return passes_credentials_.load(std::memory_order_relaxed); }
  /// Called after an option changed that a family keeps copies of.
  virtual void on_options_changed() {}

 private:
  static Deadline deadline(const std::atomic<uint64_t>& timeout_ns);

  const int family_, type_, protocol_;
  std::atomic<uint32_t> flag_options_{0};  // bit n: option n is on
  std::atomic<bool> passes_credentials_{false};
  std::atomic<uint32_t> send_buffer_{kDefaultBuffer};
  std::atomic<uint32_t> receive_buffer_{kDefaultBuffer};
  std::atomic<uint64_t> send_timeout_ns_{0};  // 0: none
  std::atomic<uint64_t> receive_timeout_ns_{0};
  std::atomic<int32_t> priority_{0};
  std::atomic<int32_t> receive_low_water_{1};
  std::atomic<int32_t> linger_on_{0}, linger_seconds_{0};

  static constexpr uint32_t kDefaultBuffer = 212992;  // net.core.wmem_default
  static constexpr uint32_t kMaximumBuffer = 212992;  // net.core.wmem_max
  static constexpr uint32_t kMinimumSendBuffer = 4608, kMinimumReceiveBuffer = 2304;
};

/// The socket behind a descriptor's file; ENOTSOCK.
Result<Socket&> socket_of(vfs::OpenFile& file);

}  // namespace umk::socket
