#include <thread>

#include "core/kernel/mm/cached_file.h"
#include "core/kernel/mm/fake_backing.h"

namespace umk::mm {
namespace {

class ReadAhead : public testing::Test {
 protected:
  ReadAhead() : memory_(16 << 20), cache_(*memory_.window), backing_(std::make_unique<fake::Backing>(cache_, group_)) {
    for (uint64_t page = 0; page < kPages; ++page) backing_->storage[page] = std::string(kPageSize, letter(page));
    backing_->size = kPages * kPageSize;
    backing_->defers_reads = true;
  }
  static char letter(uint64_t page) { return static_cast<char>('a' + page % 23); }
  char read_page(uint64_t page) {
    const std::string text = backing_->read(page * kPageSize, kPageSize);
    return text.size() == kPageSize && text.front() == text.back() ? text.front() : '?';
  }

  static constexpr uint64_t kPages = 1024;
  fake::Window memory_;
  PageCache cache_;
  WriteBackGroup group_;
  std::unique_ptr<fake::Backing> backing_;
};

TEST_F(ReadAhead, NobodyWaitsForPagesThatHeDidNotAskFor) {
  // Long enough for a second window to begin.
  for (uint64_t page = 0; page < 32; ++page) ASSERT_EQ(read_page(page), letter(page));
  EXPECT_EQ(backing_->pages_read, 32u) << "what was waited for";
  ASSERT_EQ(backing_->deferred_reads(), 1u);
  const std::vector<uint64_t> ahead = backing_->finish_reads();
  ASSERT_FALSE(ahead.empty());
  EXPECT_EQ(ahead.front(), 32u);
  const uint64_t pages = backing_->pages_read;
  // Coming to the mark begins the next window while this one is read.
  EXPECT_EQ(read_page(32), letter(32));
  EXPECT_EQ(backing_->pages_read, pages);
  EXPECT_EQ(backing_->deferred_reads(), 1u);
  for (uint64_t page = 33; page <= ahead.back(); ++page) ASSERT_EQ(read_page(page), letter(page));
  EXPECT_EQ(backing_->pages_read, pages);
  EXPECT_EQ(backing_->deferred_reads(), 1u);
  EXPECT_EQ(backing_->finish_reads().front(), ahead.back() + 1);
}

TEST_F(ReadAhead, WhoComesTooEarlyWaitsForWhatIsOnItsWay) {
  for (uint64_t page = 0; page < 32; ++page) ASSERT_EQ(read_page(page), letter(page));
  std::atomic<bool> is_done{false};
  std::thread reader([&] {
    EXPECT_EQ(read_page(32), letter(32));
    is_done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(is_done);
  const uint64_t pages = backing_->pages_read;
  const size_t ahead = backing_->finish_reads().size();
  reader.join();
  EXPECT_EQ(backing_->pages_read, pages + ahead) << "nothing was read twice";
  backing_->finish_reads();
}

TEST_F(ReadAhead, AFailureIsToldToWhoAsksForThePage) {
  for (uint64_t page = 0; page < 32; ++page) ASSERT_EQ(read_page(page), letter(page));
  ASSERT_FALSE(backing_->finish_reads(EIO).empty());
  EXPECT_FALSE(backing_->cached_file().is_present(32));
  EXPECT_EQ(read_page(32), letter(32)) << "it was read again, and well";
  backing_->finish_reads();
  backing_->failing.insert(500);
  backing_->defers_reads = false;
  char byte;
  EXPECT_EQ(backing_->read(500 * kPageSize, &byte, 1).code(), EIO);
}

TEST_F(ReadAhead, TruncationWaitsForIt) {
  for (uint64_t page = 0; page < 32; ++page) ASSERT_EQ(read_page(page), letter(page));
  ASSERT_EQ(backing_->deferred_reads(), 1u);
  std::atomic<bool> is_cut{false};
  std::thread cutter([&] {
    EXPECT_TRUE(backing_->resize(10 * kPageSize).ok());
    is_cut = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(is_cut);
  backing_->finish_reads();
  cutter.join();
  EXPECT_FALSE(backing_->cached_file().is_present(40));
}

TEST_F(ReadAhead, TheEndOfTheFileWaitsForIt) {
  for (uint64_t page = 0; page < 32; ++page) ASSERT_EQ(read_page(page), letter(page));
  ASSERT_EQ(backing_->deferred_reads(), 1u);
  std::thread finisher([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    backing_->finish_reads();
  });
  backing_->cached_file().discard();
  finisher.join();
  EXPECT_EQ(cache_.counters.present.load(), 0u);
}

TEST_F(ReadAhead, StopsWhereMemoryDoes) {
  fake::Window small(256 * kPageSize);
  PageCache cache(*small.window);
  {
    WriteBackGroup group;
    fake::Backing backing(cache, group);
    for (uint64_t page = 0; page < kPages; ++page) backing.storage[page] = std::string(kPageSize, letter(page));
    backing.size = kPages * kPageSize;
    for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(backing.read(page * kPageSize, 1), std::string(1, letter(page)));
    EXPECT_LE(small.account.charged(), 256 * kPageSize);
    EXPECT_LT(backing.pages_read, kPages * 3 / 2) << "little is pushed out before it is read";
  }
}

TEST_F(ReadAhead, ReadersInManyPlacesAgree) {
  backing_->defers_reads = true;
  std::atomic<bool> has_ended{false};
  std::thread device([&] {
    while (!has_ended) {
      backing_->finish_reads(backing_->deferred_reads() % 3 == 2 ? EIO : 0);
      std::this_thread::yield();
    }
    backing_->finish_reads();
  });
  std::vector<std::thread> readers;
  for (uint64_t id = 0; id < 4; ++id)
    readers.emplace_back([&, id] {
      for (uint64_t i = 0; i < kPages; ++i) {
        const uint64_t page = (id * 200 + i) % kPages;
        ASSERT_EQ(read_page(page), letter(page));
        if (i % 300 == 299) backing_->cached_file().invalidate(0, kPages);
      }
    });
  for (std::thread& reader : readers) reader.join();
  has_ended = true;
  device.join();
}

}  // namespace
}  // namespace umk::mm
