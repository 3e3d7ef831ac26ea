#include "core/lib/partition_table/partition_table.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "core/base/crc32.h"

namespace umk::partition_table {
namespace {

constexpr uint32_t kSector = 512;

struct Disk final : SectorReader {
  explicit Disk(size_t sectors, uint32_t sector = kSector) : sector_bytes(sector), bytes(sectors * sector) {}

  Result<void> read(uint64_t offset, std::span<std::byte> into) override {
    EXPECT_EQ(offset % sector_bytes, 0u);
    EXPECT_EQ(into.size() % sector_bytes, 0u);
    if (fails || offset + into.size() > bytes.size()) return error(EIO);
    memcpy(into.data(), bytes.data() + offset, into.size());
    return {};
  }
  template <typename T>
  void put(size_t offset, T value) {
    memcpy(bytes.data() + offset, &value, sizeof value);  // the machine is little-endian
  }
  void mbr_entry(size_t sector, size_t index, uint8_t type, uint32_t first, uint32_t count) {
    const size_t at = sector * sector_bytes + 446 + index * 16;
    put(at + 4, type);
    put(at + 8, first);
    put(at + 12, count);
    put<uint16_t>(sector * sector_bytes + 510, 0xaa55);
  }
  void gpt_entry(size_t index, uint64_t first, uint64_t last) {
    const size_t at = 2 * sector_bytes + index * 128;
    put<uint64_t>(at, 0x4433221100aabbcc);
    put(at + 32, first);
    put(at + 40, last);
  }
  void finish_gpt() {
    mbr_entry(0, 0, 0xee, 1, 0xffffffff);
    const size_t at = sector_bytes;
    memcpy(bytes.data() + at, "EFI PART", 8);
    put<uint32_t>(at + 8, 0x10000);
    put<uint32_t>(at + 12, 92);
    put<uint64_t>(at + 24, 1);
    put<uint64_t>(at + 32, bytes.size() / sector_bytes - 1);
    put<uint64_t>(at + 40, 34);
    put<uint64_t>(at + 48, bytes.size() / sector_bytes - 34);
    put<uint64_t>(at + 72, 2);
    put<uint32_t>(at + 80, 128);
    put<uint32_t>(at + 84, 128);
    put(at + 88, crc32(std::span(bytes).subspan(2 * sector_bytes, 128 * 128)));
    put<uint32_t>(at + 16, 0);
    put(at + 16, crc32(std::span(bytes).subspan(at, 92)));
  }
  Table table() {
    Result<Table> result = read_table(*this, bytes.size(), sector_bytes);
    EXPECT_TRUE(result.ok());
    return result.take();
  }

  uint32_t sector_bytes;
  std::vector<std::byte> bytes;
  bool fails = false;
};

void expect(const Table& table, std::vector<std::array<uint64_t, 3>> wanted) {
  ASSERT_EQ(table.partitions.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(table.partitions[i].number, wanted[i][0]);
    EXPECT_EQ(table.partitions[i].first_byte, wanted[i][1]);
    EXPECT_EQ(table.partitions[i].bytes, wanted[i][2]);
  }
}

TEST(PartitionTable, AnEmptyDiskHasNone) {
  Disk disk(100);
  EXPECT_EQ(disk.table().kind, Kind::None);
  Disk tiny(0);
  EXPECT_EQ(tiny.table().kind, Kind::None);
}

TEST(PartitionTable, ReadsPrimaryPartitionsOfAnMbr) {
  Disk disk(4096);
  disk.mbr_entry(0, 0, 0x83, 63, 1000);
  disk.mbr_entry(0, 2, 0x82, 2048, 512);
  const Table table = disk.table();
  EXPECT_EQ(table.kind, Kind::Mbr);
  expect(table, {{1, 63 * 512, 1000 * 512}, {3, 2048 * 512, 512 * 512}});
}

TEST(PartitionTable, FollowsTheChainOfAnExtendedPartition) {
  Disk disk(10000);
  disk.mbr_entry(0, 0, 0x83, 1, 99);
  disk.mbr_entry(0, 1, 0x05, 100, 900);
  disk.mbr_entry(100, 0, 0x83, 10, 90);
  disk.mbr_entry(100, 1, 0x05, 200, 100);  // from the start of the whole
  disk.mbr_entry(300, 0, 0x83, 5, 50);
  expect(disk.table(), {{1, 512, 99 * 512}, {2, 100 * 512, 1024}, {5, 110 * 512, 90 * 512}, {6, 305 * 512, 50 * 512}});
}

TEST(PartitionTable, AnExtendedChainThatGoesInACircleEnds) {
  Disk disk(10000);
  disk.mbr_entry(0, 0, 0x05, 100, 900);
  disk.mbr_entry(100, 0, 0x83, 10, 90);
  disk.mbr_entry(100, 1, 0x05, 0, 100);
  EXPECT_LE(disk.table().partitions.size(), kMaximumPartitions);
  Disk empty(10000);
  empty.mbr_entry(0, 0, 0x05, 100, 900);
  empty.mbr_entry(100, 1, 0x05, 0, 100);
  EXPECT_EQ(empty.table().partitions.size(), 1u);
}

TEST(PartitionTable, AFilesystemsBootSectorIsNoTable) {
  Disk disk(100);
  disk.mbr_entry(0, 0, 0x83, 1, 10);
  disk.put<uint8_t>(446 + 16, 'x');
  EXPECT_TRUE(disk.table().partitions.empty());
}

TEST(PartitionTable, WhatIsNotOnTheDiskIsLeftOutOrCut) {
  Disk disk(100);
  disk.mbr_entry(0, 0, 0x83, 100, 10);
  disk.mbr_entry(0, 1, 0x83, 90, 100);
  expect(disk.table(), {{2, 90 * 512, 10 * 512}});
}

TEST(PartitionTable, ReadsGpt) {
  Disk disk(2000);
  disk.gpt_entry(0, 40, 139);
  disk.gpt_entry(4, 200, 200);
  disk.gpt_entry(5, 300, 2000);  // past the end
  disk.gpt_entry(6, 400, 399);   // inside out
  disk.finish_gpt();
  const Table table = disk.table();
  EXPECT_EQ(table.kind, Kind::Gpt);
  expect(table, {{1, 40 * 512, 100 * 512}, {5, 200 * 512, 512}});
}

TEST(PartitionTable, ReadsGptInLargeSectors) {
  Disk disk(200, 4096);
  disk.gpt_entry(0, 40, 49);
  disk.finish_gpt();
  expect(disk.table(), {{1, 40 * 4096, 10 * 4096}});
}

TEST(PartitionTable, ADamagedGptIsNone) {
  for (const size_t damage : {size_t{512}, size_t{512 + 17}, size_t{512 + 60}, size_t{1024 + 33}, size_t{1024 + 5000}}) {
    Disk disk(2000);
    disk.gpt_entry(0, 40, 139);
    disk.finish_gpt();
    disk.bytes[damage] ^= std::byte{1};
    EXPECT_TRUE(disk.table().partitions.empty()) << damage;
  }
}

TEST(PartitionTable, AReadErrorIsTold) {
  Disk disk(100);
  disk.fails = true;
  EXPECT_EQ(read_table(disk, disk.bytes.size(), kSector).code(), EIO);
  EXPECT_EQ(read_table(disk, disk.bytes.size(), 500).code(), EINVAL);
}

}  // namespace
}  // namespace umk::partition_table
