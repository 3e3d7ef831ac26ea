#include "core/kernel/task/log_reader.h"

#include "core/abi/time.h"

namespace umk::log_reader {

namespace {

Result<void> put_line(UserOutBuffer& buffer, std::span<const char> line) {
  const size_t put = TRY(buffer.put(std::as_bytes(line)));
  return put == line.size() ? Result<void>() : error(EFAULT);
}

}  // namespace

Result<void> wait_for(KernelLog& log, uint64_t sequence) {
  for (;;) {
    sync::ContextWaiter waiter;
    sync::prepare_to_park();
    log.arrivals().add(waiter);
    const bool is_there = sequence < log.next_sequence();
    Result<void> woken;
    if (!is_there) woken = sync::park(Sleep::Interruptible);
    log.arrivals().remove(waiter);
    if (is_there) return {};
    TRY(std::move(woken));
  }
}

size_t spell(const KernelLog& log, const KernelLog::Record& record, std::span<char> into) {
  BufferSink sink(into);
  format(sink, "<{}>", static_cast<unsigned>(record.facility) * 8 + static_cast<unsigned>(record.level));
  if (log.shows_time.load(std::memory_order_relaxed))
    format(sink, "[{5}.{06}] ", record.time_ns / kNanosecondsPerSecond, record.time_ns % kNanosecondsPerSecond / 1000);
  format(sink, "{}\n", record.view());
  return sink.view().size();
}

Result<size_t> read_next(KernelLog& log, UserOutBuffer& buffer, bool nonblocking) {
  if (nonblocking && log.read_position() >= log.next_sequence()) return error(EAGAIN);
  TRY(wait_for(log, log.read_position()));
  KernelLog::Record record;
  char text[kLineBytes];
  size_t done = 0;
  while (log.read(log.read_position(), record)) {
    const size_t length = spell(log, record, text);
    if (length > buffer.remaining()) break;
    if (const Result<void> put = put_line(buffer, {text, length}); !put.ok()) return done != 0 ? Result<size_t>(done) : put.failure();
    log.set_read_position(record.sequence + 1);
    done += length;
  }
  return done;
}

size_t unread_bytes(KernelLog& log) {
  size_t bytes = 0;
  KernelLog::Record record;
  char text[kLineBytes];
  for (uint64_t at = log.read_position(); log.read(at, record); at = record.sequence + 1) bytes += spell(log, record, text);
  return bytes;
}

Result<size_t> read_last(KernelLog& log, UserOutBuffer& buffer) {
  KernelLog::Record record;
  char text[kLineBytes];
  uint64_t from = log.clear_position();
  size_t total = 0;
  for (uint64_t at = from; log.read(at, record); at = record.sequence + 1) total += spell(log, record, text);
  while (total > buffer.remaining() && log.read(from, record)) {
    total -= spell(log, record, text);
    from = record.sequence + 1;
  }
  size_t done = 0;
  for (uint64_t at = from; log.read(at, record); at = record.sequence + 1) {
    const size_t length = spell(log, record, text);
    if (length > buffer.remaining()) break;
    TRY(put_line(buffer, {text, length}));
    done += length;
  }
  return done;
}

}  // namespace umk::log_reader
