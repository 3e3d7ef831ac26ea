// Echo, output processing, and the column where the cursor stands.
#include <algorithm>

#include "core/lib/line_discipline/characters.h"
#include "core/lib/line_discipline/line_discipline.h"

namespace umk {

using namespace termios;

/// Collects small pieces of output, so that the device is not called for each byte; knows how many it still takes.
class LineDiscipline::Batch {
 public:
  Batch(LineDevice& device, size_t room) : device_(device), room_(room) {}
  ~Batch() { flush(); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  size_t room() const { return room_; }
  /// Requires room for it.
  void put(uint8_t byte) {
    if (used_ == sizeof bytes_) flush();
    bytes_[used_++] = byte;
    --room_;
  }

 private:
  void flush() {
    if (used_ > 0) device_.output(std::span(bytes_, used_));
    used_ = 0;
  }

  LineDevice& device_;
  size_t room_;
  size_t used_ = 0;
  uint8_t bytes_[256];
};

namespace {

// Echo is shown when a burst of input ends, or when this much of it waits.
constexpr size_t kEchoBurst = 256;

}  // namespace

void LineDiscipline::echo_raw(uint8_t c) { echo_.push({c == 0xff ? EchoItem::Kind::Verbatim : EchoItem::Kind::Character, c}); }

/// Echoes a typed character; ECHOCTL shows control characters as ^X.
void LineDiscipline::echo(uint8_t c) {
  if (local_flag(kEchoctl) && characters::is_control(c) && c != '\t') echo_.push({EchoItem::Kind::Control, c});
  else echo_raw(c);
}

/// The same for a character that becomes part of the line.
void LineDiscipline::echo_in_line(uint8_t c) {
  if (input_.is_line_empty()) echo_.push({EchoItem::Kind::MarkColumn});
  echo(c);
}

void LineDiscipline::echo_in_bulk() {
  if (echo_.size() >= kEchoBurst) flush_echo();
}

void LineDiscipline::flush_echo() {
  Batch batch(device_, room());
  while (!echo_.empty() && show(echo_.front(), batch)) echo_.pop();
}

/// Shows one item; false when there is no room for it.
bool LineDiscipline::show(const EchoItem& item, Batch& batch) {
  switch (item.kind) {
    case EchoItem::Kind::Character:
      if (output_flag(kOpost)) return process_output(item.value, batch);
      if (batch.room() < 1) return false;
      batch.put(item.value);
      return true;
    case EchoItem::Kind::Verbatim:
      if (batch.room() < 1) return false;
      batch.put(item.value);
      ++column_;
      return true;
    case EchoItem::Kind::Control:
      if (batch.room() < 2) return false;
      batch.put('^');
      batch.put(item.value ^ 0x40);
      column_ += 2;
      return true;
    case EchoItem::Kind::MarkColumn:
      line_column_ = column_;
      return true;
    case EchoItem::Kind::StepBack:
      if (column_ > 0) --column_;
      return true;
    case EchoItem::Kind::EraseTab:
    case EchoItem::Kind::EraseTabTab: {
      const size_t before = item.value + (item.kind == EchoItem::Kind::EraseTab ? line_column_ : 0);
      const size_t width = 8 - before % 8;
      if (batch.room() < width) return false;
      for (size_t i = 0; i < width; ++i) batch.put('\b');
      column_ -= std::min(column_, width);
      return true;
    }
  }
  return true;
}

/// OPOST: one byte of output as it appears on the line; false, with nothing done, when there is no room for it.
bool LineDiscipline::process_output(uint8_t c, Batch& batch) {
  if (batch.room() < 1) return false;
  switch (c) {
    case '\n':
      if (output_flag(kOnlcr)) {
        if (batch.room() < 2) return false;
        batch.put('\r');
        column_ = 0;
      }
      if (output_flag(kOnlret)) column_ = 0;
      line_column_ = column_;
      break;
    case '\r':
      if (output_flag(kOnocr) && column_ == 0) return true;
      if (output_flag(kOcrnl)) c = '\n';
      if (c == '\r' || output_flag(kOnlret)) line_column_ = column_ = 0;
      break;
    case '\t': {
      const size_t width = 8 - column_ % 8;
      if ((settings_.output_flags & kTabDelayMask) == kXtabs) {
        if (batch.room() < width) return false;
        for (size_t i = 1; i < width; ++i) batch.put(' ');
        c = ' ';
      }
      column_ += width;
      break;
    }
    case '\b':
      if (column_ > 0) --column_;
      break;
    default:
      if (characters::is_control(c)) break;
      if (output_flag(kOlcuc)) c = characters::to_upper(c);
      if (!is_continuation(c)) ++column_;
      break;
  }
  batch.put(c);
  return true;
}

size_t LineDiscipline::write(std::span<const uint8_t> bytes) {
  flush_echo();
  if (!output_flag(kOpost)) {
    const size_t count = std::min(room(), bytes.size());
    if (count > 0) device_.output(bytes.first(count));
    return count;
  }
  Batch batch(device_, room());
  size_t count = 0;
  while (count < bytes.size() && process_output(bytes[count], batch)) ++count;
  return count;
}

}  // namespace umk
