// Channel: one way of the host's to reach a line of the guest: a descriptor, a terminal, a window, a telnet connection.
//
// Life: made when the line is configured; what a kind needs all the time (a port's listener) is there from then on. open() when the guest opens
// the line, close() when it closes it or when the channel is lost; both may come again and again. An open that takes its time (a port waits for
// somebody, a window appears) says EINPROGRESS and tells the user later. Nothing here ever blocks.
//
// While it is open, the line watches fd() in the event loop, reads and writes. A read of 0 or an error other than EAGAIN means that it is lost.
// All of it is the event loop's thread's.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <stdexcept>
#include <string>

#include "core/abi/termios.h"
#include "monitor/channels/channel_pair.h"
#include "monitor/channels/helper_process.h"
#include "monitor/event_loop.h"

namespace umk::monitor {

class Channel;

/// Who uses a channel. Not called from within open().
class ChannelUser {
 public:
  virtual void on_opened(Channel& channel) = 0;
  virtual void on_failed(Channel& channel, int error) = 0;
  /// The window's size has changed.
  virtual void on_window(Channel& channel) = 0;
  /// Output is waiting inside the channel: an answer of telnet's.
  virtual void on_output(Channel& channel) = 0;

 protected:
  ~ChannelUser() = default;
};

class Channel {
 public:
  Channel() = default;
  virtual ~Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// 0: open; EINPROGRESS: the user is told; else an errno, and the reason is in the log.
  virtual int open(ChannelUser& user) = 0;
  virtual void close() = 0;
  /// What epoll(7) can wait for while it is open; -1: never ready for reading, always for writing.
  virtual int fd() const = 0;
  /// As read(2) and write(2) of a descriptor that does not block.
  virtual ssize_t read(std::span<uint8_t> into) = 0;
  virtual ssize_t write(std::span<const uint8_t> from) = 0;
  /// Bytes that write() took and that are still here: write() is to be called again, with nothing.
  virtual bool has_output() const { return false; }
  /// Zeroes when it has none.
  virtual WindowSize window() const { return {}; }
  /// The kind, and the device while it is open: pts:/dev/pts/4.
  virtual std::string describe() const = 0;
};

enum class Direction { Input, Output, Both };

class PortListeners;

/// What channels need of the machine around them.
struct ChannelContext {
  EventLoop& loop;
  PortListeners& ports;
  /// A line for the kernel's log.
  std::function<void(const std::string&)> log;
  /// The umid, for titles of windows.
  std::string machine_name;
  XtermCommand xterm;
  /// Descriptors that umk was started with: the only ones that fd: may name.
  std::set<int> inherited;
  /// Told of each process that umk starts for a channel: a child of umk that is none of the machine's.
  std::function<void(pid_t)> on_helper = [](pid_t) {};
  /// How long a line keeps its channels when the guest has closed it, and how long a window may take whose emulator has handed it over, or one to close.
  std::chrono::milliseconds patience{3000};
  EndingHelpers ending{loop};
};

/// The line that a channel is for, and how it uses it.
struct ChannelUse {
  LineName line;
  Direction direction = Direction::Both;
  /// Whether terminals of the host are made raw.
  bool is_raw = true;
};

/// A channel cannot be had as it is configured.
class ChannelError : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

/// Throws ChannelError. Not for `none`, which is no channel.
std::unique_ptr<Channel> make_channel(const ChannelEnd& end, const ChannelUse& use, ChannelContext& context);

}  // namespace umk::monitor
