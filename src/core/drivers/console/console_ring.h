// What lies between the monitor's channels and the kernel's console: rings of bytes and words to wake by, in the kernel region.
//
// The core never calls the monitor, and the monitor's event loop takes no lock of the core. They meet here:
//
//   ConsoleBoard
//     console   channel 0: input (monitor -> core), output (core -> monitor), window size, hang-up
//     standard  the streams of `umk run` when they are no terminal: 0 input, 1 and 2 output
//     messages  the kernel log on its way to the terminal
//
// Each ring has one producer and one consumer at a time (the core's side is serialised by a lock of its own). The core's console thread
// sleeps on `core_wake`; the monitor's event loop sleeps in epoll, on an eventfd among others. Neither is woken when it does not sleep:
//
//   the monitor, after putting bytes or a notice:      board.notify_core() -> true: futex-wake core_wake
//   the core, after putting bytes into a ring:         ring.must_wake_consumer() -> true: write the eventfd
//   a consumer, after taking bytes:                    ring.must_wake_producer() -> true: wake the other side
//
// This header is plain data with atomics, used by both sides; wake-ups themselves are each side's own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
  void clear() { tail_.store(head_.load(std::memory_order_acquire), std::memory_order_release); }
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

  // What the producer writes often, and what the consumer does, on cache lines of their own.
  std::atomic<uint32_t> head_{0};
  std::atomic<uint32_t> ended_{0};
  std::atomic<uint32_t> producer_wants_{0};
  uint8_t padding1_[64 - 12];
  std::atomic<uint32_t> tail_{0};
  std::atomic<uint32_t> abandoned_{0};
  std::atomic<uint32_t> consumer_waits_{0};
  uint8_t padding2_[64 - 12];
  uint8_t bytes_[kCapacity];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free);

/// A terminal line. When `input` is ended (a plain file or pipe as terminal, `echo ls | umk`) and something had come, the end is passed on
/// as one end-of-file character, as script(1) does.
struct ConsoleChannel {
  ConsoleRing input;
  ConsoleRing output;

  // Notices of the monitor, taken by the core.
  static constexpr uint32_t kWindowChanged = 1, kHungUp = 2;
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

/// All that the two sides share. Made by the core at boot (create_board), at one address in every process.
struct ConsoleBoard {
  ConsoleBoard() {}  // NOLINT: as that of ConsoleRing

  ConsoleChannel console;
  ConsoleRing standard[3];
  ConsoleRing messages;

  /// The core's console thread sleeps while this is 0.
  std::atomic<uint32_t> core_wake{0};
  std::atomic<uint32_t> stop_requested{0};
  /// The eventfd that wakes the monitor's event loop; set by the monitor before the first vessel. -1: the monitor looks by itself.
  std::atomic<int32_t> monitor_event{-1};

  /// True when the core's thread is to be woken: a futex-wake of core_wake.
  bool notify_core() { return core_wake.exchange(1, std::memory_order_seq_cst) == 0; }
};

}  // namespace umk::console
