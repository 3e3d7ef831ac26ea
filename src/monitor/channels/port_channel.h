// PortChannel: port:N, a line that is reached by telnet. Open as long as somebody is connected; the next open waits for the next one.
//
// A client that does not read is never waited for: what does not fit into its connection stays here, a bounded amount, and then in the line.
#pragma once

#include <optional>
#include <vector>

#include "monitor/channels/channel.h"
#include "monitor/channels/port_listener.h"
#include "monitor/channels/telnet.h"

namespace umk::monitor {

class PortChannel final : public Channel, private PortWaiter {
 public:
  /// Throws ChannelError.
  PortChannel(int port, ChannelContext& context) : port_(port), listener_(context.ports.get(port)) {}
  ~PortChannel() override { close(); }

  int open(ChannelUser& user) override;
  void close() override;
  int fd() const override { return fd_; }
  ssize_t read(std::span<uint8_t> into) override;
  ssize_t write(std::span<const uint8_t> from) override;
  bool has_output() const override { return !output_.empty(); }
  WindowSize window() const override { return telnet_ && telnet_->window() ? *telnet_->window() : WindowSize{}; }
  std::string describe() const override { return "port:" + std::to_string(port_); }

 private:
  void on_connection(int fd) override;
  void begin(int fd);
  /// False when the connection is gone.
  bool flush();

  const int port_;
  const std::shared_ptr<PortListener> listener_;
  ChannelUser* user_ = nullptr;  // not null: open, or waiting
  int fd_ = -1;
  std::optional<Telnet> telnet_;
  std::vector<uint8_t> output_;  // to be sent: the line's bytes and telnet's answers
};

}  // namespace umk::monitor
