#include "core/lib/elf/initial_stack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace umk::elf {
namespace {

constexpr uint64_t kTop = 0x7ffff000;
constexpr uint64_t kLimit = 1 << 20;

/// Reads a built stack as a program would.
class Reader {
 public:
  explicit Reader(const InitialStack& stack) : stack_(stack) {}
  uint64_t word(uint64_t address) const {
    uint64_t value;
    std::memcpy(&value, at(address, sizeof value), sizeof value);
    return value;
  }
  std::string string(uint64_t address) const { return reinterpret_cast<const char*>(at(address, 1)); }
  const std::byte* at(uint64_t address, size_t size) const {
    EXPECT_GE(address, stack_.stack_pointer);
    EXPECT_LE(address + size, stack_.stack_pointer + stack_.bytes.size());
    return stack_.bytes.begin() + (address - stack_.stack_pointer);
  }

 private:
  const InitialStack& stack_;
};

std::array<std::byte, 16> some_random() {
  std::array<std::byte, 16> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i + 1);
  return bytes;
}

struct Program {
  uint64_t argc;
  std::vector<std::string> arguments, environment;
  std::map<uint64_t, uint64_t> auxiliary;
};

Program start(const InitialStack& stack) {
  const Reader reader(stack);
  Program program;
  uint64_t at = stack.stack_pointer;
  program.argc = reader.word(at);
  for (at += 8; reader.word(at) != 0; at += 8) program.arguments.push_back(reader.string(reader.word(at)));
  for (at += 8; reader.word(at) != 0; at += 8) program.environment.push_back(reader.string(reader.word(at)));
  at += 8;
  EXPECT_EQ(at, stack.auxiliary_vector.start);
  for (; reader.word(at) != kAuxNull; at += 16) program.auxiliary[reader.word(at)] = reader.word(at + 8);
  EXPECT_EQ(at + 16, stack.auxiliary_vector.end);
  return program;
}

TEST(InitialStack, HoldsWhatTheProgramWasGiven) {
  const std::string_view arguments[] = {"ls", "-l", ""};
  const std::string_view environment[] = {"A=1", "HOME=/root"};
  const AuxiliaryEntry auxiliary[] = {{kAuxPageSize, 4096}, {kAuxEntry, 0x401000}};
  const auto built = build_initial_stack({arguments, environment, "/bin/ls", "x86_64", some_random(), auxiliary}, kTop, kLimit);
  ASSERT_TRUE(built.ok());
  const InitialStack& stack = built.value();
  EXPECT_EQ(stack.stack_pointer % 16, 0u);
  EXPECT_EQ(stack.stack_pointer + stack.bytes.size(), kTop);

  Program program = start(stack);
  EXPECT_EQ(program.argc, 3u);
  EXPECT_EQ(program.arguments, (std::vector<std::string>{"ls", "-l", ""}));
  EXPECT_EQ(program.environment, (std::vector<std::string>{"A=1", "HOME=/root"}));
  EXPECT_EQ(program.auxiliary[kAuxPageSize], 4096u);
  EXPECT_EQ(program.auxiliary[kAuxEntry], 0x401000u);
  const Reader reader(stack);
  EXPECT_EQ(reader.string(program.auxiliary[kAuxExecutableName]), "/bin/ls");
  EXPECT_EQ(reader.string(program.auxiliary[kAuxPlatform]), "x86_64");
  EXPECT_EQ(std::memcmp(reader.at(program.auxiliary[kAuxRandom], 16), some_random().data(), 16), 0);
  EXPECT_EQ(reader.word(kTop - 8), 0u);
}

TEST(InitialStack, StringsLieTogetherForProc) {
  const std::string_view arguments[] = {"a", "bc"};
  const std::string_view environment[] = {"D=e"};
  const auto built = build_initial_stack({arguments, environment, "x", "p", {}, {}}, kTop, kLimit);
  const InitialStack& stack = built.value();
  EXPECT_EQ(stack.argument_strings.end - stack.argument_strings.start, 5u);
  EXPECT_EQ(stack.argument_strings.end, stack.environment_strings.start);
  EXPECT_EQ(std::memcmp(Reader(stack).at(stack.argument_strings.start, 9), "a\0bc\0D=e", 9), 0);
}

TEST(InitialStack, NoArgumentsAreOneEmptyArgument) {
  const auto built = build_initial_stack({{}, {}, "x", "p", {}, {}}, kTop, kLimit);
  const Program program = start(built.value());
  EXPECT_EQ(program.argc, 1u);
  EXPECT_EQ(program.arguments, std::vector<std::string>{""});
}

TEST(InitialStack, IsAlignedForAnyNumberOfPointers) {
  std::vector<std::string_view> arguments;
  for (int i = 0; i < 20; ++i) {
    arguments.push_back("abcdefghijklmnopqrstuvwxyz");
    const auto built = build_initial_stack({arguments, {}, "x", "p", {}, {}}, kTop, kLimit);
    EXPECT_EQ(built.value().stack_pointer % 16, 0u);
    EXPECT_EQ(start(built.value()).argc, arguments.size());
  }
}

TEST(InitialStack, OneStringMayHave128KiBWithItsZero) {
  const std::string longest(kMaximumArgumentBytes - 1, 'x'), too_long(kMaximumArgumentBytes, 'x');
  const std::string_view good[] = {longest}, bad[] = {too_long};
  EXPECT_EQ(build_initial_stack({good, {}, "x", "p", {}, {}}, kTop, kLimit).code(), 0);
  EXPECT_EQ(build_initial_stack({bad, {}, "x", "p", {}, {}}, kTop, kLimit).code(), E2BIG);
  EXPECT_EQ(build_initial_stack({{}, bad, "x", "p", {}, {}}, kTop, kLimit).code(), E2BIG);
}

TEST(InitialStack, PointersCountTowardsTheLimit) {
  const std::vector<std::string_view> arguments(10, "");
  // Ten pointers, ten zeroes, and the name with its zero.
  const uint64_t needed = 10 * 8 + 10 + 2;
  EXPECT_EQ(build_initial_stack({arguments, {}, "x", "p", {}, {}}, kTop, needed).code(), 0);
  EXPECT_EQ(build_initial_stack({arguments, {}, "x", "p", {}, {}}, kTop, needed - 1).code(), E2BIG);
  EXPECT_EQ(build_initial_stack({arguments, {}, "x", "p", {}, {}}, kTop, 0).code(), E2BIG);
  EXPECT_EQ(build_initial_stack({arguments, {}, "x", "p", {}, {}}, 64, kLimit).code(), E2BIG);
}

TEST(InitialStack, SpaceFollowsTheStackLimit) {
  EXPECT_EQ(argument_space(8 << 20), 2u << 20);
  EXPECT_EQ(argument_space(0), 128u << 10);
  EXPECT_EQ(argument_space(UINT64_MAX), 6u << 20);
}

}  // namespace
}  // namespace umk::elf
