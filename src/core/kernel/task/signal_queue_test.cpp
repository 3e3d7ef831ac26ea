#include "core/kernel/task/signal_queue.h"

#include <gtest/gtest.h>

namespace umk {
namespace {

constexpr SignalSet kNone{};

SignalInfo with_value(int signal, uint64_t value) {
  SignalInfo info = SignalInfo::from_kernel(signal, signal_codes::kQueue);
  info.sender.value = value;
  return info;
}

TEST(SignalQueue, KeepsOneInstanceOfAClassicSignal) {
  SignalQueue queue;
  queue.add(with_value(signals::kUser1, 1));
  queue.add(with_value(signals::kUser1, 2));
  EXPECT_EQ(queue.take(kNone)->sender.value, 1u);
  EXPECT_FALSE(queue.take(kNone));
}

TEST(SignalQueue, KeepsRealTimeSignalsInOrder) {
  SignalQueue queue;
  for (uint64_t value = 1; value <= 3; ++value) queue.add(with_value(40, value));
  queue.add(with_value(35, 9));
  EXPECT_EQ(queue.take(kNone)->sender.value, 9u);
  for (uint64_t value = 1; value <= 3; ++value) {
    EXPECT_TRUE(queue.set().has(40));
    EXPECT_EQ(queue.take(kNone)->sender.value, value);
  }
  EXPECT_TRUE(queue.set().empty());
}

TEST(SignalQueue, TakesFaultsBeforeLowerNumbers) {
  SignalQueue queue;
  queue.add(with_value(signals::kHangup, 1));
  queue.add(with_value(signals::kSegv, 2));
  EXPECT_EQ(queue.take(kNone)->number, signals::kSegv);
  EXPECT_EQ(queue.take(kNone)->number, signals::kHangup);
}

TEST(SignalQueue, LeavesBlockedSignals) {
  SignalQueue queue;
  queue.add(with_value(signals::kUser1, 1));
  EXPECT_FALSE(queue.take(SignalSet::of(signals::kUser1)));
  EXPECT_TRUE(queue.take(kNone));
}

TEST(SignalQueue, RefusesMoreThanTheLimit) {
  SignalQueue queue;
  EXPECT_TRUE(queue.add_queued(with_value(40, 1), 2).ok());
  EXPECT_TRUE(queue.add_queued(with_value(40, 2), 2).ok());
  EXPECT_EQ(queue.add_queued(with_value(40, 3), 2).code(), EAGAIN);
}

TEST(SignalQueue, ClearsAndCountsOverruns) {
  SignalQueue queue;
  SignalInfo info = SignalInfo::from_kernel(40, signal_codes::kTimer);
  info.timer.timer_id = 7;
  queue.add(info);
  EXPECT_TRUE(queue.add_overrun(40, 7, 3));
  EXPECT_FALSE(queue.add_overrun(40, 8, 3));
  EXPECT_EQ(queue.take(kNone)->timer.overrun, 3);
  queue.add(info);
  queue.clear(SignalSet::of(40));
  EXPECT_TRUE(queue.set().empty());
  EXPECT_EQ(queue.queued_count(), 0u);
}

TEST(SignalHandlers, ExecKeepsIgnoredSignalsOnly) {
  SignalHandlers handlers;
  handlers.exchange(signals::kUser1, {.handler = 0x1000, .flags = action_flags::kRestart, .restorer = 0x2000, .mask = {1}});
  handlers.exchange(signals::kUser2, {.handler = 1});
  EXPECT_TRUE(handlers.caught().has(signals::kUser1));
  EXPECT_TRUE(handlers.ignored().has(signals::kUser2));
  handlers.reset_for_exec();
  EXPECT_TRUE(handlers.of(signals::kUser1).is_default());
  EXPECT_EQ(handlers.of(signals::kUser1).flags, 0u);
  EXPECT_TRUE(handlers.of(signals::kUser2).is_ignored());
}

}  // namespace
}  // namespace umk
