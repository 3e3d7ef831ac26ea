// Telnet: the server's side of a TELNET connection, bytes in and bytes out. RFC 854 (protocol), 856 (binary), 857 (echo), 858 (suppress go ahead),
// 1073 (window size); options are answered by the rules of RFC 1143, so that no loop of offers can arise.
//
// The line of the guest does the echoing and editing, so the client is asked to send each key as it comes and to show what it gets. Both directions
// are asked to be binary: characters of eight bits and lone carriage returns pass as they are. A client that speaks no telnet (nc) just never
// answers; its bytes are input as they are.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/abi/termios.h"

namespace umk::monitor {

class Telnet {
 public:
  using Bytes = std::vector<uint8_t>;

  /// `answer` gets what is to be sent to the client.
  explicit Telnet(Bytes& answer) : answer_(answer) {}

  /// The first offers.
  void start();
  /// Takes bytes of the connection and puts what the line is to get into `input`: never more bytes than there were.
  void receive(std::span<const uint8_t> bytes, Bytes& input);
  /// Appends bytes of the line to `output` as they are sent: up to twice as many.
  void send(std::span<const uint8_t> bytes, Bytes& output);
  /// Told by the client; nothing until then.
  const std::optional<WindowSize>& window() const { return window_; }

 private:
  enum class State { Data, CarriageReturn, Command, Option, Subnegotiation, SubnegotiationCommand };
  /// An option on one side, RFC 1143: `wanted` says what we asked for last and had no answer to.
  struct Side {
    bool is_on = false;
    bool is_asked = false;
  };
  struct Option {
    Side ours, theirs;
  };

  void ask(uint8_t verb, uint8_t code, Side& side);
  void on_option(uint8_t verb, uint8_t code);
  void on_command(uint8_t command, Bytes& input);
  void end_subnegotiation();
  void say(uint8_t verb, uint8_t code);
  Option* find(uint8_t code);

  Bytes& answer_;
  State state_ = State::Data;
  uint8_t verb_ = 0;
  Option binary_, echo_, go_ahead_, window_option_;
  Bytes subnegotiation_;
  bool sent_carriage_return_ = false;
  std::optional<WindowSize> window_;
};

}  // namespace umk::monitor
