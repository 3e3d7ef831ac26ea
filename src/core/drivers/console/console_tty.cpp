#include "core/drivers/console/console_tty.h"

#include "core/host/calls.h"

namespace umk::console {

void wake_monitor(ConsoleBoard& board) {
  const int event = board.monitor_event.load(std::memory_order_relaxed);
  if (event < 0) return;
  const uint64_t one = 1;
  // An eventfd refuses only when it is full, and then the monitor is being woken anyway.
  (void)host::write(event, std::as_bytes(std::span(&one, 1)));
}

void ConsoleTty::output(std::span<const uint8_t> bytes) {
  channel_.output.put(bytes);
  if (channel_.output.must_wake_consumer()) wake_monitor(board_);
}

void ConsoleTty::on_input_room() {
  // Called by readers, under the terminal's lock: the console thread goes on.
  input_has_room_.store(true, std::memory_order_release);
  if (board_.notify_core()) host::futex_wake(&board_.core_wake, 1);
}

void ConsoleTty::serve() {
  const uint32_t notices = channel_.notices.exchange(0, std::memory_order_acquire);
  if (notices & ConsoleChannel::kWindowChanged) set_window_size(channel_.window());
  serve_input();
  if (notices & ConsoleChannel::kHungUp) hang_up();
  resume_writers();
}

void ConsoleTty::serve_input() {
  const bool is_ended = channel_.input.is_ended();
  for (;;) {
    const std::span<const uint8_t> bytes = channel_.input.front();
    if (bytes.empty()) break;
    had_input_ = true;
    // Cleared first: a reader that makes room while receive() gives up sets it again.
    input_has_room_.store(false, std::memory_order_relaxed);
    const size_t taken = receive(bytes);
    channel_.input.drop(static_cast<uint32_t>(taken));
    if (channel_.input.must_wake_producer()) wake_monitor(board_);
    if (taken < bytes.size() && !input_has_room_.load(std::memory_order_acquire)) return;
  }
  if (!is_ended || !had_input_ || end_was_passed_on_) return;
  // Control-D, whatever VEOF is now: the program that reads next may have settings of its own, and shells that edit lines know it too.
  constexpr uint8_t kEndOfFile = 4;
  end_was_passed_on_ = receive(std::span(&kEndOfFile, 1)) == 1;
}

}  // namespace umk::console
