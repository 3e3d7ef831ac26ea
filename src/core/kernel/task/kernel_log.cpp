#include "core/kernel/task/kernel_log.h"

#include <algorithm>
#include <cstring>

#include "core/host/calls.h"

namespace umk {

KernelLog::KernelLog() : start_ns_(host::now_ns(host::Clock::Boottime)) {}

void KernelLog::copy_out(uint64_t offset, void* to, size_t size) const {
  for (size_t i = 0; i < size; ++i) static_cast<char*>(to)[i] = ring_[(offset + i) % kBytes];
}

void KernelLog::copy_in(uint64_t offset, const void* from, size_t size) {
  for (size_t i = 0; i < size; ++i) ring_[(offset + i) % kBytes] = static_cast<const char*>(from)[i];
}

void KernelLog::append(LogLevel level, std::string_view line, uint8_t facility) {
  const size_t length = std::min(line.size(), kMaximumLine);
  const Header header{host::now_ns(host::Clock::Boottime) - start_ns_, static_cast<uint32_t>(length), static_cast<uint8_t>(level), facility, 0};
  {
    MutexLock lock(mutex_);
    while (end_ + sizeof header + length - oldest_ > kBytes) {
      Header old;
      copy_out(oldest_, &old, sizeof old);
      oldest_ += sizeof old + old.length;
      ++first_sequence_;
    }
    copy_in(end_, &header, sizeof header);
    copy_in(end_ + sizeof header, line.data(), length);
    end_ += sizeof header + length;
    ++next_sequence_;
  }
  arrivals_.wake();
}

bool KernelLog::read(uint64_t sequence, Record& into) {
  MutexLock lock(mutex_);
  sequence = std::max(sequence, first_sequence_);
  if (sequence >= next_sequence_) return false;
  uint64_t at = first_sequence_, offset = oldest_;
  if (cursor_sequence_ >= first_sequence_ && cursor_sequence_ <= sequence && cursor_offset_ >= oldest_) {
    at = cursor_sequence_;
    offset = cursor_offset_;
  }
  Header header;
  copy_out(offset, &header, sizeof header);
  for (; at < sequence; ++at) {
    offset += sizeof header + header.length;
    copy_out(offset, &header, sizeof header);
  }
  cursor_sequence_ = sequence;
  cursor_offset_ = offset;
  into.sequence = sequence;
  into.time_ns = header.time_ns;
  into.level = static_cast<LogLevel>(header.level);
  into.facility = header.facility;
  into.length = static_cast<uint16_t>(header.length);
  copy_out(offset + sizeof header, into.text, header.length);
  return true;
}

uint64_t KernelLog::next_sequence() {
  MutexLock lock(mutex_);
  return next_sequence_;
}

uint64_t KernelLog::first_sequence() {
  MutexLock lock(mutex_);
  return first_sequence_;
}

uint64_t KernelLog::clear_position() {
  MutexLock lock(mutex_);
  return std::max(cleared_, first_sequence_);
}

void KernelLog::clear() {
  MutexLock lock(mutex_);
  cleared_ = next_sequence_;
}

uint64_t KernelLog::read_position() {
  MutexLock lock(mutex_);
  return std::max(read_position_, first_sequence_);
}

void KernelLog::set_read_position(uint64_t sequence) {
  MutexLock lock(mutex_);
  read_position_ = sequence;
}

std::string_view spell(KernelLog::ProgramLines lines) {
  switch (lines) {
    case KernelLog::ProgramLines::Limited: return "ratelimit";
    case KernelLog::ProgramLines::On: return "on";
    case KernelLog::ProgramLines::Off: return "off";
  }
  return {};
}

std::optional<KernelLog::ProgramLines> parse_program_lines(std::string_view text) {
  for (const auto lines : {KernelLog::ProgramLines::Limited, KernelLog::ProgramLines::On, KernelLog::ProgramLines::Off})
    if (text == spell(lines)) return lines;
  return {};
}

namespace {
// log() knows no Kernel, so the ring that it feeds is named here, once at boot.
KernelLog* fed_log = nullptr;
LogWriter further_writer = nullptr;

void write_line(LogLevel level, std::string_view line) {
  fed_log->append(level, line);
  if (further_writer) further_writer(level, line);
}
}  // namespace

void log_line_of(uint8_t facility, LogLevel level, std::string_view line) {
  if (!fed_log) return;
  fed_log->append(level, line, facility);
  if (further_writer) further_writer(level, line);
}

void install_kernel_log(KernelLog& log, LogWriter also) {
  fed_log = &log;
  further_writer = also;
  set_log_writer(write_line);
}

}  // namespace umk
