#include "core/kernel/mm/cached_file.h"

#include <random>
#include <thread>
#include <vector>

#include "core/kernel/mm/fake_backing.h"

namespace umk::mm {
namespace {

class CachedFileTest : public testing::Test {
 protected:
  explicit CachedFileTest(uint64_t limit = 0) : memory_(limit), cache_(*memory_.window) {}

  static std::string pattern(size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string text(size, 0);
    for (char& c : text) c = static_cast<char>('a' + random() % 26);
    return text;
  }
  /// Puts bytes into the storage behind the cache's back.
  static void store(fake::Backing& backing, const std::string& text) {
    for (size_t at = 0; at < text.size(); at += kPageSize) {
      std::string page = text.substr(at, kPageSize);
      page.resize(kPageSize);
      backing.storage[at / kPageSize] = page;
    }
    backing.size = text.size();
  }

  fake::Window memory_;
  PageCache cache_;
  WriteBackGroup group_;
};

TEST_F(CachedFileTest, ReadsComeFromTheStorageOnce) {
  fake::Backing backing(cache_, group_);
  const std::string text = pattern(300'000, 1);
  store(backing, text);
  EXPECT_EQ(backing.read(0, 300'000), text);
  EXPECT_EQ(backing.pages_read, page_up(300'000) / kPageSize);
  EXPECT_LT(backing.reads, 10u);
  const uint64_t reads = backing.reads;
  EXPECT_EQ(backing.read(123, 200'000), text.substr(123, 200'000));
  EXPECT_EQ(backing.reads, reads);
}

TEST_F(CachedFileTest, ReadingInOrderReadsAheadAndJumpingDoesNot) {
  fake::Backing backing(cache_, group_);
  store(backing, pattern(8 << 20, 2));
  for (uint64_t at = 0; at < 2 << 20; at += kPageSize) backing.read(at, kPageSize);
  EXPECT_LT(backing.reads, 12u);
  const uint64_t before = backing.pages_read;
  for (const uint64_t page : {2000, 1500, 1700, 1200, 1900}) backing.read(page * kPageSize, 100);
  EXPECT_EQ(backing.pages_read, before + 5);
}

TEST_F(CachedFileTest, AdviceForRandomReadingStopsReadAhead) {
  fake::Backing backing(cache_, group_);
  store(backing, pattern(1 << 20, 3));
  backing.cached_file().advise(0, 0, Advice::Random);
  for (uint64_t page = 0; page < 16; ++page) backing.read(page * kPageSize, 1);
  EXPECT_EQ(backing.pages_read, 16u);
  backing.cached_file().advise(32 * kPageSize, 32 * kPageSize, Advice::WillNeed);
  EXPECT_EQ(backing.pages_read, 48u);
  backing.cached_file().advise(32 * kPageSize, 32 * kPageSize, Advice::DontNeed);
  EXPECT_FALSE(backing.cached_file().is_present(40));
  EXPECT_TRUE(backing.cached_file().is_present(4));
}

TEST_F(CachedFileTest, WritesReachTheStorageWhenSynced) {
  fake::Backing backing(cache_, group_);
  const std::string text = pattern(200'000, 4);
  EXPECT_EQ(backing.write(5000, text).take(), text.size());
  EXPECT_EQ(backing.writes, 0u);
  EXPECT_EQ(cache_.counters.dirty.load(), 50u);
  backing.cached_file().sync();
  EXPECT_EQ(cache_.counters.dirty.load(), 0u);
  EXPECT_EQ(cache_.counters.written_back.load(), 0u);
  EXPECT_EQ(backing.stored(0, 5000), std::string(5000, '\0'));
  EXPECT_EQ(backing.stored(5000, text.size()), text);
  // Consecutive pages go together.
  EXPECT_EQ(backing.writes, 1u);
  EXPECT_TRUE(backing.reserved.empty());
}

TEST_F(CachedFileTest, APartOfAPageIsWrittenOverItsOldContents) {
  fake::Backing backing(cache_, group_);
  std::string text = pattern(3 * kPageSize, 5);
  store(backing, text);
  EXPECT_TRUE(backing.write(kPageSize + 7, "seven").ok());
  text.replace(kPageSize + 7, 5, "seven");
  EXPECT_EQ(backing.read(0, 3 * kPageSize), text);
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(0, 3 * kPageSize), text);
  EXPECT_EQ(backing.pages_written, 1u);
}

TEST_F(CachedFileTest, WholePagesAreWrittenWithoutReading) {
  fake::Backing backing(cache_, group_);
  store(backing, pattern(64 * kPageSize, 6));
  const std::string text = pattern(40 * kPageSize, 7);
  EXPECT_TRUE(backing.write(8 * kPageSize, text).ok());
  EXPECT_EQ(backing.pages_read, 0u);
  EXPECT_EQ(backing.read(8 * kPageSize, text.size()), text);
}

TEST_F(CachedFileTest, AWriteWhoseMemoryCannotBeReadLeavesOldBytes) {
  fake::Backing backing(cache_, group_);
  const std::string old = pattern(8 * kPageSize, 8);
  store(backing, old);
  const std::string text = pattern(4 * kPageSize, 9);
  umk::fake::BadUserRange bad(text.data() + 2 * kPageSize + 100, 10);
  const size_t written = backing.write(kPageSize, text).value_or(0);
  EXPECT_LE(written, 2 * kPageSize + 100);
  EXPECT_GT(written, 0u);
  EXPECT_EQ(backing.read(0, 8 * kPageSize), old.substr(0, kPageSize) + text.substr(0, written) + old.substr(kPageSize + written));
  // The same at the end of the file, where nothing may stay behind.
  EXPECT_EQ(backing.write(8 * kPageSize, std::string_view(text).substr(2 * kPageSize + 100)).code(), EFAULT);
  EXPECT_EQ(backing.size, 8 * kPageSize);
  backing.cached_file().sync();
  EXPECT_FALSE(backing.cached_file().is_dirty());
  EXPECT_TRUE(backing.reserved.empty());
}

TEST_F(CachedFileTest, AFullMediumRefusesTheWrite) {
  fake::Backing backing(cache_, group_);
  backing.capacity = 20;
  const std::string text = pattern(40 * kPageSize, 10);
  const size_t written = backing.write(0, text).value_or(0);
  EXPECT_EQ(written, 20 * kPageSize);
  EXPECT_EQ(backing.write(30 * kPageSize, text).code(), ENOSPC);
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(0, written), text.substr(0, written));
}

TEST_F(CachedFileTest, AReadErrorBelongsToItsPageAlone) {
  fake::Backing backing(cache_, group_);
  const std::string text = pattern(64 * kPageSize, 11);
  store(backing, text);
  backing.failing = {3};
  EXPECT_EQ(backing.read(0, 64 * kPageSize), text.substr(0, 3 * kPageSize));
  char byte;
  EXPECT_EQ(backing.read(3 * kPageSize, &byte, 1).code(), EIO);
  EXPECT_EQ(backing.read(4 * kPageSize, kPageSize), text.substr(4 * kPageSize, kPageSize));
  EXPECT_EQ(backing.write(3 * kPageSize + 5, "x").code(), EIO);
  backing.failing.clear();
  EXPECT_EQ(backing.read(3 * kPageSize, kPageSize), text.substr(3 * kPageSize, kPageSize));
}

TEST_F(CachedFileTest, AWriteErrorIsReportedOnceToEachOpenFile) {
  fake::Backing backing(cache_, group_);
  CachedFile& file = backing.cached_file();
  std::atomic<ErrorSequence::Position> first{file.errors().sample()}, second{file.errors().sample()}, filesystem{group_.errors.sample()};
  EXPECT_TRUE(backing.write(0, "lost").ok());
  backing.write_error = EIO;
  file.sync();
  backing.write_error = 0;
  EXPECT_EQ(file.errors().check_and_advance(first).code(), EIO);
  EXPECT_TRUE(file.errors().check_and_advance(first).ok());
  EXPECT_EQ(file.errors().check_and_advance(second).code(), EIO);
  EXPECT_EQ(group_.errors.check_and_advance(filesystem).code(), EIO);
  std::atomic<ErrorSequence::Position> later{file.errors().sample()};
  EXPECT_TRUE(file.errors().check_and_advance(later).ok());
  EXPECT_TRUE(backing.write(0, "lost").ok());
  backing.write_error = ENOSPC;
  file.sync();
  // Nobody has heard of it yet: it waits for the next who opens the file.
  std::atomic<ErrorSequence::Position> newcomer{file.errors().sample()};
  EXPECT_EQ(file.errors().check_and_advance(newcomer).code(), ENOSPC);
  EXPECT_EQ(file.errors().check_and_advance(first).code(), ENOSPC);
}

TEST_F(CachedFileTest, TruncationDropsPagesAndZeroesTheRestOfTheLast) {
  fake::Backing backing(cache_, group_);
  const std::string text = pattern(100 * kPageSize, 12);
  store(backing, text);
  backing.read(0, 50 * kPageSize);
  EXPECT_TRUE(backing.write(60 * kPageSize, std::string(20 * kPageSize, 'd')).ok());
  EXPECT_TRUE(backing.resize(10 * kPageSize + 100).ok());
  EXPECT_EQ(cache_.counters.dirty.load(), 1u);
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(10 * kPageSize, kPageSize), text.substr(10 * kPageSize, 100) + std::string(kPageSize - 100, '\0'));
  EXPECT_TRUE(backing.resize(12 * kPageSize).ok());
  EXPECT_EQ(backing.read(10 * kPageSize, 2 * kPageSize), text.substr(10 * kPageSize, 100) + std::string(2 * kPageSize - 100, '\0'));
}

TEST_F(CachedFileTest, PunchedHolesReadAsZeroes) {
  fake::Backing backing(cache_, group_);
  std::string text = pattern(64 * kPageSize, 13);
  store(backing, text);
  EXPECT_TRUE(backing.write(20 * kPageSize, std::string(4 * kPageSize, 'd')).ok());
  text.replace(20 * kPageSize, 4 * kPageSize, std::string(4 * kPageSize, 'd'));
  EXPECT_TRUE(backing.punch(10 * kPageSize + 5, 20 * kPageSize).ok());
  text.replace(10 * kPageSize + 5, 20 * kPageSize, std::string(20 * kPageSize, '\0'));
  EXPECT_EQ(backing.read(0, 64 * kPageSize), text);
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(0, 64 * kPageSize), text);
}

TEST_F(CachedFileTest, DirectAccessAgreesWithTheCache) {
  fake::Backing backing(cache_, group_);
  std::string text = pattern(64 * kPageSize, 14);
  store(backing, text);
  alignas(kPageSize) static char memory[16 * kPageSize];
  EXPECT_TRUE(backing.write(3 * kPageSize + 10, "cached").ok());
  text.replace(3 * kPageSize + 10, 6, "cached");
  EXPECT_EQ(backing.read(2 * kPageSize, memory, 4 * kPageSize, true).take(), 4 * kPageSize);
  EXPECT_EQ(std::string(memory, 4 * kPageSize), text.substr(2 * kPageSize, 4 * kPageSize));
  EXPECT_FALSE(backing.cached_file().is_present(5));
  EXPECT_EQ(backing.read(5 * kPageSize, kPageSize), text.substr(5 * kPageSize, kPageSize));
  EXPECT_TRUE(backing.cached_file().is_present(5));
  memset(memory, 'D', sizeof memory);
  EXPECT_EQ(backing.write(0, std::string_view(memory, 8 * kPageSize), true).take(), 8 * kPageSize);
  EXPECT_FALSE(backing.cached_file().is_present(5)) << "what was written past the cache does not stay in it";
  text.replace(0, 8 * kPageSize, std::string(8 * kPageSize, 'D'));
  EXPECT_EQ(backing.read(0, 64 * kPageSize), text);
  EXPECT_EQ(backing.read(7, memory, 512, true).code(), EINVAL);
  EXPECT_EQ(backing.read(512, memory + 1, 512, true).code(), EINVAL);
  EXPECT_EQ(backing.read(512, memory, 100, true).code(), EINVAL);
  // Up to the end of the file, which is not aligned.
  EXPECT_TRUE(backing.resize(9 * kPageSize + 77).ok());
  EXPECT_EQ(backing.read(8 * kPageSize, memory, 4 * kPageSize, true).take(), kPageSize + 77);
  // What grows the file goes through the cache and is there at once for the other way of reading.
  memset(memory, 'E', sizeof memory);
  EXPECT_EQ(backing.write(9 * kPageSize, std::string_view(memory, 2 * kPageSize), true).take(), 2 * kPageSize);
  EXPECT_EQ(backing.read(10 * kPageSize, 5), "EEEEE");
}

TEST_F(CachedFileTest, WhatChangesWhileItIsWrittenIsWrittenAgain) {
  fake::Backing backing(cache_, group_);
  EXPECT_TRUE(backing.write(0, "first").ok());
  backing.before_write = [&](uint64_t) {
    backing.before_write = nullptr;
    EXPECT_TRUE(backing.write(0, "again").ok());
  };
  backing.cached_file().sync();
  EXPECT_TRUE(backing.cached_file().is_dirty());
  backing.cached_file().sync();
  EXPECT_FALSE(backing.cached_file().is_dirty());
  EXPECT_EQ(backing.stored(0, 5), "again");
}

// A sync of somebody else comes in between the copy of an appending write and its new size.
TEST_F(CachedFileTest, WhatIsBeingAppendedStaysDirty) {
  fake::Backing backing(cache_, group_);
  ASSERT_EQ(backing.write(0, pattern(5000, 1)).value(), 5000u);
  CachedFile& file = backing.cached_file();
  const std::string more = pattern(100, 2);
  {
    const CachedFile::Extending extending(file, 5000);
    UserInBuffer buffer(reinterpret_cast<uint64_t>(more.data()), more.size());
    ASSERT_EQ(file.write(5000, buffer).value(), 100u);
    file.sync(0, UINT64_MAX);
    EXPECT_TRUE(file.is_dirty());
    backing.size = 5100;
  }
  const uint64_t before = backing.writes;
  file.sync(0, UINT64_MAX);
  EXPECT_FALSE(file.is_dirty());
  EXPECT_EQ(backing.writes, before + 1);
}

TEST_F(CachedFileTest, SyncWaitsForPagesThatOthersWrite) {
  fake::Backing backing(cache_, group_);
  EXPECT_TRUE(backing.write(0, "bytes").ok());
  std::atomic<bool> is_writing{false}, may_go_on{false};
  backing.before_write = [&](uint64_t) {
    is_writing = true;
    while (!may_go_on) std::this_thread::yield();
  };
  std::thread other([&] { backing.cached_file().sync(); });
  while (!is_writing) std::this_thread::yield();
  std::atomic<bool> is_synced{false};
  std::thread waiter([&] {
    backing.cached_file().sync();
    is_synced = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(is_synced);
  may_go_on = true;
  other.join();
  waiter.join();
  EXPECT_EQ(backing.stored(0, 5), "bytes");
}

TEST_F(CachedFileTest, SeveralRunsOfAFileAreWrittenAtOnce) {
  fake::Backing backing(cache_, group_);
  backing.most_at_once = 1000;
  const std::string text = pattern(9 << 20, 31);
  ASSERT_EQ(backing.write(0, text).value_or(0), text.size());
  backing.cached_file().sync();
  EXPECT_FALSE(backing.cached_file().is_dirty());
  EXPECT_EQ(backing.stored(0, text.size()), text);
  EXPECT_EQ(backing.most_under_way, 4);
  EXPECT_EQ(backing.writes_under_way, 0);
  EXPECT_EQ(backing.pages_written, text.size() / kPageSize);
}

TEST_F(CachedFileTest, WhatAStartedWriteLeavesOrMissesIsWrittenToo) {
  fake::Backing backing(cache_, group_);
  backing.most_at_once = 177;
  backing.busy_times = 3;
  backing.vain_writes = 2;
  const std::string text = pattern((3 << 20) + 5000, 32);
  ASSERT_EQ(backing.write(0, text).value_or(0), text.size());
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(0, text.size()), text);
  EXPECT_EQ(backing.writes_under_way, 0);
  EXPECT_EQ(backing.busy_times, 0) << "asked again after the others had ended";
  backing.write_error = EIO;
  const std::atomic<ErrorSequence::Position> seen = backing.cached_file().errors().sample();
  ASSERT_EQ(backing.write(0, text).value_or(0), text.size());
  backing.cached_file().sync();
  EXPECT_FALSE(backing.cached_file().is_dirty());
  EXPECT_EQ(backing.cached_file().errors().check(seen).code(), EIO);
}

TEST_F(CachedFileTest, DiscardedFilesAreNotWritten) {
  fake::Backing backing(cache_, group_);
  EXPECT_TRUE(backing.write(0, pattern(30 * kPageSize, 15)).ok());
  backing.cached_file().discard();
  EXPECT_EQ(cache_.counters.dirty.load(), 0u);
  EXPECT_EQ(cache_.counters.present.load(), 0u);
  EXPECT_TRUE(backing.reserved.empty());
  EXPECT_EQ(backing.writes, 0u);
}

TEST_F(CachedFileTest, TruncationWaitsForReadsUnderWay) {
  fake::Backing backing(cache_, group_);
  store(backing, pattern(4 * kPageSize, 16));
  std::atomic<bool> is_reading{false}, may_go_on{false};
  backing.before_read = [&](uint64_t) {
    is_reading = true;
    while (!may_go_on) std::this_thread::yield();
  };
  std::thread reader([&] { backing.read(0, 4 * kPageSize); });
  while (!is_reading) std::this_thread::yield();
  std::atomic<bool> is_cut{false};
  std::thread cutter([&] {
    EXPECT_TRUE(backing.resize(0).ok());
    is_cut = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(is_cut);
  may_go_on = true;
  reader.join();
  cutter.join();
  backing.before_read = nullptr;
  EXPECT_TRUE(backing.resize(4 * kPageSize).ok());
  EXPECT_EQ(backing.read(0, 4 * kPageSize), std::string(4 * kPageSize, '\0'));
}

// Everything at random against an array of bytes.
TEST_F(CachedFileTest, AgreesWithAnArrayOfBytes) {
  fake::Backing backing(cache_, group_);
  std::mt19937 random(4711);
  std::string model;
  constexpr uint64_t kSpace = 100 * kPageSize;
  const auto below = [&](uint64_t bound) { return random() % bound; };
  alignas(kPageSize) static char aligned[64 * kPageSize];
  for (int step = 0; step < 6000; ++step) {
    const uint64_t offset = below(3) == 0 ? page_down(below(kSpace)) : below(kSpace);
    const uint64_t length = 1 + (below(3) == 0 ? page_down(below(30 * kPageSize)) + kPageSize - 1 : below(3 * kPageSize));
    switch (below(10)) {
      case 0:
      case 1:
      case 2: {
        const std::string text = pattern(length, random());
        ASSERT_EQ(backing.write(offset, text).take(), length);
        if (model.size() < offset + length) model.resize(offset + length);
        model.replace(offset, length, text);
        break;
      }
      case 3:
      case 4: {
        const uint64_t expected = offset >= model.size() ? 0 : std::min(length, model.size() - offset);
        ASSERT_EQ(backing.read(offset, length), expected ? model.substr(offset, expected) : "") << step;
        break;
      }
      case 5:
        if (below(4) != 0) break;
        ASSERT_TRUE(backing.resize(offset).ok());
        model.resize(offset);
        break;
      case 6:
        ASSERT_TRUE(backing.punch(offset, length).ok());
        for (uint64_t at = offset; at < std::min(offset + length, model.size()); ++at) model[at] = 0;
        break;
      case 7:
        backing.cached_file().sync(offset, offset + length);
        break;
      case 8:
        backing.cached_file().invalidate(below(50), below(100));
        cache_.reclaim(below(64));
        break;
      case 9: {
        const uint64_t start = offset / 512 * 512, bytes = (length + 511) / 512 * 512;
        if (bytes > sizeof aligned) break;
        if (below(2) == 0) {
          const size_t got = backing.read(start, aligned, bytes, true).take();
          ASSERT_EQ(std::string(aligned, got), start >= model.size() ? "" : model.substr(start, bytes)) << step;
          break;
        }
        const std::string text = pattern(bytes, random());
        memcpy(aligned, text.data(), bytes);
        ASSERT_EQ(backing.write(start, std::string_view(aligned, bytes), true).take(), bytes);
        if (model.size() < start + bytes) model.resize(start + bytes);
        model.replace(start, bytes, text);
        break;
      }
    }
    ASSERT_EQ(backing.size, model.size());
  }
  backing.cached_file().sync();
  EXPECT_FALSE(backing.cached_file().is_dirty());
  EXPECT_TRUE(backing.reserved.empty());
  EXPECT_EQ(backing.stored(0, model.size()), model);
}

// Readers, writers, write-back, reclaim and truncation at once: every page holds one number throughout.
TEST_F(CachedFileTest, ThreadsAgree) {
  fake::Backing backing(cache_, group_);
  constexpr uint64_t kPages = 64;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  const auto page_of = [](char c) { return std::string(kPageSize, c); };
  ASSERT_TRUE(backing.write(0, std::string(kPages * kPageSize, 'a')).ok());
  for (unsigned writer = 0; writer < 2; ++writer)
    threads.emplace_back([&, writer] {
      std::mt19937 random(writer);
      while (!stop) EXPECT_TRUE(backing.write((random() % kPages) * kPageSize, page_of(static_cast<char>('a' + random() % 26))).ok());
    });
  threads.emplace_back([&] {
    while (!stop) {
      backing.cached_file().sync();
      cache_.reclaim(32);
    }
  });
  threads.emplace_back([&] {
    std::mt19937 random(99);
    while (!stop) {
      EXPECT_TRUE(backing.resize((kPages / 2 + random() % kPages / 2) * kPageSize).ok());
      EXPECT_TRUE(backing.punch((random() % kPages) * kPageSize, 3 * kPageSize).ok());
    }
  });
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = backing.read((random() % kPages) * kPageSize, kPageSize);
    for (const char c : text) ASSERT_TRUE(c == 0 || (c >= 'a' && c <= 'z'));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const std::string last = backing.read(0, kPages * kPageSize);
  backing.cached_file().sync();
  EXPECT_EQ(backing.stored(0, last.size()), last);
}

}  // namespace
}  // namespace umk::mm
