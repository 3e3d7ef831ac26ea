// Consoles and serial lines for `config` and `remove`: con0, ssl1. The lines themselves are the event loop's (Lines); whether the guest has one open, and
// that it appears and goes, is the kernel's matter.
#pragma once

#include <string>

#include "monitor/channels/lines.h"
#include "monitor/mconsole/devices.h"
#include "monitor/mconsole/kernel_calls.h"

namespace umk::monitor {

class ConsoleDevice final : public ManagedDevice {
 public:
  /// `count` lines called `prefix`; number 0 is line `first` of the board.
  ConsoleDevice(std::string_view prefix, unsigned first, unsigned count, EventLoop& loop, Lines& lines, KernelCalls& kernel)
      : prefix_(prefix), first_(first), count_(count), loop_(loop), lines_(lines), kernel_(kernel) {}

  std::string_view prefix() const override { return prefix_; }
  Answer configure(std::string_view text) override;
  Answer query(std::string_view text) override;
  Answer remove(std::string_view text) override;

 private:
  /// 0, or an errno; a line that is none already has no reason to be refused.
  int take_away(unsigned index);

  const std::string_view prefix_;
  const unsigned first_, count_;
  EventLoop& loop_;
  Lines& lines_;
  KernelCalls& kernel_;
};

}  // namespace umk::monitor
