#include "core/kernel/block/block_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/kernel/block/fake_memory_device.h"
#include "core/kernel/block/statistics_text.h"

namespace umk::block {
namespace {

using fake::MemoryDevice;

constexpr uint64_t kMiB = 1 << 20;

std::vector<std::byte> sector_of(char letter, size_t bytes = kSectorBytes) { return std::vector<std::byte>(bytes, static_cast<std::byte>(letter)); }

TEST(BlockDevice, WhatIsWrittenIsRead) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  ASSERT_TRUE(disk->write(4096, sector_of('x', 1024)).ok());
  std::vector<std::byte> back(2048);
  ASSERT_TRUE(disk->read(3584, back).ok());
  EXPECT_EQ(back[511], std::byte{0});
  EXPECT_EQ(back[512], std::byte{'x'});
  EXPECT_EQ(back[1535], std::byte{'x'});
  EXPECT_EQ(back[1536], std::byte{0});
}

TEST(BlockDevice, RefusesWhatIsNotInSectorsOrPastTheEnd) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  std::vector<std::byte> bytes(512);
  EXPECT_EQ(disk->read(100, bytes).code(), EINVAL);
  EXPECT_EQ(disk->read(0, std::span(bytes).first(100)).code(), EINVAL);
  EXPECT_EQ(disk->read(kMiB, bytes).code(), EIO);
  EXPECT_EQ(disk->read(UINT64_MAX - 511, bytes).code(), EIO);
  EXPECT_EQ(disk->write(kMiB - 256, bytes).code(), EIO);
  EXPECT_EQ(disk->requests_seen(), 0u) << "a driver sees good requests only";
}

TEST(BlockDevice, ReadOnlyIsNotWritten) {
  MemoryDevice::Options options;
  options.is_read_only = true;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB, options);
  EXPECT_EQ(disk->write(0, sector_of('x')).code(), EROFS);
  EXPECT_EQ(disk->discard(0, 512).code(), EROFS);
  EXPECT_EQ(disk->set_read_only(false).code(), EACCES);
  RefPtr<MemoryDevice> writable = MemoryDevice::make(kMiB);
  ASSERT_TRUE(writable->set_read_only(true).ok());
  EXPECT_EQ(writable->write(0, sector_of('x')).code(), EROFS);
  ASSERT_TRUE(writable->set_read_only(false).ok());
  EXPECT_TRUE(writable->write(0, sector_of('x')).ok());
}

TEST(BlockDevice, FailsWhenItIsGone) {
  struct Watcher final : Listener {
    void on_resized(BlockDevice&, uint64_t bytes) override { size = bytes; }
    void on_removed(BlockDevice&) override { gone = true; }
    uint64_t size = 0;
    bool gone = false;
  } watcher;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  disk->add_listener(watcher);
  disk->resize(2 * kMiB);
  EXPECT_EQ(watcher.size, 2 * kMiB);
  EXPECT_TRUE(disk->write(kMiB, sector_of('n')).ok());
  disk->mark_removed();
  EXPECT_TRUE(watcher.gone);
  EXPECT_EQ(disk->write(0, sector_of('n')).code(), EIO);
  EXPECT_EQ(disk->flush().code(), EIO);
  disk->remove_listener(watcher);
}

TEST(BlockDevice, FlushesOnlyWhatWasWritten) {
  const RefPtr<MemoryDevice> disk = MemoryDevice::make(64 * 1024);
  const std::vector<std::byte> sector(kSectorBytes);
  ASSERT_TRUE(disk->flush().ok());
  const uint64_t before = disk->requests_seen();
  ASSERT_TRUE(disk->flush().ok());
  EXPECT_EQ(disk->requests_seen(), before);
  ASSERT_TRUE(disk->write(0, sector).ok());
  disk->fail_at(0, EIO);
  EXPECT_EQ(disk->flush().code(), EIO);
  disk->stop_failing();
  const uint64_t after_failure = disk->requests_seen();
  ASSERT_TRUE(disk->flush().ok());
  EXPECT_GT(disk->requests_seen(), after_failure) << "a failed flush has made nothing durable";
}

TEST(BlockDevice, ClaimsExcludeEachOther) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  int me = 0, other = 0;
  {
    Result<BlockDevice::Claim> mine = disk->claim(&me);
    ASSERT_TRUE(mine.ok());
    EXPECT_EQ(disk->claim(&other).code(), EBUSY);
    EXPECT_TRUE(disk->claim(&me).ok());
    EXPECT_TRUE(disk->is_claimed());
  }
  EXPECT_FALSE(disk->is_claimed());
  EXPECT_TRUE(disk->claim(&other).ok());
}

TEST(BlockDevice, CountsWhatItDid) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  std::vector<std::byte> bytes(8192);
  ASSERT_TRUE(disk->read(0, bytes).ok());
  ASSERT_TRUE(disk->write(0, bytes).ok());
  ASSERT_TRUE(disk->write(0, bytes).ok());
  ASSERT_TRUE(disk->flush().ok());
  ASSERT_TRUE(disk->discard(0, 512).ok());
  const Statistics& counts = disk->statistics();
  EXPECT_EQ(counts.of(Operation::Read).requests, 1u);
  EXPECT_EQ(counts.of(Operation::Read).sectors, 16u);
  EXPECT_EQ(counts.of(Operation::Write).requests, 2u);
  EXPECT_EQ(counts.of(Operation::Write).sectors, 32u);
  EXPECT_EQ(counts.of(Operation::Flush).requests, 1u);
  EXPECT_EQ(counts.of(Operation::Discard).sectors, 1u);
  EXPECT_EQ(counts.in_flight, 0u);
}

TEST(BlockDevice, ShowsItsFiguresAsLinuxDoes) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  ASSERT_TRUE(disk->write(0, sector_of('x')).ok());
  ASSERT_TRUE(disk->write_zeroes(0, 1024).ok());
  ASSERT_TRUE(disk->discard(0, 512).ok());
  StringSink plain, wide;
  put_statistics(plain, *disk, 0);
  put_statistics(wide, *disk, 8);
  EXPECT_EQ(plain.view(), "0 0 0 0 2 0 3 0 0 0 0 1 0 1 0 0 0");
  EXPECT_EQ(wide.view().size(), 17u * 9 - 1);
}

TEST(BlockDevice, TellsTheDriverWhenNobodyUsesItAnyMore) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  int me = 0;
  disk->add_opener();
  BlockDevice::Claim claim = disk->claim(&me).take();
  EXPECT_EQ(disk->openers, 2u);
  disk->drop_opener();
  EXPECT_EQ(disk->openers, 1u);
  claim = BlockDevice::Claim();
  EXPECT_EQ(disk->openers, 0u);
}

TEST(Batch, WaitsForAllAndTellsTheFirstFailure) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  std::vector<std::byte> bytes = sector_of('b', 4096);
  Batch batch;
  Batch::Item items[4];
  disk->fail_at(2, EIO);
  for (size_t i = 0; i < 4; ++i) {
    items[i].operation = Operation::Write;
    items[i].offset = i * 4096;
    items[i].set_memory(bytes);
    batch.submit(*disk, items[i]);
  }
  EXPECT_EQ(batch.wait().code(), EIO);
  EXPECT_EQ(items[1].error_code(), 0);
  EXPECT_EQ(items[2].error_code(), EIO);
  EXPECT_EQ(disk->contents()[3 * 4096], std::byte{'b'});
  EXPECT_EQ(disk->contents()[2 * 4096], std::byte{0});
  EXPECT_TRUE(batch.wait().ok()) << "a failure is told once";
}

TEST(MemoryDevice, FailsFromARequestOn) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  disk->fail_at(1, ENOSPC, true);
  EXPECT_TRUE(disk->write(0, sector_of('a')).ok());
  EXPECT_EQ(disk->write(0, sector_of('b')).code(), ENOSPC);
  EXPECT_EQ(disk->flush().code(), ENOSPC);
  disk->stop_failing();
  EXPECT_TRUE(disk->flush().ok());
}

TEST(MemoryDevice, ACrashKeepsWhatWasFlushedAndPerhapsTheRest) {
  RefPtr<MemoryDevice> disk = MemoryDevice::make(kMiB);
  disk->record();
  ASSERT_TRUE(disk->write(0, sector_of('a')).ok());
  ASSERT_TRUE(disk->flush().ok());
  ASSERT_TRUE(disk->write(0, sector_of('b')).ok());
  ASSERT_TRUE(disk->write(512, sector_of('c')).ok());
  ASSERT_EQ(disk->events().size(), 4u);
  EXPECT_EQ(disk->image_after_crash(0, 1)[0], std::byte{0});
  EXPECT_EQ(disk->image_after_crash(4, 0)[0], std::byte{'a'});
  EXPECT_EQ(disk->image_after_crash(4, 1)[0], std::byte{'b'});
  EXPECT_EQ(disk->image_after_crash(4, 1)[512], std::byte{'c'});
  bool reordered = false;
  for (uint64_t seed = 2; seed < 64; ++seed) {
    const std::vector<std::byte> image = disk->image_after_crash(4, seed);
    reordered |= image[0] == std::byte{'a'} && image[512] == std::byte{'c'};
    EXPECT_NE(image[0], std::byte{0}) << "what was flushed is never lost";
  }
  EXPECT_TRUE(reordered);
}

}  // namespace
}  // namespace umk::block
