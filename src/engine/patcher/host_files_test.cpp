// Every call site of the host's own C library, loader and static shell: how many can be patched, and is each plan sound?
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "engine/patcher/file_site.h"
#include "engine/patcher/trap_bytes.h"
#include "engine/patcher/write_order.h"

namespace umk::patcher {
namespace {

struct Survey {
  size_t sites = 0;
  size_t patched = 0;
  size_t torn = 0;
  size_t led_back = 0;
  size_t entered = 0;
  size_t of_branches = 0;
  size_t boundaries_inside = 0;
  size_t in_word = 0;
  size_t crossing = 0;
  size_t patched_when_trapped = 0;  // refused in the survey, but not when the call's number is known
  std::map<std::string, size_t> refusals;

  size_t refused(RefusalReason reason) const {
    const auto found = refusals.find(std::string(Refusal{reason}.text()));
    return found == refusals.end() ? 0 : found->second;
  }
};

constexpr uint64_t kCompanionSize = 256 * 1024;

FileReader reader_of(std::vector<uint8_t> bytes) {
  return [bytes = std::move(bytes)](uint64_t offset, std::span<uint8_t> into) {
    if (offset > bytes.size() || into.size() > bytes.size() - offset) return false;
    std::memcpy(into.data(), bytes.data() + offset, into.size());
    return true;
  };
}

void check_plan(const PatchPlan& plan, Survey& survey) {
  EXPECT_GE(plan.window.size(), 5u);
  survey.of_branches += plan.place.is_of_branch();
  EXPECT_EQ(plan.window.size(), plan.place.window_size());
  EXPECT_EQ(plan.trampoline.size(), plan.place.trampoline_size());
  EXPECT_EQ(plan.boundaries.front(), plan.place.window_start);
  EXPECT_FALSE(has_protection_key_write(plan.trampoline));

  bool torn = false;
  for (const uint64_t boundary : plan.boundaries) {
    const uint64_t offset = boundary - plan.place.window_start;
    if (offset == 0) continue;
    const bool led_back = plan.window[offset] == 0xeb && plan.window[offset + 1] == static_cast<uint8_t>(-(offset + 2));
    EXPECT_TRUE(led_back || traps_at_once(plan.window, offset));
    survey.led_back += led_back;
    torn = torn || offset < 5;
  }
  survey.torn += torn;
  survey.entered += plan.is_entered;
  survey.boundaries_inside += plan.boundaries.size() > 1;
  survey.in_word += plan.fits_in_word();
  survey.crossing += plan.crosses_cache_line();

  std::vector<uint8_t> written(plan.window.size());
  for (const WriteStep& step : write_order(plan)) std::ranges::copy(step.bytes, written.begin() + (step.address - plan.place.window_start));
  EXPECT_EQ(written, plan.window);
}

// Where no unwind entry is, the number in rax decides: clone() ends its entry before the call on purpose.
bool is_patched_when_trapped(const ElfFile& file, uint64_t site, std::span<const uint8_t> before, uint64_t companion,
                             std::span<const AddressRange> room) {
  if (before.size() < 5 || before[before.size() - 5] != 0xb8) return false;
  const uint64_t number = before[before.size() - 4] | before[before.size() - 3] << 8;
  const auto planned = plan_patch_in_file(file, {.site = site, .trapped_rax = number, .literal = companion, .room = room, .taken = {}});
  return std::holds_alternative<PatchPlan>(planned);
}

Survey survey_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  const auto file = ElfFile::open(reader_of(bytes));
  if (!file) return {};

  // As the kernel lays them out: below the first segment, with the gate's address in the first word.
  const uint64_t companion = file->segments().front().addresses.begin - kCompanionSize;
  std::vector<AddressRange> room = {{companion + 8, companion + kCompanionSize}};
  std::vector<AddressRange> taken;
  Survey survey;

  for (const Segment& segment : file->segments()) {
    if (!segment.is_executable) continue;
    std::vector<uint8_t> text(segment.addresses.size());
    EXPECT_TRUE(file->read(segment.addresses.begin, text));
    for (size_t i = 0; i + 1 < text.size(); ++i) {
      if (text[i] != 0x0f || text[i + 1] != 0x05) continue;
      const auto planned = plan_patch_in_file(
          *file, {.site = segment.addresses.begin + i, .trapped_rax = {}, .literal = companion, .room = room, .taken = taken});
      if (const Refusal* refusal = std::get_if<Refusal>(&planned)) {
        // Such a pair is part of another instruction, or data.
        if (refusal->reason == RefusalReason::NotABoundary) continue;
        if (refusal->reason == RefusalReason::Taken) {
          const auto alone = plan_patch_in_file(
              *file, {.site = segment.addresses.begin + i, .trapped_rax = {}, .literal = companion, .room = room, .taken = {}});
          if (const PatchPlan* plan = std::get_if<PatchPlan>(&alone)) check_plan(*plan, survey);
        }
        ++survey.sites;
        ++survey.refusals[std::string(refusal->text())];
        survey.patched_when_trapped +=
            is_patched_when_trapped(*file, segment.addresses.begin + i, std::span(text).first(i), companion, room);
        continue;
      }
      const PatchPlan& plan = std::get<PatchPlan>(planned);
      ++survey.sites;
      ++survey.patched;
      check_plan(plan, survey);

      taken.push_back(plan.window_range());
      // Take the place out of the room.
      const AddressRange used = plan.trampoline_range();
      std::vector<AddressRange> left;
      for (const AddressRange& range : room) {
        if (!range.contains(used)) {
          left.push_back(range);
          continue;
        }
        if (range.begin != used.begin) left.push_back({range.begin, used.begin});
        if (range.end != used.end) left.push_back({used.end, range.end});
      }
      room = std::move(left);
    }
  }

  std::printf(
      "%s: %zu sites, %zu patched (%zu with boundaries inside, %zu of them in the jump; %zu led back, %zu entered; %zu of branches; "
      "%zu in one word, %zu cross a line)\n",
      path.c_str(), survey.sites, survey.patched, survey.boundaries_inside, survey.torn, survey.led_back, survey.entered,
      survey.of_branches, survey.in_word, survey.crossing);
  for (const auto& [reason, count] : survey.refusals) std::printf("    %zu %s\n", count, reason.c_str());
  return survey;
}

TEST(HostFiles, NearlyEverySiteOfTheCLibraryIsPatchable) {
  const Survey survey = survey_file("/lib/x86_64-linux-gnu/libc.so.6");
  ASSERT_GT(survey.sites, 400u);
  EXPECT_GE(survey.patched * 100, survey.sites * 97);
  EXPECT_EQ(survey.refused(RefusalReason::Restorer), 1u);
  // _exit() has two calls, and in this survey the one that is never reached takes the nops behind the branch to the other.
  EXPECT_GE(survey.of_branches, 1u);
  // read() has two bytes between a conditional jump and its `syscall`, __read_nocancel() two bytes in all; both are busy.
  EXPECT_LE(survey.refused(RefusalReason::NotMovable), 1u);
  EXPECT_EQ(survey.refused(RefusalReason::TooCloseToStart), 0u);
  EXPECT_EQ(survey.patched_when_trapped, survey.refused(RefusalReason::NoFunction));
}

TEST(HostFiles, NearlyEverySiteOfTheLoaderIsPatchable) {
  const Survey survey = survey_file("/lib64/ld-linux-x86-64.so.2");
  ASSERT_GT(survey.sites, 30u);
  EXPECT_GE(survey.patched * 100, survey.sites * 95);
}

TEST(HostFiles, StaticProgramWithoutIndexIsPatchable) {
  if (!std::filesystem::exists("/bin/busybox")) GTEST_SKIP() << "no busybox on this host";
  const Survey survey = survey_file("/bin/busybox");
  ASSERT_GT(survey.sites, 100u);
  EXPECT_GE(survey.patched * 100, survey.sites * 97);
}

TEST(HostFiles, LibrariesWithFewSites) {
  for (const char* path : {"/lib/x86_64-linux-gnu/libpthread.so.0", "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                           "/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"}) {
    if (!std::filesystem::exists(path)) continue;
    const Survey survey = survey_file(path);
    EXPECT_LE(survey.sites - survey.patched, 2u);
  }
}

}  // namespace
}  // namespace umk::patcher
