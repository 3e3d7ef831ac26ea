#include "core/base/ref_ptr.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/base/make.h"

namespace umk {
namespace {

struct Base : RefCounted {
  explicit Base(int* deaths) : deaths_(deaths) {}
  ~Base() override { ++*deaths_; }
  int* deaths_;
};

struct Derived : Base {
  using Base::Base;
};

/// Stays alive without references, as an object does that its cache keeps.
struct Kept : RefCounted {
  ~Kept() override = default;
  void last_reference_dropped() override { ++drops; }
  int drops = 0;
};

TEST(RefPtr, LastReferenceDeletes) {
  int deaths = 0;
  RefPtr<Base> first = make_ref<Base>(&deaths).take();
  EXPECT_EQ(first->reference_count(), 1u);
  {
    const RefPtr<Base> second = first;
    EXPECT_EQ(first->reference_count(), 2u);
    EXPECT_EQ(second, first);
  }
  EXPECT_EQ(deaths, 0);
  first = nullptr;
  EXPECT_EQ(deaths, 1);
  EXPECT_FALSE(first);
}

TEST(RefPtr, MovesWithoutCounting) {
  int deaths = 0;
  RefPtr<Derived> derived = make_ref<Derived>(&deaths).take();
  const RefPtr<Base> base = std::move(derived);
  EXPECT_FALSE(derived);
  EXPECT_EQ(base->reference_count(), 1u);
}

TEST(RefPtr, ConvertsToBase) {
  int deaths = 0;
  {
    const RefPtr<Derived> derived = make_ref<Derived>(&deaths).take();
    const RefPtr<Base> base = derived;
    EXPECT_EQ(base->reference_count(), 2u);
  }
  EXPECT_EQ(deaths, 1);
}

TEST(RefPtr, SelfAssignmentKeepsTheObject) {
  int deaths = 0;
  RefPtr<Base> pointer = make_ref<Base>(&deaths).take();
  const RefPtr<Base>& same = pointer;
  pointer = same;
  EXPECT_EQ(deaths, 0);
  EXPECT_EQ(pointer->reference_count(), 1u);
}

TEST(RefPtr, LeakAndAdoptHandTheReferenceOver) {
  int deaths = 0;
  RefPtr<Base> pointer = make_ref<Base>(&deaths).take();
  Base* raw = pointer.leak();
  EXPECT_FALSE(pointer);
  EXPECT_EQ(deaths, 0);
  adopt_ref(raw) = nullptr;
  EXPECT_EQ(deaths, 1);
}

TEST(RefPtr, TryAddFailsOnceTheLastReferenceIsGone) {
  Kept kept;
  EXPECT_TRUE(kept.try_add_reference());
  kept.drop_reference();
  kept.drop_reference();
  EXPECT_EQ(kept.drops, 1);
  EXPECT_FALSE(kept.try_add_reference());
}

TEST(RefPtr, CountsAcrossThreads) {
  int deaths = 0;
  RefPtr<Base> shared = make_ref<Base>(&deaths).take();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([shared] {
      for (int round = 0; round < 1000; ++round) {
        const RefPtr<Base> mine = shared;
        EXPECT_TRUE(mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  EXPECT_EQ(shared->reference_count(), 1u);
  shared = nullptr;
  EXPECT_EQ(deaths, 1);
}

}  // namespace
}  // namespace umk
