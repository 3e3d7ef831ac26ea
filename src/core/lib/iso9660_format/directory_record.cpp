#include "core/lib/iso9660_format/directory_record.h"

namespace umk::iso9660 {

namespace {

/// Days from 1970 to the first of a month of the Gregorian calendar.
int64_t days_before(int64_t year, int64_t month) {
  // A year that begins in March has its leap day at its end.
  const int64_t shifted = month <= 2 ? year - 1 : year, index = (month + 9) % 12;
  return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * index + 2) / 5 - 719468;
}

/// The offset is in quarters of an hour east of Greenwich; those that cannot be count as none.
Seconds seconds_of(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute, int64_t second, int8_t offset) {
  if (month < 1 || month > 12) return 0;
  int64_t seconds = (((days_before(year, month) + day - 1) * 24 + hour) * 60 + minute) * 60 + second;
  if (offset >= -52 && offset <= 52) seconds -= int64_t{offset} * 15 * 60;
  return seconds;
}

size_t put_utf8(uint32_t code, char* into) {
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    into[0] = static_cast<char>(code);
    return 1;
  }
  if (code < 0x800) {
    into[0] = static_cast<char>(0xc0 | code >> 6);
    into[1] = tail(0);
    return 2;
  }
  if (code < 0x10000) {
    into[0] = static_cast<char>(0xe0 | code >> 12);
    into[1] = tail(6);
    into[2] = tail(0);
    return 3;
  }
  into[0] = static_cast<char>(0xf0 | code >> 18);
  into[1] = tail(12);
  into[2] = tail(6);
  into[3] = tail(0);
  return 4;
}

}  // namespace

Seconds short_date(ConstBytes bytes) {
  return seconds_of(1900 + get8(bytes, 0), get8(bytes, 1), get8(bytes, 2), get8(bytes, 3), get8(bytes, 4), get8(bytes, 5),
                    load_field<int8_t>(bytes, 6));
}

Seconds long_date(ConstBytes bytes) {
  const auto number = [&](size_t offset, size_t digits) {
    int64_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const uint8_t digit = get8(bytes, offset + i);
      value = value * 10 + (digit >= '0' && digit <= '9' ? digit - '0' : 0);
    }
    return value;
  };
  return seconds_of(number(0, 4), number(4, 2), number(6, 2), number(8, 2), number(10, 2), number(12, 2), load_field<int8_t>(bytes, 16));
}

Result<DirectoryRecord> DirectoryRecord::parse(ConstBytes from) {
  DirectoryRecord r;
  if (from.empty() || from[0] == std::byte{0}) return r;
  r.bytes = get8(from, 0);
  if (r.bytes < kLeastBytes || r.bytes > from.size()) return error(EIO);
  const size_t name_bytes = get8(from, 32);
  if (name_bytes == 0 || name_bytes > r.bytes - 33) return error(EIO);
  const uint32_t attribute_blocks = get8(from, 1);
  if (add_overflows(get32(from, 2), attribute_blocks, &r.extent)) return error(EIO);
  r.size = get32(from, 10);
  r.date = short_date(from.subspan(18, 7));
  r.flags = get8(from, 25);
  r.is_interleaved = get8(from, 26) != 0 || get8(from, 27) != 0;
  r.name = from.subspan(33, name_bytes);
  // A byte of padding keeps what follows even.
  const size_t system_use = 33 + name_bytes + (name_bytes % 2 == 0 ? 1 : 0);
  if (system_use < r.bytes) r.system_use = from.subspan(system_use, r.bytes - system_use);
  return r;
}

std::string_view plain_name(ConstBytes name, NameMap map, std::span<char> into) {
  size_t size = name.size() < into.size() ? name.size() : into.size();
  __builtin_memcpy(into.data(), name.data(), size);
  if (map == NameMap::Off) return {into.data(), size};
  for (size_t i = 0; i < size; ++i) {
    char& c = into[i];
    if (c == '\0') {
      size = i;
      break;
    }
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    const size_t left = size - i;
    // The first version and an extension that is empty say nothing; what else separates becomes a dot.
    const bool ends_in_first_version = left == 2 && c == ';' && into[i + 1] == '1';
    const bool ends_without_extension = left == 3 && c == '.' && into[i + 1] == ';' && into[i + 2] == '1';
    if (ends_in_first_version || ends_without_extension) {
      size = i;
      break;
    }
    if (c == ';' || c == '/') c = '.';
  }
  return {into.data(), size};
}

std::string_view joliet_name(ConstBytes name, std::span<char> into) {
  size_t size = 0;
  for (size_t i = 0; i + 1 < name.size(); i += 2) {
    uint32_t code = __builtin_bswap16(get16(name, i));
    if (code >= 0xd800 && code < 0xdc00 && i + 3 < name.size()) {
      const uint32_t low = __builtin_bswap16(get16(name, i + 2));
      if (low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        i += 2;
      }
    }
    // What is half of a pair alone is no character.
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    if (size + 4 > into.size()) break;
    size += put_utf8(code, into.data() + size);
  }
  if (size > 2 && into[size - 2] == ';' && into[size - 1] == '1') size -= 2;
  // Dots at the end are none of the name, as Windows sees it.
  while (size >= 2 && into[size - 1] == '.') --size;
  return {into.data(), size};
}

bool is_file_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name == "." || name == "..") return false;
  for (const char c : name)
    if (c == '/' || c == '\0') return false;
  return true;
}

}  // namespace umk::iso9660
