// KernelCalls: what the management console asks of the kernel, for ordinary threads of the monitor: each call runs attached, as a kernel thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/drivers/ubd/disk_image.h"
#include "core/drivers/watchdog/order.h"
#include "monitor/machine/machine.h"

namespace umk::monitor {

class KernelCalls {
 public:
  explicit KernelCalls(Machine& machine) : machine_(machine), functions_(*machine.image().management) {}

  /// An errno, or a text.
  struct Text {
    int error = 0;
    bool was_opened = false;
    std::string text;
  };
  Text describe();
  Text read_proc(std::string_view path);
  Text sysrq(char key);
  Text show_stack(int pid);
  void log(std::string_view text);
  void press_ctrl_alt_del();
  uint32_t hold();
  void release();
  bool is_holding();
  int attach_disk(const ubd::DiskImage& image);
  int detach_disk(uint32_t number);
  /// A line of the board appears for the guest, or goes: 0 or an errno; EBUSY while the guest has it open.
  int add_line(uint32_t line);
  int remove_line(uint32_t line);
  uint64_t memory_bytes();
  int take_memory(uint64_t bytes);
  void give_memory(uint64_t bytes);
  std::optional<std::string> take_notice();
  int exit_code();
  watchdog::Order take_watchdog_order();
  void note_watchdog_started(int fd);
  void note_watchdog_stopped();

 private:
  template <typename Body>
  void attached(Body&& body);
  template <typename Ask>
  Text text_of(Ask&& ask);

  Machine& machine_;
  const engine::ManagementFunctions& functions_;
};

}  // namespace umk::monitor
