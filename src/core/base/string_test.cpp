#include "core/base/string.h"

#include <gtest/gtest.h>

#include <string>

namespace umk {
namespace {

TEST(String, StartsEmptyAndTerminated) {
  const String string;
  EXPECT_TRUE(string.empty());
  EXPECT_EQ(string.size(), 0u);
  EXPECT_STREQ(string.c_str(), "");
  EXPECT_EQ(string.view(), "");
}

TEST(String, AppendsAndStaysTerminated) {
  String string = String::from("ab").take();
  ASSERT_TRUE(string.append("cd").ok());
  ASSERT_TRUE(string.append('e').ok());
  EXPECT_STREQ(string.c_str(), "abcde");
  EXPECT_EQ(string.size(), 5u);
  EXPECT_TRUE(string == "abcde");
}

TEST(String, AppendingNothingChangesNothing) {
  String string;
  ASSERT_TRUE(string.append("").ok());
  EXPECT_TRUE(string.empty());
  EXPECT_STREQ(string.c_str(), "");
}

TEST(String, GrowsPastAnyBuffer) {
  String string;
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    const char character = static_cast<char>('a' + i % 26);
    ASSERT_TRUE(string.append(character).ok());
    expected += character;
  }
  EXPECT_EQ(string.view(), expected);
}

TEST(String, KeepsNulBytesInside) {
  const String string = String::from(std::string_view("a\0b", 3)).take();
  EXPECT_EQ(string.size(), 3u);
  EXPECT_EQ(string.view()[2], 'b');
}

TEST(String, ClonesAreIndependent) {
  String original = String::from("x").take();
  const String copy = original.clone().take();
  ASSERT_TRUE(original.append("y").ok());
  EXPECT_EQ(copy.view(), "x");
}

TEST(String, WhatComesInPiecesIsMovedSeldom) {
  String string;
  int moves = 0;
  const char* before = nullptr;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(string.append("abc").ok());
    moves += string.c_str() != before;
    before = string.c_str();
  }
  EXPECT_EQ(string.size(), 30'000u);
  EXPECT_LT(moves, 20);
}

TEST(String, ClearEmpties) {
  String string = String::from("text").take();
  string.clear();
  EXPECT_TRUE(string.empty());
  ASSERT_TRUE(string.append("new").ok());
  EXPECT_EQ(string.view(), "new");
}

}  // namespace
}  // namespace umk
