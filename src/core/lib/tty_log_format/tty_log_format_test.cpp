#include "core/lib/tty_log_format/tty_log_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace umk::tty_log_format {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<uint64_t> values, size_t size) {
  std::vector<std::byte> bytes;
  for (const uint64_t value : values) {
    const size_t start = bytes.size();
    bytes.resize(start + size);
    std::memcpy(bytes.data() + start, &value, size);
  }
  return bytes;
}

/// What a C compiler for 64 bits makes of the head.
std::vector<std::byte> long_head(uint32_t what, uint64_t tty, uint32_t length, uint32_t direction, uint64_t seconds,
                                 uint64_t microseconds) {
  std::vector<std::byte> bytes = bytes_of({what, 0xdeadbeef}, 4);  // padding is whatever was there
  for (const auto& part : {bytes_of({tty}, 8), bytes_of({length, direction}, 4), bytes_of({seconds, microseconds}, 8)})
    bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

TEST(TtyLogFormat, HeadIsSixNumbersOf32Bits) {
  const Head head{What::Write, 0x8803, 5, Direction::Read, 1700000000, 999999};
  const auto written = write_head(head);
  const std::vector<std::byte> expected = bytes_of({3, 0x8803, 5, 1, 1700000000, 999999}, 4);
  EXPECT_EQ(std::vector<std::byte>(written.begin(), written.end()), expected);
  const Parsed parsed = parse_head(written, Layout::Bits32);
  EXPECT_EQ(parsed.fault, nullptr);
  EXPECT_EQ(parsed.head, head);
}

TEST(TtyLogFormat, HeadOf64BitsIsReadWhateverItsPaddingHolds) {
  const std::vector<std::byte> bytes = long_head(4, 0x6012345678, 7, 0, 1700000000, 5);
  ASSERT_EQ(bytes.size(), head_bytes(Layout::Bits64));
  const Parsed parsed = parse_head(bytes, Layout::Bits64);
  EXPECT_EQ(parsed.fault, nullptr);
  EXPECT_EQ(parsed.head, (Head{What::Exec, 0x6012345678, 7, Direction::None, 1700000000, 5}));
}

TEST(TtyLogFormat, DamagedHeadsAreRefused) {
  const auto fault = [](std::initializer_list<uint64_t> values) { return parse_head(bytes_of(values, 4), Layout::Bits32).fault; };
  EXPECT_EQ(fault({2, 1, 0, 0, 1, 0}), nullptr);
  EXPECT_NE(fault({0, 1, 0, 0, 1, 0}), nullptr);
  EXPECT_NE(fault({5, 1, 0, 0, 1, 0}), nullptr);
  EXPECT_NE(fault({1, 1, 0, 0, 1, 0}), nullptr) << "an opening names a terminal";
  EXPECT_NE(fault({2, 1, 1, 0, 1, 0}), nullptr);
  EXPECT_NE(fault({3, 1, 1, 0, 1, 0}), nullptr) << "a write has a direction";
  EXPECT_NE(fault({3, 1, 0xffffffff, 1, 1, 0}), nullptr);
  EXPECT_NE(fault({3, 1, kMostData + 1, 1, 1, 0}), nullptr);
  EXPECT_NE(fault({3, 1, 1, 1, 1, 1000000}), nullptr);
}

TEST(TtyLogFormat, LayoutIsGuessedFromTheBeginning) {
  std::vector<std::byte> small, large;
  for (const uint32_t tty : {0x400u, 0x8800u}) {
    for (const auto& part : {bytes_of({1, tty, 4, 0, 1700000000, 5, 0}, 4), bytes_of({3, tty, 4, 2, 1700000001, 6, 0x2d2d2d2d}, 4)})
      small.insert(small.end(), part.begin(), part.end());
    for (const auto& part :
         {long_head(1, tty, 8, 0, 1700000000, 5), bytes_of({0}, 8), long_head(3, tty, 4, 2, 1700000001, 6), bytes_of({0x2d2d2d2d}, 4)})
      large.insert(large.end(), part.begin(), part.end());
  }
  EXPECT_EQ(guess_layout(small), Layout::Bits32);
  EXPECT_EQ(guess_layout(large), Layout::Bits64);
  EXPECT_EQ(guess_layout(std::span(small).first(30)), Layout::Bits32) << "cut within a record";
  EXPECT_EQ(guess_layout(std::span(large).first(50)), Layout::Bits64);
  EXPECT_EQ(guess_layout({}), Layout::Bits32);
}

TEST(TtyLogFormat, ArgumentsAreTakenOneByOne) {
  std::string_view data("ls\0-l\0\0last", 12);
  EXPECT_EQ(next_argument(data), "ls");
  EXPECT_EQ(next_argument(data), "-l");
  EXPECT_EQ(next_argument(data), "");
  EXPECT_EQ(next_argument(data), "last");
  EXPECT_TRUE(data.empty());
}

TEST(TtyLogFormat, ParentIsOfEitherSize) {
  EXPECT_EQ(parent_of(bytes_of({0x8803}, 4)), 0x8803u);
  EXPECT_EQ(parent_of(bytes_of({0x6012345678}, 8)), 0x6012345678u);
  EXPECT_EQ(parent_of({}), 0u);
}

}  // namespace
}  // namespace umk::tty_log_format
