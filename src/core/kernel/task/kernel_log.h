// KernelLog: the last lines of the kernel's log, for syslog(2) and /dev/kmsg.
//
// A ring of records; the oldest are overwritten. log() feeds the ring of the machine that called install_kernel_log.
#pragma once

#include <array>
#include <cstdint>

#include "core/base/log.h"
#include "core/sync/wait_queue.h"

namespace umk {

class KernelLog {
 public:
  static constexpr size_t kBytes = 64 * 1024;
  static constexpr size_t kMaximumLine = 480;

  struct Record {
    uint64_t sequence;
    uint64_t time_ns;  // since boot
    LogLevel level;
    uint16_t length;
    char text[kMaximumLine];
    std::string_view view() const { return {text, length}; }
  };

  explicit KernelLog();
  void append(LogLevel level, std::string_view line);
  /// The first record with a number >= `sequence`; false when there is none yet.
  bool read(uint64_t sequence, Record& into);
  /// The number that the next record will have, and that of the oldest one kept.
  uint64_t next_sequence();
  uint64_t first_sequence();
  /// syslog(2): "clear" hides what came before from readers of all; the reader position of SYSLOG_ACTION_READ.
  uint64_t clear_position();
  void clear();
  uint64_t read_position();
  void set_read_position(uint64_t sequence);
  /// Woken by each record.
  WaitQueue& arrivals() { return arrivals_; }
  Mutex& mutex() { return mutex_; }

 private:
  struct Header {
    uint64_t time_ns;
    uint32_t length;
    uint32_t level;
  };
  void copy_out(uint64_t offset, void* to, size_t size) const;
  void copy_in(uint64_t offset, const void* from, size_t size);

  Mutex mutex_{LockRank::Log};
  const uint64_t start_ns_;
  // Offsets count bytes since the start; the ring holds [oldest, end).
  uint64_t oldest_ GUARDED_BY(mutex_) = 0, end_ GUARDED_BY(mutex_) = 0;
  uint64_t first_sequence_ GUARDED_BY(mutex_) = 0, next_sequence_ GUARDED_BY(mutex_) = 0;
  uint64_t cleared_ GUARDED_BY(mutex_) = 0, read_position_ GUARDED_BY(mutex_) = 0;
  // Where the last read left off, so that reading line by line does not start over each time.
  uint64_t cursor_sequence_ GUARDED_BY(mutex_) = 0, cursor_offset_ GUARDED_BY(mutex_) = 0;
  std::array<char, kBytes> ring_;
  WaitQueue arrivals_;
};

/// Makes log() feed `log` too, besides `also` (may be null): what shows lines on the console.
void install_kernel_log(KernelLog& log, LogWriter also);

}  // namespace umk
