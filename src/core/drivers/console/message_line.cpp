#include "core/drivers/console/message_line.h"

#include "core/abi/time.h"

namespace umk::console {

void MessageLine::serve() {
  KernelLog::Record record;
  while (show_rest() && log_.read(next_, record)) {
    length_ = shown_ = 0;
    if (log_.is_shown(record.level)) spell(record);
    next_ = record.sequence + 1;
  }
}

/// False when the line takes no more now.
bool MessageLine::show_rest() {
  if (shown_ < length_) shown_ += terminal_->show(std::span(reinterpret_cast<const uint8_t*>(text_) + shown_, length_ - shown_));
  return shown_ == length_;
}

void MessageLine::spell(const KernelLog::Record& record) {
  BufferSink sink(text_);
  if (record.sequence > next_) format(sink, "** {} printk messages dropped **\n", record.sequence - next_);
  if (log_.shows_time.load(std::memory_order_relaxed))
    format(sink, "[{5}.{06}] ", record.time_ns / kNanosecondsPerSecond, record.time_ns % kNanosecondsPerSecond / 1000);
  format(sink, "{}\n", record.view());
  length_ = sink.view().size();
}

}  // namespace umk::console
