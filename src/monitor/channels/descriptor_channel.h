// DescriptorChannel: fd:N, a descriptor that umk was started with. It stays open when the line closes, and can be opened again.
#pragma once

#include "monitor/channels/channel.h"
#include "monitor/channels/line_stream.h"

namespace umk::monitor {

class DescriptorChannel final : public Channel {
 public:
  DescriptorChannel(int number, const ChannelUse& use, ChannelContext& context) : number_(number), use_(use), context_(context) {}

  int open(ChannelUser& user) override;
  void close() override { stream_.reset(); }
  int fd() const override { return stream_->fd(); }
  ssize_t read(std::span<uint8_t> into) override { return stream_->read(into); }
  ssize_t write(std::span<const uint8_t> from) override { return stream_->write(from); }
  WindowSize window() const override { return stream_->window(); }
  std::string describe() const override { return "fd:" + std::to_string(number_); }

 private:
  const int number_;
  const ChannelUse use_;
  ChannelContext& context_;
  std::unique_ptr<LineStream> stream_;  // null: closed
};

/// The descriptors that this process was started with. Call it before anything opens others that exec(2) keeps.
std::set<int> find_inherited_descriptors();

}  // namespace umk::monitor
