#include "core/kernel/block/block_devices.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/kernel/block/fake_memory_device.h"

namespace umk::block {
namespace {

using fake::MemoryDevice;

void put_entry(MemoryDevice& disk, size_t index, uint32_t first, uint32_t sectors) {
  std::byte* entry = disk.contents().data() + 446 + 16 * index;
  entry[4] = std::byte{0x83};
  memcpy(entry + 8, &first, 4);
  memcpy(entry + 12, &sectors, 4);
  disk.contents()[510] = std::byte{0x55};
  disk.contents()[511] = std::byte{0xaa};
}

struct Names final : BlockDevices::Watcher {
  Result<void> on_added(BlockDevice& device) override {
    names += "+" + std::string(device.name());
    return {};
  }
  void on_removed(BlockDevice& device) override { names += "-" + std::string(device.name()); }
  std::string names;
};

TEST(BlockDevices, FindsDisksAndPartitionsByNumberAndName) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  put_entry(*disk, 0, 8, 100);
  put_entry(*disk, 1, 200, 50);
  ASSERT_TRUE(devices.add(disk).ok());
  EXPECT_EQ(devices.find(DeviceNumber{98, 0}), disk.get());
  RefPtr<BlockDevice> second = devices.find("ubda2");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->number().minor, 2u);
  EXPECT_EQ(second->size_bytes(), 50u * 512);
  EXPECT_EQ(second->disk(), disk.get());
  EXPECT_FALSE(devices.find("ubda3"));
  EXPECT_EQ(devices.add(disk).code(), EBUSY);
}

TEST(BlockDevices, APartitionIsAPartOfItsDisk) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  put_entry(*disk, 0, 8, 100);
  ASSERT_TRUE(devices.add(disk).ok());
  RefPtr<BlockDevice> partition = devices.find("ubda1");
  std::vector<std::byte> sector(512, std::byte{'p'});
  ASSERT_TRUE(partition->write(512, sector).ok());
  EXPECT_EQ(disk->contents()[9 * 512], std::byte{'p'});
  EXPECT_EQ(partition->write(100 * 512, sector).code(), EIO);
  EXPECT_EQ(partition->statistics().of(Operation::Write).requests, 1u);
  EXPECT_EQ(disk->statistics().of(Operation::Write).requests, 1u);
  ASSERT_TRUE(disk->set_read_only(true).ok());
  EXPECT_EQ(partition->write(0, sector).code(), EROFS);
}

TEST(BlockDevices, ClaimsOfPartitionsAndDiskExcludeEachOther) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  put_entry(*disk, 0, 8, 100);
  put_entry(*disk, 1, 200, 50);
  ASSERT_TRUE(devices.add(disk).ok());
  int a = 0, b = 0;
  {
    Result<BlockDevice::Claim> first = devices.find("ubda1")->claim(&a);
    ASSERT_TRUE(first.ok());
    EXPECT_TRUE(devices.find("ubda2")->claim(&b).ok());
    EXPECT_EQ(disk->claim(&b).code(), EBUSY);
    EXPECT_EQ(devices.rescan(*disk).code(), EBUSY);
    EXPECT_EQ(devices.remove(*disk).code(), EBUSY);
  }
  Result<BlockDevice::Claim> whole = disk->claim(&a);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(devices.find("ubda1")->claim(&b).code(), EBUSY);
}

TEST(BlockDevices, ARescanFindsTheNewTable) {
  BlockDevices devices;
  Names names;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  put_entry(*disk, 0, 8, 100);
  ASSERT_TRUE(devices.add(disk).ok());
  ASSERT_TRUE(devices.add_watcher(names).ok());
  EXPECT_EQ(names.names, "+ubda+ubda1");
  RefPtr<BlockDevice> old = devices.find("ubda1");
  put_entry(*disk, 0, 16, 10);
  put_entry(*disk, 2, 100, 10);
  ASSERT_TRUE(devices.rescan(*disk).ok());
  EXPECT_EQ(names.names, "+ubda+ubda1-ubda1+ubda1+ubda3");
  EXPECT_TRUE(old->is_removed());
  EXPECT_EQ(devices.find("ubda1")->size_bytes(), 5120u);
  EXPECT_EQ(devices.rescan(*devices.find("ubda1")).code(), EINVAL);
}

TEST(BlockDevices, ADiskThatIsRemovedTakesItsPartitionsAlong) {
  BlockDevices devices;
  Names names;
  ASSERT_TRUE(devices.add_watcher(names).ok());
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  put_entry(*disk, 0, 8, 100);
  ASSERT_TRUE(devices.add(disk).ok());
  disk->openers = 1;
  EXPECT_EQ(devices.remove(*disk).code(), EBUSY);
  disk->openers = 0;
  ASSERT_TRUE(devices.remove(*disk).ok());
  EXPECT_EQ(names.names, "+ubda+ubda1-ubda1-ubda");
  EXPECT_FALSE(devices.find("ubda1"));
}

TEST(BlockDevices, PartitionsAreAddedByHandWhereThereIsRoom) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  ASSERT_TRUE(devices.add(disk).ok());
  ASSERT_TRUE(devices.add_partition(*disk, 3, 4096, 8192).ok());
  EXPECT_EQ(devices.find("ubda3")->number(), (DeviceNumber{98, 3}));
  EXPECT_EQ(devices.add_partition(*disk, 3, 65536, 512).code(), EBUSY);
  EXPECT_EQ(devices.add_partition(*disk, 4, 12288 - 512, 512).code(), EBUSY);
  EXPECT_EQ(devices.add_partition(*disk, 4, 100, 512).code(), EINVAL);
  EXPECT_EQ(devices.add_partition(*disk, 4, (1 << 20) - 512, 1024).code(), EINVAL);
  EXPECT_EQ(devices.add_partition(*disk, 0, 65536, 512).code(), EINVAL);
  EXPECT_EQ(devices.add_partition(*disk, 256, 65536, 512).code(), EINVAL);
  EXPECT_EQ(devices.add_partition(*devices.find("ubda3"), 1, 512, 512).code(), EINVAL);
  EXPECT_TRUE(devices.resize_partition(*disk, 3, 4096, 16384).ok());
  EXPECT_EQ(devices.find("ubda3")->size_bytes(), 16384u);
  EXPECT_EQ(devices.resize_partition(*disk, 3, 0, 16384).code(), EINVAL);
  EXPECT_EQ(devices.resize_partition(*disk, 5, 4096, 512).code(), ENXIO);
  devices.find("ubda3")->openers = 1;
  EXPECT_EQ(devices.remove_partition(*disk, 3).code(), EBUSY);
  devices.find("ubda3")->openers = 0;
  EXPECT_TRUE(devices.remove_partition(*disk, 3).ok());
  EXPECT_EQ(devices.remove_partition(*disk, 3).code(), ENXIO);
}

TEST(BlockDevices, PartitionsWithoutANumberOfTheirDiskGetTheLowestThatIsFree) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  ASSERT_TRUE(devices.add(disk).ok());
  ASSERT_TRUE(devices.add_partition(*disk, 15, 512, 512).ok());
  ASSERT_TRUE(devices.add_partition(*disk, 16, 1024, 512).ok());
  ASSERT_TRUE(devices.add_partition(*disk, 200, 1536, 512).ok());
  EXPECT_EQ(devices.find("ubda15")->number(), (DeviceNumber{98, 15}));
  EXPECT_EQ(devices.find("ubda16")->number(), (DeviceNumber{259, 0}));
  EXPECT_EQ(devices.find("ubda200")->number(), (DeviceNumber{259, 1}));
  ASSERT_TRUE(devices.remove_partition(*disk, 16).ok());
  ASSERT_TRUE(devices.add_partition(*disk, 17, 1024, 512).ok());
  EXPECT_EQ(devices.find(DeviceNumber{259, 0})->name(), "ubda17");
}

TEST(BlockDevices, ADiskWhoseTableCannotBeReadIsThereAllTheSame) {
  BlockDevices devices;
  RefPtr<MemoryDevice> disk = MemoryDevice::make(1 << 20);
  disk->fail_at(0, EIO);
  ASSERT_TRUE(devices.add(disk).ok());
  EXPECT_TRUE(devices.find("ubda"));
}

}  // namespace
}  // namespace umk::block
