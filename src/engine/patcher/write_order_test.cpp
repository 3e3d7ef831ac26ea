#include "engine/patcher/write_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace umk::patcher {
namespace {

PatchPlan plan_of(uint64_t start, std::vector<uint8_t> window, std::vector<uint64_t> boundaries) {
  PatchPlan plan;
  plan.place = {.window_start = start, .window_end = start + window.size(), .moved_start = start, .site = start + window.size(), .trampoline = 0x100, .branch_target = 0};
  plan.window = std::move(window);
  plan.boundaries = std::move(boundaries);
  return plan;
}

TEST(WriteOrder, OneStoreWhenOneWordHoldsTheWindow) {
  const PatchPlan plan = plan_of(0x1003, {0xe9, 1, 2, 3, 4}, {0x1003});
  ASSERT_TRUE(plan.fits_in_word());
  const auto steps = write_order(plan);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_TRUE(steps[0].one_store);
  EXPECT_EQ(steps[0].bytes, plan.window);
}

TEST(WriteOrder, LineCrossingIsTold) {
  EXPECT_TRUE(plan_of(0x103e, {0xe9, 1, 2, 3, 4}, {0x103e}).crosses_cache_line());
  EXPECT_FALSE(plan_of(0x103b, {0xe9, 1, 2, 3, 4}, {0x103b}).crosses_cache_line());
}

TEST(WriteOrder, NoBoundaryEverHoldsAMixture) {
  const PatchPlan plan = plan_of(0x103e, {0xe9, 1, 2, 0xff, 0xff, 0xff, 0xcc, 0xcc}, {0x103e, 0x1042, 0x1044});
  std::map<uint64_t, uint8_t> memory;
  for (uint64_t address = 0x103e; address < 0x1046; ++address) memory[address] = 0x90;

  const auto steps = write_order(plan);
  bool settled_after_int3 = false;
  for (const WriteStep& step : steps) {
    EXPECT_FALSE(step.one_store);
    for (size_t i = 0; i < step.bytes.size(); ++i) memory[step.address + i] = step.bytes[i];
    const bool all_closed = std::ranges::all_of(plan.boundaries, [&](uint64_t boundary) { return memory[boundary] == 0xcc; });
    settled_after_int3 = settled_after_int3 || (all_closed && step.settle);
    // As soon as a byte is final that is not a boundary's, every boundary is closed or final, and a settled step was between.
    if (memory[0x103f] == 1) {
      EXPECT_TRUE(settled_after_int3);
      EXPECT_TRUE(memory[0x103e] == 0xcc || &step == &steps.back());
    }
  }
  for (size_t i = 0; i < plan.window.size(); ++i) EXPECT_EQ(memory[0x103e + i], plan.window[i]);
  EXPECT_EQ(steps.back().address, 0x103eu);
  EXPECT_EQ(steps.back().bytes, std::vector<uint8_t>{0xe9});
  EXPECT_TRUE(steps[steps.size() - 2].settle);
}

}  // namespace
}  // namespace umk::patcher
