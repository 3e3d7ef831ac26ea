#include "core/kernel/socket/unix_address.h"

#include <cstring>

#include "core/kernel/socket/unix_endpoint.h"

namespace umk::socket {

Result<RefPtr<UnixAddress>> UnixAddress::create(Kind kind, std::string_view name) { return make_ref<UnixAddress>(kind, TRY(String::from(name))); }

Result<RefPtr<UnixAddress>> UnixAddress::parse(const SocketAddress& raw) {
  if (raw.length < kUnixPathOffset || raw.length > kUnixPathOffset + kUnixPathBytes) return error(EINVAL);
  if (raw.family() != address_families::kUnix) return error(EINVAL);
  if (raw.length == kUnixPathOffset) return RefPtr<UnixAddress>();
  std::string_view name(reinterpret_cast<const char*>(raw.bytes.data()) + kUnixPathOffset, raw.length - kUnixPathOffset);
  if (name.front() == '\0') return create(Kind::Abstract, name);
  // unix(7): a path ends at its NUL, or at the end of the address when it has none.
  return create(Kind::Path, name.substr(0, name.find('\0')));
}

SocketAddress UnixAddress::spell(const UnixAddress* address) {
  SocketAddress raw;
  const uint16_t family = address_families::kUnix;
  std::memcpy(raw.bytes.data(), &family, sizeof family);
  raw.length = kUnixPathOffset;
  if (!address) return raw;
  const std::string_view name = address->name();
  std::memcpy(raw.bytes.data() + kUnixPathOffset, name.data(), name.size());
  raw.length += name.size();
  if (address->kind() == Kind::Path) ++raw.length;  // the NUL counts
  return raw;
}

Result<void> AbstractNames::add(int type, RefPtr<UnixAddress> address, UnixEndpoint& endpoint) {
  Entry* entry = TRY(make_unique<Entry>(type, std::move(address), endpoint)).release();
  MutexLock lock(mutex_);
  if (entries_.find(entry->key) != entries_.end()) {
    delete entry;
    return error(EADDRINUSE);
  }
  entries_.insert(*entry);
  return {};
}

Result<RefPtr<UnixAddress>> AbstractNames::add_automatic(int type, UnixEndpoint& endpoint) {
  constexpr uint32_t kNames = 1 << 20;
  for (uint32_t tries = 0; tries < kNames; ++tries) {
    uint32_t number;
    {
      MutexLock lock(mutex_);
      number = next_automatic_++ % kNames;
    }
    char name[6] = {};
    BufferSink sink(std::span(name + 1, 5));
    format(sink, "{:05x}", number);
    RefPtr<UnixAddress> address = TRY(UnixAddress::create(UnixAddress::Kind::Abstract, std::string_view(name, sizeof name)));
    Result<void> added = add(type, address, endpoint);
    if (added.ok()) return address;
    if (added.code() != EADDRINUSE) return added.failure();
  }
  return error(ENOSPC);
}

void AbstractNames::remove(UnixEndpoint& endpoint) {
  Entry* gone = nullptr;
  {
    MutexLock lock(mutex_);
    RefPtr<UnixAddress> address = endpoint.address();
    auto found = entries_.find(Key{endpoint.type(), address->name()});
    if (found == entries_.end() || &found->endpoint != &endpoint) return;
    gone = &*found;
    entries_.erase(found);
  }
  delete gone;
}

RefPtr<UnixEndpoint> AbstractNames::find(int type, std::string_view name) {
  MutexLock lock(mutex_);
  auto found = entries_.find(Key{type, name});
  // An endpoint that is just going is as good as gone.
  if (found == entries_.end() || !found->endpoint.try_add_reference()) return nullptr;
  return RefPtr<UnixEndpoint>::adopt(&found->endpoint);
}

}  // namespace umk::socket
