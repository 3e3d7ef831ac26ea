// SocketLayer: the address families, and what sockets of one machine share. One per kernel, made at boot.
#pragma once

#include "core/kernel/socket/in_flight.h"
#include "core/kernel/socket/socket.h"
#include "core/kernel/socket/unix_address.h"

namespace umk::vfs {
class Vfs;
}

namespace umk::socket {

/// One address family, registered by number.
class SocketFamily {
 public:
  virtual int number() const = 0;
  /// A new socket; `flags` may hold O_NONBLOCK. ESOCKTNOSUPPORT, EPROTONOSUPPORT.
  virtual Result<RefPtr<Socket>> create(RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags, const SocketCaller& caller) = 0;
  /// Joins two new sockets; EOPNOTSUPP for families that have no pairs.
  virtual Result<void> join(Socket& first, Socket& second, const SocketCaller& caller) = 0;

 protected:
  ~SocketFamily() = default;
};

/// AF_UNIX.
class UnixFamily final : public SocketFamily {
 public:
  explicit UnixFamily(SocketLayer& layer) : layer_(layer) {}
  int number() const override { return address_families::kUnix; }
  Result<RefPtr<Socket>> create(RefPtr<vfs::Inode> inode, int type, int protocol, uint32_t flags, const SocketCaller& caller) override;
  Result<void> join(Socket& first, Socket& second, const SocketCaller& caller) override;

 private:
  SocketLayer& layer_;
};

class SocketLayer {
 public:
  /// `vfs` finds and makes the nodes of named sockets; null in tests without names.
  explicit SocketLayer(vfs::Vfs* vfs) : unix_family_(*this), vfs_(vfs) { families_[address_families::kUnix] = &unix_family_; }

  /// At boot, before the first guest.
  void register_family(SocketFamily& family) { families_[static_cast<size_t>(family.number())] = &family; }
  /// EAFNOSUPPORT.
  Result<SocketFamily&> family(int number);

  vfs::Vfs* vfs() const { return vfs_; }
  InFlight& in_flight() { return in_flight_; }
  AbstractNames& abstract_names() { return abstract_names_; }

 private:
  std::array<SocketFamily*, address_families::kMaximum> families_{};
  UnixFamily unix_family_;
  vfs::Vfs* vfs_;
  InFlight in_flight_;
  AbstractNames abstract_names_;
};

}  // namespace umk::socket
