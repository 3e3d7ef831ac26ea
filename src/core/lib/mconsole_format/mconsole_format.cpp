#include "core/lib/mconsole_format/mconsole_format.h"

#include <algorithm>
#include <cstring>

namespace umk::mconsole_format {

namespace {

uint32_t word_at(std::span<const std::byte> packet, size_t offset) {
  uint32_t word = 0;
  std::memcpy(&word, packet.data() + offset, sizeof word);
  return word;
}

void put_word(std::span<std::byte> packet, size_t offset, uint32_t word) { std::memcpy(packet.data() + offset, &word, sizeof word); }

void put_text(std::span<std::byte> packet, size_t offset, std::string_view text) {
  std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), packet.data() + offset);
}

std::string_view text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::string_view up_to_nul(std::string_view text) { return text.substr(0, std::min(text.find('\0'), text.size())); }

}  // namespace

Request parse_request(std::span<const std::byte> packet) {
  if (packet.size() < kRequestHeadBytes || word_at(packet, 0) != kMagic) return {.fault = Request::Fault::Magic, .text = {}};
  const uint32_t length = word_at(packet, 8);
  if (length >= kTextBytes) return {.fault = Request::Fault::TooLarge, .text = {}};
  const std::span<const std::byte> text = packet.subspan(kRequestHeadBytes);
  Request request{.text = up_to_nul(text_of(text.first(std::min<size_t>(length, text.size()))))};
  if (word_at(packet, 4) != kVersion) request.fault = Request::Fault::Version;
  return request;
}

std::span<const std::byte> write_request(std::span<std::byte, kRequestBytes> into, std::string_view text) {
  text = text.substr(0, kTextBytes - 1);
  std::memset(into.data(), 0, into.size());
  put_word(into, 0, kMagic);
  put_word(into, 4, kVersion);
  put_word(into, 8, static_cast<uint32_t>(text.size()));
  put_text(into, kRequestHeadBytes, text);
  return into;
}

std::optional<Reply> parse_reply(std::span<const std::byte> packet) {
  if (packet.size() < kReplyHeadBytes) return {};
  const uint32_t length = word_at(packet, 8);
  if (length > packet.size() - kReplyHeadBytes) return {};
  return Reply{.error = static_cast<int32_t>(word_at(packet, 0)),
               .has_more = word_at(packet, 4) != 0,
               .text = up_to_nul(text_of(packet.subspan(kReplyHeadBytes, length)))};
}

std::span<const std::byte> write_reply(std::span<std::byte, kReplyBytes> into, const Reply& reply) {
  const std::string_view text = reply.text.substr(0, kTextBytes - 1);
  put_word(into, 0, static_cast<uint32_t>(reply.error));
  put_word(into, 4, reply.has_more ? 1 : 0);
  put_word(into, 8, static_cast<uint32_t>(text.size() + 1));
  put_text(into, kReplyHeadBytes, text);
  into[kReplyHeadBytes + text.size()] = std::byte{0};
  return into.first(kReplyHeadBytes + text.size() + 1);
}

std::optional<Notification> parse_notification(std::span<const std::byte> packet) {
  constexpr size_t kWideMagicBytes = 8, kWideBytes = 24;
  if (packet.size() < kNotificationHeadBytes || word_at(packet, 0) != kMagic) return {};
  // No version is 0: four zeroes after the magic number belong to it.
  const bool is_wide = word_at(packet, 4) == 0;
  if (is_wide && packet.size() < kWideBytes) return {};
  const size_t head = is_wide ? kWideMagicBytes : sizeof(uint32_t);
  if (word_at(packet, head) != kVersion) return {};
  const std::span<const std::byte> bytes = packet.subspan(is_wide ? kWideBytes : kNotificationHeadBytes);
  const uint32_t length = word_at(packet, head + 8);
  if (length > bytes.size()) return {};
  return Notification{static_cast<Notice>(word_at(packet, head + 4)), text_of(bytes.first(length))};
}

std::span<const std::byte> write_notification(std::span<std::byte, kNotificationBytes> into, const Notification& notification) {
  const std::string_view bytes = notification.bytes.substr(0, kTextBytes);
  put_word(into, 0, kMagic);
  put_word(into, 4, kVersion);
  put_word(into, 8, static_cast<uint32_t>(notification.type));
  put_word(into, 12, static_cast<uint32_t>(bytes.size()));
  put_text(into, kNotificationHeadBytes, bytes);
  return into.first(kNotificationHeadBytes + bytes.size());
}

}  // namespace umk::mconsole_format
