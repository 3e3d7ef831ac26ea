#include "core/drivers/console/tty_log.h"

#include "core/base/log.h"
#include "core/host/calls.h"
#include "core/kernel/task/exec.h"
#include "core/lib/tty_log_format/tty_log_format.h"
#include "core/sync/park.h"

namespace umk::console {

namespace format = tty_log_format;

/// The data are `bytes`, or the first `argument_count` of `arguments` and then `note`.
struct TtyLog::Record {
  format::What what;
  DeviceNumber terminal;
  format::Direction direction = format::Direction::None;
  std::span<const uint8_t> bytes;
  const StringList* arguments = nullptr;
  size_t argument_count = 0, argument_bytes = 0;

  size_t data_bytes() const { return argument_bytes + bytes.size(); }
  size_t size() const { return format::head_bytes(format::Layout::Bits32) + data_bytes(); }
};

namespace {

constexpr size_t kMarkBytes = 128;

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

}  // namespace

void TtyLog::record_open(DeviceNumber terminal, DeviceNumber opener) {
  const uint32_t number = static_cast<uint32_t>(opener.encoded());
  uint8_t bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  record({.what = format::What::Open, .terminal = terminal, .bytes = bytes}, false);
}

void TtyLog::record_close(DeviceNumber terminal) { record({.what = format::What::Close, .terminal = terminal, .bytes = {}}, false); }

void TtyLog::record_data(DeviceNumber terminal, Direction direction, std::span<const uint8_t> bytes) {
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kMostData))) {
    record({.what = format::What::Write,
            .terminal = terminal,
            .direction = static_cast<format::Direction>(direction),
            .bytes = bytes.first(std::min(bytes.size(), kMostData))},
           true);
  }
}

void TtyLog::record_exec(DeviceNumber terminal, const StringList& arguments) {
  Record record{.what = format::What::Exec, .terminal = terminal, .bytes = {}, .arguments = &arguments};
  size_t left_out = 0;
  for (size_t i = 0; i < arguments.count(); ++i) {
    const size_t bytes = arguments.at(i).size() + 1;
    if (left_out == 0 && record.argument_bytes + bytes <= kMostData) {
      ++record.argument_count;
      record.argument_bytes += bytes;
    } else {
      left_out += bytes;
    }
  }
  char note[64];
  BufferSink sink(note);
  if (left_out != 0) {
    umk::format(sink, "[{} bytes more]{}", left_out, '\0');
    record.bytes = bytes_of(sink.view());
  }
  this->record(record, true);
}

void TtyLog::record(const Record& record, bool may_wait) {
  while (!try_put(record))
    if (!may_wait || !wait_for(record.size() + kMarkBytes)) return lose();
}

bool TtyLog::try_put(const Record& record) {
  uint64_t lost = 0;
  {
    MutexLock lock(mutex_);
    const bool is_stuck = is_stuck_.load(std::memory_order_relaxed);
    if (board_.records.is_abandoned() ||
        board_.records.room() < (is_stuck ? ConsoleRing::kCapacity / 2 : record.size() + (lost_ != 0 ? kMarkBytes : 0)))
      return false;
    is_stuck_.store(false, std::memory_order_relaxed);
    lost = std::exchange(lost_, 0);
    if (lost != 0) {
      char text[kMarkBytes / 2];
      BufferSink sink(text);
      umk::format(sink, "\r\n[{} records are missing]\r\n", lost);
      put_locked({.what = format::What::Write, .terminal = {}, .direction = format::Direction::Write, .bytes = bytes_of(sink.view())});
    }
    put_locked(record);
  }
  if (board_.records.must_wake_consumer()) {
    const uint64_t one = 1;
    if (const int event = board_.monitor_event.load(std::memory_order_relaxed); event >= 0)
      (void)host::write(event, std::as_bytes(std::span(&one, 1)));
  }
  if (lost != 0) log(LogLevel::Warning, "tty log: {} records are missing", lost);
  return true;
}

void TtyLog::put_locked(const Record& record) {
  // Under the lock, so that times do not run backwards.
  const uint64_t now_us = host::now_ns(host::Clock::Realtime) / 1000;
  const auto head = format::write_head({record.what, record.terminal.encoded(), static_cast<uint32_t>(record.data_bytes()),
                                        record.direction, now_us / 1'000'000, static_cast<uint32_t>(now_us % 1'000'000)});
  board_.records.put(std::span(reinterpret_cast<const uint8_t*>(head.data()), head.size()));
  for (size_t i = 0; i < record.argument_count; ++i) {
    const std::string_view argument = record.arguments->at(i);
    board_.records.put({reinterpret_cast<const uint8_t*>(argument.data()), argument.size() + 1});
  }
  board_.records.put(record.bytes);
}

/// Sleeps until so much is free; false when the host takes nothing. There is nobody to wake it: it looks now and then.
bool TtyLog::wait_for(size_t bytes) {
  constexpr uint64_t kFirstNapNs = 500'000, kLongestNapNs = 20'000'000;
  uint32_t used = board_.records.used();
  uint64_t waited_ns = 0, nap_ns = kFirstNapNs;
  for (;;) {
    if (board_.records.is_abandoned()) return false;
    if (is_stuck_.load(std::memory_order_relaxed)) return board_.records.room() >= ConsoleRing::kCapacity / 2;
    if (board_.records.room() >= bytes) return true;
    if (board_.records.used() < used) waited_ns = 0;
    used = board_.records.used();
    if (waited_ns >= patience_ns_) return false;
    sync::prepare_to_park();
    (void)sync::park(Sleep::Uninterruptible, Deadline::after_ns(nap_ns));
    waited_ns += nap_ns;
    nap_ns = std::min(nap_ns * 2, kLongestNapNs);
  }
}

void TtyLog::lose() {
  bool is_first;
  {
    MutexLock lock(mutex_);
    is_first = lost_++ == 0;
    is_stuck_.store(true, std::memory_order_relaxed);
  }
  if (is_first) log(LogLevel::Error, "tty log: the host takes no records: what happens on terminals is not written down until it does");
}

}  // namespace umk::console
