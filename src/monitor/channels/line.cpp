#include "monitor/channels/line.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace umk::monitor {

using console::ConsoleLine;
using console::ConsoleRing;

namespace {

/// How much one line moves before others have their turn.
constexpr size_t kTurn = 64 * 1024;
constexpr uint32_t kNotWatchable = ~0u;

}  // namespace

Line::Line(const ChannelContext& context, console::ConsoleBoard& board, unsigned index, std::unique_ptr<Channel> input,
           std::unique_ptr<Channel> output)
    : loop_(context.loop),
      patience_(context.patience),
      board_(board),
      index_(index),
      line_(board.lines[index]),
      input_(std::move(input)),
      output_(std::move(output)),
      linger_(loop_, [this] {
        close();
        serve();
      }) {}

Line::~Line() { close(); }

void Line::notify_core() {
  if (board_.notify_core(index_)) syscall(SYS_futex, &board_.core_wake, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void Line::report(ConsoleLine::State state, int error) {
  line_.set_report({session_, state, static_cast<uint16_t>(error)});
  notify_core();
}

void Line::serve() {
  const ConsoleLine::Wish wish = line_.wish();
  const bool is_ours = wish.session == session_;
  if (phase_ == Phase::Opening && !(is_ours && wish.is_open)) close();
  if (phase_ == Phase::Open && !(is_ours && wish.is_open)) {
    phase_ = Phase::Lingering;
    linger_.start(patience_);
  }
  if (phase_ == Phase::Closed && wish.is_open && !is_ours) begin(wish.session);
  if (phase_ == Phase::Open || phase_ == Phase::Lingering) pump();
  // What the guest wrote before goes out first: the rings begin anew with the session.
  if (phase_ == Phase::Lingering && wish.is_open && !is_ours && is_drained()) {
    linger_.stop();
    start_session(wish.session);
  }
}

void Line::begin(uint32_t session) {
  linger_.stop();
  session_ = session;
  is_adopted_ = line_.report() == ConsoleLine::Report{session, ConsoleLine::State::Open, 0};
  phase_ = Phase::Opening;
  output_is_lost_ = false;
  int error = open_one(*input_, input_is_open_);
  if (error == 0 && output_) error = open_one(*output_, output_is_open_);
  if (error != 0) return on_failed(*input_, error);
  finish_opening();
}

int Line::open_one(Channel& channel, bool& is_open) {
  const int error = channel.open(*this);
  is_open = error == 0;
  return error == EINPROGRESS ? 0 : error;
}

void Line::on_opened(Channel& channel) {
  (&channel == input_.get() ? input_is_open_ : output_is_open_) = true;
  finish_opening();
}

void Line::finish_opening() {
  if (phase_ != Phase::Opening || !input_is_open_ || (output_ && !output_is_open_)) return;
  start_session(session_);
}

/// The channels are there: the guest's open can go on.
void Line::start_session(uint32_t session) {
  session_ = session;
  phase_ = Phase::Open;
  wants_input_ = true;
  tell_window();
  if (!is_adopted_) {
    line_.channel()->input.restart();
    line_.channel()->output.restart();
    report(ConsoleLine::State::Open);
  }
  is_adopted_ = false;
  pump();
}

void Line::on_failed(Channel&, int error) {
  const bool was_adopted = is_adopted_;
  close();
  // A session that the guest has already is lost.
  report(was_adopted ? ConsoleLine::State::Lost : ConsoleLine::State::Failed, was_adopted ? 0 : error);
}

void Line::lose() {
  const bool had_session = phase_ == Phase::Open;
  close();
  if (had_session) report(ConsoleLine::State::Lost);
  // The guest may want it again already; but whoever moves bytes just now comes to an end first.
  linger_.start(std::chrono::milliseconds(0));
}

void Line::close() {
  linger_.stop();
  if (phase_ == Phase::Closed) return;
  phase_ = Phase::Closed;
  wants_input_ = waits_for_output_ = is_adopted_ = false;
  // Closed channels have no descriptors: they are forgotten first.
  if (input_is_open_) watch_one(*input_, 0, input_events_);
  if (output_ && output_is_open_) watch_one(*output_, 0, output_events_);
  input_is_open_ = output_is_open_ = false;
  input_->close();
  if (output_) output_->close();
}

void Line::on_window(Channel&) { tell_window(); }

void Line::on_output(Channel&) {
  waits_for_output_ = true;
  watch();
}

void Line::tell_window() {
  if (phase_ != Phase::Open) return;
  WindowSize size = input_->window();
  if (size.rows == 0 && size.columns == 0 && output_) size = output_->window();
  const bool has_window = size.rows != 0 || size.columns != 0;
  // That of the session before is not this one's.
  if (!has_window && !had_window_) return;
  had_window_ = has_window;
  line_.channel()->set_window(size);
  notify_core();
}

// --- bytes

void Line::pump() {
  pass_on_all();
  if (phase_ == Phase::Closed) return;
  take_input();
  if (phase_ == Phase::Closed) return;
  watch();
}

void Line::pass_on_all() {
  waits_for_output_ = false;
  if (messages_ && !pass_on(*messages_)) return;
  if (!pass_on(line_.channel()->output)) return;
  if (phase_ == Phase::Closed || output_is_lost_ || !output().has_output()) return;
  (void)!output().write({});
  waits_for_output_ = output().has_output();
}

/// Empties a ring as far as the host takes it. False when it does not take all, or the line is lost.
bool Line::pass_on(ConsoleRing& ring) {
  size_t budget = kTurn;
  for (;;) {
    if (ring.drop_forgotten() && ring.must_wake_producer()) notify_core();
    std::span<const uint8_t> piece = ring.front();
    if (piece.empty()) {
      ring.want_bytes();
      if (ring.empty()) return true;
      continue;
    }
    if (budget == 0) {
      waits_for_output_ = true;
      return false;
    }
    piece = piece.first(std::min(piece.size(), budget));
    if (&ring == messages_) piece = message_lines_.next(piece);
    ssize_t count = static_cast<ssize_t>(piece.size());
    if (!output_is_lost_) count = output().write(piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      waits_for_output_ = true;
      return false;
    }
    if (count < 0) {
      if (!output_) {
        lose();
        return false;
      }
      output_is_lost_ = true;
      watch_one(*output_, 0, output_events_);
      continue;
    }
    const size_t taken = &ring == messages_ ? message_lines_.written(static_cast<size_t>(count)) : static_cast<size_t>(count);
    budget -= taken;
    ring.drop(static_cast<uint32_t>(taken));
    if (ring.must_wake_producer()) notify_core();
  }
}

void Line::take_input() {
  uint8_t bytes[16 * 1024];
  ConsoleRing& ring = line_.channel()->input;
  wants_input_ = true;
  for (size_t budget = kTurn; budget > 0 || input_events_ == kNotWatchable;) {
    size_t room = sizeof bytes;
    // What comes while nobody has the line open is for nobody.
    if (phase_ == Phase::Open) {
      if (ring.room() == 0) ring.want_room(false);
      room = std::min<size_t>(ring.room(), sizeof bytes);
      if (room == 0) {
        wants_input_ = false;
        return;
      }
    }
    const ssize_t count = input_->read(std::span(bytes, room));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return lose();
    budget -= std::min(budget, static_cast<size_t>(count));
    if (phase_ != Phase::Open) continue;
    ring.put(std::span(bytes, static_cast<size_t>(count)));
    notify_core();
  }
}

bool Line::is_drained() const {
  if (phase_ == Phase::Closed || phase_ == Phase::Opening) return true;
  if (messages_ && !messages_->empty()) return false;
  return line_.channel()->output.empty() && !output().has_output();
}

// Descriptors are watched only while there is something to wait for: an end that hung up is always ready, and would keep the loop awake.

void Line::watch() {
  if (input_is_open_) watch_one(*input_, (wants_input_ ? EPOLLIN : 0u) | (waits_for_output_ && !output_ ? EPOLLOUT : 0u), input_events_);
  if (output_ && output_is_open_ && !output_is_lost_) watch_one(*output_, waits_for_output_ ? EPOLLOUT : 0u, output_events_);
}

void Line::watch_one(Channel& channel, uint32_t events, uint32_t& watched) {
  if (watched == kNotWatchable) {
    if (events == 0 && phase_ == Phase::Closed) watched = 0;
    return;
  }
  if (events == watched || channel.fd() < 0) return;
  if (watched == 0) {
    // Plain files are always ready.
    if (!loop_.watch(channel.fd(), events, [this](uint32_t) { serve(); })) events = kNotWatchable;
  } else if (events == 0) {
    loop_.forget(channel.fd());
  } else {
    loop_.change(channel.fd(), events);
  }
  watched = events;
}

std::string Line::describe() const {
  if (phase_ != Phase::Open && phase_ != Phase::Lingering) return {};
  return output_ ? input_->describe() + "," + output_->describe() : input_->describe();
}

}  // namespace umk::monitor
