#include "core/memory/kernel_heap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace umk {
namespace {

/// A heap on a mapping of its own.
class KernelHeapTest : public testing::Test {
 protected:
  explicit KernelHeapTest(size_t bytes = size_t{256} << 20) : bytes_(bytes) {
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    heap_ = &KernelHeap::create(reinterpret_cast<uintptr_t>(memory_), bytes_);
  }
  ~KernelHeapTest() override { munmap(memory_, bytes_); }

  size_t bytes_;
  void* memory_;
  KernelHeap* heap_;
};

uintptr_t number(const void* p) { return reinterpret_cast<uintptr_t>(p); }

TEST_F(KernelHeapTest, ObjectsAreAlignedToSixteenAndHoldWhatWasAsked) {
  for (size_t size : {0, 1, 15, 16, 17, 100, 500, 2047, 2048, 2049, 4096, 5000, 70000, 4 << 20}) {
    void* object = heap_->allocate(size);
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(number(object) % 16, 0u);
    EXPECT_GE(heap_->usable_bytes(object), size);
    memset(object, 0xab, size);
    heap_->free(object);
  }
  EXPECT_EQ(heap_->live_objects(), 0u);
}

TEST_F(KernelHeapTest, AlignmentIsKept) {
  for (size_t alignment = 16; alignment <= size_t{8} << 20; alignment *= 2)
    for (size_t size : {size_t{1}, size_t{48}, size_t{1000}, alignment, alignment + 1}) {
      void* object = heap_->allocate(size, alignment);
      ASSERT_NE(object, nullptr) << alignment << " " << size;
      EXPECT_EQ(number(object) % alignment, 0u);
      heap_->free(object);
    }
}

TEST_F(KernelHeapTest, WholePagesAreAccountedExactly) {
  const uint64_t before = heap_->pages().pages_in_use();
  void* object = heap_->allocate(5 * kPageSize);
  EXPECT_EQ(heap_->pages().pages_in_use(), before + 5);
  heap_->free(object);
  EXPECT_EQ(heap_->pages().pages_in_use(), before);
}

TEST_F(KernelHeapTest, EverythingFreedComesTogetherAgain) {
  std::vector<void*> objects;
  while (void* object = heap_->allocate(size_t{1} << 20)) objects.push_back(object);
  EXPECT_GE(objects.size(), 230u);
  for (void* object : objects) heap_->free(object);
  void* big = heap_->allocate(size_t{64} << 20);
  EXPECT_NE(big, nullptr);
  heap_->free(big);
  EXPECT_EQ(heap_->pages().pages_in_use(), 0u);
}

TEST_F(KernelHeapTest, UntouchedMemoryStaysUntouched) {
  // 64 pages of descriptors at most, and one page a slab.
  for (int i = 0; i < 10; ++i) ASSERT_NE(heap_->allocate(64), nullptr);
  std::vector<unsigned char> resident(bytes_ / kPageSize);
  mincore(memory_, bytes_, resident.data());
  size_t touched = 0;
  for (unsigned char page : resident) touched += page & 1;
  EXPECT_LT(touched, 16u);
}

TEST_F(KernelHeapTest, TheLimitIsExact) {
  MemoryAccount account(100 * kPageSize);
  heap_->pages().set_account(&account);
  void* object = heap_->allocate(60 * kPageSize);
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(heap_->allocate(41 * kPageSize), nullptr);
  EXPECT_NE(heap_->allocate(40 * kPageSize), nullptr);
  EXPECT_EQ(heap_->allocate(1), nullptr);
  heap_->free(object);
  EXPECT_NE(heap_->allocate(1), nullptr);
  EXPECT_EQ(account.charged(), 41 * kPageSize);
}

TEST_F(KernelHeapTest, BigFreeBlocksAreOfferedToTheHost) {
  static size_t released;
  released = 0;
  heap_->pages().set_release_hook([](uintptr_t, size_t bytes) { released += bytes; });
  std::vector<void*> bundles;
  for (int i = 0; i < 256; ++i) bundles.push_back(heap_->allocate(65536, 65536));
  for (void* bundle : bundles) heap_->free(bundle);
  EXPECT_GE(released, size_t{8} << 20);
}

TEST_F(KernelHeapTest, RandomUseNeverOverlaps) {
  std::mt19937_64 random(7);
  std::map<uintptr_t, std::pair<size_t, unsigned char>> live;  // by address: size and fill
  for (int step = 0; step < 60000; ++step) {
    if (live.size() < 500 || random() % 2) {
      const size_t size = random() % 20 == 0 ? random() % 300000 : random() % 3000;
      const size_t alignment = random() % 8 == 0 ? size_t{16} << (random() % 13) : 16;
      void* object = heap_->allocate(size, alignment);
      if (!object) continue;
      const uintptr_t start = number(object);
      ASSERT_EQ(start % alignment, 0u);
      auto next = live.lower_bound(start);
      if (next != live.end()) { ASSERT_LE(start + size, next->first); }
      if (next != live.begin()) { ASSERT_LE(std::prev(next)->first + std::prev(next)->second.first, start); }
      const unsigned char fill = static_cast<unsigned char>(random());
      memset(object, fill, size);
      live[start] = {size, fill};
    } else {
      auto victim = live.lower_bound(live.begin()->first + random() % (live.rbegin()->first - live.begin()->first + 1));
      const auto* bytes = reinterpret_cast<unsigned char*>(victim->first);
      for (size_t i = 0; i < victim->second.first; i += 61) ASSERT_EQ(bytes[i], victim->second.second);
      heap_->free(reinterpret_cast<void*>(victim->first));
      live.erase(victim);
    }
  }
  EXPECT_EQ(heap_->live_objects(), live.size());
  for (const auto& [start, _] : live) heap_->free(reinterpret_cast<void*>(start));
  EXPECT_EQ(heap_->live_objects(), 0u);
  // At most the one empty slab of each class is kept.
  EXPECT_LE(heap_->pages().pages_in_use(), KernelHeap::kClassCount * 8);
}

TEST_F(KernelHeapTest, ThreadsMayFreeEachOthersObjects) {
  constexpr int kThreads = 4, kSlots = 256;
  static std::atomic<void*> slots[kSlots];
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([this, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 20000; ++i) {
        const size_t size = 4 + random() % (i % 50 ? 600 : 20000);
        unsigned char* object = static_cast<unsigned char*>(heap_->allocate(size));
        ASSERT_NE(object, nullptr);
        object[0] = object[size - 1] = 1;
        if (void* other = slots[random() % kSlots].exchange(object)) heap_->free(other);
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (auto& slot : slots) heap_->free(slot.exchange(nullptr));
  EXPECT_EQ(heap_->live_objects(), 0u);
}

using KernelHeapDeathTest = KernelHeapTest;

TEST_F(KernelHeapDeathTest, FreeingTwiceIsCaught) {
  void* object = heap_->allocate(10000);
  heap_->free(object);
  EXPECT_DEATH(heap_->free(object), "freed");
}

}  // namespace
}  // namespace umk
