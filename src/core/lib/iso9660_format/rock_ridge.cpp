#include "core/lib/iso9660_format/rock_ridge.h"

#include <initializer_list>

namespace umk::iso9660 {

namespace {

constexpr size_t kHeadBytes = 4;
constexpr size_t kLongestTarget = 4095;

/// CD-ROM XA puts this before the fields.
constexpr size_t kXaBytes = 14;

bool has_sp_at(ConstBytes area, size_t offset) {
  return area.size() >= offset + 7 && text_of(area.subspan(offset, 2)) == "SP" && get8(area, offset + 4) == 0xbe &&
         get8(area, offset + 5) == 0xef;
}

}  // namespace

std::optional<size_t> fields_start(ConstBytes system_use) {
  for (const size_t offset : {size_t{0}, kXaBytes})
    if (has_sp_at(system_use, offset)) return offset == 0 ? get8(system_use, 6) : kXaBytes;
  return std::nullopt;
}

Result<void> RockRidge::add(ConstBytes area) {
  more = std::nullopt;
  while (area.size() >= kHeadBytes) {
    const size_t size = get8(area, 2);
    // Padding ends the area.
    if (area[0] == std::byte{0} || size == 0) return {};
    if (size < kHeadBytes || size > area.size()) return error(EIO);
    const std::string_view signature = text_of(area.first(2));
    const ConstBytes field = area.subspan(0, size);
    if (signature == "ST") return {};
    if (signature == "CE") {
      if (size < 28) return error(EIO);
      more = Continuation{get32(field, 4), get32(field, 12), get32(field, 20)};
    } else if (signature == "PX") {
      if (size < 36) return error(EIO);
      has_attributes = true;
      mode = get32(field, 4);
      links = get32(field, 12);
      uid = get32(field, 20);
      gid = get32(field, 28);
    } else if (signature == "PN") {
      if (size < 20) return error(EIO);
      has_device = true;
      device_high = get32(field, 4);
      device_low = get32(field, 12);
    } else if (signature == "NM") {
      TRY(add_name(field));
    } else if (signature == "SL") {
      TRY(add_link(field));
    } else if (signature == "TF") {
      add_times(field);
    } else if (signature == "CL") {
      if (size < 12) return error(EIO);
      child = get32(field, 4);
    } else if (signature == "RE") {
      is_relocated = true;
    }
    area = area.subspan(size);
  }
  return {};
}

Result<void> RockRidge::add_name(ConstBytes field) {
  constexpr uint8_t kContinues = 1, kCurrent = 2, kParent = 4;
  if (field.size() < 5) return error(EIO);
  const uint8_t flags = get8(field, 4);
  // `.` and `..` are known by their records; such a name for another file is none.
  if (flags & (kCurrent | kParent)) return {};
  if (!name_continues_) return {};
  has_name = true;
  name_continues_ = flags & kContinues;
  if (name.size() + field.size() - 5 > 255) return error(EIO);
  return name.append(text_of(field.subspan(5)));
}

Result<void> RockRidge::add_link(ConstBytes field) {
  constexpr uint8_t kContinues = 1, kCurrent = 2, kParent = 4, kRoot = 8;
  if (field.size() < 5) return error(EIO);
  if (!link_continues_) return {};
  has_target = true;
  link_continues_ = get8(field, 4) & kContinues;
  ConstBytes components = field.subspan(5);
  while (!components.empty()) {
    if (components.size() < 2) return error(EIO);
    const uint8_t flags = get8(components, 0);
    const size_t size = get8(components, 1);
    if (size > components.size() - 2) return error(EIO);
    std::string_view text = text_of(components.subspan(2, size));
    if (flags & kCurrent) text = ".";
    else if (flags & kParent) text = "..";
    components = components.subspan(2 + size);
    if (!target_joins_) TRY(target.append('/'));
    if (flags & kRoot) {
      TRY(target.append('/'));
      target_joins_ = true;
    } else {
      TRY(target.append(text));
      target_joins_ = flags & kContinues;
    }
    if (target.size() > kLongestTarget) return error(EIO);
  }
  return {};
}

void RockRidge::add_times(ConstBytes field) {
  constexpr uint8_t kCreation = 1, kModify = 2, kAccess = 4, kAttributes = 8, kLongForm = 128;
  if (field.size() < 5) return;
  const uint8_t flags = get8(field, 4);
  const size_t bytes = flags & kLongForm ? 17 : 7;
  ConstBytes times = field.subspan(5);
  // In the order of their bits. Creation stands for the change of attributes where that is not told.
  for (uint8_t bit = 1; bit != kLongForm && times.size() >= bytes; bit = static_cast<uint8_t>(bit << 1)) {
    if (!(flags & bit)) continue;
    const Seconds time = flags & kLongForm ? long_date(times) : short_date(times);
    if (bit == kModify) modified = time;
    else if (bit == kAccess) accessed = time;
    else if (bit == kAttributes || (bit == kCreation && !changed)) changed = time;
    times = times.subspan(bytes);
  }
}

}  // namespace umk::iso9660
