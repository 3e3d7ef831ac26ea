// ChannelPair: what a console or serial line is connected to on the host, as con=, ssl= and `config con1=` say it.
//
//   CHANNEL            both directions
//   CHANNEL,CHANNEL    what the guest reads comes from the first, what it writes goes to the second
//
//   fd:N       a descriptor that umk inherits        pty, pts   a pseudo-terminal of the host, of the old and the new kind
//   tty:PATH   a terminal device                     port:N     who connects to TCP port N by telnet
//   xterm      a window                              null       nothing is read, what is written is forgotten
//   none       the line does not exist
//
// As in User Mode Linux a keyword is looked for at the front of the text, and what a kind without argument finds behind it is ignored.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace umk::monitor {

/// One direction, or both.
struct ChannelEnd {
  enum class Kind { None, Null, Descriptor, Terminal, Pty, Pts, Xterm, Port };
  Kind kind = Kind::None;
  int number = -1;   // of a descriptor, or of a port
  std::string path;  // of a terminal
  friend bool operator==(const ChannelEnd&, const ChannelEnd&) = default;
};

struct ChannelPair {
  ChannelEnd input, output;
  friend bool operator==(const ChannelPair&, const ChannelPair&) = default;

  bool is_none() const { return input.kind == ChannelEnd::Kind::None && output.kind == ChannelEnd::Kind::None; }
  /// Standard streams and nothing: what needs no opening.
  bool is_inherited() const;
};

/// Why a text is no channel, in the words of User Mode Linux.
struct ChannelProblem {
  std::string answer;  // for who configures
  std::string detail;  // for the log
};

std::optional<ChannelProblem> parse_channel_pair(std::string_view text, ChannelPair& pair);
/// As it would be given to parse_channel_pair.
std::string describe_channel(const ChannelEnd& end);
std::string describe_channel_pair(const ChannelPair& pair);

/// How xterm= starts windows.
struct XtermCommand {
  std::string emulator = "xterm", title_switch = "-T", execute_switch = "-e";
};

/// A console or serial line, with the names that it goes by.
struct LineName {
  bool is_console = true;
  unsigned number = 0;

  std::string announced() const { return (is_console ? "Virtual console " : "Serial line ") + std::to_string(number); }
  std::string title() const { return (is_console ? "Virtual Console #" : "Serial Line #") + std::to_string(number); }
};

}  // namespace umk::monitor
