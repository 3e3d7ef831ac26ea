// How a machine ends, as reboot(2) asks for it. The monitor reads this too.
#pragma once

#include <cstdint>

namespace umk {

enum class PowerAction : uint32_t {
  None,
  Halt,
  PowerOff,
  Restart,
  RestartNow,  // nothing is written out before
};

}  // namespace umk
