#include "monitor/channels/telnet.h"

namespace umk::monitor {

namespace {

// RFC 854, "TELNET command structure".
constexpr uint8_t kSubnegotiationEnd = 240, kBreak = 243, kInterrupt = 244, kAreYouThere = 246, kEraseCharacter = 247, kEraseLine = 248,
                  kSubnegotiation = 250, kWill = 251, kWont = 252, kDo = 253, kDont = 254, kCommand = 255;
// RFC 1184, section 2.5.
constexpr uint8_t kEndOfFile = 236, kSuspend = 237, kAbort = 238;
// Options.
constexpr uint8_t kBinary = 0, kEcho = 1, kSuppressGoAhead = 3, kWindowSize = 31;

constexpr size_t kMostOfSubnegotiation = 64;

}  // namespace

void Telnet::start() {
  ask(kWill, kEcho, echo_.ours);
  ask(kWill, kSuppressGoAhead, go_ahead_.ours);
  ask(kDo, kSuppressGoAhead, go_ahead_.theirs);
  ask(kWill, kBinary, binary_.ours);
  ask(kDo, kBinary, binary_.theirs);
  ask(kDo, kWindowSize, window_option_.theirs);
}

void Telnet::say(uint8_t verb, uint8_t code) { answer_.insert(answer_.end(), {kCommand, verb, code}); }

void Telnet::ask(uint8_t verb, uint8_t code, Side& side) {
  side.is_asked = true;
  say(verb, code);
}

Telnet::Option* Telnet::find(uint8_t code) {
  switch (code) {
    case kBinary: return &binary_;
    case kEcho: return &echo_;
    case kSuppressGoAhead: return &go_ahead_;
    case kWindowSize: return &window_option_;
    default: return nullptr;
  }
}

void Telnet::on_option(uint8_t verb, uint8_t code) {
  const bool is_about_us = verb == kDo || verb == kDont;
  const bool wants = verb == kWill || verb == kDo;
  Option* const option = find(code);
  // We echo and they do not; they have a window and we do not.
  const bool is_possible = option && !(code == kEcho && !is_about_us) && !(code == kWindowSize && is_about_us);
  if (!is_possible) {
    if (wants) say(is_about_us ? kWont : kDont, code);
    return;
  }
  Side& side = is_about_us ? option->ours : option->theirs;
  const bool was_asked = side.is_asked;
  side.is_asked = false;
  if (side.is_on == wants) return;
  side.is_on = wants;
  // What we asked for needs no further word; the rest is agreed to. A refusal always is.
  if (wants && was_asked) return;
  if (is_about_us) {
    if (wants || !was_asked) say(wants ? kWill : kWont, code);
  } else {
    if (wants || !was_asked) say(wants ? kDo : kDont, code);
  }
}

void Telnet::on_command(uint8_t command, Bytes& input) {
  // Keys of the guest's terminal, as it has them from the start: stty(1).
  switch (command) {
    case kInterrupt:
    case kBreak: input.push_back(0x03); break;
    case kEraseCharacter: input.push_back(0x7f); break;
    case kEraseLine: input.push_back(0x15); break;
    case kEndOfFile: input.push_back(0x04); break;
    case kSuspend: input.push_back(0x1a); break;
    case kAbort: input.push_back(0x1c); break;
    case kAreYouThere: {
      constexpr std::string_view kYes = "\r\n[Yes]\r\n";
      answer_.insert(answer_.end(), kYes.begin(), kYes.end());
      break;
    }
    default: break;
  }
}

void Telnet::end_subnegotiation() {
  // RFC 1073: IAC SB NAWS <16-bit width> <16-bit height> IAC SE.
  if (subnegotiation_.size() != 5 || subnegotiation_[0] != kWindowSize) return;
  const auto number = [&](size_t at) { return static_cast<uint16_t>(subnegotiation_[at] << 8 | subnegotiation_[at + 1]); };
  window_ = WindowSize{number(3), number(1), 0, 0};
}

void Telnet::receive(std::span<const uint8_t> bytes, Bytes& input) {
  for (const uint8_t byte : bytes) {
    switch (state_) {
      case State::CarriageReturn:
        // "CR NUL" is a carriage return and "CR LF" an end of line: to a terminal both are the key.
        state_ = State::Data;
        if (byte == '\0' || byte == '\n') break;
        [[fallthrough]];
      case State::Data:
        if (byte == kCommand) {
          state_ = State::Command;
          break;
        }
        input.push_back(byte);
        if (byte == '\r' && !binary_.theirs.is_on) state_ = State::CarriageReturn;
        break;
      case State::Command:
        state_ = State::Data;
        if (byte == kCommand) {
          input.push_back(byte);
        } else if (byte >= kWill && byte <= kDont) {
          verb_ = byte;
          state_ = State::Option;
        } else if (byte == kSubnegotiation) {
          subnegotiation_.clear();
          state_ = State::Subnegotiation;
        } else {
          on_command(byte, input);
        }
        break;
      case State::Option:
        state_ = State::Data;
        on_option(verb_, byte);
        break;
      case State::Subnegotiation:
        if (byte == kCommand) {
          state_ = State::SubnegotiationCommand;
        } else if (subnegotiation_.size() < kMostOfSubnegotiation) {
          subnegotiation_.push_back(byte);
        }
        break;
      case State::SubnegotiationCommand:
        state_ = State::Subnegotiation;
        if (byte == kCommand) {
          if (subnegotiation_.size() < kMostOfSubnegotiation) subnegotiation_.push_back(byte);
        } else if (byte == kSubnegotiationEnd) {
          state_ = State::Data;
          end_subnegotiation();
        }
        break;
    }
  }
}

void Telnet::send(std::span<const uint8_t> bytes, Bytes& output) {
  for (const uint8_t byte : bytes) {
    // A carriage return that ends no line is followed by NUL, unless all is binary. RFC 854, "The Network Virtual Terminal".
    if (sent_carriage_return_ && byte != '\n') output.push_back('\0');
    sent_carriage_return_ = byte == '\r' && !binary_.ours.is_on;
    output.push_back(byte);
    if (byte == kCommand) output.push_back(byte);
  }
}

}  // namespace umk::monitor
