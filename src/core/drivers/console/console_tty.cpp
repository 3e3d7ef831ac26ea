#include "core/drivers/console/console_tty.h"

#include "core/base/make.h"
#include "core/host/calls.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::console {

void wake_monitor(ConsoleBoard& board) {
  const int event = board.monitor_event.load(std::memory_order_relaxed);
  if (event < 0) return;
  const uint64_t one = 1;
  // An eventfd refuses only when it is full, and then the monitor is being woken anyway.
  (void)host::write(event, std::as_bytes(std::span(&one, 1)));
}

vfs::DeviceNumber device_of_line(unsigned line) {
  return {tty::kConsoleMajor, line < kConsoles ? line : tty::kFirstSerialMinor + (line - kConsoles)};
}

void ConsoleTty::tell_monitor() {
  board_.monitor_news.tell(line_);
  wake_monitor(board_);
}

// --- the line's life

Result<void> ConsoleTty::make_channel_locked() {
  if (channel_) return {};
  channel_ = TRY(umk::make_unique<ConsoleChannel>());
  shared_.set_channel(*channel_);
  return {};
}

Result<void> ConsoleTty::start_open() {
  MutexLock lock(mutex_);
  TRY(make_channel_locked());
  session_ = 1;
  link_ = Link::Open;
  exists_ = is_held_ = true;
  shared_.set_report({session_, ConsoleLine::State::Open, 0});
  shared_.set_wish({session_, true});
  return {};
}

void ConsoleTty::hold() {
  MutexLock lock(mutex_);
  is_held_ = true;
}

size_t ConsoleTty::show(std::span<const uint8_t> text) {
  MutexLock lock(mutex_);
  if (link_ == Link::Closed && (session_ != 0 || !exists_ || !start_session_locked().ok())) return text.size();
  const size_t taken = discipline_.write(text);
  if (taken < text.size()) want_room(false);
  return taken;
}

void ConsoleTty::set_exists() {
  MutexLock lock(mutex_);
  exists_ = true;
}

Result<void> ConsoleTty::remove() {
  MutexLock lock(mutex_);
  if (is_held_ || has_users() || opener_count_ > 0) return error(EBUSY);
  exists_ = false;
  return {};
}

Result<void> ConsoleTty::start_session_locked() {
  TRY(make_channel_locked());
  start_anew_locked();
  had_input_ = end_was_passed_on_ = false;
  link_ = Link::Opening;
  shared_.set_wish({++session_, true});
  tell_monitor();
  return {};
}

Result<void> ConsoleTty::prepare_open(bool is_console) {
  if (!exists_) return error(ENXIO);
  if (link_ == Link::Closed) TRY(start_session_locked());
  // The machine starts, and can say and ask nothing until somebody is there.
  if (is_console) return {};
  ++opener_count_;
  Result<void> outcome;
  while (link_ == Link::Opening && outcome.ok()) outcome = openers_.wait(mutex_);
  --opener_count_;
  if (link_ == Link::Open) return {};
  if (link_ == Link::Closed) return error(open_error_);
  close_if_unused_locked();
  return outcome;
}

void ConsoleTty::close_if_unused_locked() {
  if (link_ == Link::Closed || is_held_ || opener_count_ > 0 || has_users()) return;
  link_ = Link::Closed;
  open_error_ = EIO;
  shared_.set_wish({session_, false});
  tell_monitor();
}

void ConsoleTty::take_report_locked() {
  const ConsoleLine::Report report = shared_.report();
  if (report.session != session_ || link_ == Link::Closed) return;
  switch (report.state) {
    case ConsoleLine::State::Pending:
      return;
    case ConsoleLine::State::Open:
      link_ = Link::Open;
      break;
    case ConsoleLine::State::Failed:
    case ConsoleLine::State::Lost: {
      const bool is_lost = report.state == ConsoleLine::State::Lost;
      // What was typed before is still read by whoever reads now.
      if (is_lost) serve_input_locked();
      link_ = Link::Closed;
      open_error_ = is_lost || report.error == 0 ? EIO : report.error;
      if (is_lost) hang_up_locked(false);
      break;
    }
  }
  openers_.wake_all();
}

void ConsoleTty::serve() {
  MutexLock lock(mutex_);
  if (!channel_) return;
  // The report comes last from the monitor, and so what came before it is seen when it is.
  const ConsoleLine::Report report = shared_.report();
  if (report.session == session_ && link_ != Link::Closed && (channel_->notices.exchange(0, std::memory_order_acquire) & ConsoleChannel::kWindowChanged))
    change_window_size_locked(channel_->window());
  take_report_locked();
  serve_input_locked();
  resume_writers_locked();
}

// --- bytes

size_t ConsoleTty::output_room() const {
  switch (link_) {
    case Link::Open: return channel_->output.room();
    case Link::Opening: return 0;
    case Link::Closed: return ConsoleRing::kCapacity;
  }
  return 0;
}

void ConsoleTty::discard_output() {
  if (!channel_) return;
  channel_->output.forget();
  tell_monitor();
}

void ConsoleTty::output(std::span<const uint8_t> bytes) {
  if (link_ != Link::Open) return;
  channel_->output.put(bytes);
  if (channel_->output.must_wake_consumer()) tell_monitor();
}

void ConsoleTty::want_room(bool all) {
  if (link_ == Link::Open) channel_->output.want_room(all);
}

void ConsoleTty::serve_input_locked() {
  if (link_ != Link::Open) return;
  ConsoleRing& input = channel_->input;
  const bool is_ended = input.is_ended();
  for (;;) {
    const std::span<const uint8_t> bytes = input.front();
    if (bytes.empty()) break;
    had_input_ = true;
    const size_t taken = receive_locked(bytes);
    input.drop(static_cast<uint32_t>(taken));
    if (input.must_wake_producer()) tell_monitor();
    // Readers call on_input_room() when there is room again.
    if (taken < bytes.size()) return;
  }
  if (!is_ended || !had_input_ || end_was_passed_on_) return;
  // Control-D, whatever VEOF is now: the program that reads next may have settings of its own, and shells that edit lines know it too.
  constexpr uint8_t kEndOfFile = 4;
  end_was_passed_on_ = receive_locked(std::span(&kEndOfFile, 1)) == 1;
}

}  // namespace umk::console
