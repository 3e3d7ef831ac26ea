#include "core/drivers/kmsg/log_device.h"

#include <algorithm>

#include "core/abi/time.h"
#include "core/kernel/task/log_reader.h"
#include "core/kernel/task/task.h"
#include "core/kernel/time/clocks.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/vfs/open_file.h"
#include "core/kernel/vfs/poll.h"

namespace umk::kmsg {

namespace {

/// Each byte of a text may become four characters.
constexpr size_t kRecordBytes = KernelLog::kMaximumLine * 4 + 64;
constexpr size_t kMostWritten = 1024 - 32;
constexpr uint8_t kUserFacility = 1;

/// A text may hold anything; a line of this file holds printable characters.
void put_escaped(TextSink& sink, std::string_view text) {
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < ' ' || byte >= 127 || byte == '\\') format(sink, "\\x{02x}", byte);
    else sink.put({&character, 1});
  }
}

class LogDeviceFile final : public vfs::OpenFile {
 public:
  LogDeviceFile(RefPtr<vfs::Inode> inode, uint32_t flags, KernelLog& log)
      : OpenFile(std::move(inode), flags), log_(log), next_(log.first_sequence()) {}
  ~LogDeviceFile() override {
    if (suppressed_ == 0) return;
    const Task* const task = Task::current_or_null();
    umk::log(LogLevel::Warning, "{}: {} output lines suppressed due to ratelimiting", task ? task->name : "kernel", suppressed_.load());
  }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override;
  Result<uint64_t> seek(int64_t offset, int whence) override;
  uint32_t poll(vfs::PollTable* table) override;

 private:
  Result<size_t> read_record_locked(UserOutBuffer& buffer) REQUIRES(mutex_);

  KernelLog& log_;
  Mutex mutex_{LockRank::Pipe};
  uint64_t next_ GUARDED_BY(mutex_);
  // One that loops must not push everything else out of the log.
  LogLimit limit_;
  std::atomic<uint32_t> suppressed_{0};
};

Result<size_t> LogDeviceFile::read_at(uint64_t, UserOutBuffer& buffer) {
  for (;;) {
    uint64_t wanted;
    {
      MutexLock lock(mutex_);
      if (next_ < log_.next_sequence()) return read_record_locked(buffer);
      wanted = next_;
    }
    if (is_nonblocking()) return error(EAGAIN);
    TRY(log_reader::wait_for(log_, wanted));
  }
}

Result<size_t> LogDeviceFile::read_record_locked(UserOutBuffer& buffer) {
  // What the reader was to see next was overwritten: he is told once.
  if (next_ < log_.first_sequence()) {
    next_ = log_.first_sequence();
    return error(EPIPE);
  }
  KernelLog::Record record;
  if (!log_.read(next_, record)) return error(EAGAIN);
  char text[kRecordBytes];
  BufferSink sink(text);
  format(sink, "{},{},{},-;", static_cast<unsigned>(record.facility) * 8 + static_cast<unsigned>(record.level), record.sequence,
         record.time_ns / 1000);
  put_escaped(sink, record.view());
  sink.put("\n");
  if (sink.view().size() > buffer.remaining()) return error(EINVAL);
  const size_t put = TRY(buffer.put(std::as_bytes(std::span(sink.view()))));
  next_ = record.sequence + 1;
  return put;
}

Result<size_t> LogDeviceFile::write_at(uint64_t&, UserInBuffer& buffer, bool) {
  const size_t size = buffer.remaining();
  if (size > kMostWritten) return error(EINVAL);
  char bytes[kMostWritten];
  const size_t got = TRY(buffer.get(std::as_writable_bytes(std::span(bytes).first(size))));
  const KernelLog::ProgramLines policy = log_.program_lines.load(std::memory_order_relaxed);
  if (policy == KernelLog::ProgramLines::Off) return got;
  if (policy == KernelLog::ProgramLines::Limited) {
    constexpr uint32_t kIntervalSeconds = 5, kBurst = 10;
    uint32_t missed;
    const bool is_allowed = limit_.allows_at(time::monotonic_ns(), kIntervalSeconds, kBurst, missed);
    if (!is_allowed) {
      ++suppressed_;
      return got;
    }
  }
  std::string_view text(bytes, got);
  int level = log_.levels.message.load();
  uint8_t facility = kUserFacility;
  // "<14>text": priority as syslog(3) has it.
  if (text.starts_with('<')) {
    const size_t end = text.find('>');
    const std::optional<uint64_t> priority = end == std::string_view::npos ? std::nullopt : parse_unsigned(text.substr(1, end - 1));
    if (priority && *priority < 2048) {
      level = static_cast<int>(*priority & 7);
      // Nobody but the kernel speaks for the kernel.
      if (*priority >> 3 != 0) facility = static_cast<uint8_t>(*priority >> 3);
      text.remove_prefix(end + 1);
    }
  }
  if (text.ends_with('\n')) text.remove_suffix(1);
  log_line_of(facility, static_cast<LogLevel>(level & 7), text);
  return got;
}

Result<uint64_t> LogDeviceFile::seek(int64_t offset, int whence) {
  enum { kFirst = 0, kEnd = 2, kSinceClear = 3 };
  if (offset != 0) return error(ESPIPE);
  MutexLock lock(mutex_);
  switch (whence) {
    case kFirst: next_ = log_.first_sequence(); break;
    case kEnd: next_ = log_.next_sequence(); break;
    case kSinceClear: next_ = log_.clear_position(); break;
    default: return error(EINVAL);
  }
  return uint64_t{0};
}

uint32_t LogDeviceFile::poll(vfs::PollTable* table) {
  using namespace vfs::poll_bits;
  if (table) table->watch(log_.arrivals());
  MutexLock lock(mutex_);
  if (next_ >= log_.next_sequence()) return kOut | kWriteNormal;
  const uint32_t loss = next_ < log_.first_sequence() ? kError | kPriority : 0;
  return kIn | kReadNormal | kOut | kWriteNormal | loss;
}

}  // namespace

Result<void> LogDevice::attach(device::DeviceRegistry& registry) {
  TRY(registry.add_driver(vfs::FileType::CharacterDevice, kMajor, kMinor, 1, *this));
  return registry.announce({"kmsg", vfs::FileType::CharacterDevice, {kMajor, kMinor}, 0644});
}

Result<RefPtr<vfs::OpenFile>> LogDevice::open(const vfs::Caller&, RefPtr<vfs::Inode> inode, vfs::DeviceNumber, const vfs::Path&,
                                              uint32_t flags) {
  if (log_.program_lines.load() == KernelLog::ProgramLines::Off) return error(EPERM);
  return RefPtr<vfs::OpenFile>(TRY(make_ref<LogDeviceFile>(std::move(inode), flags, log_)));
}

}  // namespace umk::kmsg
