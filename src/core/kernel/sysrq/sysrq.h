// SysRq: orders to the kernel itself, by one letter: the kernel's admin-guide on sysrq has them for Linux.
//
// What an order prints goes to the kernel's log, and to who gave the order if he wants it. Orders may sleep (a sync does): they are given on a kernel thread or by a
// task, with no lock held.
#pragma once

#include "core/base/text.h"
#include "core/kernel/task/kernel.h"

namespace umk::sysrq {

/// What `/proc/sys/kernel/sysrq` allows, bit by bit (Documentation/admin-guide/sysrq.rst); 1 allows all.
namespace keys {
inline constexpr int kAll = 1, kLogLevels = 2, kKeyboard = 4, kReports = 8, kSync = 16, kRemount = 32, kSignals = 64, kPower = 128, kNice = 256;
}

enum class Source {
  Key,      // the management console, which stands for the keyboard: the setting decides
  Trigger,  // /proc/sysrq-trigger: everything is allowed to who may write it
};

/// Does what `key` stands for; an unknown one explains them all. `reply` may be null.
void handle(Kernel& kernel, char key, Source source, TextSink* reply);

/// Where an order's lines go.
class Printer {
 public:
  explicit Printer(TextSink* reply) : reply_(reply) {}
  void line(std::string_view text);
  template <typename... Arguments>
  void print(std::string_view pattern, const Arguments&... arguments) {
    char buffer[KernelLog::kMaximumLine];
    BufferSink sink(buffer);
    format(sink, pattern, arguments...);
    line(sink.view());
  }
  /// Lines that somebody else made.
  void lines(std::string_view text);

 private:
  TextSink* reply_;
};

// --- task_report.cpp
enum class WhichTasks { All, Blocked, Running };
void report_tasks(Kernel& kernel, Printer& printer, WhichTasks which);
void report_registers(Kernel& kernel, Printer& printer);
void report_timers(Kernel& kernel, Printer& printer);
// --- memory_report.cpp
void report_memory(Kernel& kernel, Printer& printer);

}  // namespace umk::sysrq
