#include "core/kernel/time/timer_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/kernel/time/clocks.h"

namespace umk::time {
namespace {

class Recorder final : public Timer {
 public:
  explicit Recorder(std::vector<int>& into, int name) : into_(into), name_(name) {}
  void on_expired() override { into_.push_back(name_); }

 private:
  std::vector<int>& into_;
  int name_;
};

TEST(TimerQueue, CallsInTheOrderOfDeadlines) {
  TimerQueue queue;
  std::vector<int> calls;
  Recorder a(calls, 1), b(calls, 2), c(calls, 3);
  queue.arm(a, 30);
  queue.arm(b, 10);
  queue.arm(c, 20);
  EXPECT_EQ(queue.run_expired(25), 30u);
  EXPECT_EQ(calls, (std::vector<int>{2, 3}));
  EXPECT_EQ(queue.run_expired(30), UINT64_MAX);
  EXPECT_EQ(calls, (std::vector<int>{2, 3, 1}));
}

TEST(TimerQueue, ArmingAgainMovesTheDeadline) {
  TimerQueue queue;
  std::vector<int> calls;
  Recorder a(calls, 1);
  queue.arm(a, 10);
  queue.arm(a, 50);
  EXPECT_EQ(queue.run_expired(20), 50u);
  EXPECT_TRUE(calls.empty());
  EXPECT_TRUE(queue.disarm(a));
  EXPECT_FALSE(queue.disarm(a));
  EXPECT_EQ(queue.run_expired(100), UINT64_MAX);
  EXPECT_TRUE(calls.empty());
}

class Periodic final : public Timer {
 public:
  explicit Periodic(TimerQueue& queue) : queue_(queue) {}
  void on_expired() override {
    ++calls;
    queue_.arm(*this, deadline_ns() + 1'000'000);
  }
  std::atomic<int> calls{0};

 private:
  TimerQueue& queue_;
};

TEST(TimerQueue, ThreadCallsAPeriodicTimerUntilItIsCancelled) {
  TimerQueue queue;
  std::thread thread([&] { run_timer_thread(queue); });
  Periodic timer(queue);
  queue.arm(timer, monotonic_ns() + 1'000'000);
  while (timer.calls < 5) std::this_thread::yield();
  queue.cancel(timer);
  const int calls = timer.calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(timer.calls, calls);
  queue.stop();
  thread.join();
}

TEST(TimerQueue, AnEarlierDeadlineWakesTheSleepingThread) {
  TimerQueue queue;
  std::vector<int> calls;
  Recorder late(calls, 1);
  Periodic soon(queue);
  std::thread thread([&] { run_timer_thread(queue); });
  queue.arm(late, monotonic_ns() + 3'600'000'000'000);
  queue.arm(soon, monotonic_ns() + 1'000'000);
  while (soon.calls < 1) std::this_thread::yield();
  queue.cancel(soon);
  queue.cancel(late);
  queue.stop();
  thread.join();
  EXPECT_TRUE(calls.empty());
}

}  // namespace
}  // namespace umk::time
