// PtyChannel: pts and pty, a pseudo-terminal of the host whose other side waits for a program such as screen(1). Its name is told in the kernel's log
// each time one is opened. When the last program closes the other side, the line is lost; the next open gets another pseudo-terminal.
#pragma once

#include "monitor/channels/channel.h"

namespace umk::monitor {

class PtyChannel final : public Channel {
 public:
  enum class Kind {
    Bsd,  // /dev/ptyp0 and /dev/ttyp0, where the host has them; the master's name is told
    Unix98,  // /dev/pts/0; the slave's name is told
  };

  PtyChannel(Kind kind, const ChannelUse& use, ChannelContext& context) : kind_(kind), use_(use), context_(context) {}
  ~PtyChannel() override { close(); }

  int open(ChannelUser& user) override;
  void close() override;
  int fd() const override { return fd_; }
  ssize_t read(std::span<uint8_t> into) override;
  ssize_t write(std::span<const uint8_t> from) override;
  std::string describe() const override;

 private:
  int open_master();

  const Kind kind_;
  const ChannelUse use_;
  ChannelContext& context_;
  int fd_ = -1;  // the master; -1: closed
  std::string device_;
};

}  // namespace umk::monitor
