// Files whose contents lie in a file of the host that nobody writes.
#include <thread>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/fake_backing.h"
#include "core/kernel/mm/fake_engine.h"

namespace umk::mm {
namespace {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;
constexpr uint64_t kReadFault = 0, kWriteFault = 2;
constexpr uint64_t kPages = 64;

/// The host's file holds the pages in another order, two by two.
class FixedMapping : public testing::Test {
 protected:
  FixedMapping() : cache_(*memory_.window), host_fd_(memfd_create("image", MFD_CLOEXEC)), backing_(cache_, group_), space_(AddressSpace::create(engine_, *memory_.window).take()) {
    EXPECT_EQ(ftruncate(host_fd_, kPages * kPageSize), 0);
    for (uint64_t page = 0; page < kPages; ++page) {
      const std::string text(kPageSize, letter(page));
      EXPECT_EQ(pwrite(host_fd_, text.data(), text.size(), static_cast<off_t>(place(page))), static_cast<ssize_t>(kPageSize));
      backing_.storage[page] = text;
    }
    backing_.size = kPages * kPageSize;
    backing_.find_fixed = [this](uint64_t page) -> FixedExtent {
      if (changed_.contains(page)) return {};
      return {.fd = host_fd_, .offset = place(page), .bytes = page % 2 == 0 && !changed_.contains(page + 1) ? 2 * kPageSize : kPageSize};
    };
    // What is written goes to another place.
    backing_.before_write = [this](uint64_t page) { changed_.insert(page); };
  }
  ~FixedMapping() override {
    space_ = nullptr;
    backing_.cached_file().sync();
    close(host_fd_);
  }

  static char letter(uint64_t page) { return static_cast<char>('A' + page % 26); }
  static uint64_t place(uint64_t page) { return (kPages - 2 - page / 2 * 2 + page % 2) * kPageSize; }
  Result<uint64_t> try_map(int protection, uint32_t type, uint64_t pages = kPages, bool may_write = true) {
    MapRequest request;
    request.length = pages * kPageSize;
    request.protection = protection;
    request.flags = type;
    request.source = &backing_;
    request.may_write = may_write;
    return space_->map_request(request);
  }
  uint64_t map(int protection, uint32_t type, uint64_t pages = kPages) { return try_map(protection, type, pages).take(); }
  int fault(uint64_t address, uint64_t code) {
    bool is_mapped = false;
    const Result<void> outcome = space_->handle_fault(address, code, &is_mapped);
    return outcome.ok() ? 0 : outcome.code();
  }
  char kind(uint64_t address) { return engine_.pages.at(address).kind; }
  bool shows_host(uint64_t at, uint64_t page) { return kind(at + page * kPageSize) == 'h' && engine_.pages.at(at + page * kPageSize).offset == place(page); }
  uint64_t present() { return cache_.counters.present.load(); }

  fake::Window memory_;
  PageCache cache_;
  WriteBackGroup group_;
  fake::RecordingEngine engine_;
  int host_fd_;
  std::set<uint64_t> changed_;
  fake::Backing backing_;
  RefPtr<AddressSpace> space_;
};

TEST_F(FixedMapping, IsReadWithoutBeingCopiedIntoTheCache) {
  const std::string all = backing_.read(0, kPages * kPageSize);
  for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(all[page * kPageSize + 77], letter(page));
  const std::string part = backing_.read(5 * kPageSize - 3, 6);
  EXPECT_EQ(part, std::string(3, letter(4)) + std::string(3, letter(5)));
  EXPECT_EQ(present(), 0u);
  EXPECT_EQ(backing_.pages_read, 0u);
}

TEST_F(FixedMapping, WhatWasWrittenIsReadFromTheCacheAndTheRestFromTheHost) {
  ASSERT_TRUE(backing_.write(10 * kPageSize + 5, "written").ok());
  std::string text = backing_.read(8 * kPageSize, 8 * kPageSize);
  EXPECT_EQ(text.substr(2 * kPageSize + 5, 7), "written");
  EXPECT_EQ(text[2 * kPageSize + 4], letter(10));
  EXPECT_EQ(text[kPageSize], letter(9));
  EXPECT_EQ(text[7 * kPageSize], letter(15));
  backing_.cached_file().sync();
  backing_.cached_file().invalidate(0, kPages);
  EXPECT_EQ(present(), 0u);
  text = backing_.read(10 * kPageSize, kPageSize);
  EXPECT_EQ(text.substr(5, 7), "written") << "from where it was written to";
  EXPECT_EQ(present(), 1u);
}

TEST_F(FixedMapping, AHostFileThatShrinksIsAnIoError) {
  ASSERT_EQ(ftruncate(host_fd_, static_cast<off_t>(place(20))), 0);
  char byte;
  EXPECT_EQ(backing_.read(20 * kPageSize, &byte, 1).code(), EIO);
  EXPECT_EQ(backing_.read(40 * kPageSize, &byte, 1).take(), 1u);
  const uint64_t at = map(kProtRead, map_flags::kShared);
  EXPECT_EQ(fault(at, AddressSpace::kHostBusError), EIO);
}

TEST_F(FixedMapping, MappingsShowTheHostsPages) {
  for (const uint32_t type : {map_flags::kShared, map_flags::kPrivate}) {
    const uint64_t at = map(kProtRead, type);
    for (uint64_t page = 0; page < kPages; ++page) ASSERT_TRUE(shows_host(at, page)) << page;
    EXPECT_EQ(engine_.pages.at(at).shared, type == map_flags::kShared);
    EXPECT_EQ(engine_.pages.at(at).protection, kProtRead);
  }
  const uint64_t data = map(kProtRead | kProtWrite, map_flags::kPrivate);
  EXPECT_TRUE(shows_host(data, 3));
  EXPECT_EQ(engine_.pages.at(data).protection, kProtRead | kProtWrite);
  EXPECT_EQ(backing_.pages_read, 0u);
  // What may be executed is never the host's, and what may be written is the cache's.
  EXPECT_NE(kind(map(kProtRead | kProtWrite, map_flags::kShared)), 'h');
  EXPECT_NE(kind(map(kProtRead | kProtExec, map_flags::kPrivate)), 'h');
}

TEST_F(FixedMapping, AFileThatIsChangedIsShownFromTheCacheByAll) {
  const uint64_t shared = map(kProtRead, map_flags::kShared), constant = map(kProtRead, map_flags::kPrivate), data = map(kProtRead | kProtWrite, map_flags::kPrivate);
  ASSERT_TRUE(backing_.write(7 * kPageSize, "new").ok());
  for (const uint64_t at : {shared, constant}) {
    EXPECT_EQ(kind(at + 7 * kPageSize), 'c');
    EXPECT_EQ(fault(at + 7 * kPageSize, kReadFault), 0);
    EXPECT_EQ(std::string(reinterpret_cast<char*>(memory_.base + engine_.pages.at(at + 7 * kPageSize).offset), 3), "new");
  }
  EXPECT_TRUE(shows_host(data, 7)) << "the process may have changed its copy";
  EXPECT_NE(kind(map(kProtRead, map_flags::kShared)), 'h') << "and so do later mappings";
  // Its pages can be had back although it was never in the cache.
  ASSERT_TRUE(space_->unmap(shared, kPages * kPageSize).ok());
  ASSERT_TRUE(space_->unmap(constant, kPages * kPageSize).ok());
}

TEST_F(FixedMapping, ASharedMappingThatIsWrittenToEndsItToo) {
  const uint64_t reader = map(kProtRead, map_flags::kShared);
  const uint64_t writer = map(kProtRead | kProtWrite, map_flags::kShared);
  EXPECT_TRUE(shows_host(reader, 0));
  EXPECT_EQ(fault(writer, kWriteFault), 0);
  EXPECT_EQ(kind(reader), 'c');
  EXPECT_EQ(engine_.pages.at(reader).offset, engine_.pages.at(writer).offset);
}

TEST_F(FixedMapping, TruncationTakesAwayWhatPrivateMappingsShow) {
  const uint64_t data = map(kProtRead | kProtWrite, map_flags::kPrivate), constant = map(kProtRead, map_flags::kPrivate);
  ASSERT_TRUE(backing_.resize(10 * kPageSize + 1).ok());
  unmap_beyond(backing_, 10 * kPageSize + 1);
  EXPECT_TRUE(shows_host(data, 10));
  EXPECT_EQ(kind(data + 11 * kPageSize), 'a');
  EXPECT_EQ(fault(data + 11 * kPageSize, kReadFault), EIO);
  EXPECT_EQ(fault(constant + 11 * kPageSize, kReadFault), EIO);
  // It grows again: what is new is the cache's.
  ASSERT_TRUE(backing_.write(20 * kPageSize, "grown").ok());
  EXPECT_EQ(fault(data + 20 * kPageSize, kReadFault), 0);
  EXPECT_EQ(kind(data + 20 * kPageSize), 'c');
  EXPECT_TRUE(shows_host(data, 5));
}

TEST_F(FixedMapping, MprotectAndMremapKeepTheProcessesPages) {
  const uint64_t data = map(kProtRead | kProtWrite, map_flags::kPrivate, 8);
  const uint64_t moved = space_->remap(data, 8 * kPageSize, 16 * kPageSize, 1, 0).take();
  EXPECT_TRUE(shows_host(moved, 7));
  const uint64_t constant = map(kProtRead, map_flags::kShared, 8);
  ASSERT_TRUE(space_->protect(constant, kPageSize, kProtRead | kProtWrite).ok());
  EXPECT_EQ(kind(constant), 'c');
  EXPECT_TRUE(shows_host(constant, 1));
  const uint64_t sealed = map(kProtRead | kProtWrite, map_flags::kPrivate, 4);
  ASSERT_TRUE(space_->protect(sealed, 2 * kPageSize, kProtRead | kProtExec).ok());
  EXPECT_EQ(engine_.pages.at(sealed).protection, kProtRead | kProtExec);
  EXPECT_FALSE(engine_.pages.at(sealed).shared);
  EXPECT_EQ(present(), 0u);
}

TEST_F(FixedMapping, OneThatIsMadeWhileTheFileChangesShowsTheChange) {
  for (int round = 0; round < 200; ++round) {
    fake::Backing backing(cache_, group_);
    backing.size = kPageSize;
    backing.storage[0] = std::string(kPageSize, letter(0));
    backing.find_fixed = [this, &backing](uint64_t) -> FixedExtent {
      return backing.writes == 0 ? FixedExtent{.fd = host_fd_, .offset = place(0), .bytes = kPageSize} : FixedExtent{};
    };
    std::thread writer([&] { ASSERT_TRUE(backing.write(0, "new").ok()); });
    MapRequest request;
    request.length = kPageSize;
    request.protection = kProtRead;
    request.flags = map_flags::kShared;
    request.source = &backing;
    const uint64_t at = space_->map_request(request).take();
    writer.join();
    EXPECT_EQ(kind(at), 'c');
    ASSERT_TRUE(space_->unmap(at, kPageSize).ok());
  }
}

}  // namespace
}  // namespace umk::mm
