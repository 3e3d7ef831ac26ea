// Commands: the table of what the management console can be told, and what each does. Names and texts are those of User Mode Linux.
//
// A command runs on the console's thread (mconsole_console.h), where it may take its time; those that must work whatever else hangs run in the event loop.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "core/kernel/task/power_action.h"
#include "monitor/mconsole/answer.h"
#include "monitor/mconsole/devices.h"
#include "monitor/mconsole/kernel_calls.h"
#include "monitor/mconsole/kernel_symbols.h"

namespace umk::monitor {

class Commands {
 public:
  /// `end` ends the machine at once, without writing anything out.
  using End = std::function<void(PowerAction)>;

  Commands(KernelCalls& kernel, ManagedDevices& devices, KernelSymbols& symbols, End end)
      : kernel_(kernel), devices_(devices), symbols_(symbols), end_(std::move(end)) {}

  /// Whether `text` is served at once, in the event loop.
  static bool is_urgent(std::string_view text);
  Answer run(std::string_view text);
  /// For the event loop, when the answer is under way: an urgent command may have something left to do, such as to end the machine.
  void finish();

 private:
  struct Command;
  static const Command kCommands[];
  static const Command* find(std::string_view text);

  Answer version(std::string_view rest);
  Answer halt(std::string_view rest);
  Answer reboot(std::string_view rest);
  Answer config(std::string_view rest);
  Answer remove(std::string_view rest);
  Answer sysrq(std::string_view rest);
  Answer help(std::string_view rest);
  Answer ctrl_alt_del(std::string_view rest);
  Answer stop(std::string_view rest);
  Answer go(std::string_view rest);
  Answer log(std::string_view rest);
  Answer proc(std::string_view rest);
  Answer stack(std::string_view rest);

  KernelCalls& kernel_;
  ManagedDevices& devices_;
  KernelSymbols& symbols_;
  End end_;
  std::optional<PowerAction> due_;
};

}  // namespace umk::monitor
