#include "core/lib/squashfs_format/attributes.h"

#include <iterator>

namespace umk::squashfs {

namespace {
constexpr std::string_view kPrefixes[] = {"user.", "trusted.", "security."};
constexpr uint16_t kElsewhere = 0x100;
}  // namespace

Result<void> read_attribute_name(Stream& stream, AttributeName& into) {
  const auto head = TRY(stream.fields<4>());
  const uint16_t type = head.get<uint16_t>(0), size = head.get<uint16_t>(2);
  const unsigned kind = type & 0xff;
  if (kind >= std::size(kPrefixes) || (type & ~(kElsewhere | 0xff)) || size == 0 || size > 255) return error(EIO);
  const std::string_view prefix = kPrefixes[kind];
  memcpy(into.text, prefix.data(), prefix.size());
  TRY(stream.read(std::as_writable_bytes(std::span(into.text).subspan(prefix.size(), size))));
  into.bytes = prefix.size() + size;
  into.is_elsewhere = type & kElsewhere;
  return {};
}

Result<String> read_attribute_value(Stream& stream) {
  const uint32_t size = TRY(stream.fields<4>()).get<uint32_t>(0);
  if (size > kAttributeValueLimit) return error(EIO);
  String value;
  char piece[256];
  for (uint32_t left = size; left != 0;) {
    const size_t here = left < sizeof piece ? left : sizeof piece;
    TRY(stream.read(std::as_writable_bytes(std::span(piece).first(here))));
    TRY(value.append(std::string_view(piece, here)));
    left -= static_cast<uint32_t>(here);
  }
  return value;
}

Result<Reference> skip_attribute_value(Stream& stream, bool is_elsewhere) {
  uint32_t size = TRY(stream.fields<4>()).get<uint32_t>(0);
  Reference reference;
  if (is_elsewhere) {
    if (size != sizeof reference.raw) return error(EIO);
    reference.raw = TRY(stream.fields<8>()).get<uint64_t>(0);
    return reference;
  }
  if (size > kAttributeValueLimit) return error(EIO);
  std::byte piece[256];
  while (size != 0) {
    const size_t here = size < sizeof piece ? size : sizeof piece;
    TRY(stream.read(std::span(piece).first(here)));
    size -= static_cast<uint32_t>(here);
  }
  return reference;
}

}  // namespace umk::squashfs
