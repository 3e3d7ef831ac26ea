#include "tools/uml_tty_playback/log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace umk::uml_tty_playback {

namespace format = tty_log_format;

namespace {
constexpr size_t kPieceBytes = 64 * 1024;
constexpr useconds_t kNapUs = 50'000;
}  // namespace

LogFile::LogFile(std::string path, Follow follow, std::optional<format::Layout> layout)
    : path_(std::move(path)), follow_(follow), layout_(layout), fd_(path_ == "-" ? dup(0) : open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) throw LogError(fmt::format("{}: {}", path_, std::strerror(errno)));
}

LogFile::~LogFile() { close(fd_); }

bool LogFile::fill() {
  bytes_.erase(0, at_);
  offset_ += at_;
  at_ = 0;
  const size_t before = bytes_.size();
  bytes_.resize(before + kPieceBytes);
  ssize_t count;
  do count = read(fd_, bytes_.data() + before, kPieceBytes);
  while (count < 0 && errno == EINTR);
  bytes_.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  if (count < 0) throw LogError(fmt::format("{}: {}", path_, std::strerror(errno)));
  is_at_end_ = count == 0;
  return count > 0;
}

void LogFile::wait() { usleep(kNapUs); }

std::optional<Record> LogFile::take() {
  const auto bytes = std::as_bytes(std::span(bytes_).subspan(at_));
  if (!layout_) {
    // The first piece of a file tells; of a log that is being written, what is there.
    if (bytes.size() < format::head_bytes(format::Layout::Bits32)) return {};
    layout_ = format::guess_layout(bytes);
  }
  const size_t head_bytes = format::head_bytes(*layout_);
  if (bytes.size() < head_bytes) return {};
  const format::Parsed parsed = format::parse_head(bytes.first(head_bytes), *layout_);
  if (parsed.fault) throw LogError(fmt::format("{}: no record at byte {}: {}", path_, offset_ + at_, parsed.fault));
  if (bytes.size() - head_bytes < parsed.head.length) return {};
  Record record{offset_ + at_, parsed.head, bytes_.substr(at_ + head_bytes, parsed.head.length)};
  at_ += head_bytes + parsed.head.length;
  return record;
}

void LogFile::check_end() {
  const size_t left = bytes_.size() - at_;
  if (left == 0) return;
  throw LogError(fmt::format("{}: the log ends within the record at byte {}, of which there are {} bytes", path_, offset_ + at_, left));
}

}  // namespace umk::uml_tty_playback
