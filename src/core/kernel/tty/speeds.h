// Line speeds by their code in c_cflag, termios(3). Lines of ours have no speed: programs set one and read it back.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>

#include "core/abi/termios.h"

namespace umk::tty {

/// The speed that the code in `control_flags` stands for; none for BOTHER and unknown codes.
constexpr std::optional<uint32_t> speed_of(uint32_t control_flags) {
  constexpr uint32_t kSlow[] = {0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
  constexpr uint32_t kFast[] = {57600,  115200,  230400,  460800,  500000,  576000,  921600, 1000000,
                                1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};
  const uint32_t code = control_flags & termios::kBaudMask;
  if (code < std::size(kSlow)) return kSlow[code];
  if (code > termios::kBother && code - termios::kBother <= std::size(kFast)) return kFast[code - termios::kBother - 1];
  return {};
}

}  // namespace umk::tty
