#include "monitor/channels/tty_log_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace umk::monitor {

namespace format = tty_log_format;

TtyLogWriter::TtyLogWriter(EventLoop& loop, int fd, std::string directory) : loop_(loop), directory_(std::move(directory)) {
  if (fd >= 0) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
      throw std::runtime_error(
          fmt::format("umk: tty_log_fd={}: umk inherits no such descriptor. Open it in the shell, as in {}>tty.log", fd, fd));
    if ((flags & O_ACCMODE) == O_RDONLY)
      throw std::runtime_error(fmt::format("umk: tty_log_fd={}: the descriptor is open for reading only", fd));
    stream_ = std::make_unique<HostStream>(fd, HostStream::Direction::Output);
    return;
  }
  struct stat status {};
  if (stat(directory_.c_str(), &status) != 0 || (!S_ISDIR(status.st_mode) && (errno = ENOTDIR)) ||
      access(directory_.c_str(), W_OK | X_OK) != 0)
    throw std::runtime_error(fmt::format("umk: tty_log_dir={}: {}", directory_, std::strerror(errno)));
}

TtyLogWriter::~TtyLogWriter() {
  if (is_watched_) loop_.forget(stream_->fd());
  for (const auto& [tty, fd] : files_)
    if (fd >= 0) close(fd);
}

void TtyLogWriter::connect(console::TtyLogBoard& board, Report report) {
  board_ = &board;
  report_ = std::move(report);
  serve();
}

void TtyLogWriter::serve() {
  if (!board_ || board_->records.is_abandoned()) return;
  console::ConsoleRing& ring = board_->records;
  bool waits = false;
  while (!waits && !ring.is_abandoned()) {
    const std::span<const uint8_t> piece = ring.front();
    if (piece.empty()) {
      ring.want_bytes();
      if (ring.empty()) break;
      continue;
    }
    const ssize_t count = write(piece);
    if (count >= 0) ring.drop(static_cast<uint32_t>(count));
    waits = count < 0;
  }
  if (waits && !is_watched_) is_watched_ = loop_.watch(stream_->fd(), EPOLLOUT, [this](uint32_t) { serve(); });
  if (!waits && is_watched_) {
    loop_.forget(stream_->fd());
    is_watched_ = false;
  }
}

ssize_t TtyLogWriter::write(std::span<const uint8_t> bytes) {
  if (!stream_) {
    take_records(bytes);
    return static_cast<ssize_t>(bytes.size());
  }
  for (;;) {
    const ssize_t count = stream_->write(bytes);
    if (count >= 0) return count;
    if (errno == EAGAIN) return -1;
    if (errno == EINTR) continue;
    fail(errno);
    return 0;
  }
}

/// Nothing of this can be written any more: who uses terminals does not wait for it, and people are told.
void TtyLogWriter::fail(int error_code) {
  board_->records.abandon();
  report_(fmt::format("tty log: nothing more is written: {}", std::strerror(error_code)));
}

void TtyLogWriter::take_records(std::span<const uint8_t> bytes) {
  const auto more = std::as_bytes(bytes);
  begun_.insert(begun_.end(), more.begin(), more.end());
  constexpr size_t kHead = format::head_bytes(format::Layout::Bits32);
  size_t at = 0;
  while (begun_.size() - at >= kHead) {
    const format::Parsed parsed = format::parse_head(std::span(begun_).subspan(at, kHead), format::Layout::Bits32);
    if (parsed.fault) return fail(EILSEQ);  // the kernel's memory was damaged
    if (begun_.size() - at - kHead < parsed.head.length) break;
    take_record(parsed.head, std::span(begun_).subspan(at + kHead, parsed.head.length));
    at += kHead + parsed.head.length;
  }
  begun_.erase(begun_.begin(), begun_.begin() + static_cast<ptrdiff_t>(at));
}

void TtyLogWriter::take_record(const format::Head& head, std::span<const std::byte> data) {
  if (head.what == format::What::Exec || head.tty == 0) return;
  auto place = files_.find(head.tty);
  if (head.what == format::What::Close) {
    if (place == files_.end()) return;
    if (place->second >= 0) close(place->second);
    files_.erase(place);
    return;
  }
  if (place == files_.end()) place = files_.emplace(head.tty, open_file(head)).first;
  if (head.what != format::What::Write) return;
  while (!data.empty() && place->second >= 0) {
    const ssize_t count = ::write(place->second, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count >= 0) {
      data = data.subspan(static_cast<size_t>(count));
      continue;
    }
    report_(fmt::format("tty log: nothing more is written of a terminal: {}", std::strerror(errno)));
    close(std::exchange(place->second, -1));
  }
}

int TtyLogWriter::open_file(const format::Head& head) {
  // Two terminals may be opened at the same microsecond.
  for (uint32_t microseconds = head.microseconds;; ++microseconds) {
    const std::string name = fmt::format("{}/{}-{}", directory_, head.seconds, microseconds);
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) return fd;
    if (errno == EEXIST && microseconds - head.microseconds < 1000) continue;
    report_(fmt::format("open_tty_log : couldn't open '{}', errno = {}", name, errno));
    return -1;
  }
}

bool TtyLogWriter::drain(int timeout_ms) {
  if (!board_) return true;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    serve();
    if (board_->records.empty() || board_->records.is_abandoned()) return true;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    loop_.run_once(static_cast<int>(left));
  }
}

}  // namespace umk::monitor
