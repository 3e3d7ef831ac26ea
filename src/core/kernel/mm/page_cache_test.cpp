#include "core/kernel/mm/page_cache.h"

#include <thread>

#include "core/kernel/mm/fake_backing.h"

namespace umk::mm {
namespace {

using namespace std::chrono_literals;

/// A cache with its write-back thread.
struct Machine {
  explicit Machine(uint64_t limit = 0) : memory(limit), cache(*memory.window), thread([this] { cache.run_write_back(); }) {}
  ~Machine() {
    cache.stop();
    thread.join();
  }
  template <typename Condition>
  static bool eventually(Condition&& condition) {
    for (int i = 0; i < 500; ++i, std::this_thread::sleep_for(10ms))
      if (condition()) return true;
    return false;
  }

  fake::Window memory;
  PageCache cache;
  WriteBackGroup group;
  std::thread thread;
};

TEST(PageCache, OldPagesAreWrittenByThemselves) {
  Machine machine;
  machine.cache.settings.dirty_expire_centisecs = 20;
  machine.cache.settings.dirty_writeback_centisecs = 5;
  fake::Backing backing(machine.cache, machine.group);
  ASSERT_TRUE(backing.write(0, "by age").ok());
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(backing.writes, 0u);
  EXPECT_TRUE(Machine::eventually([&] { return backing.stored(0, 6) == "by age"; }));
  EXPECT_TRUE(Machine::eventually([&] { return backing.references == 0; }));
}

TEST(PageCache, TooManyDirtyPagesAreWrittenBeforeTheirTime) {
  Machine machine;
  machine.cache.settings.dirty_background_bytes = 64 * kPageSize;
  machine.cache.settings.dirty_bytes = 256 * kPageSize;
  fake::Backing backing(machine.cache, machine.group);
  ASSERT_TRUE(backing.write(0, std::string(100 * kPageSize, 'd')).ok());
  EXPECT_TRUE(Machine::eventually([&] { return machine.cache.counters.dirty == 0; }));
}

TEST(PageCache, WritersWaitForTheWriteBackThread) {
  Machine machine;
  machine.cache.settings.dirty_background_bytes = 8 * kPageSize;
  machine.cache.settings.dirty_bytes = 16 * kPageSize;
  fake::Backing backing(machine.cache, machine.group);
  backing.before_write = [](uint64_t) { std::this_thread::sleep_for(5ms); };
  for (uint64_t page = 0; page < 300; ++page) {
    ASSERT_TRUE(backing.write(page * kPageSize, std::string(kPageSize, 't')).ok());
    machine.cache.throttle();
    EXPECT_LT(machine.cache.counters.dirty, 64u);
  }
}

TEST(PageCache, CallsGroupsWhenTheirTimeHasCome) {
  struct Group final : WriteBackGroup {
    void write_own() override { ++calls; }
    std::atomic<int> calls{0};
  } group, gone;
  Machine machine;
  machine.cache.add_group(group);
  machine.cache.add_group(gone);
  machine.cache.write_later(gone, 100'000'000);
  machine.cache.write_later(group, 100'000'000);
  EXPECT_EQ(group.calls, 0);
  machine.cache.remove_group(gone);
  EXPECT_TRUE(Machine::eventually([&] { return group.calls == 1; }));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(group.calls, 1);
  EXPECT_EQ(gone.calls, 0);
  machine.cache.remove_group(group);
}

TEST(PageCache, SyncWritesTheFilesOfOneFilesystemOrOfAll) {
  fake::Window memory;
  PageCache cache(*memory.window);
  WriteBackGroup one, other;
  fake::Backing first(cache, one), second(cache, one), third(cache, other);
  for (fake::Backing* backing : {&first, &second, &third}) ASSERT_TRUE(backing->write(0, "text").ok());
  cache.sync_group(&one);
  EXPECT_EQ(first.stored(0, 4), "text");
  EXPECT_EQ(second.stored(0, 4), "text");
  EXPECT_EQ(third.writes, 0u);
  cache.sync_group(nullptr);
  EXPECT_EQ(third.stored(0, 4), "text");
  EXPECT_EQ(first.writes, 1u);
}

TEST(PageCache, FilesLargerThanMemoryCanBeReadAndWritten) {
  Machine machine(8 << 20);
  fake::Backing backing(machine.cache, machine.group);
  std::string chunk(1 << 20, 0);
  for (unsigned part = 0; part < 32; ++part) {
    std::fill(chunk.begin(), chunk.end(), static_cast<char>('a' + part));
    ASSERT_EQ(backing.write(uint64_t{part} << 20, chunk).value_or(0), chunk.size());
    machine.cache.throttle();
  }
  for (unsigned part = 0; part < 32; ++part) {
    const std::string read = backing.read(uint64_t{part} << 20, 1 << 20);
    ASSERT_EQ(read.size(), chunk.size());
    EXPECT_EQ(read.find_first_not_of(static_cast<char>('a' + part)), std::string::npos);
  }
  EXPECT_LE(machine.memory.account.charged(), uint64_t{8} << 20);
  EXPECT_GT(machine.cache.counters.pages_reclaimed, 0u);
}

TEST(PageCache, FilesWithoutStorageGetTheMemoryOfCleanPages) {
  fake::Window memory(2 << 20);
  PageCache cache(*memory.window);
  WriteBackGroup group;
  fake::Backing backing(cache, group);
  ASSERT_TRUE(backing.write(0, std::string(400 * kPageSize, 'x')).ok());
  backing.cached_file().sync();
  PageStore store(*memory.window);
  const std::string text(300 * kPageSize, 't');
  UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
  EXPECT_EQ(store.write(0, buffer).value_or(0), text.size());
  EXPECT_LT(cache.counters.present.load(), 300u);
}

TEST(PageCache, CachedFilesAreNoReasonToRefuseAPromise) {
  fake::Window memory(2 << 20);
  PageCache cache(*memory.window);
  WriteBackGroup group;
  fake::Backing backing(cache, group);
  ASSERT_TRUE(backing.write(0, std::string(400 * kPageSize, 'x')).ok());
  backing.cached_file().sync();
  ASSERT_TRUE(memory.account.try_commit(1 << 20));
  EXPECT_FALSE(memory.account.try_commit(3 << 20));
  cache.make_way_for_commitments();
  EXPECT_LE(memory.account.charged() + memory.account.committed(), uint64_t{2} << 20);
  memory.account.commit(3 << 20);
  cache.make_way_for_commitments();
  EXPECT_GE(cache.counters.present.load(), 100u);
  memory.account.uncommit(4 << 20);
}

TEST(PageCache, PagesInUseSurviveTheClockLongerThanOthers) {
  fake::Window memory;
  PageCache cache(*memory.window);
  WriteBackGroup group;
  fake::Backing used(cache, group), unused(cache, group);
  for (fake::Backing* backing : {&used, &unused}) {
    ASSERT_TRUE(backing->write(0, std::string(64 * kPageSize, 'u')).ok());
    backing->cached_file().sync();
  }
  cache.reclaim(1);  // takes the marks of all, and some
  used.read(0, 64 * kPageSize);
  const uint64_t reads = used.pages_read;
  cache.reclaim(48);
  used.read(0, 64 * kPageSize);
  EXPECT_LE(used.pages_read, reads + 16);
}

TEST(PageCache, DroppingEverythingGivesTheHostItsMemoryBack) {
  fake::Window memory;
  PageCache cache(*memory.window);
  WriteBackGroup group;
  fake::Backing backing(cache, group);
  ASSERT_TRUE(backing.write(0, std::string(300 * kPageSize, 'x')).ok());
  backing.cached_file().sync();
  ASSERT_TRUE(backing.write(5 * kPageSize, "dirty").ok());
  cache.drop_clean();
  EXPECT_EQ(memory.host_pages(), 1u);
  EXPECT_EQ(cache.counters.present.load(), 1u);
  EXPECT_EQ(backing.read(5 * kPageSize, 8), "dirtyxxx");
}

}  // namespace
}  // namespace umk::mm
