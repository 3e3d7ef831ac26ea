#include "monitor/machine/patched_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/patcher/file_site.h"

namespace umk::monitor {
namespace {

constexpr uint64_t kGate = 0x7eff'0000'1234;
constexpr size_t kCompanion = 256 * 1024;
constexpr const char* kLibrary = "/lib/x86_64-linux-gnu/libc.so.6";

/// What the kernel would be: a file, and the patches that it is told of.
std::vector<uint8_t> g_file;
std::vector<engine::PatchOutcome> g_announced;

size_t read_file(uint64_t, uint64_t offset, void* into, size_t bytes) {
  if (offset >= g_file.size()) return 0;
  const size_t count = std::min<size_t>(bytes, g_file.size() - offset);
  std::memcpy(into, g_file.data() + offset, count);
  return count;
}
void announce(uint64_t, const engine::PatchOutcome* outcome) { g_announced.push_back(*outcome); }

constexpr engine::PatchFunctions kKernel{
    .next = nullptr, .read_file = read_file, .announce = announce, .count = nullptr, .rest = nullptr, .is_alive = nullptr};

constexpr std::array<patcher::IdentityAnswer, 1> kAnswers = {{{.leaf = 4, .subleaf = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4}}};

/// The host's C library, laid out as the kernel does: trampolines, then the text.
class PatchedTextTest : public testing::Test {
 protected:
  void SetUp() override {
    g_announced.clear();
    std::ifstream stream(kLibrary, std::ios::binary);
    g_file.assign(std::istreambuf_iterator<char>(stream), {});
    const auto file = patcher::ElfFile::open([](uint64_t offset, std::span<uint8_t> bytes) { return read_file(0, offset, bytes.data(), bytes.size()) == bytes.size(); });
    if (!file) GTEST_SKIP() << "no C library where it is expected";
    const auto segment = std::find_if(file->segments().begin(), file->segments().end(), [](const auto& each) { return each.is_executable; });
    text_offset_ = segment->file_offset & ~uint64_t{4095};
    text_bytes_ = (segment->addresses.size() + 4095) & ~uint64_t{4095};
    memory_.assign(kCompanion + text_bytes_, 0xcc);
    std::memcpy(text(), g_file.data() + text_offset_, text_bytes_);
  }

  uint8_t* text() { return memory_.data() + kCompanion; }
  engine::PatchJob job_at(uint64_t offset, uint64_t rax) {
    return {.text_id = 1,
            .trapped_rax = rax,
            .text_file_offset = text_offset_,
            .site_file_offset = text_offset_ + offset,
            .text = reinterpret_cast<std::byte*>(text()),
            .text_bytes = text_bytes_,
            .trampolines = reinterpret_cast<std::byte*>(memory_.data()),
            .trampoline_bytes = kCompanion,
            .trampoline_distance = kCompanion + 0x1000,
            .gate_address = kGate};
  }
  /// The first site of the text behind a load of `number`.
  uint64_t site_of(uint8_t number) {
    const std::array<uint8_t, 7> call = {0xb8, number, 0, 0, 0, 0x0f, 0x05};
    const auto found = std::search(text(), text() + text_bytes_, call.begin(), call.end());
    return static_cast<uint64_t>(found - text()) + 5;
  }
  bool is_unchanged() { return std::memcmp(text(), g_file.data() + text_offset_, text_bytes_) == 0; }

  uint64_t text_offset_ = 0, text_bytes_ = 0;
  std::vector<uint8_t> memory_;
  WindowWriter writer_;
};

TEST_F(PatchedTextTest, PatchesTheSiteThatTrappedAndThenTheOthers) {
  constexpr uint8_t kGetppid = 110, kGetuid = 102;
  const uint64_t site = site_of(kGetppid), other = site_of(kGetuid);
  const engine::PatchJob job = job_at(site, kGetppid);
  PatchedText patched(kKernel, job, std::chrono::minutes(10));
  EXPECT_TRUE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  writer_.finish();
  EXPECT_EQ(patched.take_patched(), 1u);
  EXPECT_EQ(patched.take_patched(), 0u);
  ASSERT_EQ(g_announced.size(), 1u);
  EXPECT_EQ(g_announced[0].site, static_cast<int64_t>(site));
  EXPECT_LT(g_announced[0].trampoline, 0);
  EXPECT_EQ(text()[site - 5], 0xe9);
  EXPECT_EQ(text()[other - 5], 0xb8);
  uint64_t literal = 0;
  std::memcpy(&literal, memory_.data(), sizeof literal);
  EXPECT_EQ(literal, kGate);

  // Trapped once more before it was written.
  EXPECT_TRUE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  EXPECT_EQ(g_announced.size(), 1u);

  size_t pieces = 0;
  while (patched.look_further(kAnswers, writer_)) ++pieces;
  EXPECT_GT(pieces, 400u);
  writer_.finish();
  EXPECT_EQ(text()[other - 5], 0xe9);
  EXPECT_EQ(patched.take_patched() + 1, g_announced.size());
  EXPECT_GT(g_announced.size(), 400u);
  EXPECT_FALSE(patched.look_further(kAnswers, writer_));
}

TEST_F(PatchedTextTest, StopsLookingWhenThatTakesTooLong) {
  const engine::PatchJob job = job_at(site_of(110), 110);
  PatchedText patched(kKernel, job, std::chrono::nanoseconds(0));
  EXPECT_TRUE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  EXPECT_FALSE(patched.look_further(kAnswers, writer_));
  EXPECT_FALSE(patched.look_further(kAnswers, writer_));
  EXPECT_LE(g_announced.size(), 2u);
  // What traps is patched still.
  EXPECT_TRUE(patched.patch_site(text_offset_ + site_of(102), 102, writer_));
  writer_.finish();
}

TEST_F(PatchedTextTest, LeavesATextAloneWhoseFileWasWrittenSince) {
  const uint64_t site = site_of(110);
  // Another register's load, in the file and not in the text.
  g_file[text_offset_ + site - 4] = 111;
  const engine::PatchJob job = job_at(site, 111);
  PatchedText patched(kKernel, job);
  EXPECT_FALSE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  EXPECT_TRUE(g_announced.empty());
  EXPECT_EQ(text()[site - 5], 0xb8);
}

TEST_F(PatchedTextTest, WritesNothingOutsideOfThePieceThatIsMapped) {
  const uint64_t site = site_of(110);
  // The text begins between the load and its call: a mapping of a piece of the segment could.
  engine::PatchJob job = job_at(site, 110);
  job.text_file_offset += site - 2;
  job.text += site - 2;
  job.text_bytes = 4096;
  PatchedText patched(kKernel, job);
  EXPECT_FALSE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  EXPECT_TRUE(g_announced.empty());
  EXPECT_TRUE(is_unchanged());
}

TEST_F(PatchedTextTest, PatchesNothingOfAFileThatIsNoProgram) {
  const engine::PatchJob job = job_at(site_of(110), 110);
  g_file[0] = 0;
  PatchedText patched(kKernel, job);
  EXPECT_FALSE(patched.patch_site(job.site_file_offset, job.trapped_rax, writer_));
  while (patched.look_further(kAnswers, writer_)) {
  }
  EXPECT_TRUE(g_announced.empty());
  EXPECT_TRUE(is_unchanged());
}

}  // namespace
}  // namespace umk::monitor
