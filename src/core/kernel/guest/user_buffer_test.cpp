#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "core/kernel/guest/fake_user_memory.h"
#include "core/kernel/guest/user_memory.h"

namespace umk {
namespace {

uint64_t address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }
std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(UserOutBuffer, FillsPiecesInOrderAndSkipsEmptyOnes) {
  char a[3], b[4];
  const BufferPiece pieces[] = {{address(a), 0}, {address(a), 3}, {address(b), 0}, {address(b), 4}, {address(b), 0}};
  UserOutBuffer buffer{std::span<const BufferPiece>(pieces)};
  EXPECT_EQ(buffer.remaining(), 7u);
  EXPECT_EQ(buffer.put(bytes("ab")).take(), 2u);
  EXPECT_EQ(buffer.put(bytes("cdefgh")).take(), 5u);
  EXPECT_EQ(std::string_view(a, 3), "abc");
  EXPECT_EQ(std::string_view(b, 4), "defg");
  EXPECT_EQ(buffer.remaining(), 0u);
  EXPECT_EQ(buffer.done(), 7u);
  EXPECT_EQ(buffer.put(bytes("x")).take(), 0u);
}

TEST(UserOutBuffer, ReportsAFaultOnlyWhenNothingWasCopied) {
  std::array<char, 64> memory{};
  fake::BadUserRange bad(memory.data() + 10, 20);
  UserOutBuffer buffer(address(memory.data()), memory.size());
  std::array<std::byte, 64> data{};
  EXPECT_EQ(buffer.put(data).take(), 10u);
  EXPECT_EQ(buffer.put(data).code(), EFAULT);
  EXPECT_EQ(buffer.done(), 10u);
}

TEST(UserOutBuffer, ZeroesAndLimits) {
  char memory[8];
  memset(memory, 'x', sizeof memory);
  UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(memory)));
  buffer.limit(5);
  EXPECT_EQ(buffer.put_zeroes(100).take(), 5u);
  EXPECT_EQ(memory[4], '\0');
  EXPECT_EQ(memory[5], 'x');
}

TEST(UserInBuffer, GathersFromPieces) {
  const char a[] = {'1', '2', '3'}, b[] = {'4', '5'};
  const BufferPiece pieces[] = {{address(a), 3}, {address(b), 2}};
  UserInBuffer buffer{std::span<const BufferPiece>(pieces)};
  char all[8] = {};
  EXPECT_EQ(buffer.get(std::as_writable_bytes(std::span(all))).take(), 5u);
  EXPECT_STREQ(all, "12345");
}

TEST(UserInBuffer, NextPieceFollowsTheCursor) {
  const BufferPiece pieces[] = {{0x1000, 10}, {0x2000, 10}};
  UserInBuffer buffer{std::span<const BufferPiece>(pieces)};
  buffer.advance(10);
  EXPECT_EQ(buffer.next_piece().address, 0x2000u);
  buffer.advance(4);
  buffer.limit(3);
  EXPECT_EQ(buffer.next_piece().address, 0x2004u);
  EXPECT_EQ(buffer.next_piece().length, 3u);
}

TEST(UserString, ShortAndLongStringsAreRead) {
  const std::string longer(1000, 'a');
  EXPECT_EQ(UserString(address("hello")).read(4095).take().view(), "hello");
  EXPECT_EQ(UserString(address(longer.c_str())).read(4095).take().view(), longer);
  EXPECT_EQ(UserString(address(longer.c_str())).read(999).code(), ENAMETOOLONG);
  EXPECT_EQ(UserString(address(longer.c_str())).read(1000).take().size(), 1000u);
  EXPECT_EQ(UserString(0).read(10).code(), EFAULT);
}

}  // namespace
}  // namespace umk
