// String: owned text, at most 2^32 bytes, NUL-terminated for convenience; growth can fail with ENOMEM.
#pragma once

#include <cstring>
#include <string_view>

#include "core/base/vector.h"

namespace umk {

class String {
 public:
  String() = default;

  static Result<String> from(std::string_view text) {
    String string;
    TRY(string.append(text));
    return string;
  }
  Result<String> clone() const { return from(view()); }

  Result<void> append(std::string_view text) {
    TRY(bytes_.make_room(text.size() + 1));
    if (!bytes_.empty()) bytes_.pop_back();
    TRY(bytes_.append(std::span(text.data(), text.size())));
    return bytes_.push_back('\0');
  }
  Result<void> append(char character) { return append(std::string_view(&character, 1)); }

  std::string_view view() const { return {bytes_.data(), size()}; }
  operator std::string_view() const { return view(); }
  const char* c_str() const { return bytes_.empty() ? "" : bytes_.data(); }
  size_t size() const { return bytes_.empty() ? 0 : bytes_.size() - 1; }
  bool empty() const { return size() == 0; }
  void clear() { bytes_.clear(); }
  friend bool operator==(const String& a, std::string_view b) { return a.view() == b; }

 private:
  Vector<char> bytes_;
};

}  // namespace umk
