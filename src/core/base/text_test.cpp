#include "core/base/text.h"

#include <gtest/gtest.h>

#include <string>

#include "core/base/log.h"

namespace umk {
namespace {

template <typename... Arguments>
std::string text(std::string_view pattern, const Arguments&... arguments) {
  return std::string(format_string(pattern, arguments...).take().view());
}

TEST(Format, ReplacesFieldsInOrder) {
  EXPECT_EQ(text("{} and {}", 1, "two"), "1 and two");
  EXPECT_EQ(text("{}{}{}", 'c', true, std::string_view("s")), "ctrues");
  EXPECT_EQ(text("nothing"), "nothing");
}

TEST(Format, WritesExtremeNumbers) {
  EXPECT_EQ(text("{}", INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(text("{}", UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(text("{}", static_cast<int8_t>(-1)), "-1");
  EXPECT_EQ(text("{}", 0), "0");
}

TEST(Format, PadsAndChoosesBase) {
  EXPECT_EQ(text("{:5}|", 42), "   42|");
  EXPECT_EQ(text("{:-5}|", 42), "42   |");
  EXPECT_EQ(text("{:05}", -42), "-0042");
  EXPECT_EQ(text("{:x}", 255), "ff");
  EXPECT_EQ(text("{:08x}", 0xbeef), "0000beef");
  EXPECT_EQ(text("{:o}", 8), "10");
  EXPECT_EQ(text("{:*}|", 4, 7), "   7|");
  EXPECT_EQ(text("{:-6}|", "ab"), "ab    |");
}

TEST(Format, NegativeNumbersInOtherBasesShowTheirBits) { EXPECT_EQ(text("{:x}", -1), "ffffffffffffffff"); }

TEST(Format, PrintsPointersInHexadecimal) { EXPECT_EQ(text("{}", reinterpret_cast<const void*>(0x1000)), "0x1000"); }

TEST(Format, DoubledBracesAreBraces) { EXPECT_EQ(text("{{{}}}", 1), "{1}"); }

TEST(Format, MissingArgumentIsVisible) { EXPECT_EQ(text("{} {}", 1), "1 {?}"); }

TEST(Format, NullTextIsNamed) { EXPECT_EQ(text("{}", static_cast<const char*>(nullptr)), "(null)"); }

TEST(BufferSink, CutsWhatDoesNotFit) {
  char buffer[4];
  BufferSink sink(buffer);
  format(sink, "{}", "abc");
  EXPECT_FALSE(sink.truncated());
  format(sink, "{}", "def");
  EXPECT_TRUE(sink.truncated());
  EXPECT_EQ(sink.view(), "abcd");
}

TEST(ParseUnsigned, TakesWholeNumbersOnly) {
  EXPECT_EQ(parse_unsigned("0"), 0u);
  EXPECT_EQ(parse_unsigned("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(parse_unsigned("18446744073709551616"), std::nullopt);
  EXPECT_EQ(parse_unsigned(""), std::nullopt);
  EXPECT_EQ(parse_unsigned("12x"), std::nullopt);
  EXPECT_EQ(parse_unsigned(" 1"), std::nullopt);
  EXPECT_EQ(parse_unsigned("-1"), std::nullopt);
}

TEST(ParseUnsigned, TakesTheBaseFromThePrefix) {
  EXPECT_EQ(parse_unsigned("0x1F", 0), 31u);
  EXPECT_EQ(parse_unsigned("017", 0), 15u);
  EXPECT_EQ(parse_unsigned("17", 0), 17u);
  EXPECT_EQ(parse_unsigned("0", 0), 0u);
  EXPECT_EQ(parse_unsigned("0x", 0), std::nullopt);
  EXPECT_EQ(parse_unsigned("8", 8), std::nullopt);
}

TEST(ParseSigned, CoversTheWholeRange) {
  EXPECT_EQ(parse_signed("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(parse_signed("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parse_signed("9223372036854775808"), std::nullopt);
  EXPECT_EQ(parse_signed("-9223372036854775809"), std::nullopt);
  EXPECT_EQ(parse_signed("-"), std::nullopt);
}

TEST(ParseSize, TakesUnitsAndRefusesOverflow) {
  EXPECT_EQ(parse_size("64M"), 64ull << 20);
  EXPECT_EQ(parse_size("4k"), 4096u);
  EXPECT_EQ(parse_size("0x10"), 16u);
  EXPECT_EQ(parse_size("1T"), 1ull << 40);
  EXPECT_EQ(parse_size("M"), std::nullopt);
  EXPECT_EQ(parse_size("18014398509481984K"), std::nullopt);
  EXPECT_EQ(parse_size(""), std::nullopt);
}

TEST(SplitFirst, WalksThroughTheParts) {
  std::string_view rest = "a,,b";
  EXPECT_EQ(split_first(rest, ','), "a");
  EXPECT_EQ(split_first(rest, ','), "");
  EXPECT_EQ(split_first(rest, ','), "b");
  EXPECT_EQ(rest, "");
}

TEST(Trim, DropsBlanksAtBothEnds) {
  EXPECT_EQ(trim(" \t a b \r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
}

std::string last_line;

TEST(Log, FormatsAndHandsOverOneLine) {
  set_log_writer(
      [](LogLevel level, std::string_view line) { last_line = std::to_string(static_cast<int>(level)) + ":" + std::string(line); });
  log(LogLevel::Warning, "disk {} is {}", 1, "full");
  EXPECT_EQ(last_line, "4:disk 1 is full");
  set_log_writer(nullptr);
}

}  // namespace
}  // namespace umk
