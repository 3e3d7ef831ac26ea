// KernelLog: the last lines of the kernel's log, for syslog(2) and /dev/kmsg.
//
// A ring of records; the oldest are overwritten. log() feeds the ring of the machine that called install_kernel_log.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "core/abi/device_number.h"
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
    uint8_t facility;  // 0: the kernel; others are of programs that wrote to /dev/kmsg, as syslog(3) numbers them
    uint16_t length;
    char text[kMaximumLine];
    std::string_view view() const { return {text, length}; }
  };

  explicit KernelLog();
  void append(LogLevel level, std::string_view line, uint8_t facility = 0);
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
  /// The numbers of /proc/sys/kernel/printk: the console shows lines whose level is below the first; `message` is that of lines without one.
  struct Levels {
    std::atomic<int> console{7}, message{4}, lowest_console{1}, console_at_boot{7};
    std::atomic<int> console_before_off{-1};  // syslog(2): the level that "console on" brings back
  };
  Levels levels;
  std::atomic<bool> ignores_level{false};  // ignore_loglevel: the console shows everything
  std::atomic<bool> shows_time{true};      // printk.time: lines begin with the seconds since boot
  bool is_shown(LogLevel level) const {
    return static_cast<int>(level) < levels.console.load(std::memory_order_relaxed) || ignores_level.load(std::memory_order_relaxed);
  }

  /// Where it is shown: console=. The preferred one is /dev/console. Set at boot, the last first.
  struct Console {
    char name[8] = {};
    DeviceNumber device;
  };
  static constexpr size_t kMostConsoles = 8;
  std::array<Console, kMostConsoles> consoles;
  size_t console_count = 0;

  /// What becomes of lines that programs write to /dev/kmsg: /proc/sys/kernel/printk_devkmsg.
  enum class ProgramLines : uint8_t { Limited, On, Off };
  std::atomic<ProgramLines> program_lines{ProgramLines::Limited};
  std::atomic<bool> program_lines_are_fixed{false};  // by printk.devkmsg= at boot: the machine's programs cannot change it

  /// Woken by each record.
  WaitQueue& arrivals() { return arrivals_; }
  Mutex& mutex() { return mutex_; }

 private:
  struct Header {
    uint64_t time_ns;
    uint32_t length;
    uint8_t level, facility;
    uint16_t reserved;
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

/// As /proc/sys/kernel/printk_devkmsg has it: "ratelimit", "on", "off".
std::string_view spell(KernelLog::ProgramLines lines);
std::optional<KernelLog::ProgramLines> parse_program_lines(std::string_view text);

/// A line of somebody else than the kernel: kept with its facility, and shown on the console as any other.
void log_line_of(uint8_t facility, LogLevel level, std::string_view line);

/// Makes log() feed `log` too, besides `also` (may be null): what shows lines on the console.
void install_kernel_log(KernelLog& log, LogWriter also);

}  // namespace umk
