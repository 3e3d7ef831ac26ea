// Names of AF_UNIX sockets: a path, an abstract name, or none. unix(7).
#pragma once

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/base/string.h"
#include "core/kernel/socket/socket.h"
#include "core/sync/mutex.h"

namespace umk::socket {

class UnixEndpoint;
struct AbstractTag;

/// An immutable name. `name` of an abstract one has its leading NUL, that of a path has no final one.
class UnixAddress : public RefCounted {
 public:
  enum class Kind { Path, Abstract };

  static Result<RefPtr<UnixAddress>> create(Kind kind, std::string_view name);
  /// From the guest: EINVAL for lengths that are none and for other families. Null for the bare family, which asks for a name to be chosen.
  static Result<RefPtr<UnixAddress>> parse(const SocketAddress& raw);
  /// As guests see it; of a null address the bare family.
  static SocketAddress spell(const UnixAddress* address);

  Kind kind() const { return kind_; }
  std::string_view name() const { return name_.view(); }

  UnixAddress(Kind kind, String name) : kind_(kind), name_(std::move(name)) {}

 private:
  Kind kind_;
  String name_;
};

/// Abstract names in use, apart for each type of socket. Entries refer to endpoints without a reference: an endpoint leaves the table when it closes.
class AbstractNames {
 public:
  /// EADDRINUSE.
  Result<void> add(int type, RefPtr<UnixAddress> address, UnixEndpoint& endpoint);
  /// A free name of five hexadecimal digits; ENOSPC.
  Result<RefPtr<UnixAddress>> add_automatic(int type, UnixEndpoint& endpoint);
  void remove(UnixEndpoint& endpoint);
  RefPtr<UnixEndpoint> find(int type, std::string_view name);

 private:
  struct Key {
    int type;
    std::string_view name;
    friend bool operator<(const Key& a, const Key& b) { return a.type != b.type ? a.type < b.type : a.name < b.name; }
  };
  struct Entry : TreeHook<AbstractTag> {
    Entry(int type, RefPtr<UnixAddress> address, UnixEndpoint& endpoint)
        : address(std::move(address)), key{type, this->address->name()}, endpoint(endpoint) {}
    RefPtr<UnixAddress> address;
    Key key;
    UnixEndpoint& endpoint;
  };
  struct KeyOfEntry {
    using type = Key;
    const Key& operator()(const Entry& entry) const { return entry.key; }
  };

  Mutex mutex_{LockRank::None};
  Tree<Entry, KeyOfEntry, AbstractTag> entries_ GUARDED_BY(mutex_);
  uint32_t next_automatic_ GUARDED_BY(mutex_) = 1;
};

}  // namespace umk::socket
