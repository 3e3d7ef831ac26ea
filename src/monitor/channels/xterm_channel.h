// XtermChannel: a window with a terminal emulator, which is started when the guest opens the line and ended when it closes it.
//
//   umk        binds a socket /tmp/xterm-pipeXXXXXX and starts
//              EMULATOR -T "Virtual Console #1 (NAME)" -e port-helper -uml-socket /tmp/xterm-pipeXXXXXX
//   the helper, inside the window, sends its standard input, the window's terminal, by SCM_RIGHTS with its pid (32 bits), gives the terminal up
//              and sleeps: see port-helper(1)
//   umk        takes the terminal as the line, and removes the socket
//
// The helper is that of User Mode Linux's utilities, or ours, which speaks the same. A window that is closed is a line that is lost.
#pragma once

#include <string>

#include "monitor/channels/channel.h"
#include "monitor/channels/helper_process.h"
#include "monitor/channels/line_stream.h"
#include "monitor/timer.h"

namespace umk::monitor {

class XtermChannel final : public Channel {
 public:
  XtermChannel(const ChannelUse& use, ChannelContext& context);
  ~XtermChannel() override { close(); }

  int open(ChannelUser& user) override;
  void close() override;
  int fd() const override { return stream_->fd(); }
  ssize_t read(std::span<uint8_t> into) override { return stream_->read(into); }
  ssize_t write(std::span<const uint8_t> from) override { return stream_->write(from); }
  WindowSize window() const override { return stream_->window(); }
  std::string describe() const override { return "xterm"; }

 private:
  int listen();
  void stop_listening();
  void receive();
  void fail(const std::string& why);

  const ChannelUse use_;
  ChannelContext& context_;
  ChannelUser* user_ = nullptr;
  std::unique_ptr<HelperProcess> emulator_, helper_;
  int socket_ = -1;
  std::string socket_path_;
  Timer patience_;
  std::unique_ptr<LineStream> stream_;  // null: closed, or the window is still to come
};

/// The program that sends a window's terminal here: $UML_PORT_HELPER, that of User Mode Linux's utilities, the one beside umk, or whichever PATH has.
std::string find_port_helper();

}  // namespace umk::monitor
