// Any bytes as a packet of the management console: what is taken of them lies inside, and reads the same when it is written again.
#include <array>

#include "core/lib/mconsole_format/mconsole_format.h"
#include "fuzz/fuzz.h"

namespace format = umk::mconsole_format;

namespace {

bool is_inside(std::string_view text, std::span<const std::byte> packet) {
  const auto* const begin = reinterpret_cast<const char*>(packet.data());
  return text.empty() || (text.data() >= begin && text.data() + text.size() <= begin + packet.size());
}

void check_request(std::span<const std::byte> packet) {
  const format::Request request = format::parse_request(packet);
  FUZZ_CHECK(is_inside(request.text, packet) && request.text.size() < format::kTextBytes && request.text.find('\0') == std::string_view::npos);
  if (request.fault != format::Request::Fault::None) return;
  std::array<std::byte, format::kRequestBytes> bytes;
  FUZZ_CHECK(format::parse_request(format::write_request(bytes, request.text)).text == request.text);
}

void check_reply(std::span<const std::byte> packet) {
  const auto reply = format::parse_reply(packet);
  if (!reply) return;
  FUZZ_CHECK(is_inside(reply->text, packet));
  std::array<std::byte, format::kReplyBytes> bytes;
  const auto written = format::write_reply(bytes, *reply);
  FUZZ_CHECK(written.size() <= format::kReplyBytes);
  const auto again = format::parse_reply(written);
  FUZZ_CHECK(again && again->error == reply->error && again->has_more == reply->has_more);
  FUZZ_CHECK(again->text == reply->text.substr(0, format::kTextBytes - 1));
}

void check_notification(std::span<const std::byte> packet) {
  const auto notification = format::parse_notification(packet);
  if (!notification) return;
  FUZZ_CHECK(is_inside(notification->bytes, packet));
  std::array<std::byte, format::kNotificationBytes> bytes;
  const auto again = format::parse_notification(format::write_notification(bytes, *notification));
  FUZZ_CHECK(again && again->type == notification->type && again->bytes == notification->bytes.substr(0, format::kTextBytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto packet = std::as_bytes(std::span(data, size));
  check_request(packet);
  check_reply(packet);
  check_notification(packet);
  return 0;
}
