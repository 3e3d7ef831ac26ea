// How programs read and write a terminal: blocking, timing, job control, and who goes first.
#include <algorithm>

#include "core/kernel/tty/tty.h"

namespace umk::tty {

namespace {

// A line never exceeds the input queue, and a raw read cannot get more than it holds: one buffer serves every read.
constexpr size_t kReadBytes = InputQueue::kCapacity;
constexpr size_t kWriteBytes = 2048;
constexpr uint64_t kTenthNs = 100'000'000;

}  // namespace

Result<RefPtr<vfs::OpenFile>> Tty::open(RefPtr<vfs::Inode> inode, uint32_t flags, bool is_console) {
  RefPtr<TtyFile> file = TRY(make_ref<TtyFile>(std::move(inode), flags, RefPtr<Tty>(this), is_console));
  const JobMember member = jobs_.current();
  TtyRecorder* const recorder = jobs_.recorder;
  if (recorder) [[unlikely]] recorder->wait_for_room();
  MutexLock lock(mutex_);
  TRY(prepare_open(is_console));
  if (is_exclusive_ && !member.may_administer) return error(EBUSY);
  if (recorder && files_.empty()) [[unlikely]] recorder->record_open(device_, member.terminal ? member.terminal->device_number() : vfs::DeviceNumber{});
  files_.push_back(*file);
  // Write access alone does not make a controlling terminal: it could be opened again for reading through /dev/tty.
  if (!(flags & vfs::open_flags::kNoControllingTty) && !is_console && file->is_readable() && member && member.is_leader && !member.terminal &&
      !session_)
    set_session_locked(member);
  return RefPtr<vfs::OpenFile>(std::move(file));
}

void Tty::close(TtyFile& file) {
  if (jobs_.recorder) [[unlikely]] jobs_.recorder->wait_for_room();
  MutexLock lock(mutex_);
  if (!file.is_linked()) return;  // open() failed
  file.unlink();
  if (files_.empty()) {
    is_exclusive_ = false;
    if (jobs_.recorder) [[unlikely]] jobs_.recorder->record_close(device_);
    on_last_close();
  }
  if (!file.is_hung_up_ && !has_users()) on_last_use();
}

bool Tty::has_users() const {
  for (const TtyFile& file : files_)
    if (!file.is_hung_up_) return true;
  return false;
}

bool Tty::is_hung_up(const vfs::OpenFile& file) const {
  for (const TtyFile& mine : files_)
    if (&mine == &file) return mine.is_hung_up_;
  return false;
}

size_t Tty::receive(std::span<const uint8_t> bytes) {
  MutexLock lock(mutex_);
  return receive_locked(bytes);
}

size_t Tty::receive_locked(std::span<const uint8_t> bytes) {
  const size_t readable_before = discipline_.readable_bytes();
  const bool was_readable = discipline_.is_readable();
  const size_t taken = discipline_.receive(bytes);
  if (taken < bytes.size()) input_is_held_ = true;
  if (discipline_.readable_bytes() > 0 || discipline_.is_readable()) wake_readers();
  // Signals are for news: a whole line, or a byte where there are no lines.
  if (discipline_.readable_bytes() > readable_before || (discipline_.is_readable() && !was_readable)) told_.notify(vfs::AsyncEvent::Input);
  return taken;
}

Result<size_t> Tty::read(TtyFile& file, UserOutBuffer& buffer) {
  uint8_t bytes[kReadBytes];
  const size_t wanted = std::min(buffer.remaining(), sizeof bytes);
  size_t count = 0;
  {
    MutexLock lock(mutex_);
    if (file.is_hung_up_) return size_t{0};
    if (!file.is_console()) TRY(check_foreground_locked(signals::kTerminalIn));
    if (wanted == 0) return size_t{0};

    bool is_timed = false;
    Deadline deadline = Deadline::never();
    for (;;) {
      const LineDiscipline::ReadStep step = discipline_.read({bytes, wanted}, count);
      if (step.count > count) is_timed = false;
      count = step.count;
      if (input_is_held_) {
        input_is_held_ = false;
        on_input_room();
      }
      if (step.finished) break;
      if (is_disconnected()) {
        if (count == 0) return error(EIO);
        break;
      }
      if (file.is_hung_up_) break;
      if (file.is_nonblocking()) {
        if (count == 0) return error(EAGAIN);
        break;
      }
      if (step.wait_tenths == 0) {
        deadline = Deadline::never();
      } else if (!is_timed) {
        deadline = Deadline::after_ns(step.wait_tenths * kTenthNs);
        is_timed = true;
      }
      const Result<void> outcome = readers_.wait(mutex_, Sleep::Interruptible, deadline);
      // A hang-up comes with a signal, and it, not the signal, ends the read.
      if (outcome.ok() || is_disconnected() || file.is_hung_up_) continue;
      if (outcome.code() == ETIMEDOUT || count > 0) {
        // What came together with the end of the wait still counts.
        count = discipline_.read({bytes, wanted}, count).count;
        break;
      }
      return outcome.failure();
    }
  }
  if (jobs_.recorder && count > 0) [[unlikely]] jobs_.recorder->record_data(device_, TtyRecorder::Direction::Read, std::span(bytes, count));
  return buffer.put(std::as_bytes(std::span(bytes, count)));
}

Result<void> Tty::take_turn_locked(bool nonblocking) {
  while (is_writing_) {
    if (nonblocking) return error(EAGAIN);
    TRY(writers_.wait(mutex_));
  }
  is_writing_ = true;
  return {};
}

void Tty::end_turn_locked() {
  is_writing_ = false;
  wake_writers();
}

Result<size_t> Tty::write(TtyFile& file, UserInBuffer& buffer) {
  uint8_t bytes[kWriteBytes];
  size_t done = 0;
  bool has_turn = false;
  Result<void> outcome;
  do {
    const Result<size_t> chunk = buffer.get(std::as_writable_bytes(std::span(bytes)));
    const size_t done_before = done;
    {
      MutexLock lock(mutex_);
      if (!chunk.ok()) {
        outcome = chunk.failure();
      } else {
        std::span<const uint8_t> rest(bytes, chunk.value());
        if (done == 0 && !has_turn && !file.is_console() && (discipline_.settings().local_flags & termios::kTostop))
          outcome = check_foreground_locked(signals::kTerminalOut);
        // A write that fits in one piece needs no turn, only nobody else's.
        if (outcome.ok() && !has_turn && (is_writing_ || buffer.remaining() > 0)) {
          outcome = take_turn_locked(file.is_nonblocking());
          has_turn = outcome.ok();
        }
        while (outcome.ok()) {
          if (file.is_hung_up_ || is_disconnected()) {
            outcome = error(EIO);
            break;
          }
          size_t taken = discipline_.write(rest);
          if (taken == 0 && !rest.empty()) {
            want_room(false);
            taken = discipline_.write(rest);
          }
          done += taken;
          rest = rest.subspan(taken);
          if (rest.empty()) break;
          if (taken > 0) continue;
          if (file.is_nonblocking()) {
            lacked_room_ = true;
            outcome = error(EAGAIN);
            break;
          }
          if (!has_turn) {
            outcome = take_turn_locked(false);
            has_turn = outcome.ok();
            if (!has_turn) break;
            continue;
          }
          outcome = writers_.wait(mutex_);
        }
      }
      if (has_turn && (!outcome.ok() || buffer.remaining() == 0)) end_turn_locked();
    }
    if (jobs_.recorder && done > done_before) [[unlikely]]
      jobs_.recorder->record_data(device_, TtyRecorder::Direction::Write, std::span(bytes, done - done_before));
  } while (outcome.ok() && buffer.remaining() > 0);

  if (!outcome.ok() && done == 0) return outcome.failure();
  return done;
}

uint32_t Tty::poll(TtyFile& file, vfs::PollTable* table) {
  using namespace vfs::poll_bits;
  if (table) {
    table->watch(readers_);
    table->watch(writers_);
  }
  MutexLock lock(mutex_);
  if (file.is_hung_up_) return kAlwaysReady | kError | kHangUp;
  uint32_t ready = 0;
  if (discipline_.is_readable()) ready |= kIn | kReadNormal;
  if (is_disconnected()) ready |= kHangUp;
  if (!is_writing_ && !discipline_.is_stopped()) {
    if (output_room() == 0) want_room(false);
    if (output_room() > 0) ready |= kOut | kWriteNormal;
  }
  return ready;
}

void Tty::resume_writers_locked() {
  discipline_.flush_echo();
  wake_writers();
}

Result<void> Tty::drain_locked(const vfs::OpenFile& file) {
  for (;;) {
    if (output_pending() == 0 || is_hung_up(file) || is_disconnected()) return {};
    want_room(true);
    if (output_pending() == 0) return {};
    TRY(writers_.wait(mutex_));
  }
}

}  // namespace umk::tty
