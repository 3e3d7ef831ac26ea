// MessageLine: a line where the kernel's log is shown besides console 0: console=ttyS0, console=tty2.
//
// It reads the log from a position of its own, on the console thread, so that whoever speaks waits for no line. What a line does not take is
// shown when it does, as far as the log still has it; what is gone by then is counted.
//
// Life: made at boot, and stays. Only the console thread uses it.
#pragma once

#include "core/drivers/console/console_tty.h"
#include "core/kernel/task/kernel_log.h"

namespace umk::console {

class MessageLine {
 public:
  MessageLine(RefPtr<ConsoleTty> terminal, KernelLog& log) : terminal_(std::move(terminal)), log_(log) {}

  /// Shows what is new.
  void serve();

 private:
  bool show_rest();
  void spell(const KernelLog::Record& record);

  const RefPtr<ConsoleTty> terminal_;
  KernelLog& log_;
  uint64_t next_ = 0;
  char text_[KernelLog::kMaximumLine + 96];
  size_t length_ = 0, shown_ = 0;  // of text_
};

}  // namespace umk::console
