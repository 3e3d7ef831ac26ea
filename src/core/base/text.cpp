#include "core/base/text.h"

#include <algorithm>

#include "core/base/log.h"

namespace umk {

void BufferSink::put(std::string_view text) {
  const size_t room = buffer_.size() - size_;
  const size_t count = std::min(room, text.size());
  std::copy_n(text.data(), count, buffer_.data() + size_);
  size_ += count;
  if (count < text.size()) truncated_ = true;
}

void StringSink::put(std::string_view text) {
  if (!failed_ && !string_.append(text).ok()) failed_ = true;
}

Result<String> StringSink::take() {
  if (failed_) return error(ENOMEM);
  return std::move(string_);
}

namespace {

struct Field {
  bool left = false;
  bool zero = false;
  size_t width = 0;
  unsigned base = 10;
};

void put_padded(TextSink& sink, const Field& field, std::string_view sign, std::string_view digits, bool numeric) {
  const size_t length = sign.size() + digits.size();
  const size_t padding = field.width > length ? field.width - length : 0;
  const bool zeroes = field.zero && numeric && !field.left;
  auto pad = [&](char with) {
    for (size_t i = 0; i < padding; ++i) sink.put(std::string_view(&with, 1));
  };
  if (!field.left && !zeroes) pad(' ');
  sink.put(sign);
  if (zeroes) pad('0');
  sink.put(digits);
  if (field.left) pad(' ');
}

void put_number(TextSink& sink, const Field& field, uint64_t magnitude, std::string_view sign) {
  char digits[64];
  size_t start = sizeof digits;
  do {
    digits[--start] = "0123456789abcdef"[magnitude % field.base];
    magnitude /= field.base;
  } while (magnitude != 0);
  put_padded(sink, field, sign, std::string_view(digits + start, sizeof digits - start), true);
}

void put_argument(TextSink& sink, Field field, const FormatArgument& argument) {
  switch (argument.kind()) {
    case FormatArgument::Kind::Signed: {
      const bool negative = field.base == 10 && static_cast<int64_t>(argument.bits()) < 0;
      put_number(sink, field, negative ? 0 - argument.bits() : argument.bits(), negative ? "-" : "");
      return;
    }
    case FormatArgument::Kind::Unsigned: put_number(sink, field, argument.bits(), ""); return;
    case FormatArgument::Kind::Pointer:
      field.base = 16;
      put_number(sink, field, argument.bits(), "0x");
      return;
    case FormatArgument::Kind::Character: {
      const char character = static_cast<char>(argument.bits());
      put_padded(sink, field, "", std::string_view(&character, 1), false);
      return;
    }
    case FormatArgument::Kind::Text: put_padded(sink, field, "", argument.text(), false); return;
  }
}

}  // namespace

void format_arguments(TextSink& sink, std::string_view pattern, std::span<const FormatArgument> arguments) {
  size_t next = 0;
  size_t at = 0;
  while (at < pattern.size()) {
    const size_t brace = std::min(pattern.find_first_of("{}", at), pattern.size());
    sink.put(pattern.substr(at, brace - at));
    at = brace;
    if (at == pattern.size()) return;
    if (at + 1 < pattern.size() && pattern[at + 1] == pattern[at]) {
      sink.put(pattern.substr(at, 1));
      at += 2;
      continue;
    }
    Field field;
    for (++at; at < pattern.size() && pattern[at] != '}'; ++at) {
      const char c = pattern[at];
      if (c == '-') field.left = true;
      else if (c == '0' && field.width == 0) field.zero = true;
      else if (c >= '0' && c <= '9') field.width = field.width * 10 + static_cast<size_t>(c - '0');
      else if (c == '*') field.width = next < arguments.size() ? static_cast<size_t>(arguments[next++].bits()) : 0;
      else if (c == 'x') field.base = 16;
      else if (c == 'o') field.base = 8;
    }
    if (at < pattern.size()) ++at;
    if (next < arguments.size()) put_argument(sink, field, arguments[next++]);
    else sink.put("{?}");
  }
}

std::optional<uint64_t> parse_unsigned(std::string_view text, unsigned base) {
  if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0') {
      const bool hex = text[1] == 'x' || text[1] == 'X';
      base = hex ? 16 : 8;
      text.remove_prefix(hex ? 2 : 1);
    }
  }
  if (text.empty()) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    unsigned digit = 16;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F') digit = static_cast<unsigned>(c - 'A') + 10;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(number, static_cast<uint64_t>(base), &number) ||
        __builtin_add_overflow(number, static_cast<uint64_t>(digit), &number))
      return std::nullopt;
  }
  return number;
}

std::optional<int64_t> parse_signed(std::string_view text, unsigned base) {
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) text.remove_prefix(1);
  const std::optional<uint64_t> magnitude = parse_unsigned(text, base);
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (!magnitude || *magnitude > limit) return std::nullopt;
  return static_cast<int64_t>(negative ? 0 - *magnitude : *magnitude);
}

std::optional<uint64_t> parse_size(std::string_view text) {
  if (text.empty()) return std::nullopt;
  unsigned shift = 0;
  switch (text.back()) {
    // clang-format off
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    case 't': case 'T': shift = 40; break;
    // clang-format on
    default: break;
  }
  if (shift != 0) text.remove_suffix(1);
  const std::optional<uint64_t> number = parse_unsigned(text, 0);
  if (!number || *number > (UINT64_MAX >> shift)) return std::nullopt;
  return *number << shift;
}

std::string_view split_first(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view first = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
  return first;
}

std::string_view trim(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(" \t\r\n") - start + 1);
}

}  // namespace umk
