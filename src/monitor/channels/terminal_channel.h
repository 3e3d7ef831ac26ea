// TerminalChannel: tty:PATH, a terminal device of the host.
#pragma once

#include "monitor/channels/channel.h"
#include "monitor/channels/line_stream.h"

namespace umk::monitor {

class TerminalChannel final : public Channel {
 public:
  TerminalChannel(std::string path, const ChannelUse& use, ChannelContext& context)
      : path_(std::move(path)), use_(use), context_(context) {}

  int open(ChannelUser& user) override;
  void close() override { stream_.reset(); }
  int fd() const override { return stream_->fd(); }
  ssize_t read(std::span<uint8_t> into) override { return stream_->read(into); }
  ssize_t write(std::span<const uint8_t> from) override { return stream_->write(from); }
  WindowSize window() const override { return stream_->window(); }
  std::string describe() const override { return "tty:" + path_; }

 private:
  const std::string path_;
  const ChannelUse use_;
  ChannelContext& context_;
  std::unique_ptr<LineStream> stream_;  // null: closed
};

}  // namespace umk::monitor
