// Mappings of files with storage behind them.
#include <cstring>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/fake_backing.h"
#include "core/kernel/mm/fake_engine.h"

namespace umk::mm {
namespace {

using guest::kProtRead, guest::kProtWrite;
constexpr uint64_t kReadFault = 0, kWriteFault = 2;

class BackedMapping : public testing::Test {
 protected:
  BackedMapping() : cache_(*memory_.window), backing_(cache_, group_), space_(AddressSpace::create(engine_, *memory_.window).take()) {
    for (uint64_t page = 0; page < 64; ++page) backing_.storage[page] = std::string(kPageSize, static_cast<char>('A' + page % 26));
    backing_.size = 64 * kPageSize;
  }
  ~BackedMapping() override {
    space_ = nullptr;
    backing_.cached_file().sync();
  }

  uint64_t map(AddressSpace& space, int protection, uint32_t type, uint64_t pages = 64) {
    MapRequest request;
    request.length = pages * kPageSize;
    request.protection = protection;
    request.flags = type;
    request.source = &backing_;
    return space.map_request(request).take();
  }
  int fault(uint64_t address, uint64_t code) {
    bool is_mapped = false;
    const Result<void> outcome = space_->handle_fault(address, code, &is_mapped);
    EXPECT_TRUE(is_mapped);
    return outcome.ok() ? 0 : outcome.code();
  }
  int protection(uint64_t address) { return engine_.pages.at(address).protection; }
  char* shown(uint64_t address) { return reinterpret_cast<char*>(memory_.base + engine_.pages.at(address).offset); }
  static uint64_t evict(CachedFile& file) { return CachedFileInspector::evict(file); }
  uint64_t dirty() { return backing_.cached_file().dirty_pages(); }

  fake::Window memory_;
  PageCache cache_;
  WriteBackGroup group_;
  fake::RecordingEngine engine_;
  fake::Backing backing_;
  RefPtr<AddressSpace> space_;
};

TEST_F(BackedMapping, PagesAreReadWhenTheyAreTouched) {
  const uint64_t at = map(*space_, kProtRead, map_flags::kShared);
  EXPECT_EQ(protection(at), 0);
  EXPECT_EQ(backing_.pages_read, 0u);
  EXPECT_EQ(fault(at + 20 * kPageSize, kReadFault), 0);
  EXPECT_EQ(protection(at + 20 * kPageSize), kProtRead);
  EXPECT_EQ(*shown(at + 20 * kPageSize), 'A' + 20);
  EXPECT_EQ(protection(at), 0);
  // What is in the cache already is mapped at once.
  const uint64_t again = map(*space_, kProtRead, map_flags::kShared);
  EXPECT_EQ(protection(again + 16 * kPageSize), kProtRead);
  EXPECT_EQ(protection(again), 0);
}

TEST_F(BackedMapping, ResidentIsWhatTheCacheHolds) {
  for (const uint32_t type : {map_flags::kShared, map_flags::kPrivate}) {
    const uint64_t at = map(*space_, kProtRead, type);
    backing_.read(20 * kPageSize, 10);
    unsigned char resident[64];
    ASSERT_TRUE(space_->residency(at, 64 * kPageSize, reinterpret_cast<uint64_t>(resident)).ok());
    EXPECT_EQ(resident[20], 1);
    EXPECT_EQ(resident[63], 0);
    for (uint64_t page = 0; page < 64; ++page) EXPECT_EQ(resident[page], backing_.cached_file().is_present(page)) << page;
  }
}

TEST_F(BackedMapping, TheFirstWriteMakesAPageDirtyAndWritingItBackStartsAnew) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at, kReadFault), 0);
  EXPECT_EQ(protection(at), kProtRead);
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(fault(at + 3 * kPageSize, kWriteFault), 0);
  EXPECT_EQ(dirty(), 1u);
  EXPECT_EQ(protection(at + 3 * kPageSize), kProtRead | kProtWrite);
  EXPECT_EQ(protection(at + 2 * kPageSize), kProtRead);
  strcpy(shown(at + 3 * kPageSize), "mapped");
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(3 * kPageSize, 6), "mapped");
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(protection(at + 3 * kPageSize), kProtRead);
  EXPECT_EQ(fault(at + 3 * kPageSize, kWriteFault), 0);
  EXPECT_EQ(dirty(), 1u);
  strcpy(shown(at + 3 * kPageSize), "again!");
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(3 * kPageSize, 6), "again!");
}

TEST_F(BackedMapping, EverySpaceThatMapsAPageLosesWriteAccess) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  RefPtr<AddressSpace> other = AddressSpace::create(engine_, *memory_.window).take();
  other->set_layout(8 << 20, uint64_t{77} << 30);
  MapRequest request;
  request.length = 64 * kPageSize;
  request.hint = at - (uint64_t{1} << 30);
  request.protection = kProtRead | kProtWrite;
  request.flags = map_flags::kShared;
  request.source = &backing_;
  EXPECT_EQ(fault(at, kWriteFault), 0);
  const uint64_t there = other->map_request(request).take();
  bool is_mapped;
  EXPECT_TRUE(other->handle_fault(there, kWriteFault, &is_mapped).ok());
  EXPECT_EQ(protection(there), kProtRead | kProtWrite);
  backing_.cached_file().sync();
  EXPECT_EQ(protection(at), kProtRead);
  EXPECT_EQ(protection(there), kProtRead);
}

TEST_F(BackedMapping, PagesOfAMappingThatCannotBeReachedStayDirty) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at, kWriteFault), 0);
  engine_.reaches_others = false;
  strcpy(shown(at), "first");
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(0, 5), "first");
  EXPECT_EQ(dirty(), 1u);
  strcpy(shown(at), "later");
  ASSERT_TRUE(space_->unmap(at, 64 * kPageSize).ok());
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(0, 5), "later");
  EXPECT_EQ(dirty(), 0u);
}

TEST_F(BackedMapping, AChunkThatIsWrittenPageByPageIsOpenedAsAWhole) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  for (const uint64_t page : {0, 5, 9, 12}) EXPECT_EQ(fault(at + page * kPageSize, kWriteFault), 0);
  EXPECT_EQ(dirty(), 4u);
  EXPECT_EQ(fault(at + 2 * kPageSize, kWriteFault), 0);
  EXPECT_EQ(dirty(), 16u);
  EXPECT_EQ(protection(at + 15 * kPageSize), kProtRead | kProtWrite);
}

TEST_F(BackedMapping, PrivatePagesAreCopiesAndNotDirty) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kPrivate);
  EXPECT_EQ(protection(at), 0);
  EXPECT_EQ(fault(at, kWriteFault), 0);
  EXPECT_EQ(protection(at), kProtRead | kProtWrite);
  EXPECT_FALSE(engine_.pages.at(at).shared);
  EXPECT_EQ(dirty(), 0u);
  // What was not touched keeps no access, whatever the protection becomes.
  ASSERT_TRUE(space_->protect(at, 64 * kPageSize, kProtRead).ok());
  EXPECT_EQ(protection(at), kProtRead);
  EXPECT_EQ(protection(at + 63 * kPageSize), 0);
}

TEST_F(BackedMapping, AMappingThatBecomesExecutableIsReadAsAWhole) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kPrivate);
  ASSERT_TRUE(space_->protect(at, 64 * kPageSize, kProtRead | guest::kProtExec).ok());
  EXPECT_EQ(backing_.pages_read, 64u);
  EXPECT_EQ(protection(at + 63 * kPageSize), kProtRead | guest::kProtExec);
}

TEST_F(BackedMapping, APageThatCannotBeReadIsABusError) {
  backing_.failing = {3};
  const uint64_t at = map(*space_, kProtRead, map_flags::kShared);
  EXPECT_EQ(fault(at + 3 * kPageSize, kReadFault), EIO);
  EXPECT_EQ(fault(at + 4 * kPageSize, kReadFault), 0);
  EXPECT_EQ(protection(at + 4 * kPageSize), kProtRead);
  EXPECT_EQ(protection(at + 3 * kPageSize), 0);
}

TEST_F(BackedMapping, AFullMediumIsABusErrorForTheWriter) {
  backing_.storage.erase(7);
  backing_.capacity = 63;
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at + 7 * kPageSize, kReadFault), 0);
  EXPECT_EQ(fault(at + 7 * kPageSize, kWriteFault), EIO);
  EXPECT_EQ(protection(at + 7 * kPageSize), kProtRead);
  EXPECT_EQ(fault(at + 8 * kPageSize, kWriteFault), 0);
}

TEST_F(BackedMapping, NothingIsSeenBehindTheEndOfTheFile) {
  ASSERT_TRUE(backing_.resize(2 * kPageSize + 10).ok());
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at + 3 * kPageSize, kReadFault), EIO);
  EXPECT_EQ(fault(at + 2 * kPageSize, kWriteFault), 0);
  memset(shown(at + 2 * kPageSize), 'm', kPageSize);
  // Bytes behind the end go neither to the storage nor into the file when it grows.
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(2 * kPageSize, 20), std::string(10, 'm') + std::string(10, '\0'));
  EXPECT_TRUE(backing_.resize(3 * kPageSize).ok());
  EXPECT_EQ(backing_.read(2 * kPageSize, 20), std::string(10, 'm') + std::string(10, '\0'));
}

TEST_F(BackedMapping, TruncationTakesMappedPagesAway) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at + 10 * kPageSize, kWriteFault), 0);
  ASSERT_TRUE(backing_.resize(5 * kPageSize).ok());
  unmap_beyond(backing_, 5 * kPageSize);
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(protection(at + 10 * kPageSize), 0);
  EXPECT_EQ(fault(at + 10 * kPageSize, kReadFault), EIO);
  ASSERT_TRUE(backing_.resize(64 * kPageSize).ok());
  EXPECT_EQ(fault(at + 10 * kPageSize, kReadFault), 0);
  EXPECT_EQ(*shown(at + 10 * kPageSize), 0);
}

TEST_F(BackedMapping, WhatIsWrittenIntoAPunchedHoleByAMappingIsNotLost) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_EQ(fault(at + 4 * kPageSize, kWriteFault), 0);
  ASSERT_TRUE(backing_.punch(0, 16 * kPageSize).ok());
  EXPECT_EQ(*shown(at + 4 * kPageSize), 0);
  EXPECT_EQ(backing_.read(4 * kPageSize, 4), std::string(4, '\0'));
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(protection(at + 4 * kPageSize), kProtRead);
  EXPECT_EQ(fault(at + 4 * kPageSize, kWriteFault), 0);
  strcpy(shown(at + 4 * kPageSize), "kept");
  backing_.cached_file().sync();
  EXPECT_EQ(backing_.stored(4 * kPageSize, 4), "kept");
}

TEST_F(BackedMapping, MappedPagesAreNotReclaimed) {
  const uint64_t at = map(*space_, kProtRead, map_flags::kShared, 16);
  EXPECT_EQ(fault(at, kReadFault), 0);
  backing_.read(0, 64 * kPageSize);
  cache_.drop_clean();
  EXPECT_TRUE(backing_.cached_file().is_present(0));
  EXPECT_FALSE(backing_.cached_file().is_present(40));
  ASSERT_TRUE(space_->unmap(at, 16 * kPageSize).ok());
  cache_.drop_clean();
  EXPECT_FALSE(backing_.cached_file().is_present(0));
  EXPECT_EQ(memory_.host_pages(), 0u);
}

TEST_F(BackedMapping, TheThreadTakesCleanPagesFromGuestsThatMapThemAndFaultsBringThemBack) {
  const uint64_t at = map(*space_, kProtRead | kProtWrite, map_flags::kShared);
  for (uint64_t page = 0; page < 64; page += 16) EXPECT_EQ(fault(at + page * kPageSize, kReadFault), 0);
  EXPECT_EQ(fault(at + 20 * kPageSize, kWriteFault), 0);
  CachedFile& file = backing_.cached_file();
  EXPECT_EQ(cache_.reclaim(1000), 0u);
  EXPECT_EQ(evict(file), 48u);
  EXPECT_EQ(memory_.host_pages(), 16u);
  EXPECT_EQ(protection(at), 0);
  EXPECT_EQ(protection(at + 20 * kPageSize), kProtRead | kProtWrite);
  const uint64_t offset = engine_.pages.at(at).offset;
  EXPECT_EQ(fault(at + 2 * kPageSize, kReadFault), 0);
  EXPECT_EQ(protection(at), kProtRead);
  EXPECT_EQ(engine_.pages.at(at).offset, offset);
  EXPECT_EQ(*shown(at + 2 * kPageSize), 'C');
}

TEST_F(BackedMapping, LockedPagesAndThoseThatCannotBeReachedStayWithTheGuest) {
  const uint64_t at = map(*space_, kProtRead, map_flags::kShared);
  EXPECT_EQ(fault(at, kReadFault), 0);
  CachedFile& file = backing_.cached_file();
  engine_.reaches_others = false;
  EXPECT_EQ(evict(file), 0u);
  EXPECT_EQ(protection(at), kProtRead);
  EXPECT_TRUE(file.is_present(0));
  engine_.reaches_others = true;
  ASSERT_TRUE(space_->lock_pages(at, 16 * kPageSize, true, true).ok());
  EXPECT_EQ(evict(file), 0u);
  EXPECT_EQ(evict(file), 0u);
  EXPECT_TRUE(file.is_present(0));
}

TEST_F(BackedMapping, ResidencyIsWhatTheCacheHolds) {
  const uint64_t at = map(*space_, kProtRead, map_flags::kShared);
  EXPECT_EQ(fault(at + 16 * kPageSize, kReadFault), 0);
  uint8_t vector[64];
  ASSERT_TRUE(space_->residency(at, 64 * kPageSize, reinterpret_cast<uint64_t>(vector)).ok());
  EXPECT_EQ(vector[15], 0);
  EXPECT_EQ(vector[16], 1);
}

}  // namespace
}  // namespace umk::mm
