// A record of a log, in words: what the outputs show of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/lib/tty_log_format/tty_log_format.h"

namespace umk::uml_tty_playback {

struct Record {
  uint64_t offset = 0;  // in the log
  tty_log_format::Head head;
  std::string data;

  int64_t microseconds() const { return static_cast<int64_t>(head.seconds) * 1'000'000 + head.microseconds; }
  bool is(tty_log_format::What what) const { return head.what == what; }
  /// Of an opening: the terminal that the opener had; 0 for none.
  uint64_t parent() const { return tty_log_format::parent_of(std::as_bytes(std::span(data))); }
  /// Of a start of a program.
  std::vector<std::string_view> arguments() const;
};

/// "open", "close", "read", "write", "exec".
const char* kind_of(const Record& record);

/// What a terminal's number means: "tty0", "ttyS1", "pts/3" where it is a device number as umk writes them, else the number: "0xa0123400".
std::string name_of_terminal(uint64_t id);
/// The other way round; also takes a decimal number. Nothing for what is neither.
bool parse_terminal(std::string_view text, uint64_t& id);

/// "2026-11-22 06:31:16.250000", in the zone of who looks.
std::string time_text(const Record& record);

/// With what is not printable spelled: "\x1b", "\n".
std::string visible(std::string_view text);

}  // namespace umk::uml_tty_playback
