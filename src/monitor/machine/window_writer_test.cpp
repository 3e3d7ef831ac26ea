#include "monitor/machine/window_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace umk::monitor {
namespace {

constexpr uint64_t kAddress = 0x1000;

/// A window of `size` bytes at `start`, of instructions of two bytes each, to be overwritten with e9 01 02 03 ...
patcher::PatchPlan plan_at(uint64_t start, size_t size) {
  patcher::PatchPlan plan;
  plan.place = {.window_start = start, .window_end = start + size, .moved_start = start, .site = start + size, .trampoline = 0x9000, .branch_target = 0};
  plan.window.resize(size);
  std::iota(plan.window.begin(), plan.window.end(), uint8_t{0});
  plan.window[0] = 0xe9;
  for (uint64_t at = start; at < start + size; at += 2) plan.boundaries.push_back(at);
  return plan;
}

struct Text {
  alignas(64) std::array<uint8_t, 64> bytes{};
  std::vector<uint8_t> at(uint64_t address, size_t size) const {
    return {bytes.begin() + static_cast<long>(address - kAddress), bytes.begin() + static_cast<long>(address - kAddress + size)};
  }
};

TEST(WindowWriter, WritesAWindowOfOneWordAtOnce) {
  Text text;
  WindowWriter writer;
  const patcher::PatchPlan plan = plan_at(kAddress + 1, 6);
  writer.begin(text.bytes.data(), kAddress, plan);
  EXPECT_TRUE(writer.is_done());
  EXPECT_EQ(text.at(kAddress + 1, 6), plan.window);
  EXPECT_EQ(text.bytes[0], 0);
  EXPECT_EQ(text.bytes[7], 0);
}

TEST(WindowWriter, TakesNoStepBeforeTheLastOneHasSettled) {
  Text text;
  WindowWriter writer;
  const auto before = WindowWriter::Clock::now();
  writer.begin(text.bytes.data(), kAddress, plan_at(kAddress + 5, 8));
  EXPECT_FALSE(writer.is_done());
  const auto first_step = text.bytes;
  EXPECT_EQ(first_step[5], 0xcc);
  writer.advance(before);
  EXPECT_EQ(text.bytes, first_step);
  writer.advance(WindowWriter::Clock::now() + WindowWriter::kSettle);
  EXPECT_NE(text.bytes, first_step);
  EXPECT_EQ(text.bytes[5], 0xcc);
}

TEST(WindowWriter, FinishesAllWindowsInTheOrderOfTheirSteps) {
  Text text;
  WindowWriter writer;
  const std::array plans = {plan_at(kAddress + 5, 8), plan_at(kAddress + 20, 9), plan_at(kAddress + 40, 12)};
  for (const patcher::PatchPlan& plan : plans) writer.begin(text.bytes.data(), kAddress, plan);
  writer.finish();
  EXPECT_TRUE(writer.is_done());
  for (const patcher::PatchPlan& plan : plans) EXPECT_EQ(text.at(plan.place.window_start, plan.window.size()), plan.window);
}

}  // namespace
}  // namespace umk::monitor
