#include "core/base/vector.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

namespace umk {
namespace {

Vector<int> numbers(std::initializer_list<int> items) {
  Vector<int> vector;
  EXPECT_TRUE(vector.append(std::span(items.begin(), items.size())).ok());
  return vector;
}

std::vector<int> listed(const Vector<int>& vector) { return {vector.begin(), vector.end()}; }

TEST(Vector, GrowsAndKeepsOrder) {
  Vector<int> vector;
  EXPECT_TRUE(vector.empty());
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(vector.push_back(i).ok());
  EXPECT_EQ(vector.size(), 1000u);
  EXPECT_EQ(vector.front(), 0);
  EXPECT_EQ(vector.back(), 999);
  EXPECT_EQ(std::accumulate(vector.begin(), vector.end(), 0), 999 * 1000 / 2);
}

TEST(Vector, InsertsAndErasesAnywhere) {
  Vector<int> vector = numbers({1, 3});
  ASSERT_TRUE(vector.insert(1, 2).ok());
  ASSERT_TRUE(vector.insert(0, 0).ok());
  ASSERT_TRUE(vector.insert(4, 4).ok());
  EXPECT_EQ(listed(vector), (std::vector<int>{0, 1, 2, 3, 4}));
  vector.erase(0);
  vector.erase(3);
  EXPECT_EQ(listed(vector), (std::vector<int>{1, 2, 3}));
}

TEST(Vector, ResizesBothWays) {
  Vector<int> vector = numbers({1, 2, 3});
  ASSERT_TRUE(vector.resize(5).ok());
  EXPECT_EQ(listed(vector), (std::vector<int>{1, 2, 3, 0, 0}));
  ASSERT_TRUE(vector.resize(1).ok());
  EXPECT_EQ(listed(vector), (std::vector<int>{1}));
}

TEST(Vector, PushingAnItemOfItsOwnSurvivesGrowth) {
  Vector<int> vector = numbers({7});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(vector.push_back(vector[0]).ok());
  EXPECT_EQ(vector.back(), 7);
}

TEST(Vector, MovesLeaveTheSourceEmpty) {
  Vector<std::unique_ptr<int>> source;
  ASSERT_TRUE(source.push_back(std::make_unique<int>(1)).ok());
  Vector<std::unique_ptr<int>> target = std::move(source);
  EXPECT_TRUE(source.empty());
  EXPECT_EQ(*target[0], 1);
  source = std::move(target);
  EXPECT_TRUE(target.empty());
  EXPECT_EQ(*source[0], 1);
}

TEST(Vector, DestroysEveryItemOnce) {
  const std::shared_ptr<int> counted = std::make_shared<int>(0);
  {
    Vector<std::shared_ptr<int>> vector;
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(vector.push_back(counted).ok());
    EXPECT_EQ(counted.use_count(), 11);
    vector.erase(4);
    vector.pop_back();
    EXPECT_EQ(counted.use_count(), 9);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(Vector, ImpossibleSizeIsEnomemAndChangesNothing) {
  Vector<uint64_t> vector;
  ASSERT_TRUE(vector.push_back(1).ok());
  EXPECT_EQ(vector.reserve(SIZE_MAX / 4).code(), ENOMEM);
  EXPECT_EQ(vector.size(), 1u);
  EXPECT_EQ(vector[0], 1u);
}

TEST(VectorDeathTest, IndexOutOfRangePanics) {
  Vector<int> vector = numbers({1});
  EXPECT_DEATH((void)vector[1], "out of range");
}

TEST(Vector, WhatComesInPiecesIsMovedSeldom) {
  Vector<char> vector;
  int moves = 0;
  const char* before = nullptr;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(vector.append(std::span("abc", 3)).ok());
    moves += vector.data() != before;
    before = vector.data();
  }
  EXPECT_EQ(vector.size(), 30'000u);
  EXPECT_LT(moves, 20);
}

}  // namespace
}  // namespace umk
