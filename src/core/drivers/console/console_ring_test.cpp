#include "core/drivers/console/console_ring.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>

namespace umk::console {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

std::string take(ConsoleRing& ring, size_t size) {
  std::string text(size, '\0');
  text.resize(ring.take({reinterpret_cast<uint8_t*>(text.data()), size}));
  return text;
}

TEST(ConsoleRing, KeepsOrderOverTheWrap) {
  const auto ring = std::make_unique<ConsoleRing>();
  std::string expected, got;
  for (int round = 0; round < 40; ++round) {
    const std::string text(5000, static_cast<char>('a' + round % 26));
    ASSERT_EQ(ring->put(bytes_of(text)), text.size());
    expected += text;
    got += take(*ring, 5000);
  }
  EXPECT_EQ(got, expected);
  EXPECT_TRUE(ring->empty());
}

TEST(ConsoleRing, ForgetsWhatWasNotTaken) {
  const auto ring = std::make_unique<ConsoleRing>();
  EXPECT_FALSE(ring->drop_forgotten());
  ring->put(bytes_of("taken, forgotten"));
  EXPECT_EQ(take(*ring, 5), "taken");
  ring->forget();
  ring->put(bytes_of("kept"));
  EXPECT_TRUE(ring->drop_forgotten());
  EXPECT_FALSE(ring->drop_forgotten());
  EXPECT_EQ(take(*ring, 100), "kept");
  // All had been taken before it was forgotten.
  ring->forget();
  EXPECT_FALSE(ring->drop_forgotten());
  // A full ring has room again, and who waits for it is woken.
  ring->put(bytes_of(std::string(ConsoleRing::kCapacity, 'x')));
  ring->forget();
  ring->want_room(false);
  EXPECT_EQ(ring->room(), 0u);
  EXPECT_TRUE(ring->drop_forgotten());
  EXPECT_TRUE(ring->must_wake_producer());
  EXPECT_EQ(ring->room(), ConsoleRing::kCapacity);
}

TEST(ConsoleRing, TakesWhatFits) {
  const auto ring = std::make_unique<ConsoleRing>();
  const std::string text(ConsoleRing::kCapacity - 10, 'x');
  EXPECT_EQ(ring->put(bytes_of(text)), text.size());
  EXPECT_EQ(ring->put(bytes_of(std::string(100, 'y'))), 10u);
  EXPECT_EQ(ring->put(bytes_of("z")), 0u);
  EXPECT_EQ(ring->room(), 0u);
  ring->clear();
  EXPECT_EQ(ring->room(), ConsoleRing::kCapacity);
}

TEST(ConsoleRing, WakesOnlySleepers) {
  const auto ring = std::make_unique<ConsoleRing>();
  ring->put(bytes_of("a"));
  EXPECT_FALSE(ring->must_wake_consumer());
  ring->want_bytes();
  ring->put(bytes_of("b"));
  EXPECT_TRUE(ring->must_wake_consumer());
  EXPECT_FALSE(ring->must_wake_consumer());

  const std::string text(ConsoleRing::kCapacity, 'x');
  ring->put(bytes_of(text));
  EXPECT_FALSE(ring->must_wake_producer());
  ring->want_room(false);
  take(*ring, 100);
  EXPECT_FALSE(ring->must_wake_producer());  // not for a few bytes
  take(*ring, ConsoleRing::kCapacity / 2);
  EXPECT_TRUE(ring->must_wake_producer());
  EXPECT_FALSE(ring->must_wake_producer());
  ring->want_room(true);
  EXPECT_FALSE(ring->must_wake_producer());
  ring->clear();
  EXPECT_TRUE(ring->must_wake_producer());
}

/// A sleep that is only ended by a wake-up: a lost one hangs the test.
class Sleeper {
 public:
  void wake() {
    std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }
  void sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return woken_; });
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

TEST(ConsoleRing, LosesNoByteAndNoWakeUpBetweenThreads) {
  constexpr size_t kTotal = 8 << 20;
  const auto ring = std::make_unique<ConsoleRing>();
  Sleeper producer_sleep, consumer_sleep;

  std::thread producer([&] {
    std::minstd_rand random(1);
    std::string piece;
    for (size_t sent = 0; sent < kTotal;) {
      piece.resize(std::min<size_t>(kTotal - sent, random() % 9000 + 1));
      for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>((sent + i) * 131 >> 3);
      std::span<const uint8_t> rest = bytes_of(piece);
      while (!rest.empty()) {
        uint32_t taken = ring->put(rest);
        if (taken == 0) {
          ring->want_room(false);
          taken = ring->put(rest);
        }
        if (taken == 0) {
          producer_sleep.sleep();
          continue;
        }
        if (ring->must_wake_consumer()) consumer_sleep.wake();
        rest = rest.subspan(taken);
      }
      sent += piece.size();
    }
    ring->end();
    if (ring->must_wake_consumer()) consumer_sleep.wake();
  });

  size_t received = 0;
  size_t wrong = 0;
  for (;;) {
    const bool is_ended = ring->is_ended();
    const std::span<const uint8_t> piece = ring->front();
    for (size_t i = 0; i < piece.size(); ++i) wrong += piece[i] != static_cast<uint8_t>((received + i) * 131 >> 3);
    ring->drop(static_cast<uint32_t>(piece.size()));
    received += piece.size();
    if (ring->must_wake_producer()) producer_sleep.wake();
    if (!piece.empty()) continue;
    if (is_ended) break;
    ring->want_bytes();
    if (ring->empty() && !ring->is_ended()) consumer_sleep.sleep();
  }
  producer.join();
  EXPECT_EQ(received, kTotal);
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace umk::console
