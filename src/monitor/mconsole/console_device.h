// Consoles and serial lines for `config` and `remove`: con0, ssl1. Which lines there are and what is connected to them is kept here as text; only console 0 is a line
// of the machine so far, and it is in use as long as the machine runs.
#pragma once

#include <map>
#include <string>

#include "monitor/configuration.h"
#include "monitor/mconsole/devices.h"

namespace umk::monitor {

class ConsoleDevice final : public ManagedDevice {
 public:
  /// `count` lines called `prefix`; those without an entry in `channels` are `none`. `open` says which line the machine uses; -1: none.
  ConsoleDevice(std::string_view prefix, unsigned count, std::map<unsigned, std::string> channels, int open)
      : prefix_(prefix), count_(count), channels_(std::move(channels)), open_(open) {}

  std::string_view prefix() const override { return prefix_; }
  Answer configure(std::string_view text) override;
  Answer query(std::string_view text) override;
  Answer remove(std::string_view text) override;

 private:
  std::string_view prefix_;
  unsigned count_;
  std::map<unsigned, std::string> channels_;
  int open_;
};

}  // namespace umk::monitor
