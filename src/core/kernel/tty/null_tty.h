// NullTty: the terminal that is none, console=null: what is written there is gone, and nothing is ever typed.
#pragma once

#include "core/kernel/tty/tty.h"

namespace umk::tty {

class NullTty final : public Tty {
 public:
  /// As Linux's ttynull, a number that no node has.
  static constexpr vfs::DeviceNumber kDevice{240, 0};

  explicit NullTty(JobControl& jobs) : Tty(jobs, kDevice) {}

 private:
  size_t output_room() const override { return 64 * 1024; }
  void output(std::span<const uint8_t>) override {}
};

}  // namespace umk::tty
