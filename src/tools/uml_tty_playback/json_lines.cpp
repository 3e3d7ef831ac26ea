#include "tools/uml_tty_playback/json_lines.h"

#include <fmt/format.h>

namespace umk::uml_tty_playback {

namespace format = tty_log_format;

namespace {

/// The length of the UTF-8 sequence (RFC 3629) that `text` begins with; 0 when it begins with none.
size_t sequence_length(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (at(0) < 0x80) return 1;
  const size_t length = at(0) >= 0xc2 && at(0) <= 0xdf ? 2 : (at(0) & 0xf0) == 0xe0 ? 3 : at(0) >= 0xf0 && at(0) <= 0xf4 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const bool is_overlong = (at(0) == 0xe0 && at(1) < 0xa0) || (at(0) == 0xf0 && at(1) < 0x90);
  const bool is_surrogate = at(0) == 0xed && at(1) >= 0xa0, is_beyond = at(0) == 0xf4 && at(1) >= 0x90;
  return is_overlong || is_surrogate || is_beyond ? 0 : length;
}

bool is_text(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') result += '\\', result += character;
    else if (character == '\n') result += "\\n";
    else if (static_cast<unsigned char>(character) < ' ' || character == 127)
      result += fmt::format("\\u{:04x}", static_cast<unsigned char>(character));
    else result += character;
  }
  return result + '"';
}

/// RFC 4648.
std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t place) { return place < bytes.size() ? static_cast<unsigned char>(bytes[place]) : 0u; };
    const unsigned group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    result += kDigits[group >> 18];
    result += kDigits[group >> 12 & 63];
    result += i + 1 < bytes.size() ? kDigits[group >> 6 & 63] : '=';
    result += i + 2 < bytes.size() ? kDigits[group & 63] : '=';
  }
  return result;
}

std::string member(std::string_view name, std::string_view bytes) {
  return is_text(bytes) ? fmt::format("\"{}\":{}", name, quoted(bytes)) : fmt::format("\"{}_base64\":\"{}\"", name, base64(bytes));
}

}  // namespace

std::string json_line(const Record& record) {
  std::string line = fmt::format("{{\"offset\":{},\"time\":{}.{:06},\"kind\":\"{}\",\"tty\":", record.offset, record.head.seconds,
                                 record.head.microseconds, kind_of(record));
  const auto terminal = [](uint64_t id) { return id == 0 ? "null" : quoted(name_of_terminal(id)); };
  line += terminal(record.head.tty);
  switch (record.head.what) {
    case format::What::Open: line += ",\"parent\":" + terminal(record.parent()); break;
    case format::What::Close: break;
    case format::What::Write: line += "," + member("data", record.data); break;
    case format::What::Exec: {
      std::string list;
      bool is_all_text = true;
      for (const std::string_view argument : record.arguments()) is_all_text = is_all_text && is_text(argument);
      for (const std::string_view argument : record.arguments())
        list += (list.empty() ? "" : ",") + (is_all_text ? quoted(argument) : "\"" + base64(argument) + "\"");
      line += fmt::format(",\"{}\":[{}]", is_all_text ? "arguments" : "arguments_base64", list);
    }
  }
  return line + "}\n";
}

}  // namespace umk::uml_tty_playback
