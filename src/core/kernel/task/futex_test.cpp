#include "core/kernel/task/futex.h"

#include <gtest/gtest.h>

#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/signals.h"

namespace umk::futex {
namespace {

using umk::fake::FakeMachine;

struct Futex : testing::Test {
  FakeMachine machine;
  Task& task = machine.init();
  uint32_t word = 0, other = 0;
  std::atomic<int> done{0};
  uint64_t at() { return reinterpret_cast<uint64_t>(&word); }
  uint64_t at_other() { return reinterpret_cast<uint64_t>(&other); }

  /// A thread that ends by itself, not with its process.
  void spawn(FakeMachine::Program program) {
    machine.thread(task, [program, this](Task& thread) {
      program(thread);
      ++done;
      exit_task(thread, 0);
    });
  }
  void await(int count) {
    while (done < count) std::this_thread::yield();
  }
  /// Waits until `count` sleep on the word.
  void await_sleepers(uint64_t address, uint32_t count) {
    Bucket& bucket = machine.kernel.futexes.bucket_of(key_of(task, address, true).take());
    for (;;) {
      MutexLock lock(bucket.mutex);
      uint32_t found = 0;
      for (Waiter& waiter : bucket.waiters) found += waiter.key.offset == address;
      if (found >= count) return;
      lock.~MutexLock();
      std::this_thread::yield();
      new (&lock) MutexLock(bucket.mutex);
    }
  }
};

TEST_F(Futex, AnotherValueIsAnsweredAtOnce) {
  EXPECT_EQ(wait(task, at(), true, 1, ~0u, Deadline::never()).code(), EAGAIN);
  EXPECT_EQ(wait(task, at() + 1, true, 0, ~0u, Deadline::never()).code(), EINVAL);
  EXPECT_EQ(wait(task, 16, true, 0, ~0u, Deadline::never()).code(), EFAULT);
  EXPECT_EQ(wait(task, at(), true, 0, 0, Deadline::never()).code(), EINVAL);
}

TEST_F(Futex, TimesOut) { EXPECT_EQ(wait(task, at(), true, 0, ~0u, Deadline::after_ns(1'000'000)).code(), ETIMEDOUT); }

TEST_F(Futex, WakesAsManyAsAsked) {
  for (int i = 0; i < 3; ++i) spawn([&](Task& thread) { EXPECT_TRUE(wait(thread, at(), true, 0, ~0u, Deadline::never()).ok()); });
  await_sleepers(at(), 3);
  EXPECT_EQ(wake(task, at(), true, 2).take(), 2);
  await(2);
  EXPECT_EQ(wake(task, at(), true, 5).take(), 1);
  await(3);
  EXPECT_EQ(wake(task, at(), true, 1).take(), 0);
}

TEST_F(Futex, BitsetsChoose) {
  spawn([&](Task& thread) { EXPECT_TRUE(wait(thread, at(), true, 0, 2, Deadline::never()).ok()); });
  await_sleepers(at(), 1);
  EXPECT_EQ(wake(task, at(), true, 1, 4).take(), 0);
  EXPECT_EQ(wake(task, at(), true, 1, 6).take(), 1);
  await(1);
}

TEST_F(Futex, RequeueMovesTheRest) {
  for (int i = 0; i < 3; ++i) spawn([&](Task& thread) { EXPECT_TRUE(wait(thread, at(), true, 0, ~0u, Deadline::never()).ok()); });
  await_sleepers(at(), 3);
  const uint32_t wrong = 1, right = 0;
  EXPECT_EQ(requeue(task, at(), at_other(), true, 1, 9, &wrong).code(), EAGAIN);
  EXPECT_EQ(requeue(task, at(), at_other(), true, 1, 9, &right).take(), 3);
  await(1);
  EXPECT_EQ(wake(task, at(), true, 9).take(), 0);
  EXPECT_EQ(wake(task, at_other(), true, 9).take(), 2);
  await(3);
}

TEST_F(Futex, WakeOpChangesOneWordAndWakesBoth) {
  spawn([&](Task& thread) { EXPECT_TRUE(wait(thread, at(), true, 0, ~0u, Deadline::never()).ok()); });
  spawn([&](Task& thread) { EXPECT_TRUE(wait(thread, at_other(), true, 0, ~0u, Deadline::never()).ok()); });
  await_sleepers(at(), 1);
  await_sleepers(at_other(), 1);
  // other = 5; wake both sides if it was 0.
  const uint32_t operation = 0u << 28 | 0u << 24 | 5u << 12 | 0u;
  EXPECT_EQ(wake_op(task, at(), at_other(), true, 1, 1, operation).take(), 2);
  EXPECT_EQ(other, 5u);
  await(2);
}

TEST_F(Futex, WaitAnyTellsWhichWord) {
  spawn([&](Task& thread) {
    const WaitItem items[] = {{at(), 0, true}, {at_other(), 0, true}};
    EXPECT_EQ(wait_any(thread, items, Deadline::never()).take(), 1);
  });
  await_sleepers(at_other(), 1);
  while (wake(task, at_other(), true, 1).take() == 0) std::this_thread::yield();
  await(1);
  const WaitItem stale[] = {{at(), 0, true}, {at_other(), 7, true}};
  EXPECT_EQ(wait_any(task, stale, Deadline::never()).code(), EAGAIN);
  const WaitItem sleepy[] = {{at(), 0, true}};
  EXPECT_EQ(wait_any(task, sleepy, Deadline::after_ns(1'000'000)).code(), ETIMEDOUT);
}

TEST_F(Futex, ASignalEndsTheWait) {
  const SignalAction action{.handler = 0x1000, .flags = action_flags::kRestorer, .restorer = 0x2000, .mask = {}};
  ASSERT_TRUE(exchange_action(task, signals::kUser1, &action).ok());
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    (void)send_signal(task, SignalInfo::from_user(signals::kUser1, 0, 1, 0));
  });
  EXPECT_EQ(wait(task, at(), true, 0, ~0u, Deadline::never()).code(), ERESTARTSYS);
  sender.join();
  EXPECT_EQ(wake(task, at(), true, 1).take(), 0);
}

TEST_F(Futex, ManyLocksAndUnlocksLoseNothing) {
  // The classic three-state mutex of user space on these calls.
  int counter = 0;
  auto lock = [&](Task& thread) {
    uint32_t expected = 0;
    if (__atomic_compare_exchange_n(&word, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(&word, 2, __ATOMIC_ACQUIRE) != 0) (void)wait(thread, at(), true, 2, ~0u, Deadline::never());
  };
  auto unlock = [&](Task& thread) {
    if (__atomic_exchange_n(&word, 0, __ATOMIC_RELEASE) == 2) (void)wake(thread, at(), true, 1);
  };
  constexpr int kRounds = 3000;
  for (int i = 0; i < 4; ++i)
    spawn([&](Task& thread) {
      for (int round = 0; round < kRounds; ++round) {
        lock(thread);
        ++counter;
        unlock(thread);
      }
    });
  await(4);
  EXPECT_EQ(counter, 4 * kRounds);
}

TEST_F(Futex, PiLocksAreHandedOver) {
  ASSERT_TRUE(lock_pi(task, at(), true, false, Deadline::never()).ok());
  EXPECT_EQ(word, 1u);
  EXPECT_EQ(lock_pi(task, at(), true, false, Deadline::never()).code(), EDEADLK);
  std::atomic<uint32_t> owner{0};
  spawn([&](Task& thread) {
    EXPECT_EQ(lock_pi(thread, at(), true, true, Deadline::never()).code(), EAGAIN);
    EXPECT_EQ(unlock_pi(thread, at(), true).code(), EPERM);
    EXPECT_TRUE(lock_pi(thread, at(), true, false, Deadline::never()).ok());
    owner = word;
    EXPECT_EQ(word & kTidMask, static_cast<uint32_t>(thread.tid()));
    EXPECT_TRUE(unlock_pi(thread, at(), true).ok());
  });
  await_sleepers(at(), 1);
  EXPECT_EQ(__atomic_load_n(&word, __ATOMIC_SEQ_CST), 1u | kWaitersBit);
  ASSERT_TRUE(unlock_pi(task, at(), true).ok());
  await(1);
  EXPECT_EQ(word, 0u);
  word = 4711;
  EXPECT_EQ(lock_pi(task, at(), true, false, Deadline::never()).code(), ESRCH);
}

TEST_F(Futex, ADeadOwnersPiLockGoesToItsWaiter) {
  std::atomic<bool> locked{false}, go{false};
  spawn([&](Task& thread) {
    EXPECT_TRUE(lock_pi(thread, at(), true, false, Deadline::never()).ok());
    locked = true;
    while (!go) std::this_thread::yield();
  });
  while (!locked) std::this_thread::yield();
  spawn([&](Task& thread) {
    EXPECT_TRUE(lock_pi(thread, at(), true, false, Deadline::never()).ok());
    EXPECT_EQ(word & (kTidMask | kOwnerDied), static_cast<uint32_t>(thread.tid()) | kOwnerDied);
    EXPECT_TRUE(unlock_pi(thread, at(), true).ok());
  });
  await_sleepers(at(), 1);
  go = true;
  await(2);
}

TEST_F(Futex, RobustListsMarkTheLocksOfTheDead) {
  struct Node {
    uint64_t next;
    uint32_t word;
  };
  struct Head {
    uint64_t first;
    int64_t offset;
    uint64_t pending;
  };
  static Node node;
  static Head head;
  node = {reinterpret_cast<uint64_t>(&head), 0};
  head = {reinterpret_cast<uint64_t>(&node), offsetof(Node, word), 0};
  spawn([&](Task& thread) {
    __atomic_store_n(&node.word, static_cast<uint32_t>(thread.tid()) | kWaitersBit, __ATOMIC_SEQ_CST);
    thread.robust_list_head = reinterpret_cast<uint64_t>(&head);
  });
  while (__atomic_load_n(&node.word, __ATOMIC_SEQ_CST) != (kWaitersBit | kOwnerDied)) std::this_thread::yield();
}

}  // namespace
}  // namespace umk::futex
