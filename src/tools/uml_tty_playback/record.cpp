#include "tools/uml_tty_playback/record.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

#include "core/abi/device_number.h"

namespace umk::uml_tty_playback {

namespace format = tty_log_format;

namespace {

constexpr uint32_t kTerminals = 4, kSlaves = 136, kFirstSerial = 64, kSerialEnd = 128;
/// Beyond these a number is rather an address of somebody else's kernel.
constexpr uint32_t kMostSlaves = 4096;

struct Family {
  std::string_view prefix;
  uint32_t major, first, end;
};
constexpr Family kFamilies[] = {
    {"ttyS", kTerminals, kFirstSerial, kSerialEnd}, {"tty", kTerminals, 0, kFirstSerial}, {"pts/", kSlaves, 0, kMostSlaves}};

template <typename T>
bool parse_whole(std::string_view text, T& value, int base = 10) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return failure == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::vector<std::string_view> Record::arguments() const {
  std::vector<std::string_view> all;
  std::string_view rest = data;
  while (!rest.empty()) all.push_back(format::next_argument(rest));
  return all;
}

const char* kind_of(const Record& record) {
  switch (record.head.what) {
    case format::What::Open: return "open";
    case format::What::Close: return "close";
    case format::What::Exec: return "exec";
    case format::What::Write: return record.head.direction == format::Direction::Read ? "read" : "write";
  }
  return "";
}

std::string name_of_terminal(uint64_t id) {
  const DeviceNumber device = DeviceNumber::decode(id);
  for (const Family& family : kFamilies)
    if (device.major == family.major && device.minor >= family.first && device.minor < family.end)
      return fmt::format("{}{}", family.prefix, device.minor - family.first);
  return fmt::format("{:#x}", id);
}

bool parse_terminal(std::string_view text, uint64_t& id) {
  if (text.starts_with("/dev/")) text.remove_prefix(5);
  if (text.starts_with("0x")) return parse_whole(text.substr(2), id, 16);
  for (const Family& family : kFamilies) {
    uint32_t number = 0;
    if (!text.starts_with(family.prefix) || !parse_whole(text.substr(family.prefix.size()), number)) continue;
    if (number >= family.end - family.first) return false;
    id = DeviceNumber{family.major, family.first + number}.encoded();
    return true;
  }
  return parse_whole(text, id);
}

std::string time_text(const Record& record) {
  const auto seconds = static_cast<time_t>(record.head.seconds);
  tm parts{};
  if (!localtime_r(&seconds, &parts)) return fmt::format("{}.{:06}", record.head.seconds, record.head.microseconds);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{}.{:06}", text, record.head.microseconds);
}

std::string visible(std::string_view text) {
  std::string result;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (character == '\\') result += "\\\\";
    else if (character == '\n') result += "\\n";
    else if (character == '\r') result += "\\r";
    else if (character == '\t') result += "\\t";
    else if (byte < ' ' || byte == 127) result += fmt::format("\\x{:02x}", byte);
    else result += character;
  }
  return result;
}

}  // namespace umk::uml_tty_playback
