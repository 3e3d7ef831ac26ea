// Classes of characters as terminals see them: ISO 8859-1, whatever the locale, as Linux does.
#pragma once

#include <cstdint>

namespace umk::characters {

constexpr bool is_control(uint8_t c) { return c < 0x20 || c == 0x7f; }

constexpr bool is_upper(uint8_t c) { return (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7); }
constexpr bool is_lower(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= 0xdf && c != 0xf7); }
constexpr bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/// Part of what one VWERASE takes away.
constexpr bool is_word(uint8_t c) { return is_upper(c) || is_lower(c) || is_digit(c) || c == '_'; }

constexpr uint8_t to_lower(uint8_t c) { return is_upper(c) ? static_cast<uint8_t>(c + 0x20) : c; }
constexpr uint8_t to_upper(uint8_t c) { return is_lower(c) ? static_cast<uint8_t>(c - 0x20) : c; }

}  // namespace umk::characters
