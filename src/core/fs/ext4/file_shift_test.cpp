// fallocate(2): taking ranges out of files and inserting them.
#include <algorithm>

#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using namespace vfs::open_flags;
using block::fake::MemoryDevice;

constexpr uint32_t kKeepSize = 1, kPunch = 3, kCollapse = 8, kInsert = 0x20;

class FileShiftTest : public Ext4Test {
 protected:
  int shift(const std::string& path, uint32_t mode, uint64_t offset, uint64_t length) { return inode(path).allocate(mode, offset, length).code(); }
  static std::string pattern(size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i / 512 * 7 + i) % 26);
    return text;
  }
};

TEST_F(FileShiftTest, TakesOutAndInserts) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  for (const char* arguments : {"-t ext4 -b 4096", "-t ext4 -b 1024"}) {
    SCOPED_TRACE(arguments);
    ASSERT_EQ(mount(make_image(arguments)), 0);
    const uint64_t block = volume().geometry().block_size;
    std::string data = pattern(300'001);
    ASSERT_EQ(put("/m/f", data), 0);
    EXPECT_EQ(shift("/m/f", kCollapse, 3 * block, 5 * block), 0);
    data.erase(3 * block, 5 * block);
    EXPECT_TRUE(get_all("/m/f") == data);
    EXPECT_EQ(shift("/m/f", kInsert, 7 * block, 2 * block), 0);
    data.insert(7 * block, std::string(2 * block, '\0'));
    EXPECT_TRUE(get_all("/m/f") == data);
    EXPECT_EQ(shift("/m/f", kInsert, 0, block), 0);
    data.insert(0, std::string(block, '\0'));
    EXPECT_EQ(shift("/m/f", kCollapse, 9 * block, block), 0);
    data.erase(9 * block, block);
    EXPECT_TRUE(get_all("/m/f") == data);
    EXPECT_EQ(inode("/m/f").size_bytes(), data.size());
    ASSERT_EQ(unmount(), 0);
    EXPECT_EQ(fsck(device_->contents()), "");
    ASSERT_EQ(mount(device_), 0);
    EXPECT_TRUE(get_all("/m/f") == data);
    ASSERT_EQ(unmount(), 0);
  }
}

TEST_F(FileShiftTest, RefusesAsLinuxDoes) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  ASSERT_EQ(mount(make_image("-t ext4 -b 4096")), 0);
  ASSERT_EQ(put("/m/f", pattern(10 * 4096)), 0);
  for (const uint32_t mode : {kCollapse, kInsert}) {
    EXPECT_EQ(shift("/m/f", mode, 1024, 4096), EINVAL);
    EXPECT_EQ(shift("/m/f", mode, 4096, 1024), EINVAL);
    EXPECT_EQ(shift("/m/f", mode, 10 * 4096, 4096), EINVAL);
  }
  EXPECT_EQ(shift("/m/f", kCollapse, 4096, 9 * 4096), EINVAL);  // up to the end: that is a truncation
  EXPECT_EQ(shift("/m/f", kInsert, 4096, (uint64_t{1} << 44) - 10 * 4096), EFBIG);
  // Blocks that were allocated behind the end of the file count as well.
  EXPECT_EQ(shift("/m/f", kKeepSize, 1 << 20, 4096), 0);
  EXPECT_EQ(shift("/m/f", kInsert, 4096, (uint64_t{1} << 44) - 11 * 4096), EINVAL);
  EXPECT_TRUE(get_all("/m/f") == pattern(10 * 4096));
  ASSERT_EQ(unmount(), 0);
  ASSERT_EQ(mount(make_image("-t ext3 -b 4096")), 0);
  ASSERT_EQ(put("/m/f", pattern(10 * 4096)), 0);
  EXPECT_EQ(shift("/m/f", kCollapse, 4096, 4096), EOPNOTSUPP);
  EXPECT_EQ(shift("/m/f", kInsert, 4096, 4096), EOPNOTSUPP);
}

// A tree of several levels: more leaves than one transaction moves.
TEST_F(FileShiftTest, MovesManyExtents) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  ASSERT_EQ(mount(make_image("-t ext4 -b 1024", 32)), 0);
  const uint32_t blocks = 4000;
  std::string data = pattern(size_t{blocks} * 1024);
  ASSERT_EQ(put("/m/f", data), 0);
  ASSERT_TRUE(inode("/m/f").sync(false).ok());
  for (uint32_t i = 1; i < blocks; i += 2) {
    ASSERT_EQ(shift("/m/f", kPunch, uint64_t{i} * 1024, 1024), 0);
    std::fill_n(data.begin() + i * 1024, 1024, '\0');
  }
  EXPECT_EQ(shift("/m/f", kCollapse, 1001 * 1024, 999 * 1024), 0);
  data.erase(1001 * 1024, 999 * 1024);
  EXPECT_TRUE(get_all("/m/f") == data);
  EXPECT_EQ(shift("/m/f", kInsert, 777 * 1024, 3 * 1024), 0);
  data.insert(777 * 1024, std::string(3 * 1024, '\0'));
  EXPECT_TRUE(get_all("/m/f") == data);
  EXPECT_EQ(shift("/m/f", kInsert, 0, 1024), 0);
  data.insert(0, std::string(1024, '\0'));
  EXPECT_TRUE(get_all("/m/f") == data);
  ASSERT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(device_), 0);
  EXPECT_TRUE(get_all("/m/f") == data);
}

// Of a file with few extents a crash leaves the old or the new one.
TEST_F(FileShiftTest, HappensAsAWhole) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image("-t ext4 -b 4096", 8));
  ASSERT_EQ(mount(disk), 0);
  std::vector<std::string> states = {pattern(100'000)};
  ASSERT_EQ(put("/m/f", states[0]), 0);
  ASSERT_TRUE(volume().sync().ok());
  disk->record();
  EXPECT_EQ(shift("/m/f", kCollapse, 8192, 4096), 0);
  states.push_back(states.back());
  states.back().erase(8192, 4096);
  ASSERT_TRUE(inode("/m/f").sync(false).ok());
  EXPECT_EQ(shift("/m/f", kInsert, 40960, 8192), 0);
  states.push_back(states.back());
  states.back().insert(40960, std::string(8192, '\0'));
  ASSERT_TRUE(inode("/m/f").sync(false).ok());
  const size_t count = disk->events().size();
  ASSERT_EQ(unmount(), 0);
  std::vector<bool> seen(states.size());
  for (size_t cut = 0; cut <= count; ++cut) {
    ASSERT_EQ(mount(disk->image_after_crash(cut, cut % 4)), 0);
    const auto found = std::find(states.begin(), states.end(), get_all("/m/f"));
    ASSERT_NE(found, states.end()) << "cut " << cut << " of " << count;
    seen[static_cast<size_t>(found - states.begin())] = true;
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(device_->contents()), "");
  }
  EXPECT_EQ(seen, std::vector<bool>(states.size(), true));
}

}  // namespace
}  // namespace umk::ext4
