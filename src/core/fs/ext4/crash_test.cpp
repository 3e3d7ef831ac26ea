// Crashes at any point, and damaged media.
#include <algorithm>

#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using namespace vfs::open_flags;
using block::fake::MemoryDevice;

class Ext4CrashTest : public Ext4Test, public testing::WithParamInterface<const char*> {};

// What was fsynced is there whatever part of the later writes reached the medium, and e2fsck finds nothing after our recovery.
TEST_P(Ext4CrashTest, NothingThatWasSyncedIsLost) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image(GetParam(), 16));
  ASSERT_EQ(mount(disk), 0);
  disk->record();
  struct Synced {
    size_t events;
    std::string path, data;
  };
  std::vector<Synced> synced;
  EXPECT_EQ(mkdir("/m/d"), 0);
  for (int i = 0; i < 90; ++i) {
    const std::string name = std::to_string(i), other = std::to_string(random(static_cast<uint32_t>(i + 1)));
    const std::string data(1 + random(random(4) ? 9000 : 200'000), static_cast<char>('a' + i % 26));
    switch (random(6)) {
      case 0:
      case 1:
      case 2: {
        ASSERT_EQ(put("/m/d/kept" + name, data), 0);
        ASSERT_TRUE(inode("/m/d/kept" + name).sync(false).ok());
        synced.push_back({disk->events().size(), "/m/d/kept" + name, data});
        break;
      }
      case 3:
        ASSERT_EQ(put("/m/any" + name, data), 0);
        if (random(2)) rename("/m/any" + name, "/m/d/any" + name);
        break;
      case 4:
        unlink("/m/any" + other);
        unlink("/m/d/any" + other);
        mkdir("/m/dir" + other);
        break;
      default:
        truncate("/m/any" + other, random(100'000));
        rmdir("/m/dir" + other);
        break;
    }
    if (random(12) == 0) {
      ASSERT_TRUE(volume().sync().ok());
    }
  }
  const size_t count = disk->events().size();
  ASSERT_EQ(unmount(), 0);
  ASSERT_EQ(fsck(disk->contents()), "");

  for (unsigned point = 0; point < 40 / kEffortDivisor; ++point) {
    const size_t cut = random(static_cast<uint32_t>(count + 1));
    const uint64_t seed = point % 8;
    SCOPED_TRACE("cut " + std::to_string(cut) + " of " + std::to_string(count) + ", seed " + std::to_string(seed));
    ASSERT_EQ(mount(disk->image_after_crash(cut, seed)), 0);
    for (const Synced& file : synced) {
      if (file.events > cut) continue;
      ASSERT_TRUE(get_all(file.path) == file.data) << file.path;
    }
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(device_->contents()), "");
  }
}

// Nor is a filesystem ever in doubt whether its journal is to be replayed.
TEST_P(Ext4CrashTest, MountsAndUnmountsCanBeCutAnywhere) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image(GetParam(), 16));
  disk->record();
  ASSERT_EQ(mount(disk), 0);
  EXPECT_EQ(put("/m/file", "text"), 0);
  ASSERT_EQ(unmount(), 0);
  const size_t count = disk->events().size();
  for (size_t cut = 0; cut <= count; cut += kEffortDivisor) {
    save(disk->image_after_crash(cut, 0));
    int status = 0;
    const std::string told = output_of("e2fsck -p " + path_, &status);
    EXPECT_LE(status >> 8, 1) << "cut " << cut << " of " << count << ": " << told;
  }
}

INSTANTIATE_TEST_SUITE_P(Features, Ext4CrashTest, testing::Values("-t ext4", "-t ext4 -b 1024 -O ^metadata_csum,^64bit", "-t ext3", "-t ext4 -O orphan_file -J size=1 -b 1024"));

// A replay brings a superblock of before the damage was found.
TEST_F(Ext4Test, WhatWasFoundDamagedIsToldAfterACrash) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  set_log_writer([](LogLevel, std::string_view) {});
  ASSERT_EQ(mount(make_image("-t ext4", 16), "errors=continue"), 0);
  ASSERT_EQ(mkdir("/m/d"), 0);
  ASSERT_TRUE(volume().sync().ok());
  EXPECT_EQ(volume().damaged("a test", 77).code, EUCLEAN);
  const auto told = [&](const Image& image) {
    save(image);
    return output_of("dumpe2fs -h " + path_ + " 2>&1 | sed -n 's/.*with errors/with errors/p; s/First error inode #: */in /p' | tr '\\n' ' '");
  };
  const Image crashed = device_->contents();
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(told(crashed), "with errors in 77 ") << "before the replay";
  ASSERT_EQ(mount(crashed, "errors=continue"), 0);
  EXPECT_EQ(told(device_->contents()), "with errors in 77 ") << "after it";
  EXPECT_EQ(lookup("/m/d"), 0);
  EXPECT_EQ(unmount(), 0);
}

// Bits of metadata that turned over: errors, but no crash and no loop.
TEST_F(Ext4Test, DamagedMediaDoNoHarm) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  for (const char* arguments : {"-t ext4", "-t ext4 -O ^metadata_csum -b 1024", "-t ext2"}) {
    ASSERT_EQ(mount(make_image(arguments, 8)), 0);
    EXPECT_EQ(mkdir("/m/d"), 0);
    for (int i = 0; i < 60; ++i) EXPECT_EQ(put("/m/d/file_with_some_name_" + std::to_string(i), std::string(random(9000), 'x')), 0);
    EXPECT_EQ(symlink(std::string(100, 'l'), "/m/l"), 0);
    ASSERT_EQ(unmount(), 0);
    const Image good = device_->contents();
    // Where anything lies at all.
    std::vector<size_t> used;
    for (size_t at = 0; at < good.size(); at += 64)
      if (std::any_of(good.begin() + static_cast<ptrdiff_t>(at), good.begin() + static_cast<ptrdiff_t>(at) + 64, [](std::byte b) { return b != std::byte{0} && b != std::byte{'x'}; }))
        used.push_back(at);
    set_log_writer([](LogLevel, std::string_view) {});
    for (int round = 0; round < 60; ++round) {
      Image bad = good;
      for (uint32_t k = 0; k < 1 + random(30); ++k) bad[used[random(static_cast<uint32_t>(used.size()))] + random(64)] ^= static_cast<std::byte>(1u << random(8));
      if (mount(bad, "errors=continue") != 0) continue;
      for (const std::string& directory : {std::string("/m"), std::string("/m/d")}) {
        Result<RefPtr<OpenFile>> opened = open(directory);
        if (!opened.ok()) continue;
        NameList list;
        (void)opened.value()->list(list).ok();
        for (const std::string& name : list.names) {
          if (lookup(directory + "/" + name, 0) != 0) continue;
          (void)inode(directory + "/" + name).metadata().ok();
          (void)get(directory + "/" + name);
          if (random(3) == 0) unlink(directory + "/" + name);
        }
      }
      for (int i = 0; i < 10; ++i) put("/m/new" + std::to_string(i), std::string(random(20000), 'y'));
      mkdir("/m/d2");
      rename("/m/d", "/m/d2/d");
      truncate("/m/new1", 5);
      (void)unmount();
    }
  }
}

}  // namespace
}  // namespace umk::ext4
