#include "core/lib/cow_format/cow_format.h"

#include <cstring>

#include "core/abi/errno.h"

namespace umk::cow_format {

namespace {

constexpr uint32_t kMagic = 0x4f4f4f4d;
constexpr uint64_t kMostBytes = uint64_t{1} << 56;
constexpr uint32_t kMostSectorBytes = 1 << 20, kMostAlignment = 1 << 30;

enum class Order { Big, Little };

uint64_t load(std::span<const std::byte> bytes, size_t offset, size_t size, Order order) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | std::to_integer<uint8_t>(bytes[offset + (order == Order::Big ? i : size - 1 - i)]);
  return value;
}

void store(std::span<std::byte> bytes, size_t offset, size_t size, uint64_t value) {
  for (size_t i = size; i-- > 0; value >>= 8) bytes[offset + i] = static_cast<std::byte>(value);
}

struct Fields {
  size_t name, name_bytes, time, size, sector, alignment, header_bytes;
};
constexpr Fields kVersion1{8, 256, 264, 268, 276, 0, 280};
constexpr Fields kVersion2{8, 4096, 4104, 4108, 4116, 0, 4120};
constexpr Fields kVersion3{32, 4096, 8, 12, 20, 24, 4128};
constexpr Fields kWide{36, 4096, 8, 16, 24, 28, 4136};

uint64_t divide_up(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

std::string_view text_of(std::span<const std::byte> bytes) {
  const char* start = reinterpret_cast<const char*>(bytes.data());
  size_t length = 0;
  while (length < bytes.size() && start[length] != '\0') ++length;
  return {start, length};
}

uint64_t header_bytes_of(const Header& header) {
  switch (header.version) {
    case 1: return kVersion1.header_bytes;
    case 2: return kVersion2.header_bytes;
    default: return header.is_wide ? kWide.header_bytes : kVersion3.header_bytes;
  }
}

}  // namespace

Result<Layout> layout_of(const Header& header) {
  const uint32_t sector = header.sector_bytes;
  if (sector < 64 || sector > kMostSectorBytes || (sector & (sector - 1)) != 0) return error(EINVAL);
  if (header.backing_bytes > kMostBytes) return error(EINVAL);
  Layout layout;
  layout.sector_bytes = sector;
  layout.sectors = divide_up(header.backing_bytes, sector);
  const uint64_t needed = divide_up(layout.sectors, 8);
  const uint64_t header_bytes = header_bytes_of(header);
  if (header.version < 3) {
    layout.bitmap_offset = header_bytes;
    layout.bitmap_bytes = (header.backing_bytes + sector - 1) / (uint64_t{8} * sector);
    layout.data_offset = divide_up(layout.bitmap_offset + layout.bitmap_bytes, sector) * sector;
  } else {
    if (header.alignment == 0 || header.alignment > kMostAlignment) return error(EINVAL);
    layout.bitmap_offset = divide_up(header_bytes, header.alignment) * header.alignment;
    layout.bitmap_bytes = needed;
    layout.data_offset = divide_up(layout.bitmap_offset + layout.bitmap_bytes, header.alignment) * header.alignment;
  }
  const uint64_t room = layout.data_offset - layout.bitmap_offset;
  layout.usable_bitmap_bytes = needed < room ? needed : room;
  return layout;
}

Parsed parse(std::span<const std::byte> bytes) {
  Parsed parsed;
  const auto damaged = [&](std::string_view problem) {
    parsed.kind = Parsed::Kind::Damaged;
    parsed.problem = problem;
    return parsed;
  };
  if (bytes.size() < 8) return parsed;
  Order order;
  if (load(bytes, 0, 4, Order::Little) == kMagic) order = Order::Little;
  else if (load(bytes, 0, 4, Order::Big) == kMagic) order = Order::Big;
  else return parsed;

  Header& header = parsed.header;
  header.version = static_cast<uint32_t>(load(bytes, 4, 4, order));
  const Fields* fields = nullptr;
  switch (header.version) {
    case 1: fields = &kVersion1; break;
    case 2: fields = &kVersion2; break;
    case 3:
      // Where the name begins, a wide header has its format, which is zero; a name is absolute.
      if (bytes.size() >= 36 && load(bytes, 32, 4, Order::Big) == 0) header.is_wide = true;
      fields = header.is_wide ? &kWide : &kVersion3;
      break;
    default: return damaged("invalid COW version");
  }
  if (bytes.size() < fields->header_bytes) return damaged("short header");
  // Only version 1 is in the order of its maker.
  const Order field_order = header.version == 1 ? order : Order::Big;
  header.backing_name = text_of(bytes.subspan(fields->name, fields->name_bytes));
  if (header.backing_name.size() == fields->name_bytes) return damaged("the backing file's name does not end");
  header.backing_time = static_cast<uint32_t>(load(bytes, fields->time, 4, field_order));
  header.backing_bytes = load(bytes, fields->size, 8, field_order);
  header.sector_bytes = static_cast<uint32_t>(load(bytes, fields->sector, 4, field_order));
  header.alignment = 0;
  if (header.version == 3) {
    header.alignment = static_cast<uint32_t>(load(bytes, fields->alignment, 4, Order::Big));
    if (header.alignment == 0) return damaged("invalid COW header, align == 0");
  }
  Result<Layout> layout = layout_of(header);
  if (!layout.ok()) return damaged("invalid sizes in the header");
  parsed.layout = layout.take();
  parsed.kind = Parsed::Kind::Cow;
  return parsed;
}

Result<void> write_header(std::span<std::byte> into, const Header& header) {
  CHECK(into.size() >= kHeaderBytes, "there is room for the header");
  if (header.backing_name.size() > kBackingNameLimit) return error(ENAMETOOLONG);
  if (header.backing_name.empty() || header.backing_name.find('\0') != std::string_view::npos) return error(EINVAL);
  memset(into.data(), 0, kHeaderBytes);
  store(into, 0, 4, kMagic);
  store(into, 4, 4, 3);
  store(into, kVersion3.time, 4, header.backing_time);
  store(into, kVersion3.size, 8, header.backing_bytes);
  store(into, kVersion3.sector, 4, header.sector_bytes);
  store(into, kVersion3.alignment, 4, header.alignment);
  memcpy(into.data() + kVersion3.name, header.backing_name.data(), header.backing_name.size());
  return {};
}

}  // namespace umk::cow_format
