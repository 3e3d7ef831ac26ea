#include "core/lib/tty_log_format/tty_log_format.h"

#include <algorithm>

#include "core/base/bytes.h"

namespace umk::tty_log_format {

namespace {

constexpr uint32_t kMicroseconds = 1'000'000;

const char* fault_of(const Head& head, uint64_t microseconds) {
  switch (head.what) {
    case What::Open:
      if (head.length != 4 && head.length != 8) return "an opening does not name a terminal in 4 or 8 bytes";
      break;
    case What::Close:
      if (head.length != 0) return "a closing has data";
      break;
    case What::Write:
      if (head.direction != Direction::Read && head.direction != Direction::Write) return "the direction is neither read (1) nor write (2)";
      break;
    case What::Exec: break;
    default: return "the kind is none of open (1), close (2), write (3) and exec (4)";
  }
  if (head.length > kMostData) return "the length is impossible";
  if (microseconds >= kMicroseconds) return "the time has more than 999999 microseconds";
  return nullptr;
}

/// How many bytes of `log` can be taken for records.
size_t sensible_bytes(std::span<const std::byte> log, Layout layout) {
  size_t at = 0;
  while (log.size() - at >= head_bytes(layout)) {
    const Parsed parsed = parse_head(log.subspan(at, head_bytes(layout)), layout);
    if (parsed.fault) return at;
    at += head_bytes(layout) + std::min<size_t>(parsed.head.length, log.size() - at - head_bytes(layout));
  }
  return at;
}

}  // namespace

std::array<std::byte, head_bytes(Layout::Bits32)> write_head(const Head& head) {
  std::array<std::byte, head_bytes(Layout::Bits32)> bytes;
  put32(bytes, 0, static_cast<uint32_t>(head.what));
  put32(bytes, 4, static_cast<uint32_t>(head.tty));
  put32(bytes, 8, head.length);
  put32(bytes, 12, static_cast<uint32_t>(head.direction));
  put32(bytes, 16, static_cast<uint32_t>(head.seconds));
  put32(bytes, 20, head.microseconds);
  return bytes;
}

Parsed parse_head(std::span<const std::byte> bytes, Layout layout) {
  Parsed parsed;
  Head& head = parsed.head;
  uint64_t microseconds;
  head.what = static_cast<What>(get32(bytes, 0));
  if (layout == Layout::Bits32) {
    head.tty = get32(bytes, 4);
    head.length = get32(bytes, 8);
    head.direction = static_cast<Direction>(get32(bytes, 12));
    head.seconds = get32(bytes, 16);
    microseconds = get32(bytes, 20);
  } else {
    head.tty = get64(bytes, 8);
    head.length = get32(bytes, 16);
    head.direction = static_cast<Direction>(get32(bytes, 20));
    head.seconds = get64(bytes, 24);
    microseconds = get64(bytes, 32);
  }
  parsed.fault = fault_of(head, microseconds);
  head.microseconds = static_cast<uint32_t>(microseconds);
  return parsed;
}

Layout guess_layout(std::span<const std::byte> beginning) {
  return sensible_bytes(beginning, Layout::Bits64) > sensible_bytes(beginning, Layout::Bits32) ? Layout::Bits64 : Layout::Bits32;
}

uint64_t parent_of(std::span<const std::byte> data) {
  if (data.size() >= 8) return get64(data, 0);
  return data.size() >= 4 ? get32(data, 0) : 0;
}

std::string_view next_argument(std::string_view& data) {
  const size_t end = data.find('\0');
  const std::string_view argument = data.substr(0, end);
  data.remove_prefix(end == std::string_view::npos ? data.size() : end + 1);
  return argument;
}

}  // namespace umk::tty_log_format
