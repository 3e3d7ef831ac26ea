// What lies between the monitor's channels and the kernel's lines: rings of bytes and words to wake by, in the kernel region.
//
// The core never calls the monitor, and the monitor's event loop takes no lock of the core. They meet here:
//
//   ConsoleBoard
//     lines     consoles and serial lines: which channel the core wants open, how that one is, and a ConsoleChannel of bytes
//     standard  the streams of `umk run` when they are no terminals: 0 input, 1 and 2 output
//     messages  the kernel log on its way to the terminal
//
// Each ring has one producer and one consumer at a time (the core's side is serialised by a lock of its own). The core's console thread
// sleeps on `core_wake`; the monitor's event loop sleeps in epoll, on an eventfd among others. Neither is woken when it does not sleep:
//
//   the monitor, after putting bytes or a notice:      board.notify_core() -> true: futex-wake core_wake
//   the core, after putting bytes into a ring:         ring.must_wake_consumer() -> true: write the eventfd
//   a consumer, after taking bytes:                    ring.must_wake_producer() -> true: wake the other side
//
// What concerns a line is told by its number first: `core_news.tell(line)` before notify_core(), `monitor_news.tell(line)` before the
// eventfd is written. So nobody looks at all lines when one has something.
//
// This header is plain data with atomics, used by both sides; wake-ups themselves are each side's own.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>

#include "core/abi/termios.h"

namespace umk::console {

class ConsoleRing {
 public:
  static constexpr uint32_t kCapacity = 64 * 1024;

  // Not initialised: a fresh ring's pages stay untouched until bytes come.
  ConsoleRing() {}  // NOLINT: `= default` would zero bytes_ where the object is value-initialised

  uint32_t used() const { return head_.load(std::memory_order_acquire) - tail_.load(std::memory_order_acquire); }
  uint32_t room() const { return kCapacity - used(); }
  bool empty() const { return used() == 0; }

  // --- producer
  /// Appends as much as there is room for; returns how much.
  uint32_t put(std::span<const uint8_t> bytes) {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    const uint32_t count = static_cast<uint32_t>(std::min<size_t>(bytes.size(), kCapacity - (head - tail_.load(std::memory_order_acquire))));
    if (count == 0) return 0;
    const uint32_t place = head % kCapacity;
    const uint32_t first = std::min(count, kCapacity - place);
    std::memcpy(bytes_ + place, bytes.data(), first);
    std::memcpy(bytes_, bytes.data() + first, count - first);
    head_.store(head + count, std::memory_order_release);
    return count;
  }
  /// Nothing more will come.
  void end() { ended_.store(1, std::memory_order_release); }
  /// After put() or end(): the consumer sleeps and is to be woken.
  bool must_wake_consumer() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return consumer_waits_.load(std::memory_order_relaxed) != 0 && consumer_waits_.exchange(0, std::memory_order_seq_cst) != 0;
  }
  /// Asks to be woken when half of the ring is free, or all of it. Look at room() again before sleeping.
  void want_room(bool all) {
    producer_wants_.fetch_or(all ? kWantsAll : kWantsRoom, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  /// What was put and not taken yet is not wanted any more. The consumer may sleep for other reasons than an empty ring: wake it.
  void forget() { forgotten_.store(kForgets | head_.load(std::memory_order_relaxed), std::memory_order_release); }
  /// The consumer will take no more: what is written from now on is lost (a pipe without reader).
  bool is_abandoned() const { return abandoned_.load(std::memory_order_acquire) != 0; }

  // --- consumer
  /// Copies out and removes.
  uint32_t take(std::span<uint8_t> into) {
    uint32_t count = 0;
    while (count < into.size()) {
      const std::span<const uint8_t> piece = front();
      if (piece.empty()) break;
      const uint32_t part = static_cast<uint32_t>(std::min(piece.size(), into.size() - count));
      std::memcpy(into.data() + count, piece.data(), part);
      drop(part);
      count += part;
    }
    return count;
  }
  /// The next bytes that lie in one piece.
  std::span<const uint8_t> front() const {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    const uint32_t place = tail % kCapacity;
    return {bytes_ + place, std::min(head_.load(std::memory_order_acquire) - tail, kCapacity - place)};
  }
  void drop(uint32_t count) { tail_.store(tail_.load(std::memory_order_relaxed) + count, std::memory_order_release); }
  /// Before front(): drops what the producer forgot. True when that was something: the producer may wait for room.
  bool drop_forgotten() {
    if (forgotten_.load(std::memory_order_relaxed) == 0) return false;
    const uint64_t forgotten = forgotten_.exchange(0, std::memory_order_acquire);
    const uint32_t tail = tail_.load(std::memory_order_relaxed), ahead = static_cast<uint32_t>(forgotten) - tail;
    // What was taken meanwhile is behind the tail.
    if (forgotten == 0 || ahead == 0 || ahead > kCapacity) return false;
    drop(ahead);
    return true;
  }
  void clear() { tail_.store(head_.load(std::memory_order_acquire), std::memory_order_release); }
  /// Empty and as new. Only while the other side leaves the ring alone: see ConsoleLine.
  void restart() {
    clear();
    ended_.store(0, std::memory_order_relaxed);
    abandoned_.store(0, std::memory_order_relaxed);
    producer_wants_.store(0, std::memory_order_relaxed);
    forgotten_.store(0, std::memory_order_relaxed);
    consumer_waits_.store(0, std::memory_order_release);
  }
  /// True when no more will come. Bytes may still be there: they were put before the end was told, so look at `empty()` after this.
  bool is_ended() const { return ended_.load(std::memory_order_acquire) != 0; }
  void abandon() { abandoned_.store(1, std::memory_order_release); }
  /// Before sleeping: asks for a wake-up. Look at empty() and is_ended() again afterwards.
  void want_bytes() {
    consumer_waits_.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  /// After taking bytes or abandon(): the producer waits for what is there now.
  bool must_wake_producer() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint32_t wants = producer_wants_.load(std::memory_order_relaxed);
    if (wants == 0) return false;
    uint32_t due = 0;
    const uint32_t left = used();
    if (left <= kCapacity / 2) due |= kWantsRoom;
    if (left == 0) due |= kWantsAll;
    if (is_abandoned()) due = kWantsRoom | kWantsAll;
    due &= wants;
    return due != 0 && (producer_wants_.fetch_and(~due, std::memory_order_seq_cst) & due) != 0;
  }

 private:
  static constexpr uint32_t kWantsRoom = 1, kWantsAll = 2;
  static constexpr uint64_t kForgets = uint64_t{1} << 32;

  // What the producer writes often, and what the consumer does, on cache lines of their own.
  std::atomic<uint32_t> head_{0};
  std::atomic<uint32_t> ended_{0};
  std::atomic<uint32_t> producer_wants_{0};
  std::atomic<uint64_t> forgotten_{0};  // kForgets and the head of then
  uint8_t padding1_[64 - 24];
  std::atomic<uint32_t> tail_{0};
  std::atomic<uint32_t> abandoned_{0};
  std::atomic<uint32_t> consumer_waits_{0};
  uint8_t padding2_[64 - 12];
  uint8_t bytes_[kCapacity];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free);

/// The bytes of a line. When `input` is ended (a plain file or pipe as terminal, `echo ls | umk`) and something had come, the end is passed on
/// as one end-of-file character, as script(1) does.
struct ConsoleChannel {
  ConsoleRing input;
  ConsoleRing output;

  // Notices of the monitor, taken by the core.
  static constexpr uint32_t kWindowChanged = 1;
  std::atomic<uint32_t> notices{0};

  void set_window(const WindowSize& size) {
    window_.store(uint64_t{size.rows} | uint64_t{size.columns} << 16 | uint64_t{size.width_pixels} << 32 | uint64_t{size.height_pixels} << 48,
                  std::memory_order_relaxed);
    notices.fetch_or(kWindowChanged, std::memory_order_release);
  }
  WindowSize window() const {
    const uint64_t packed = window_.load(std::memory_order_relaxed);
    return {static_cast<uint16_t>(packed), static_cast<uint16_t>(packed >> 16), static_cast<uint16_t>(packed >> 32), static_cast<uint16_t>(packed >> 48)};
  }

 private:
  std::atomic<uint64_t> window_{0};
};

/// One console or serial line. The core says by `wish` what it wants, the monitor by `report` what has become of it. Whoever opens the
/// line's device first waits until the monitor has answered.
///
///   core                                             monitor
///   wish {7, open}        ---- monitor_news ---->    makes both rings as new, opens the host's channel: a port waits for somebody
///   openers sleep         <----- core_news ------    sets the window's size if there is one, then report {7, Open} or {7, Failed, errno}
///   bytes both ways
///   last close:
///   wish {7, closed}      ---- monitor_news ---->    passes on what is in `output` (for a bounded time), closes the channel; no report
///
///   tty is hung up        <----- core_news ------    the channel ended: it is closed, then report {7, Lost}
///   next open:
///   wish {8, open}        ---- monitor_news ---->    as above. Is the channel of session 7 still open it is closed before
///
/// The number is that of a session: each open of the channel has the next one. The monitor looks at the newest wish only; a report about
/// another session than the wish's is ignored. Between a wish {n, open} and the report {n, Open} the core touches neither ring: they
/// are the monitor's to restart. After a report of Failed or Lost the monitor touches them no more.
///
/// Console 0 starts open, as session 1: the monitor has opened its channel before the machine starts. Where the system's console is, the
/// core keeps the line open when the guest closes it, since the kernel's messages go there.
class ConsoleLine {
 public:
  enum class State : uint16_t {
    Pending,  // no report yet
    Open,
    Failed,   // with an errno, which the guest's open(2) gets
    Lost,     // hung up by the host
  };
  struct Wish {
    uint32_t session;
    bool is_open;
    bool operator==(const Wish&) const = default;
  };
  struct Report {
    uint32_t session;
    State state;
    uint16_t error;  // of Failed
    bool operator==(const Report&) const = default;
  };

  /// Its rings; null until the core first wishes it open. Stays.
  ConsoleChannel* channel() const { return channel_.load(std::memory_order_acquire); }
  Wish wish() const {
    const uint64_t packed = wish_.load(std::memory_order_acquire);
    return {static_cast<uint32_t>(packed >> 32), (packed & 1) != 0};
  }
  Report report() const {
    const uint64_t packed = report_.load(std::memory_order_acquire);
    return {static_cast<uint32_t>(packed >> 32), static_cast<State>(packed >> 16 & 0xffff), static_cast<uint16_t>(packed)};
  }

  // --- the core's
  void set_channel(ConsoleChannel& channel) { channel_.store(&channel, std::memory_order_release); }
  void set_wish(Wish wish) { wish_.store(uint64_t{wish.session} << 32 | wish.is_open, std::memory_order_release); }
  // --- the monitor's
  void set_report(Report report) {
    report_.store(uint64_t{report.session} << 32 | uint64_t{static_cast<uint16_t>(report.state)} << 16 | report.error, std::memory_order_release);
  }

 private:
  std::atomic<ConsoleChannel*> channel_{nullptr};
  std::atomic<uint64_t> wish_{0};
  std::atomic<uint64_t> report_{0};
};

/// Consoles come first, then serial lines.
inline constexpr unsigned kConsoles = 64, kSerialLines = 64, kLines = kConsoles + kSerialLines;
constexpr unsigned line_of_console(unsigned number) { return number; }
constexpr unsigned line_of_serial(unsigned number) { return kConsoles + number; }

/// Which lines have something new for one side.
class LineNews {
 public:
  void tell(unsigned line) { words_[line / 64].fetch_or(uint64_t{1} << line % 64, std::memory_order_release); }
  /// Calls `body(line)` for each line that has news, which are then taken: look at the line in `body`.
  template <typename Body>
  void take(Body&& body) {
    for (unsigned word = 0; word < std::size(words_); ++word)
      for (uint64_t lines = words_[word].exchange(0, std::memory_order_acquire); lines != 0; lines &= lines - 1)
        body(word * 64 + static_cast<unsigned>(std::countr_zero(lines)));
  }

 private:
  std::atomic<uint64_t> words_[(kLines + 63) / 64] = {};
};

/// All that the two sides share. Made by the core at boot (create_board), at one address in every process.
struct ConsoleBoard {
  ConsoleBoard() {}  // NOLINT: as that of ConsoleRing

  ConsoleLine lines[kLines];
  /// For the core: a report, bytes in `input`, a window's size, room in `output`. For the monitor: a wish, bytes in `output`, room in `input`.
  LineNews core_news, monitor_news;
  ConsoleRing standard[3];
  ConsoleRing messages;

  /// Console 0's, which is there from the start.
  ConsoleChannel& console() { return *lines[0].channel(); }

  /// The core's console thread sleeps while this is 0.
  std::atomic<uint32_t> core_wake{0};
  std::atomic<uint32_t> stop_requested{0};
  /// The eventfd that wakes the monitor's event loop; set by the monitor before the first vessel. -1: the monitor looks by itself.
  std::atomic<int32_t> monitor_event{-1};

  /// True when the core's thread is to be woken: a futex-wake of core_wake.
  bool notify_core() { return core_wake.exchange(1, std::memory_order_seq_cst) == 0; }
  /// The same, for something about a line.
  bool notify_core(unsigned line) {
    core_news.tell(line);
    return notify_core();
  }
};

}  // namespace umk::console
