#include "core/kernel/mm/shared_code.h"

#include <gtest/gtest.h>

#include <random>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/fake_backing.h"
#include "core/kernel/mm/fake_engine.h"
#include "core/kernel/mm/fake_source.h"

namespace umk::mm {
namespace {

constexpr int kRead = 1, kWrite = 2, kExec = 4;
constexpr uint64_t kReadFault = 4, kWriteFault = 2 | 4, kFetchFault = 16 | 4;
constexpr uint64_t kPages = 40;

/// Two processes that share a file.
class SharedCodeTest : public testing::Test {
 protected:
  struct Process {
    fake::RecordingEngine engine;
    RefPtr<AddressSpace> space;
  };
  SharedCodeTest() : file_(*memory_.window, std::string(kPages * kPageSize, 'c')) {
    for (Process& process : processes_) process.space = AddressSpace::create(process.engine, *memory_.window).take();
  }
  ~SharedCodeTest() override {
    for (Process& process : processes_) process.space = nullptr;
  }

  static uint64_t map(Process& process, PageSource& source, int protection, uint64_t first = 0, uint64_t pages = kPages) {
    MapRequest request;
    request.length = pages * kPageSize;
    request.offset = first * kPageSize;
    request.protection = protection;
    request.flags = map_flags::kShared;
    request.source = &source;
    return process.space->map_request(request).take();
  }
  static int fault(Process& process, uint64_t address, uint64_t code) {
    bool is_mapped = false;
    const Result<void> outcome = process.space->handle_fault(address, code, &is_mapped);
    return outcome.ok() ? 0 : outcome.code();
  }
  static int protection(const Process& process, uint64_t address) { return process.engine.pages.at(address).protection; }
  /// No page of the cache is writable in one place and executable in another.
  bool is_each_page_one_or_the_other() const {
    std::map<uint64_t, int> all;
    for (const Process& process : processes_)
      for (const auto& [address, page] : process.engine.pages)
        if (page.kind == 'c' && page.shared) all[page.offset] |= page.protection;
    for (const auto& [offset, protection] : all)
      if ((protection & (kWrite | kExec)) == (kWrite | kExec)) return false;
    return true;
  }

  fake::Window memory_;
  fake::Source file_;
  Process processes_[2];
};

TEST_F(SharedCodeTest, APageIsTakenFromAllWritersBeforeItIsExecuted) {
  auto& [a, b] = processes_;
  const uint64_t data = map(a, file_, kRead | kWrite), theirs = map(b, file_, kRead | kWrite), code = map(a, file_, kRead | kExec);
  EXPECT_EQ(protection(a, data), kRead | kWrite);
  EXPECT_EQ(protection(a, code), kRead);
  EXPECT_EQ(fault(a, code + 3 * kPageSize, kFetchFault), 0);
  EXPECT_EQ(protection(a, code + 3 * kPageSize), kRead | kExec);
  EXPECT_EQ(protection(a, data + 3 * kPageSize), kRead);
  EXPECT_EQ(protection(b, theirs + 3 * kPageSize), kRead);
  EXPECT_EQ(protection(b, theirs + 2 * kPageSize), kRead | kWrite);
}

TEST_F(SharedCodeTest, AWriteTakesItFromAllWhoExecute) {
  auto& [a, b] = processes_;
  const uint64_t data = map(a, file_, kRead | kWrite), code = map(a, file_, kRead | kExec), theirs = map(b, file_, kRead | kExec);
  EXPECT_EQ(fault(a, code, kFetchFault), 0);
  EXPECT_EQ(fault(b, theirs, kFetchFault), 0);
  EXPECT_EQ(protection(b, theirs), kRead | kExec);
  EXPECT_EQ(fault(a, data, kWriteFault), 0);
  EXPECT_EQ(protection(a, data), kRead | kWrite);
  EXPECT_EQ(protection(a, code), kRead);
  EXPECT_EQ(protection(b, theirs), kRead);
  EXPECT_EQ(fault(b, theirs, kFetchFault), 0);
  EXPECT_EQ(protection(b, theirs), kRead | kExec);
  EXPECT_EQ(protection(a, data), kRead);
}

TEST_F(SharedCodeTest, OneMappingMayBeBothInTurn) {
  auto& [a, b] = processes_;
  const uint64_t both = map(a, file_, kRead | kWrite | kExec), theirs = map(b, file_, kRead | kWrite | kExec);
  EXPECT_EQ(protection(a, both), kRead | kWrite);
  EXPECT_EQ(fault(a, both, kFetchFault), 0);
  EXPECT_EQ(protection(a, both), kRead | kExec);
  EXPECT_EQ(protection(b, theirs), kRead);
  EXPECT_EQ(fault(b, theirs, kWriteFault), 0);
  EXPECT_EQ(protection(a, both), kRead);
  EXPECT_EQ(protection(b, theirs), kRead | kWrite);
}

TEST_F(SharedCodeTest, LaterMappingsShowWhatMayBeShown) {
  auto& [a, b] = processes_;
  const uint64_t code = map(a, file_, kRead | kExec);
  EXPECT_EQ(fault(a, code + kPageSize, kFetchFault), 0);
  const uint64_t data = map(b, file_, kRead | kWrite);
  EXPECT_NE(protection(b, data + kPageSize), kRead | kWrite);
  EXPECT_EQ(fault(b, data, kWriteFault), 0);
  EXPECT_EQ(protection(b, data), kRead | kWrite);
  EXPECT_EQ(protection(b, data + kPageSize), kRead);
  EXPECT_EQ(fault(b, data + 2 * kPageSize, kWriteFault), 0);
  EXPECT_EQ(protection(b, data + 15 * kPageSize), kRead | kWrite);
  // mprotect(2) asks too.
  EXPECT_TRUE(b.space->protect(data, kPages * kPageSize, kRead).ok());
  EXPECT_TRUE(b.space->protect(data, kPages * kPageSize, kRead | kWrite | kExec).ok());
  EXPECT_TRUE(is_each_page_one_or_the_other());
  EXPECT_EQ(fault(b, data + kPageSize, kFetchFault), 0);
  EXPECT_EQ(protection(a, code + kPageSize), kRead | kExec);
  EXPECT_EQ(protection(b, data + kPageSize), kRead | kExec);
}

TEST_F(SharedCodeTest, MemoryWithoutAFileToo) {
  auto& [a, b] = processes_;
  MapRequest request;
  request.length = kPageSize;
  request.protection = kRead | kWrite | kExec;
  request.flags = map_flags::kShared | map_flags::kAnonymous;
  const uint64_t both = a.space->map_request(request).take();
  EXPECT_EQ(protection(a, both), kRead | kWrite);
  EXPECT_EQ(fault(a, both, kFetchFault), 0);
  EXPECT_EQ(protection(a, both), kRead | kExec);
}

TEST_F(SharedCodeTest, ReadingTurnsNothing) {
  auto& [a, b] = processes_;
  const uint64_t data = map(a, file_, kRead | kWrite), code = map(a, file_, kRead | kExec);
  EXPECT_EQ(fault(a, code, kFetchFault), 0);
  EXPECT_EQ(fault(a, data, kReadFault), 0);
  EXPECT_EQ(protection(a, code), kRead | kExec);
  EXPECT_EQ(fault(a, code, kWriteFault), EFAULT);
  EXPECT_EQ(fault(a, data, kFetchFault), EFAULT);
}

TEST_F(SharedCodeTest, NoOrderOfCallsAndFaultsMakesAPageBoth) {
  std::mt19937 random(7);
  std::vector<std::pair<int, uint64_t>> places;
  for (int step = 0; step < 3000; ++step) {
    const int which = static_cast<int>(random() % 2);
    Process& process = processes_[which];
    const int rights[] = {kRead, kRead | kWrite, kRead | kExec, kRead | kWrite | kExec};
    const int wanted = rights[random() % 4];
    if (places.size() < 6) {
      const uint64_t first = random() % 20;
      places.push_back({which, map(process, file_, wanted, first, 20)});
    } else {
      auto& [owner, start] = places[random() % places.size()];
      AddressSpace& space = *processes_[owner].space;
      const uint64_t page = start + random() % 20 * kPageSize;
      switch (random() % 8) {
        case 0: (void)space.protect(page, kPageSize, wanted); break;
        case 1: start = space.remap(start, 20 * kPageSize, 20 * kPageSize, 3, 0x100000000 + step * 0x100000ull).value_or(start); break;
        case 2:
          EXPECT_TRUE(space.unmap(start, 20 * kPageSize).ok());
          std::swap(places.back(), *std::find(places.begin(), places.end(), std::pair(owner, start)));
          places.pop_back();
          break;
        case 3:
        case 4: (void)fault(processes_[owner], page, kWriteFault); break;
        default: (void)fault(processes_[owner], page, kFetchFault); break;
      }
    }
    ASSERT_TRUE(is_each_page_one_or_the_other()) << "after step " << step;
  }
}

TEST_F(SharedCodeTest, FilesOfADiskToo) {
  auto& [a, b] = processes_;
  PageCache cache(*memory_.window);
  WriteBackGroup group;
  fake::Backing disk(cache, group);
  disk.size = kPages * kPageSize;
  for (uint64_t page = 0; page < kPages; ++page) disk.storage[page] = std::string(kPageSize, 'd');
  const uint64_t data = map(a, disk, kRead | kWrite), code = map(b, disk, kRead | kExec);
  EXPECT_EQ(protection(b, code), 0);
  EXPECT_EQ(fault(b, code, kFetchFault), 0);
  EXPECT_EQ(protection(b, code), kRead | kExec);
  EXPECT_EQ(fault(b, code + kPageSize, kReadFault), 0);
  EXPECT_EQ(protection(b, code + kPageSize), kRead);
  EXPECT_EQ(fault(a, data, kWriteFault), 0);
  EXPECT_EQ(protection(a, data), kRead | kWrite);
  EXPECT_EQ(protection(b, code), kRead);
  EXPECT_EQ(disk.cached_file().dirty_pages(), 1u);
  // What is not there any more is not shown when the page is turned.
  disk.cached_file().sync();
  EXPECT_EQ(fault(b, code, kFetchFault), 0);
  EXPECT_EQ(protection(a, data), kRead);
  EXPECT_NE(CachedFileInspector::evict(disk.cached_file()), 0u);
  EXPECT_EQ(protection(b, code), 0);
  EXPECT_EQ(disk.shared_code.load()->turn(disk, 0, SharedCode::Use::Data).ok(), true);
  EXPECT_EQ(protection(b, code), 0);
  EXPECT_EQ(protection(a, data), 0);
  for (Process& process : processes_) process.space = nullptr;
  disk.cached_file().sync();
}

}  // namespace
}  // namespace umk::mm
