#include "core/kernel/task/freezer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/wait.h"

namespace umk {

namespace {

using namespace std::chrono_literals;
constexpr uint64_t kSecondNs = 1'000'000'000;

void wait_for_end(Task& init) {
  WaitRequest request;
  request.options = wait_options::kExited;
  ASSERT_TRUE(wait_for_child(init, request).ok());
}

// The test's own thread is a task that never comes by: nobody waits for it.
struct FreezerTest : testing::Test {
  FreezerTest() { machine.init().state.store('T'); }
  Freezer& freezer() { return machine.init().kernel().freezer; }
  fake::FakeMachine machine;
};

TEST_F(FreezerTest, HoldsWhoRunsUntilTheRelease) {
  std::atomic<uint64_t> rounds{0};
  std::atomic<bool> is_over{false};
  machine.fork(machine.init(), [&](Task& task) {
    while (!is_over) {
      ++rounds;
      fake::FakeMachine::return_to_user(task);
    }
  });
  while (rounds == 0) std::this_thread::yield();
  EXPECT_EQ(freezer().hold(5 * kSecondNs), 0u);
  EXPECT_TRUE(freezer().is_holding());
  const uint64_t held = rounds;
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(rounds, held);
  freezer().release();
  while (rounds == held) std::this_thread::yield();
  is_over = true;
  wait_for_end(machine.init());
}

TEST_F(FreezerTest, LeavesSleepersAsleepAndHoldsThemWhenTheyWake) {
  std::atomic<KernelStackHead*> sleeper{nullptr};
  std::atomic<int> stage{0};
  machine.fork(machine.init(), [&](Task& task) {
    sleeper = &task.stack();
    while (stage < 1) {
      sync::prepare_to_park();
      if (stage < 1) (void)sync::park(Sleep::Interruptible);
    }
    fake::FakeMachine::return_to_user(task);
    stage = 3;
  });
  while (!sleeper) std::this_thread::yield();
  EXPECT_EQ(freezer().hold(5 * kSecondNs), 0u);
  stage = 1;
  sync::unpark(*sleeper.load());
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(stage, 1);
  freezer().release();
  wait_for_end(machine.init());
  EXPECT_EQ(stage, 3);
}

TEST_F(FreezerTest, DoesNotWaitForWhoHasLentItsHostThread) {
  constexpr uint64_t kVm = 0x100, kVfork = 0x4000;
  char state_of_parent = '?';
  machine.init().state.store('R');
  machine.fork(machine.init(), [&](Task&) { state_of_parent = machine.init().state; }, kVm | kVfork);
  EXPECT_EQ(state_of_parent, 'D');
  EXPECT_EQ(machine.init().state, 'R');
  wait_for_end(machine.init());
}

TEST_F(FreezerTest, CountsWhoWaitsForWhatIsSureToCome) {
  std::atomic<bool> is_over{false};
  std::atomic<KernelStackHead*> sleeper{nullptr};
  machine.fork(machine.init(), [&](Task& task) {
    sleeper = &task.stack();
    while (!is_over) {
      sync::prepare_to_park();
      if (!is_over) (void)sync::park(Sleep::Uninterruptible, Deadline::after_ns(kSecondNs / 100));
    }
  });
  while (!sleeper) std::this_thread::yield();
  EXPECT_EQ(freezer().hold(kSecondNs / 10), 1u);
  freezer().release();
  is_over = true;
  wait_for_end(machine.init());
}

TEST(UserNotices, KeepTheirOrderAndTheirBounds) {
  UserNotices notices;
  char text[UserNotices::kMaximumBytes];
  size_t bytes = 0;
  EXPECT_FALSE(notices.is_connected());
  EXPECT_FALSE(notices.take(text, bytes));
  EXPECT_TRUE(notices.post("one").ok());
  EXPECT_TRUE(notices.post(std::string(2000, 'x')).ok());
  ASSERT_TRUE(notices.take(text, bytes));
  EXPECT_EQ(std::string(text, bytes), "one");
  ASSERT_TRUE(notices.take(text, bytes));
  EXPECT_EQ(bytes, 512u);
  int posted = 0;
  while (notices.post("again").ok()) ++posted;
  EXPECT_EQ(notices.post("again").code(), EAGAIN);
  EXPECT_GT(posted, 10);
}

}  // namespace

}  // namespace umk
