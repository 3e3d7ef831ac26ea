#include "core/kernel/mm/page_store.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "core/kernel/guest/fake_user_memory.h"

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateBenignRaceSized(const char* file, int line, const volatile void* memory, size_t size, const char* description);
#endif

namespace umk::mm {
namespace {

/// A window on a memory file of its own.
class PageStoreTest : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = uint64_t{1} << 30;

  PageStoreTest() {
    fd_ = memfd_create("cache", 0);
    EXPECT_EQ(ftruncate(fd_, kBytes), 0);
    base_ = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0));
    window_ = std::make_unique<CacheWindow>(base_, kBytes, fd_, account_);
#if defined(__SANITIZE_THREAD__)
    // File data may be read and written at once: read(2) promises no order. The tree that finds it must not race.
    AnnotateBenignRaceSized(__FILE__, __LINE__, base_, kBytes, "file data");
#endif
  }
  ~PageStoreTest() override {
    window_.reset();
    EXPECT_EQ(account_.charged(), 0u);
    EXPECT_EQ(host_pages(), 0u);
    munmap(base_, kBytes);
    close(fd_);
  }

  /// Pages that the host holds for the cache.
  uint64_t host_pages() {
    struct stat status;
    fstat(fd_, &status);
    return static_cast<uint64_t>(status.st_blocks) / 8;
  }

  static Result<size_t> write(PageStore& store, uint64_t offset, std::string_view text) {
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return store.write(offset, buffer);
  }
  static std::string read(PageStore& store, uint64_t offset, size_t size) {
    std::string text(size, 'x');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), size);
    EXPECT_EQ(store.read(offset, buffer).value_or(0), size);
    return text;
  }

  int fd_;
  std::byte* base_;
  MemoryAccount account_;
  std::unique_ptr<CacheWindow> window_;
};

TEST_F(PageStoreTest, HolesReadAsZeroesAndTakeNoMemory) {
  PageStore store(*window_);
  EXPECT_EQ(read(store, 12345, 100000), std::string(100000, '\0'));
  EXPECT_EQ(host_pages(), 0u);
  EXPECT_EQ(write(store, 5000000, "hello").take(), 5u);
  EXPECT_EQ(read(store, 4999998, 9), std::string("\0\0hello\0\0", 9));
  EXPECT_EQ(store.allocated_bytes(), kPageSize);
  EXPECT_EQ(host_pages(), 1u);
  EXPECT_EQ(account_.charged(), kPageSize);
}

TEST_F(PageStoreTest, FarOffsetsWork) {
  PageStore store(*window_);
  const uint64_t far = INT64_MAX - 4;
  EXPECT_EQ(write(store, far, "end").take(), 3u);
  EXPECT_EQ(write(store, uint64_t{1} << 40, "middle").take(), 6u);
  EXPECT_EQ(read(store, far, 4), std::string("end\0", 4));
  EXPECT_EQ(store.next_data(0, INT64_MAX), uint64_t{1} << 40);
  EXPECT_EQ(store.next_data((uint64_t{1} << 40) + kPageSize, INT64_MAX), page_down(far));
  store.truncate((uint64_t{1} << 40) + 3);
  EXPECT_EQ(read(store, uint64_t{1} << 40, 6), std::string("mid\0\0\0", 6));
  EXPECT_EQ(store.next_data((uint64_t{1} << 40) + kPageSize, INT64_MAX), std::nullopt);
}

TEST_F(PageStoreTest, ReusedMemoryNeverShowsItsOldContents) {
  {
    PageStore store(*window_);
    EXPECT_TRUE(write(store, 0, std::string(300000, 's')).ok());
  }
  EXPECT_GT(window_->pool_pages(), 0u);
  PageStore store(*window_);
  EXPECT_TRUE(write(store, 4096 * 3 + 10, "a").ok());
  EXPECT_EQ(read(store, 0, 65536).find('s'), std::string::npos);
  EXPECT_EQ(store.allocated_bytes(), kPageSize);
}

TEST_F(PageStoreTest, AFileThatGrowsInOrderLiesInOneRun) {
  PageStore store(*window_);
  for (uint64_t offset = 0; offset < 1 << 20; offset += 4096) EXPECT_TRUE(write(store, offset, "page").ok());
  const uint64_t first = store.cache_offset(0).take();
  for (uint64_t offset = 0; offset < 1 << 20; offset += kChunkBytes) EXPECT_EQ(store.cache_offset(offset).take(), first + offset);
}

TEST_F(PageStoreTest, FaultsEndACopyAndOnlyAnEmptyOneFails) {
  PageStore store(*window_);
  std::vector<char> memory(200000, 'm');
  fake::BadUserRange bad(memory.data() + 100000, 50000);
  UserInBuffer in(reinterpret_cast<uint64_t>(memory.data()), memory.size());
  EXPECT_EQ(store.write(0, in).take(), 100000u);
  EXPECT_EQ(store.write(100000, in).code(), EFAULT);
  UserOutBuffer out(reinterpret_cast<uint64_t>(memory.data()), memory.size());
  EXPECT_EQ(store.read(0, out).take(), 100000u);
  EXPECT_EQ(store.read(100000, out).code(), EFAULT);
}

TEST_F(PageStoreTest, TheMemoryLimitIsKeptToThePage) {
  account_.set_limit(10 * kPageSize);
  PageStore store(*window_);
  EXPECT_EQ(write(store, 0, std::string(9 * kPageSize, 'a')).take(), 9 * kPageSize);
  EXPECT_EQ(write(store, 9 * kPageSize, std::string(3 * kPageSize, 'b')).take(), kPageSize);
  EXPECT_EQ(write(store, 100 * kPageSize, "c").code(), ENOMEM);
  store.truncate(5 * kPageSize);
  // Whole pages of a chunk that stays go back at once.
  EXPECT_TRUE(write(store, 100 * kPageSize, "c").ok());
}

TEST_F(PageStoreTest, PinnedPagesAreNotReusedUntilThePinGoes) {
  PageStore store(*window_);
  EXPECT_TRUE(write(store, 0, std::string(200000, 'p')).ok());
  store.pin();
  std::byte* page = store.page(20, false).take();
  store.truncate(0);
  EXPECT_EQ(store.allocated_bytes(), 0u);
  EXPECT_EQ(page[0], std::byte{'p'});
  PageStore other(*window_);
  EXPECT_TRUE(write(other, 0, std::string(400000, 'o')).ok());
  EXPECT_EQ(page[0], std::byte{'p'});
  // A page that becomes the file's again under the pin is zeroed.
  EXPECT_TRUE(write(store, 0, "new").ok());
  EXPECT_EQ(read(store, 0, 5), std::string("new\0\0", 5));
  store.unpin();
  EXPECT_EQ(store.allocated_bytes(), kPageSize);
  EXPECT_EQ(window_->account().charged(), (98 + 1 + window_->pool_pages()) * kPageSize);
}

TEST_F(PageStoreTest, ARunIsContiguousAndGoesBackWhole) {
  {
    PageStore store(*window_);
    EXPECT_TRUE(store.allocate_run(1000000).ok());
    const uint64_t first = store.cache_offset(0).take();
    for (uint64_t offset = 0; offset < 1000000; offset += kChunkBytes) EXPECT_EQ(store.cache_offset(offset).take(), first + offset);
    memset(base_ + first, 1, 1000000);
    EXPECT_EQ(store.allocated_bytes(), page_up(1000000));
  }
  EXPECT_EQ(host_pages(), 0u);
}

TEST_F(PageStoreTest, AgreesWithAnArrayOfBytes) {
  constexpr uint64_t kSize = 40 * kPageSize + 1000000;
  std::mt19937_64 random(11);
  auto store = std::make_unique<PageStore>(*window_);
  std::string model(kSize, '\0');
  for (int step = 0; step < 4000; ++step) {
    const uint64_t offset = random() % kSize;
    const uint64_t length = std::min<uint64_t>(kSize - offset, random() % (random() % 4 ? 9000 : 200000));
    switch (random() % 10) {
      case 0: {
        store->punch(offset, length);
        std::fill_n(model.begin() + static_cast<long>(offset), length, '\0');
        break;
      }
      case 1: {
        if (random() % 8) break;
        store->truncate(offset);
        std::fill(model.begin() + static_cast<long>(offset), model.end(), '\0');
        break;
      }
      case 2: ASSERT_TRUE(store->allocate(offset, length).ok()); break;
      case 3:
      case 4:
      case 5: {
        const std::string data(length, static_cast<char>('a' + random() % 26));
        ASSERT_EQ(write(*store, offset, data).take(), length);
        model.replace(offset, length, data);
        break;
      }
      default: {
        ASSERT_EQ(read(*store, offset, length), model.substr(offset, length)) << step;
        // Data is only where pages are, and what is no page is zero.
        const std::optional<uint64_t> data = store->next_data(offset, kSize);
        const uint64_t hole_end = data.value_or(kSize);
        ASSERT_EQ(model.find_first_not_of('\0', offset), std::max(model.find_first_not_of('\0', offset), hole_end));
      }
    }
    // A chunk that was used before may bring memory that the file does not use yet.
    ASSERT_GE(account_.charged(), store->allocated_bytes() + window_->pool_pages() * kPageSize);
    ASSERT_LE(host_pages() * kPageSize, account_.charged());
  }
  ASSERT_EQ(read(*store, 0, kSize), model);
}

TEST_F(PageStoreTest, ReadersWritersAndTruncationsMayRace) {
  PageStore store(*window_);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 3000; ++i) ASSERT_TRUE(write(store, random() % 2000000, std::string(random() % 20000, 'w')).ok());
      stop = true;
    });
  threads.emplace_back([&] {
    std::mt19937 random(9);
    while (!stop) {
      std::string text(50000, 'x');
      UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
      ASSERT_TRUE(store.read(random() % 2000000, buffer).ok());
      for (char c : text) ASSERT_TRUE(c == 'w' || c == '\0') << int(c);
    }
  });
  threads.emplace_back([&] {
    std::mt19937 random(10);
    while (!stop) {
      store.truncate(random() % 1000000);
      PageStore other(*window_);
      ASSERT_TRUE(write(other, 0, std::string(100000, 'o')).ok());
    }
  });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace umk::mm
