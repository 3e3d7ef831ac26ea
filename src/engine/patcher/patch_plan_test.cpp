#include "engine/patcher/patch_plan.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "engine/patcher/trap_bytes.h"

namespace umk::patcher {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kText = 0x401000;
constexpr uint64_t kCompanion = 0x3c0000;

/// A function at kText, assembled by hand, with room for trampolines below it.
struct Case {
  Bytes code;
  uint64_t site = 0;  // offset
  std::optional<uint64_t> rax = {};
  std::optional<AddressRange> function = {};  // offsets; all of the code when not given
  bool has_function = true;
  bool is_signal_frame = false;
  uint64_t padding = 0;  // bytes of the code that are padding before the function
  std::vector<AddressRange> room = {{kCompanion + 8, kCompanion + 0x40000}};
  std::vector<AddressRange> taken = {};
  std::span<const IdentityAnswer> answers = {};

  std::variant<PatchPlan, Refusal> run() const {
    SiteRequest request{.text = {code, kText},
                        .site = kText + site,
                        .trapped_rax = rax,
                        .function = {},
                        .literal = kCompanion,
                        .room = room,
                        .taken = taken,
                        .answers = answers};
    if (has_function) {
      const AddressRange range = function.value_or(AddressRange{padding, code.size()});
      request.function = {.code = {kText + range.begin, kText + range.end},
                          .padding_begin = kText + range.begin - padding,
                          .is_signal_frame = is_signal_frame};
    }
    return plan_patch(request);
  }
  PatchPlan plan() const {
    auto result = run();
    if (const Refusal* refusal = std::get_if<Refusal>(&result)) {
      ADD_FAILURE() << refusal->text();
      return {};
    }
    return std::get<PatchPlan>(result);
  }
  std::optional<RefusalReason> refusal() const {
    auto result = run();
    const Refusal* refusal = std::get_if<Refusal>(&result);
    return refusal ? std::optional(refusal->reason) : std::nullopt;
  }
};

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

int32_t displacement_at(const Bytes& bytes, size_t offset) {
  return static_cast<int32_t>(bytes[offset] | bytes[offset + 1] << 8 | bytes[offset + 2] << 16 |
                              static_cast<uint32_t>(bytes[offset + 3]) << 24);
}

const Bytes kMov39 = {0xb8, 39, 0, 0, 0};     // mov $39,%eax
const Bytes kMovRdiRsi = {0x48, 0x89, 0xfe};  // mov %rdi,%rsi
const Bytes kXorEax = {0x31, 0xc0};           // xor %eax,%eax
const Bytes kMovEdxEax = {0x89, 0xd0};        // mov %edx,%eax
const Bytes kSyscall = {0x0f, 0x05};
const Bytes kRet = {0xc3};
const Bytes kNop5 = {0x0f, 0x1f, 0x44, 0x00, 0x00};
const Bytes kCall = {0xe8, 0, 0, 0, 0};

TEST(PatchPlan, ReplacesTheAdjacentConstantLoad) {
  const PatchPlan plan = Case{.code = kMovRdiRsi + kMov39 + kSyscall + kRet, .site = 8, .rax = 39}.plan();
  EXPECT_EQ(plan.place.window_start, kText + 3);
  EXPECT_EQ(plan.place.site, kText + 8);
  ASSERT_EQ(plan.window.size(), 5u);
  EXPECT_EQ(plan.window[0], 0xe9);
  EXPECT_EQ(plan.place.window_start + 5 + displacement_at(plan.window, 1), plan.place.trampoline);

  ASSERT_EQ(plan.trampoline.size(), 19u);
  EXPECT_EQ(Bytes(plan.trampoline.begin(), plan.trampoline.begin() + 5), kMov39);
  EXPECT_EQ(Bytes(plan.trampoline.begin() + 5, plan.trampoline.begin() + 8), (Bytes{0x48, 0x8d, 0x0d}));
  EXPECT_EQ(plan.place.trampoline + 12 + displacement_at(plan.trampoline, 8), kText + 10);
  EXPECT_EQ(plan.trampoline[12], 0xff);
  EXPECT_EQ(plan.trampoline[13], 0x25);
  EXPECT_EQ(plan.place.trampoline + 18 + displacement_at(plan.trampoline, 14), kCompanion);
  EXPECT_EQ(plan.trampoline[18], 0xcc);
}

TEST(PatchPlan, LiesAsFarAwayAtAnyBias) {
  const Case low{.code = kMov39 + kSyscall + kRet, .site = 5};
  const PatchPlan plan = low.plan();
  SiteRequest request{.text = {low.code, 0},
                      .site = 5,
                      .trapped_rax = {},
                      .function = FunctionRange{.code = {0, 8}, .padding_begin = 0},
                      .literal = kCompanion - kText,
                      .room = {},
                      .taken = {}};
  // Below a library whose addresses begin at 0: the range wraps.
  const std::array<AddressRange, 1> room = {{{kCompanion - kText + 8, kCompanion - kText + 0x40000}}};
  request.room = room;
  const auto wrapped = plan_patch(request);
  ASSERT_TRUE(std::holds_alternative<PatchPlan>(wrapped));
  EXPECT_EQ(std::get<PatchPlan>(wrapped).window, plan.window);
  EXPECT_EQ(std::get<PatchPlan>(wrapped).trampoline, plan.trampoline);
}

TEST(PatchPlan, PrefersAWindowWithoutBoundariesInTheJump) {
  // mov $1,%esi; xor %eax,%eax: the boundary is behind the jump, where an int3 stands.
  const PatchPlan plan = Case{.code = Bytes{0xbe, 1, 0, 0, 0} + kXorEax + kSyscall + kRet, .site = 7, .rax = 0}.plan();
  EXPECT_EQ(plan.place.window_start, kText);
  EXPECT_EQ(plan.window[5], 0xcc);
  EXPECT_EQ(plan.window[6], 0xcc);
  EXPECT_EQ(plan.boundaries, (std::vector<uint64_t>{kText, kText + 5}));
}

TEST(PatchPlan, ChoosesThePlaceSoThatBoundariesInTheJumpTrap) {
  for (const auto& [code, site] : {std::pair<Bytes, uint64_t>{kMovRdiRsi + kXorEax, 5},  // 3, 2
                                   {kXorEax + kMovRdiRsi, 5},                            // 2, 3
                                   {kXorEax + kMovEdxEax + kMovEdxEax, 6},               // 2, 2, 2
                                   {Bytes{0x48, 0x83, 0xee, 0x10} + kXorEax, 6},         // 4, 2
                                   {Bytes{0x50} + kMovRdiRsi + kXorEax, 6},              // 1, 3, 2
                                   {Bytes{0x50, 0x51, 0x52} + kMovRdiRsi, 6}}) {         // 1, 1, 1, 3
    const PatchPlan plan = Case{.code = code + kSyscall + kRet, .site = site}.plan();
    for (const uint64_t boundary : plan.boundaries) {
      if (boundary == plan.place.window_start) continue;
      EXPECT_TRUE(traps_at_once(plan.window, boundary - plan.place.window_start));
    }
    EXPECT_EQ(plan.place.window_start + 5 + displacement_at(plan.window, 1), plan.place.trampoline);
  }
}

TEST(PatchPlan, RefusesWhenNoPlaceMakesThemTrap) {
  // The last byte of the jump is 0 for a trampoline above, and "add %cl,..." does not trap.
  EXPECT_EQ((Case{.code = Bytes{0x48, 0x83, 0xee, 0x10} + kXorEax + kSyscall, .site = 6, .room = {{0x500000, 0x540000}}}.refusal()),
            RefusalReason::NoRoom);
  EXPECT_TRUE(Refusal{RefusalReason::NoRoom}.may_pass_later());
}

TEST(PatchPlan, CorrectsRipRelativeOperands) {
  // mov 0x1234(%rip),%rax
  const Bytes load = {0x48, 0x8b, 0x05, 0x34, 0x12, 0, 0};
  const PatchPlan plan = Case{.code = load + kSyscall + kRet, .site = 7}.plan();
  EXPECT_EQ(plan.place.trampoline + 7 + displacement_at(plan.trampoline, 3), kText + 7 + 0x1234);

  // movl $39,0x10(%rip): the immediate is behind the displacement.
  const Bytes store = {0xc7, 0x05, 0x10, 0, 0, 0, 39, 0, 0, 0};
  const PatchPlan second = Case{.code = store + kSyscall + kRet, .site = 10}.plan();
  EXPECT_EQ(second.place.trampoline + 10 + displacement_at(second.trampoline, 2), kText + 10 + 0x10);
}

TEST(PatchPlan, RefusesWhatCannotBeReached) {
  const Bytes code = kMov39 + kSyscall + kRet;
  EXPECT_EQ((Case{.code = code, .site = 5, .room = {{uint64_t{1} << 40, (uint64_t{1} << 40) + 4096}}}.refusal()),
            RefusalReason::OutOfReach);
  // An operand at the far end of its reach, seen from a trampoline below.
  const Bytes far = {0x48, 0x8b, 0x05, 0xff, 0xff, 0xff, 0x7f};
  EXPECT_EQ((Case{.code = far + kSyscall, .site = 7}.refusal()), RefusalReason::OutOfReach);
  // The same with an address-size prefix wraps at 4 GiB.
  EXPECT_EQ((Case{.code = Bytes{0x67} + Bytes{0x8b, 0x05, 4, 0, 0, 0} + kSyscall, .site = 7}.refusal()), RefusalReason::NotMovable);
}

TEST(PatchPlan, RefusesWithoutRoom) {
  const Bytes code = kMov39 + kSyscall + kRet;
  EXPECT_EQ((Case{.code = code, .site = 5, .room = {}}.refusal()), RefusalReason::NoRoom);
  EXPECT_EQ((Case{.code = code, .site = 5, .room = {{kCompanion, kCompanion + 18}}}.refusal()), RefusalReason::NoRoom);
  const PatchPlan plan =
      Case{.code = code, .site = 5, .room = {{kCompanion, kCompanion + 18}, {kCompanion + 32, kCompanion + 32 + 19}}}.plan();
  EXPECT_EQ(plan.place.trampoline, kCompanion + 32);
}

TEST(PatchPlan, NeverTouchesARestorer) {
  EXPECT_EQ((Case{.code = Bytes{0x48, 0xc7, 0xc0, 15, 0, 0, 0} + kSyscall, .site = 7}.refusal()), RefusalReason::Restorer);
  EXPECT_EQ((Case{.code = Bytes{0xb8, 15, 0, 0, 0} + kSyscall, .site = 5, .has_function = false}.refusal()), RefusalReason::Restorer);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 5, .rax = 15}.refusal()), RefusalReason::Restorer);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 5, .is_signal_frame = true}.refusal()), RefusalReason::Restorer);
}

TEST(PatchPlan, BelievesOnlyAMatchingConstantWithoutAFunction) {
  const Bytes before = {0x90, 0x90};
  const auto plan_of = [&](const Bytes& load, std::optional<uint64_t> rax) {
    const Bytes code = before + load + kSyscall;
    return Case{.code = code, .site = code.size() - 2, .rax = rax, .has_function = false};
  };
  EXPECT_EQ(plan_of(kMov39, 39).plan().place.window_start, kText + 2);
  EXPECT_EQ(plan_of({0x48, 0xc7, 0xc0, 39, 0, 0, 0}, 39).plan().place.window_start, kText + 2);
  EXPECT_EQ(plan_of(kMov39, 40).refusal(), RefusalReason::UnexpectedRax);
  EXPECT_EQ(plan_of(kMov39, {}).refusal(), RefusalReason::NoFunction);
  EXPECT_EQ(plan_of(kXorEax, 0).refusal(), RefusalReason::NoFunction);
  // REX.B makes it a load of r8, and an operand-size prefix a shorter instruction.
  EXPECT_EQ(plan_of(Bytes{0x41} + kMov39, 39).refusal(), RefusalReason::NoFunction);
  EXPECT_EQ(plan_of(Bytes{0x66} + kMov39, 39).refusal(), RefusalReason::NoFunction);
  // The byte before is not known.
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 5, .rax = 39, .has_function = false}.refusal()), RefusalReason::NoFunction);
}

TEST(PatchPlan, RefusesAnUnexpectedNumber) {
  const Bytes code = kMov39 + kSyscall + kRet;
  EXPECT_EQ((Case{.code = code, .site = 5, .rax = 40}.refusal()), RefusalReason::UnexpectedRax);
  EXPECT_TRUE(Refusal{RefusalReason::UnexpectedRax}.may_pass_later());
  // Unless a branch goes to the `syscall` itself: jmp .-2
  EXPECT_FALSE((Case{.code = kMov39 + kSyscall + Bytes{0xeb, 0xfc}, .site = 5, .rax = 40}.refusal()));
  // Written later in the window: mov $39,%eax; mov %edx,%eax.
  EXPECT_FALSE((Case{.code = kMov39 + kMovEdxEax + kSyscall, .site = 7, .rax = 40}.refusal()));
}

TEST(PatchPlan, RefusesInstructionsThatMustStay) {
  EXPECT_EQ((Case{.code = kMov39 + kCall + kSyscall, .site = 10}.refusal()), RefusalReason::NotMovable);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall + kXorEax + kSyscall, .site = 9}.refusal()), RefusalReason::NotMovable);
  EXPECT_EQ((Case{.code = kNop5 + Bytes{0xcc} + kXorEax + kSyscall, .site = 8}.refusal()), RefusalReason::NotMovable);
  EXPECT_EQ((Case{.code = kNop5 + Bytes{0xe3, 0x05} + kXorEax + kSyscall + kNop5, .site = 9}.refusal()), RefusalReason::NotMovable);
  EXPECT_EQ((Case{.code = kMov39 + kMov39 + Bytes{0x9d} + kSyscall, .site = 11}.refusal()), RefusalReason::NotMovable);    // popf
  EXPECT_EQ((Case{.code = kMov39 + Bytes{0x0f, 0x01, 0xef} + kSyscall, .site = 8}.refusal()), RefusalReason::NotMovable);  // wrpkru
}

TEST(PatchPlan, RefusesWhatIsNoSite) {
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 4}.refusal()), RefusalReason::NotASyscall);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 6}.refusal()), RefusalReason::OutsideText);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 400}.refusal()), RefusalReason::OutsideText);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 5, .function = AddressRange{0, 400}}.refusal()), RefusalReason::OutsideText);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall + kRet, .site = 5, .function = AddressRange{7, 8}}.refusal()), RefusalReason::OutsideText);
  // mov $0x050f,%ebx holds the bytes of a syscall.
  EXPECT_EQ((Case{.code = kMov39 + Bytes{0xbb, 0x0f, 0x05, 0, 0}, .site = 6}.refusal()), RefusalReason::NotABoundary);
  EXPECT_EQ((Case{.code = Bytes{0x06} + kMov39 + kSyscall, .site = 6}.refusal()), RefusalReason::Undecodable);
  EXPECT_EQ((Case{.code = Bytes(kMaxFunction + 1, 0x90) + kSyscall, .site = kMaxFunction + 1}.refusal()), RefusalReason::FunctionTooLarge);
}

TEST(PatchPlan, StaysInsideItsFunction) {
  const Bytes code = kMov39 + kXorEax + kSyscall;
  EXPECT_EQ((Case{.code = code, .site = 7, .function = AddressRange{5, 9}}.refusal()), RefusalReason::TooCloseToStart);
}

TEST(PatchPlan, UsesThePaddingBeforeAShortFunction) {
  const PatchPlan plan =
      Case{.code = kRet + kNop5 + kXorEax + kSyscall + kRet, .site = 8, .function = AddressRange{6, 11}, .padding = 5}.plan();
  EXPECT_EQ(plan.place.window_start, kText + 1);
  EXPECT_EQ(plan.window[0], 0xe9);
  // Whoever calls the function is led back to the jump.
  EXPECT_EQ(Bytes(plan.window.begin() + 5, plan.window.end()), (Bytes{0xeb, 0xf9}));
  EXPECT_FALSE(plan.is_entered);
  // What is not known to be padding is not used, nor what is no nop.
  EXPECT_EQ((Case{.code = kRet + kNop5 + kXorEax + kSyscall, .site = 8, .function = AddressRange{6, 10}}.refusal()),
            RefusalReason::TooCloseToStart);
  EXPECT_EQ((Case{.code = kMov39 + kXorEax + kSyscall, .site = 7, .function = AddressRange{5, 9}, .padding = 5}.refusal()),
            RefusalReason::TooCloseToStart);
}

TEST(PatchPlan, LeavesBranchTargetsOutsideWhereItCan) {
  // The loop head is the load itself: its first byte is the window's.
  const Bytes loop = kMovRdiRsi + kMov39 + kSyscall + Bytes{0xeb, 0xf7};
  const PatchPlan plan = Case{.code = loop, .site = 8}.plan();
  EXPECT_EQ(plan.place.window_start, kText + 3);
  EXPECT_FALSE(plan.is_entered);
}

TEST(PatchPlan, AcceptsABranchToABoundaryThatTraps) {
  // mov $60,%edx; L: xor %edi,%edi; mov %edx,%eax; syscall; jmp L
  const Bytes code = Bytes{0xba, 60, 0, 0, 0} + Bytes{0x31, 0xff} + kMovEdxEax + kSyscall + Bytes{0xeb, 0xf8};
  const PatchPlan plan = Case{.code = code, .site = 9}.plan();
  EXPECT_EQ(plan.place.window_start, kText);
  EXPECT_TRUE(plan.is_entered);
  EXPECT_TRUE(traps_at_once(plan.window, 5));
}

TEST(PatchPlan, RefusesABranchInsideAnInstruction) {
  // jmp to the constant of the load.
  const Bytes code = kMov39 + kSyscall + Bytes{0xeb, 0xf8};
  EXPECT_EQ((Case{.code = code, .site = 5}.refusal()), RefusalReason::Entered);
}

TEST(PatchPlan, LeadsAShortConditionalJumpOutOfTheTrampoline) {
  // As read() of glibc: cmpb $0,0x100(%rip); je L; xor %eax,%eax; syscall; ret; L: ret
  const Bytes code = Bytes{0x80, 0x3d, 0, 1, 0, 0, 0} + Bytes{0x74, 0x05} + kXorEax + kSyscall + kRet + kRet + kRet;
  const PatchPlan plan = Case{.code = code, .site = 11, .rax = 0}.plan();
  EXPECT_EQ(plan.place.window_start, kText);
  EXPECT_EQ(plan.place.branch_target, kText + 14);
  EXPECT_EQ(plan.trampoline.size(), plan.place.trampoline_size());
  EXPECT_EQ(plan.trampoline[7], 0x74);
  const size_t stub = 9 + plan.trampoline[8];
  EXPECT_EQ(stub, 11u + kTrampolineTail);
  EXPECT_EQ(plan.trampoline[stub], 0xe9);
  EXPECT_EQ(plan.place.trampoline + stub + 5 + displacement_at(plan.trampoline, stub + 1), kText + 14);
  EXPECT_EQ(plan.place.original_address(plan.place.trampoline + stub), kText + 14);
  EXPECT_EQ(plan.place.trampoline + 7 + displacement_at(plan.trampoline, 2), kText + 7 + 0x100);
}

TEST(PatchPlan, CorrectsALongConditionalJump) {
  const Bytes code = Bytes{0x0f, 0x84, 0x10, 0, 0, 0} + kXorEax + kSyscall + Bytes(32, 0x90);
  const PatchPlan plan = Case{.code = code, .site = 8}.plan();
  EXPECT_EQ(plan.place.branch_target, 0u);
  EXPECT_EQ(plan.place.trampoline + 6 + displacement_at(plan.trampoline, 2), kText + 6 + 0x10);
}

// _exit of glibc 2.36 from its second instruction on: the first `syscall` that it comes to is entered by a branch.
const Bytes kExit = {
    0xbe, 0xe7, 0,    0,    0,           //  0  mov $231,%esi
    0xba, 0x3c, 0,    0,    0,           //  5  mov $60,%edx
    0xeb, 0x12,                          // 10  jmp 30
    0x0f, 0x1f, 0x44, 0,    0,           // 12  nopl 0(%rax,%rax,1)
    0x89, 0xd0,                          // 17  mov %edx,%eax
    0x0f, 0x05,                          // 19  syscall
    0x48, 0x3d, 0,    0xf0, 0xff, 0xff,  // 21  cmp $-4096,%rax
    0x77, 0x1c,                          // 27  ja 57
    0xf4,                                // 29  hlt
    0x89, 0xf0,                          // 30  mov %esi,%eax
    0x0f, 0x05,                          // 32  syscall
    0x48, 0x3d, 0,    0xf0, 0xff, 0xff,  // 34  cmp $-4096,%rax
    0x76, 0xe7,                          // 40  jbe 17
    0xf7, 0xd8,                          // 42  neg %eax
    0x64, 0x41, 0x89, 0,                 // 44  mov %eax,%fs:(%r8)
    0xeb, 0xdf,                          // 48  jmp 17
    0x0f, 0x1f, 0x80, 0,    0,    0, 0,  // 50  nopl 0(%rax)
    0xf7, 0xd8,                          // 57  neg %eax
    0xc3,                                // 59  ret
};
constexpr uint64_t kExitSite = 32;

TEST(PatchPlan, TakesTheBranchToASiteThatHasNoRoom) {
  const PatchPlan plan = Case{.code = kExit, .site = kExitSite, .rax = 231}.plan();
  const PatchedSite& place = plan.place;
  EXPECT_TRUE(place.is_of_branch());
  EXPECT_EQ(plan.window_range(), (AddressRange{kText + 10, kText + 17}));
  EXPECT_EQ(place.moved_start, kText + 30);
  EXPECT_EQ(place.site, kText + kExitSite);
  EXPECT_FALSE(plan.is_entered);
  EXPECT_FALSE(plan.rax);
  EXPECT_EQ(plan.boundaries, (std::vector<uint64_t>{kText + 10, kText + 12}));

  ASSERT_EQ(plan.window.size(), 7u);
  EXPECT_EQ(plan.window[0], 0xe9);
  EXPECT_EQ(kText + 15 + displacement_at(plan.window, 1), place.trampoline);
  EXPECT_TRUE(traps_at_once(plan.window, 2));

  ASSERT_EQ(plan.trampoline.size(), place.trampoline_size());
  EXPECT_EQ(Bytes(plan.trampoline.begin(), plan.trampoline.begin() + 7), (Bytes{0xeb, 11} + kNop5));
  EXPECT_EQ(plan.trampoline[7], 0xe9);
  EXPECT_EQ(place.trampoline + 12 + displacement_at(plan.trampoline, 8), kText + 17);
  EXPECT_EQ(plan.trampoline[12], 0xcc);
  EXPECT_EQ(Bytes(plan.trampoline.begin() + 13, plan.trampoline.begin() + 15), (Bytes{0x89, 0xf0}));
  EXPECT_EQ(place.trampoline + 22 + displacement_at(plan.trampoline, 18), kText + kExitSite + 2);
  EXPECT_EQ(place.trampoline + 28 + displacement_at(plan.trampoline, 24), kCompanion);
}

TEST(PatchPlan, LeavesABranchAloneWhereTheSiteHasRoom) {
  // jmp 7; nop; L: mov $39,%eax; syscall
  const PatchPlan plan = Case{.code = Bytes{0xeb, 5} + kNop5 + kMov39 + kSyscall + kRet, .site = 12}.plan();
  EXPECT_FALSE(plan.place.is_of_branch());
  EXPECT_EQ(plan.place.window_start, kText + 7);
}

TEST(PatchPlan, TakesALongBranchWithoutNops) {
  // jmp L; ret; L: mov %edx,%eax; syscall; ret
  const Bytes code = Bytes{0xe9, 1, 0, 0, 0} + kRet + kMovEdxEax + kSyscall + kRet;
  const PatchPlan plan = Case{.code = code, .site = 8}.plan();
  EXPECT_EQ(plan.window_range(), (AddressRange{kText, kText + 5}));
  EXPECT_EQ(plan.boundaries, std::vector<uint64_t>{kText});
  EXPECT_EQ(Bytes(plan.trampoline.begin(), plan.trampoline.begin() + 5), (Bytes{0xe9, 6, 0, 0, 0}));
  EXPECT_EQ(plan.place.trampoline + 10 + displacement_at(plan.trampoline, 6), kText + 5);
}

TEST(PatchPlan, TakesABranchFromBehindTheSite) {
  // hlt; L: mov %edx,%eax; syscall; jmp L; nop; ret
  const Bytes code = Bytes{0xf4} + kMovEdxEax + kSyscall + Bytes{0xeb, 0xfa} + kNop5 + kRet;
  const PatchPlan plan = Case{.code = code, .site = 3}.plan();
  EXPECT_EQ(plan.window_range(), (AddressRange{kText + 5, kText + 12}));
  EXPECT_EQ(plan.place.moved_start, kText + 1);
}

TEST(PatchPlan, CorrectsOperandsBehindABranch) {
  // jmp L; nop; hlt; L: mov 0x100(%rip),%eax; xor %eax,%eax; syscall. What would be the site's own window is another's.
  const Bytes load = {0x8b, 0x05, 0, 1, 0, 0};
  const Bytes code = Bytes{0xeb, 6} + kNop5 + Bytes{0xf4} + load + kXorEax + kSyscall;
  const PatchPlan plan = Case{.code = code, .site = 16, .taken = {{kText + 8, kText + 9}}}.plan();
  EXPECT_TRUE(plan.place.is_of_branch());
  EXPECT_EQ(plan.place.trampoline + 13 + 6 + displacement_at(plan.trampoline, 13 + 2), kText + 8 + 6 + 0x100);
}

TEST(PatchPlan, LeavesABranchAloneThatIsNotSafe) {
  const auto changed = [](std::initializer_list<std::pair<size_t, uint8_t>> bytes) {
    Bytes code = kExit;
    for (const auto& [offset, byte] : bytes) code[offset] = byte;
    return Case{.code = code, .site = kExitSite, .rax = 231}.refusal();
  };
  ASSERT_FALSE(changed({}));
  EXPECT_EQ(changed({{49, 0xda}}), RefusalReason::NotMovable);                            // somebody branches to the nop
  EXPECT_EQ(changed({{49, 0xdb}}), RefusalReason::NotMovable);                            // into it
  EXPECT_EQ(changed({{49, 0xd9}}), RefusalReason::NotMovable);                            // into the branch
  EXPECT_FALSE(changed({{49, 0xd8}}));                                                    // to the branch itself
  EXPECT_EQ(changed({{12, 0xf3}, {13, 0x0f}, {14, 0x1e}, {15, 0xfa}, {16, 0x90}}), RefusalReason::NotMovable);  // endbr64: a place to jump to
  EXPECT_EQ(changed({{12, 0x48}, {13, 0x89}, {14, 0xfe}, {15, 0x66}, {16, 0x90}}), RefusalReason::NotMovable);  // code that others may reach
  EXPECT_EQ(changed({{10, 0x74}}), RefusalReason::NotMovable);                            // conditional
  EXPECT_EQ(changed({{11, 0x14}}), RefusalReason::NotMovable);                            // to the `syscall` itself
  EXPECT_EQ(changed({{11, 0x13}}), RefusalReason::Entered);                               // into the load
  EXPECT_EQ(changed({{11, 0x11}}), RefusalReason::NotMovable);                            // to the hlt before it
  // lea 0(%rip),%rax with the nop's address, in the place of what follows the last jump
  EXPECT_EQ(changed({{50, 0x48}, {51, 0x8d}, {52, 0x05}, {53, 0xd3}, {54, 0xff}, {55, 0xff}, {56, 0xff}}), RefusalReason::NotMovable);
}

TEST(PatchPlan, KeepsABranchsWindowClearOfOtherWindows) {
  EXPECT_EQ((Case{.code = kExit, .site = kExitSite, .taken = {{kText + 12, kText + 19}}}.refusal()), RefusalReason::Taken);
  EXPECT_FALSE((Case{.code = kExit, .site = kExitSite, .taken = {{kText + 5, kText + 10}, {kText + 17, kText + 19}}}.refusal()));
}

TEST(PatchPlan, FindsTheBranchWithRoomAmongMany) {
  // Branches without room do not hide the one that has it.
  const auto code = [](size_t useless) {
    Bytes bytes;
    const size_t target = 2 * useless + 7 + 1;
    for (size_t i = 0; i < useless; ++i) bytes = bytes + Bytes{0xeb, static_cast<uint8_t>(target - 2 * i - 2)};
    return bytes + Bytes{0xeb, 6} + kNop5 + Bytes{0xf4} + kMovEdxEax + kSyscall + kRet;
  };
  EXPECT_FALSE((Case{.code = code(3), .site = 3 * 2 + 8 + 2}.refusal()));
  EXPECT_FALSE((Case{.code = code(40), .site = 40 * 2 + 8 + 2}.refusal()));
}

TEST(PatchPlan, KeepsClearOfOtherWindows) {
  const Bytes code = kMov39 + kSyscall + kRet;
  EXPECT_EQ((Case{.code = code, .site = 5, .taken = {{kText + 4, kText + 5}}}.refusal()), RefusalReason::Taken);
  EXPECT_FALSE((Case{.code = code, .site = 5, .taken = {{kText + 5, kText + 9}}}.refusal()));
}

TEST(PatchPlan, BringsNoInstructionThatOpensKernelMemory) {
  // mov $0xef010f,%esi: a moved window would spell WRPKRU in the trampoline.
  const Bytes load = {0xbe, 0x0f, 0x01, 0xef, 0};
  EXPECT_EQ((Case{.code = load + kSyscall, .site = 5}.refusal()), RefusalReason::NoRoom);
  // A jump whose displacement would spell it gets another place: 5 + d = 0xffef010f as seen from kText.
  const uint64_t bad = kText + 5 + 0xffffffffffef010f;
  const PatchPlan plan = Case{.code = kMov39 + kSyscall, .site = 5, .room = {{bad & ~uint64_t{15}, (bad & ~uint64_t{15}) + 256}}}.plan();
  EXPECT_FALSE(has_protection_key_write(plan.window));
}

const Bytes kMov4 = {0xb8, 4, 0, 0, 0};  // mov $4,%eax
const Bytes kXorEcx = {0x31, 0xc9};      // xor %ecx,%ecx
const Bytes kCpuid = {0x0f, 0xa2};
const IdentityAnswer kAnswers[] = {{.leaf = 4, .subleaf = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4}};

TEST(PatchPlan, AnswersACpuidInItsTrampoline) {
  const PatchPlan plan = Case{.code = kMov4 + kXorEcx + kCpuid + kRet, .site = 7, .answers = kAnswers}.plan();
  EXPECT_EQ(plan.rax, 4u);
  EXPECT_EQ(plan.place.window_start, kText);
  EXPECT_EQ(plan.trampoline.size(), plan.place.trampoline_size());
  const Bytes tail = identity_tail(kAnswers, 4, plan.place.trampoline + 7, plan.place.site);
  EXPECT_EQ(plan.trampoline, kMov4 + kXorEcx + tail);
  EXPECT_EQ(plan.place.identity_tail, tail.size());
  // In the tail a thread stands nowhere in the original code.
  EXPECT_EQ(plan.place.original_address(plan.place.trampoline + 5), kText + 5);
  EXPECT_FALSE(plan.place.original_address(plan.place.trampoline + 7));
  EXPECT_EQ(plan.place.resume_address(kText + 5), plan.place.trampoline + 5);
}

TEST(PatchPlan, LeavesACpuidAloneWithoutAnswersOrBehindAShortBranch) {
  EXPECT_EQ((Case{.code = kMov4 + kXorEcx + kCpuid, .site = 7}.refusal()), RefusalReason::NotASyscall);
  EXPECT_EQ((Case{.code = kMov39 + kSyscall, .site = 5, .answers = kAnswers}.refusal()), RefusalReason::NotASyscall);
  // jne over the cpuid, within every window that is long enough.
  EXPECT_TRUE((Case{.code = Bytes{0x31, 0xc0, 0x75, 4} + kXorEcx + kCpuid + kRet, .site = 6, .answers = kAnswers}.refusal()));
}

TEST(PatchedSite, TranslatesAroundABranch) {
  const PatchPlan plan = Case{.code = kExit, .site = kExitSite, .rax = 231}.plan();
  const PatchedSite& place = plan.place;
  EXPECT_EQ(place.original_address(place.trampoline), kText + 10);
  EXPECT_EQ(place.original_address(place.trampoline + 2), kText + 12);
  EXPECT_EQ(place.original_address(place.trampoline + 7), kText + 17);
  EXPECT_EQ(place.original_address(place.trampoline + 13), kText + 30);
  EXPECT_EQ(place.original_address(place.trampoline + 15), kText + kExitSite);
  EXPECT_EQ(place.original_address(place.trampoline + 22), kText + kExitSite);
  EXPECT_FALSE(place.original_address(place.trampoline + plan.trampoline.size()));
  EXPECT_EQ(place.resume_address(kText + 10), place.trampoline);
  EXPECT_EQ(place.resume_address(kText + 12), place.trampoline + 2);
  EXPECT_FALSE(place.resume_address(kText + 17));
  EXPECT_FALSE(place.resume_address(kText + 30));
}

TEST(PatchedSite, TranslatesBothWays) {
  const PatchPlan plan = Case{.code = Bytes{0xbe, 1, 0, 0, 0} + kXorEax + kSyscall, .site = 7}.plan();
  const PatchedSite& place = plan.place;
  EXPECT_EQ(place.original_address(place.trampoline), kText);
  EXPECT_EQ(place.original_address(place.trampoline + 5), kText + 5);
  EXPECT_EQ(place.original_address(place.trampoline + 7), kText + 7);
  EXPECT_EQ(place.original_address(place.trampoline + 14), kText + 7);
  EXPECT_FALSE(place.original_address(place.trampoline + 21));
  EXPECT_FALSE(place.original_address(place.trampoline - 1));
  EXPECT_EQ(place.resume_address(kText), place.trampoline);
  EXPECT_EQ(place.resume_address(kText + 5), place.trampoline + 5);
  EXPECT_FALSE(place.resume_address(kText + 7));
}

}  // namespace
}  // namespace umk::patcher
