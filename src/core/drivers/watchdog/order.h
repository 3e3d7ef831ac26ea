// What /dev/watchdog asks of the monitor.
#pragma once

namespace umk::watchdog {

enum class Order : int { None, Start, Stop };

}  // namespace umk::watchdog
