// The datagrams of the management console, as User Mode Linux and its tools write them: requests, replies, notifications.
//
// All numbers are 32 bits in the host's byte order. A text is at most 511 bytes and ends with NUL; longer answers are several packets:
//
//   request        magic, version, length; text
//   reply          error, more, length with NUL; text, NUL.  error is 0, 1, or a negative errno; with `more` another packet follows
//   notification   magic, version, type, length; bytes
//
// What comes in is untrusted: nothing is taken for granted but what the packet's own length says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace umk::mconsole_format {

inline constexpr uint32_t kMagic = 0xcafebabe, kVersion = 2;
/// Room for a text in a packet, the NUL of a reply included.
inline constexpr size_t kTextBytes = 512;
inline constexpr size_t kRequestHeadBytes = 12, kReplyHeadBytes = 12, kNotificationHeadBytes = 16;
inline constexpr size_t kRequestBytes = kRequestHeadBytes + kTextBytes;
inline constexpr size_t kReplyBytes = kReplyHeadBytes + kTextBytes;
inline constexpr size_t kNotificationBytes = kNotificationHeadBytes + kTextBytes;

struct Request {
  enum class Fault { None, Magic, Version, TooLarge } fault = Fault::None;
  /// What came, up to a NUL; present with Fault::Version too.
  std::string_view text;
};
Request parse_request(std::span<const std::byte> packet);
/// A whole packet, as the tools send it. Text beyond 511 bytes is cut.
std::span<const std::byte> write_request(std::span<std::byte, kRequestBytes> into, std::string_view text);

struct Reply {
  int32_t error = 0;
  bool has_more = false;
  std::string_view text;
};
/// Nothing when the packet is too short, or shorter than it says.
std::optional<Reply> parse_reply(std::span<const std::byte> packet);
/// Text beyond 511 bytes is cut.
std::span<const std::byte> write_reply(std::span<std::byte, kReplyBytes> into, const Reply& reply);

enum class Notice : uint32_t { Socket = 0, Panic = 1, Hang = 2, User = 3 };
struct Notification {
  Notice type;
  std::string_view bytes;
};
/// Also in the layout of uml_watchdog on 64 bits, whose magic number takes eight bytes.
std::optional<Notification> parse_notification(std::span<const std::byte> packet);
/// Bytes beyond 512 are cut.
std::span<const std::byte> write_notification(std::span<std::byte, kNotificationBytes> into, const Notification& notification);

}  // namespace umk::mconsole_format
