#include "core/kernel/socket/socket.h"

#include <algorithm>
#include <cstring>

#include "core/abi/time.h"
#include "core/kernel/socket/in_flight.h"
#include "core/kernel/task/task.h"

namespace umk::socket {

namespace {

namespace options = socket_options;

// Options that are a switch and that Linux keeps for every family without effect on local sockets.
constexpr uint32_t kSwitches = 1u << options::kDebug | 1u << options::kReuseAddress | 1u << options::kDontRoute | 1u << options::kBroadcast |
                               1u << options::kKeepAlive | 1u << options::kOutOfBandInline | 1u << options::kReusePort | 1u << options::kTimestamp;

bool is_switch(int option) { return option > 0 && option < 32 && ((kSwitches >> option) & 1); }

template <typename T>
Result<T> value_as(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(T)) return error(EINVAL);
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <typename T>
Result<void> put_value(Vector<std::byte>& out, const T& value) {
  return out.append(std::as_bytes(std::span(&value, 1)));
}

// SO_RCVTIMEO and SO_SNDTIMEO; 0 means no timeout. socket(7), and EDOM for microseconds that are none.
Result<uint64_t> timeout_ns(std::span<const std::byte> bytes) {
  const KernelTimeval value = TRY(value_as<KernelTimeval>(bytes));
  if (value.microseconds < 0 || value.microseconds >= 1'000'000) return error(EDOM);
  if (value.seconds < 0) return uint64_t{1};  // Linux: a negative timeout does not wait
  return value.to_ns();
}

}  // namespace

int SocketAddress::family() const {
  uint16_t number = 0;
  if (length >= sizeof number) std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

Result<Socket&> socket_of(vfs::OpenFile& file) {
  if (file.kind() != vfs::FileKind::Socket) return error(ENOTSOCK);
  return static_cast<Socket&>(file);
}

Socket::Socket(RefPtr<vfs::Inode> inode, int family, int type, int protocol, uint32_t flags)
    : OpenFile(std::move(inode), vfs::open_flags::kReadWrite | (flags & vfs::open_flags::kNonBlock)), family_(family), type_(type), protocol_(protocol) {}

// read(2): as recv without flags, except that nothing is asked of a socket for no bytes.
Result<size_t> Socket::read_at(uint64_t, UserOutBuffer& buffer) {
  if (buffer.remaining() == 0) return size_t{0};
  Incoming message{buffer, 0, 0, {}, {}, {}};
  return receive(message);
}

// write(2): as send without flags.
Result<size_t> Socket::write_at(uint64_t&, UserInBuffer& buffer, bool) {
  Outgoing message{buffer, 0, nullptr, Identity{}, {}};
  if (const Task* task = Task::current_or_null())
    message.identity = Identity{task->process().pid(), task->credentials().uid, task->credentials().gid};
  return send(nullptr, message);
}

Result<String> Socket::describe() { return format_string("socket:[{}]", inode().number()); }

Deadline Socket::deadline(const std::atomic<uint64_t>& timeout_ns) {
  const uint64_t ns = timeout_ns.load(std::memory_order_relaxed);
  return ns == 0 ? Deadline::never() : Deadline::after_ns(ns);
}

Error Socket::wait_failure(Error failure, Deadline deadline) {
  if (failure.code == ETIMEDOUT) return error(EAGAIN);
  // signal(7): socket calls with a timeout set are never restarted.
  if (failure.code == ERESTARTSYS && !deadline.is_never()) return error(EINTR);
  return failure;
}

Result<void> Socket::set_option(const SocketCaller& caller, int level, int option, std::span<const std::byte> value) {
  if (level != kSocketLevel) return error(EOPNOTSUPP);
  const int32_t number = TRY(value_as<int32_t>(value));
  if (is_switch(option)) {
    if (number != 0) {
      flag_options_.fetch_or(1u << option);
    } else {
      flag_options_.fetch_and(~(1u << option));
    }
    return {};
  }
  const bool may_force = caller.credentials->has(Capability::NetAdmin);
  const auto size = [&](bool forced, uint32_t minimum) {
    const uint32_t asked = number < 0 ? 0 : static_cast<uint32_t>(number);
    const uint32_t limit = forced ? INT32_MAX / 2 : kMaximumBuffer;
    // socket(7): the value is doubled, to leave room for bookkeeping.
    return std::max(std::min(asked, limit) * 2, minimum);
  };
  switch (option) {
    case options::kSendBuffer: send_buffer_ = size(false, kMinimumSendBuffer); break;
    case options::kReceiveBuffer: receive_buffer_ = size(false, kMinimumReceiveBuffer); break;
    case options::kSendBufferForce:
      if (!may_force) return error(EPERM);
      send_buffer_ = size(true, kMinimumSendBuffer);
      break;
    case options::kReceiveBufferForce:
      if (!may_force) return error(EPERM);
      receive_buffer_ = size(true, kMinimumReceiveBuffer);
      break;
    case options::kPriority:
      if ((number < 0 || number > 6) && !may_force) return error(EPERM);
      priority_ = number;
      break;
    case options::kLinger: {
      const KernelLinger linger = TRY(value_as<KernelLinger>(value));
      linger_on_ = linger.is_on != 0;
      linger_seconds_ = linger.seconds;
      break;
    }
    case options::kPassCredentials: passes_credentials_ = number != 0; break;
    case options::kReceiveLowWater: receive_low_water_ = number < 0 ? INT32_MAX : std::max(number, 1); break;
    case options::kReceiveTimeout: receive_timeout_ns_ = TRY(timeout_ns(value)); break;
    case options::kSendTimeout: send_timeout_ns_ = TRY(timeout_ns(value)); break;
    case options::kType:
    case options::kProtocol:
    case options::kDomain:
    case options::kError:
    case options::kIsListening:
    case options::kPeerCredentials:
    case options::kSendLowWater:
    default: return error(ENOPROTOOPT);
  }
  on_options_changed();
  return {};
}

Result<void> Socket::get_option(int level, int option, Vector<std::byte>& value) {
  if (level != kSocketLevel) return error(EOPNOTSUPP);
  const auto put_number = [&](int64_t number) { return put_value(value, static_cast<int32_t>(number)); };
  if (is_switch(option)) return put_number((flag_options_.load() >> option) & 1);
  switch (option) {
    case options::kType: return put_number(type_);
    case options::kProtocol: return put_number(protocol_);
    case options::kDomain: return put_number(family_);
    case options::kError: return put_number(take_error());
    case options::kIsListening: return put_number(is_listening());
    case options::kSendBuffer: return put_number(send_buffer_.load());
    case options::kReceiveBuffer: return put_number(receive_buffer_.load());
    case options::kPriority: return put_number(priority_.load());
    case options::kPassCredentials: return put_number(passes_credentials_.load());
    case options::kReceiveLowWater: return put_number(receive_low_water_.load());
    case options::kSendLowWater: return put_number(1);
    case options::kLinger: return put_value(value, KernelLinger{linger_on_.load(), linger_seconds_.load()});
    case options::kReceiveTimeout: return put_value(value, KernelTimeval::from_ns(receive_timeout_ns_.load()));
    case options::kSendTimeout: return put_value(value, KernelTimeval::from_ns(send_timeout_ns_.load()));
    case options::kPeerName: {
      const SocketAddress address = TRY(peer_address());
      return value.append(std::span(address.bytes).first(address.length));
    }
    default: return error(ENOPROTOOPT);
  }
}

}  // namespace umk::socket
