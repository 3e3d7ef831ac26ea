#include "core/kernel/time/log_limit.h"

#include <gtest/gtest.h>

#include <string>

namespace umk {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

std::string& seen() {
  static std::string text;
  return text;
}

TEST(LogLimit, BurstPassesAndTheRestIsCounted) {
  LogLimit limit;
  uint32_t missed = 0;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limit.allows_at(kSecond, 5, 10, missed)) << i;
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limit.allows_at(kSecond + i, 5, 10, missed)) << i;
  EXPECT_EQ(missed, 0u);
  EXPECT_FALSE(limit.allows_at(6 * kSecond, 5, 10, missed));
  EXPECT_TRUE(limit.allows_at(6 * kSecond + 1, 5, 10, missed));
  EXPECT_EQ(missed, 8u);
  EXPECT_TRUE(limit.allows_at(6 * kSecond + 2, 5, 10, missed));
  EXPECT_EQ(missed, 0u) << "said once";
}

TEST(LogLimit, NoIntervalMeansNoLimit) {
  LogLimit limit;
  uint32_t missed = 0;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(limit.allows_at(kSecond, 0, 1, missed));
}

TEST(LogLimit, NoBurstLetsNothingThrough) {
  LogLimit limit;
  uint32_t missed = 0;
  EXPECT_FALSE(limit.allows_at(kSecond, 5, 0, missed));
}

TEST(LogLimit, APlaceMayHaveALargerBurst) {
  LogLimit limit(20);
  uint32_t missed = 0;
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(limit.allows_at(kSecond, 5, 10, missed)) << i;
  EXPECT_FALSE(limit.allows_at(kSecond, 5, 10, missed));
}

TEST(LogLimit, WhatWasLeftOutIsSaidBeforeTheNextLine) {
  seen().clear();
  set_log_writer([](LogLevel, std::string_view line) { seen() += std::string(line) + "\n"; });
  LogLimit limit;
  LogLimitSettings& settings = log_limit_settings();
  settings.burst = 2;
  settings.interval_seconds = 1;
  for (int i = 0; i < 5; ++i) log_limited(limit, "test", LogLevel::Info, "line {}", i);
  EXPECT_EQ(seen(), "line 0\nline 1\n");
  // An interval is over when more than its seconds have passed: pretend that it is none, which also begins anew.
  uint32_t missed = 0;
  EXPECT_TRUE(limit.allows_at(UINT64_MAX / 2, 1, 2, missed));
  EXPECT_EQ(missed, 3u);
  settings.burst = 10;
  settings.interval_seconds = 5;
  set_log_writer(nullptr);
}

}  // namespace
}  // namespace umk
