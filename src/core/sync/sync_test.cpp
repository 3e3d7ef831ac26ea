// Parking and wait queues: no wake-up is lost, and who is interrupted outside a sleep is told to be kicked.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "core/abi/errno.h"
#include "core/sync/park.h"
#include "core/sync/sleep_state.h"
#include "core/sync/wait_queue.h"

namespace umk::sync {
namespace {

TEST(Park, AContextThatRunsIsKicked) {
  EXPECT_TRUE(interrupt_context(current_stack(), interrupt::kSignal));
  EXPECT_FALSE(interrupt_context(current_stack(), interrupt::kKill)) << "the first kick is on its way";
  current_stack().interrupts = 0;
}

// What poll(2) does when a file is ready at once: the guest computes on with the mark of one about to sleep.
TEST(Park, AContextThatPreparedAndDidNotParkIsKicked) {
  prepare_to_park();
  EXPECT_TRUE(interrupt_context(current_stack(), interrupt::kKill));
  current_stack().interrupts = 0;
}

TEST(Park, AContextWhoseDeadlineHasPassedIsKicked) {
  prepare_to_park();
  EXPECT_EQ(park(Sleep::Interruptible, Deadline::after_ns(1'000'000)).code(), ETIMEDOUT);
  EXPECT_TRUE(interrupt_context(current_stack(), interrupt::kSignal));
  current_stack().interrupts = 0;
}

TEST(Park, ASleeperIsWokenInsteadOfKicked) {
  std::atomic<KernelStackHead*> sleeper{nullptr};
  std::atomic<int> outcome{0};
  std::thread thread([&] {
    sleeper = &current_stack();
    prepare_to_park();
    outcome = park(Sleep::Killable).code();
    current_stack().interrupts = 0;
  });
  while (!sleeper || sleeper.load()->wake_word != 0) std::this_thread::yield();
  EXPECT_FALSE(interrupt_context(*sleeper, interrupt::kKill));
  thread.join();
  EXPECT_EQ(outcome, ERESTARTSYS);
}

TEST(Park, TellsALightSleepFromADeepOne) {
  EXPECT_EQ(sleep_of(current_stack()), SleepState::Awake);
  for (const auto& [sleep, state] : {std::pair(Sleep::Interruptible, SleepState::Light), std::pair(Sleep::Uninterruptible, SleepState::Deep)}) {
    std::atomic<KernelStackHead*> sleeper{nullptr};
    std::thread thread([&, wanted = sleep] {
      prepare_to_park();
      sleeper = &current_stack();
      EXPECT_TRUE(park(wanted).ok());
    });
    while (!sleeper || sleep_of(*sleeper.load()) == SleepState::Awake) std::this_thread::yield();
    EXPECT_EQ(sleep_of(*sleeper.load()), state);
    unpark(*sleeper);
    thread.join();
  }
}

TEST(Park, AnInterruptThatIsNotAdmittedWaits) {
  prepare_to_park();
  interrupt_context(current_stack(), interrupt::kSignal);
  // Marked awake by the interrupt: an early return, as a caller's loop expects. The next sleep lasts.
  EXPECT_TRUE(park(Sleep::Killable).ok());
  prepare_to_park();
  EXPECT_EQ(park(Sleep::Killable, Deadline::after_ns(1'000'000)).code(), ETIMEDOUT);
  prepare_to_park();
  EXPECT_EQ(park(Sleep::Interruptible).code(), ERESTARTSYS);
  current_stack().interrupts = 0;
}

// Two contexts hand a turn to each other; each change comes at another point of the other's way into its sleep.
TEST(WaitQueue, LosesNoWakeUp) {
  constexpr int kTurns = 20'000;
  Mutex mutex;
  WaitQueue queue;
  int turn = 0;
  std::atomic<bool> gave_up = false;
  auto play = [&](int side) {
    for (;;) {
      MutexLock lock(mutex);
      while (turn % 2 != side && turn < kTurns) {
        // In place of a hang.
        if (queue.wait(mutex, Sleep::Uninterruptible, Deadline::after_ns(10'000'000'000)).ok()) continue;
        gave_up = true;
        return;
      }
      if (turn >= kTurns) return;
      ++turn;
      queue.wake();
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  EXPECT_FALSE(gave_up);
  EXPECT_EQ(turn, kTurns);
}

}  // namespace
}  // namespace umk::sync
