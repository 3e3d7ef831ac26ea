// NullChannel: nothing is ever read, and what is written is forgotten.
#pragma once

#include <cerrno>

#include "monitor/channels/channel.h"

namespace umk::monitor {

class NullChannel final : public Channel {
 public:
  int open(ChannelUser&) override { return 0; }
  void close() override {}
  int fd() const override { return -1; }
  ssize_t read(std::span<uint8_t>) override {
    errno = EAGAIN;
    return -1;
  }
  ssize_t write(std::span<const uint8_t> from) override { return static_cast<ssize_t>(from.size()); }
  std::string describe() const override { return "null"; }
};

}  // namespace umk::monitor
