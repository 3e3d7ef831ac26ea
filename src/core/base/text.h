// Formatting and parsing of text without libc: what log lines and /proc files are made with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/base/string.h"

namespace umk {

/// Where formatted text goes. Text that does not fit in a bounded sink is cut and `truncated()` says so.
class TextSink {
 public:
  virtual void put(std::string_view text) = 0;

 protected:
  ~TextSink() = default;
};

/// A sink on a caller's buffer.
class BufferSink final : public TextSink {
 public:
  explicit BufferSink(std::span<char> buffer) : buffer_(buffer) {}
  void put(std::string_view text) override;
  std::string_view view() const { return {buffer_.data(), size_}; }
  bool truncated() const { return truncated_; }

 private:
  std::span<char> buffer_;
  size_t size_ = 0;
  bool truncated_ = false;
};

/// A sink that grows a String; when memory ends the rest is dropped and `failed()` is true.
class StringSink final : public TextSink {
 public:
  void put(std::string_view text) override;
  bool failed() const { return failed_; }
  std::string_view view() const { return string_.view(); }
  Result<String> take();

 private:
  String string_;
  bool failed_ = false;
};

/// One argument of `format`: an integer, a character, a bool, text or a pointer.
class FormatArgument {
 public:
  enum class Kind { Signed, Unsigned, Character, Text, Pointer };

  template <typename T>
    requires(std::is_integral_v<T>)
  FormatArgument(T value) {
    if constexpr (std::is_same_v<T, char>) {
      kind_ = Kind::Character;
      bits_ = static_cast<unsigned char>(value);
    } else if constexpr (std::is_same_v<T, bool>) {
      kind_ = Kind::Text;
      text_ = value ? "true" : "false";
    } else if constexpr (std::is_signed_v<T>) {
      kind_ = Kind::Signed;
      bits_ = static_cast<uint64_t>(static_cast<int64_t>(value));
    } else {
      kind_ = Kind::Unsigned;
      bits_ = value;
    }
  }
  template <typename T>
    requires(std::is_enum_v<T>)
  FormatArgument(T value) : FormatArgument(static_cast<std::underlying_type_t<T>>(value)) {}
  FormatArgument(std::string_view text) : kind_(Kind::Text), text_(text) {}
  FormatArgument(const char* text) : kind_(Kind::Text), text_(text ? text : "(null)") {}
  FormatArgument(const String& text) : kind_(Kind::Text), text_(text.view()) {}
  FormatArgument(const void* pointer) : kind_(Kind::Pointer), bits_(reinterpret_cast<uintptr_t>(pointer)) {}

  Kind kind() const { return kind_; }
  uint64_t bits() const { return bits_; }
  std::string_view text() const { return text_; }

 private:
  Kind kind_;
  uint64_t bits_ = 0;
  std::string_view text_;
};

/// Writes `pattern` with each `{}` replaced by the next argument. A field is `{[:][-][0][width][x|o|c]}`: `-` pads on the
/// right, `0` pads with zeroes, `x`/`o` choose the base. `{{` and `}}` are braces. Widths may also be given as `*`, which
/// takes the next argument. A field without an argument is a bug in the caller and prints as `{?}`.
void format_arguments(TextSink& sink, std::string_view pattern, std::span<const FormatArgument> arguments);

template <typename... Arguments>
void format(TextSink& sink, std::string_view pattern, const Arguments&... arguments) {
  const FormatArgument packed[] = {FormatArgument(arguments)..., FormatArgument(0)};
  format_arguments(sink, pattern, std::span(packed, sizeof...(arguments)));
}

/// A whole String, or ENOMEM.
template <typename... Arguments>
Result<String> format_string(std::string_view pattern, const Arguments&... arguments) {
  StringSink sink;
  format(sink, pattern, arguments...);
  return sink.take();
}

/// The number that `text` spells in `base` (2 to 16; 0 takes it from a 0x or 0 prefix); nothing else may follow.
std::optional<uint64_t> parse_unsigned(std::string_view text, unsigned base = 10);
std::optional<int64_t> parse_signed(std::string_view text, unsigned base = 10);

/// A size in bytes with an optional K, M, G or T, as in `mem=64M`.
std::optional<uint64_t> parse_size(std::string_view text);

/// The text before the first `separator`; `rest` is left with what follows it (empty when there is none).
std::string_view split_first(std::string_view& rest, char separator);

std::string_view trim(std::string_view text);

}  // namespace umk
