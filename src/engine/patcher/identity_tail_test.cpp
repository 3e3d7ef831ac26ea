// The answers are compared with the processor's own: the generated code runs here, beside the instruction.
#include "engine/patcher/identity_tail.h"

#include <cpuid.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/patcher/identity_answers.h"

namespace umk::patcher {
namespace {

using Four = std::array<uint64_t, 4>;

Four ask_truly(uint32_t leaf, uint32_t subleaf) {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  __cpuid_count(leaf, subleaf, a, b, c, d);
  return {a, b, c, d};
}

std::array<uint32_t, 4> ask32(uint32_t leaf, uint32_t subleaf) {
  const Four got = ask_truly(leaf, subleaf);
  return {static_cast<uint32_t>(got[0]), static_cast<uint32_t>(got[1]), static_cast<uint32_t>(got[2]), static_cast<uint32_t>(got[3])};
}

/// Memory with `site: cpuid; ret` and the tail for it.
class Code {
 public:
  Code(std::span<const IdentityAnswer> answers, std::optional<uint64_t> leaf) {
    memory_ = static_cast<uint8_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const uint8_t site[] = {0x0f, 0xa2, 0xc3};
    std::memcpy(memory_, site, sizeof site);
    const std::vector<uint8_t> tail = identity_tail(answers, leaf, address() + 64, address());
    EXPECT_EQ(tail.size(), identity_tail(answers, leaf, 0, 0).size());
    EXPECT_LT(tail.size(), kBytes - 64);
    std::ranges::copy(tail, memory_ + 64);
  }
  ~Code() { munmap(memory_, kBytes); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  /// The four registers after the tail ran with these, and whether the flags are what they were.
  Four run(uint64_t rax, uint64_t rcx, uint64_t flags) {
    Four after{rax, 0x1234'5678'9abc'def0, rcx, ~uint64_t{0}};
    uint64_t flags_after = 0;
    asm volatile("lea -128(%%rsp),%%rsp\npush %[flags]\npopfq\ncall *%[code]\npushfq\npop %[after]\nlea 128(%%rsp),%%rsp"
                 : "+a"(after[0]), "+b"(after[1]), "+c"(after[2]), "+d"(after[3]), [after] "=&r"(flags_after)
                 : [flags] "r"(flags), [code] "r"(memory_ + 64)
                 : "memory", "cc");
    constexpr uint64_t kArithmetic = 0x8d5;
    EXPECT_EQ(flags_after & kArithmetic, flags & kArithmetic);
    return after;
  }

 private:
  static constexpr size_t kBytes = 16384;
  uint64_t address() const { return reinterpret_cast<uint64_t>(memory_); }
  uint8_t* memory_;
};

TEST(IdentityTail, AnswersAsTheProcessorDoes) {
  const std::vector<IdentityAnswer> answers = lasting_answers(ask32);
  Code code(answers, std::nullopt);
  for (const IdentityAnswer& answer : answers) {
    const uint32_t subleaf = answer.subleaf.value_or(0x9876);
    EXPECT_EQ(code.run(answer.leaf, subleaf, 0x202), ask_truly(answer.leaf, subleaf)) << std::hex << answer.leaf << ' ' << subleaf;
    EXPECT_EQ(code.run(answer.leaf | 0xffff'0000'0000'0000, subleaf | 0xabcd'0000'0000, 0xad7), ask_truly(answer.leaf, subleaf));
  }
}

TEST(IdentityTail, TakesTheAnswersThatItIsGiven) {
  const std::vector<IdentityAnswer> answers = {{.leaf = 4, .subleaf = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4},
                                               {.leaf = 4, .subleaf = 7, .eax = 0xffff'ffff, .ebx = 0x8000'0000, .ecx = 0, .edx = 9},
                                               {.leaf = 0x8000'0001, .subleaf = {}, .eax = 5, .ebx = 6, .ecx = 7, .edx = 8}};
  Code code(answers, std::nullopt);
  EXPECT_EQ(code.run(4, 0, 0x202), (Four{1, 2, 3, 4}));
  EXPECT_EQ(code.run(4, 7, 0x202), (Four{0xffff'ffff, 0x8000'0000, 0, 9}));
  EXPECT_EQ(code.run(0x8000'0001, 77, 0xad7), (Four{5, 6, 7, 8}));
}

TEST(IdentityTail, LeavesOtherQuestionsToTheInstruction) {
  const std::vector<IdentityAnswer> answers = {{.leaf = 4, .subleaf = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4}};
  Code code(answers, std::nullopt);
  EXPECT_EQ(code.run(0, 0, 0x202), ask_truly(0, 0));
  EXPECT_EQ(code.run(4, 1, 0xad7), ask_truly(4, 1));
  EXPECT_EQ(code.run(0x8000'0000, 5, 0x202), ask_truly(0x8000'0000, 5));
}

TEST(IdentityTail, LooksAtTheLeafEvenWhereItIsKnown) {
  const std::vector<IdentityAnswer> answers = {{.leaf = 4, .subleaf = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4},
                                               {.leaf = 2, .subleaf = {}, .eax = 5, .ebx = 6, .ecx = 7, .edx = 8}};
  Code code(answers, 4);
  EXPECT_EQ(code.run(4, 0, 0x202), (Four{1, 2, 3, 4}));
  EXPECT_EQ(code.run(2, 0, 0x202), ask_truly(2, 0));
  EXPECT_LT(identity_tail(answers, 4, 0, 0).size(), identity_tail(answers, std::nullopt, 0, 0).size());
}

TEST(IdentityTail, RefusesToReachTooFar) {
  EXPECT_TRUE(identity_tail({}, std::nullopt, 0, uint64_t{1} << 33).empty());
  EXPECT_FALSE(identity_tail({}, std::nullopt, 0, uint64_t{1} << 30).empty());
}

/// A processor with leaves up to 0x19 whose answers tell the question.
std::array<uint32_t, 4> plain_processor(uint32_t leaf, uint32_t subleaf) {
  switch (leaf) {
    case 0: return {0x19, 0, 0, 0};
    case 2: return {0xff01, 0, 0, 0};
    case 4: return {subleaf < 3 ? 1u : 0u, 0, 0, 0};
    case 7: return {1, 0, 0, 0};
    case 0x14: return {0, 0, 0, 0};
    case 0x8000'0000: return {0x8000'001e, 0, 0, 0};
    default: return {leaf, subleaf, 0, 0};
  }
}

bool holds(std::span<const IdentityAnswer> answers, uint32_t leaf, std::optional<uint32_t> subleaf) {
  return std::ranges::any_of(answers, [&](const IdentityAnswer& answer) { return answer.leaf == leaf && answer.subleaf == subleaf; });
}

TEST(LastingAnswers, LeaveOutWhatNamesAProcessorOrWaits) {
  const std::vector<IdentityAnswer> answers = lasting_answers(plain_processor);
  for (const uint32_t leaf : {0u, 1u, 0xbu, 0x1fu, 0x8000'001eu})
    EXPECT_FALSE(std::ranges::any_of(answers, [&](const IdentityAnswer& answer) { return answer.leaf == leaf; })) << std::hex << leaf;
  EXPECT_TRUE(holds(answers, 4, 0));
  EXPECT_TRUE(holds(answers, 4, 3)) << "the end of the list is asked for each time";
  EXPECT_FALSE(holds(answers, 4, 4));
  EXPECT_TRUE(holds(answers, 2, std::nullopt));
  EXPECT_TRUE(holds(answers, 7, 1));
  EXPECT_FALSE(holds(answers, 7, 2));
  EXPECT_TRUE(holds(answers, 0x8000'0008, std::nullopt));
}

TEST(LastingAnswers, KeepsALeafTogether) {
  const std::vector<IdentityAnswer> answers = lasting_answers(ask32);
  for (size_t i = 1; i < answers.size(); ++i) {
    if (answers[i].leaf == answers[i - 1].leaf) continue;
    EXPECT_TRUE(std::none_of(answers.begin() + static_cast<long>(i) + 1, answers.end(),
                             [&](const IdentityAnswer& later) { return later.leaf == answers[i - 1].leaf; }));
  }
}

TEST(LastingAnswers, AreNoneOnMachinesThatMixCores) {
  const auto hybrid = [](uint32_t leaf, uint32_t subleaf) {
    auto got = plain_processor(leaf, subleaf);
    if (leaf == 7) got[3] |= 1u << 15;
    return got;
  };
  EXPECT_TRUE(lasting_answers(hybrid).empty());
}

TEST(LastingAnswers, SkipALeafTwoThatMustBeAskedMoreThanOnce) {
  const auto old = [](uint32_t leaf, uint32_t subleaf) {
    auto got = plain_processor(leaf, subleaf);
    if (leaf == 2) got[0] = 0x02;
    return got;
  };
  EXPECT_FALSE(holds(lasting_answers(old), 2, std::nullopt));
}

}  // namespace
}  // namespace umk::patcher
