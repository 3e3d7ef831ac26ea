// Growing while mounted.
#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using block::fake::MemoryDevice;

struct GrowthCase {
  const char* arguments;
  uint64_t megabytes;
  std::vector<uint64_t> sizes;  // MiB, one after the other
  uint32_t group_blocks = 0;

  friend void PrintTo(const GrowthCase& growth, std::ostream* out) { *out << growth.arguments; }
};

class GrowthTest : public Ext4Test, public testing::WithParamInterface<GrowthCase> {};

// e2fsck finds nothing at any size, files are as they were, and what was added can be used.
TEST_P(GrowthTest, LeavesACleanFilesystem) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  const GrowthCase& wanted = GetParam();
  ASSERT_EQ(mount(make_image(wanted.arguments, wanted.megabytes)), 0);
  const std::string text(100'000, 'k');
  ASSERT_EQ(put("/m/kept", text), 0);
  uint64_t free = volume().statistics().value().blocks_free;
  for (const uint64_t megabytes : wanted.sizes) {
    SCOPED_TRACE(std::to_string(megabytes) + " MiB");
    const uint32_t bits = volume().geometry().block_bits;
    const uint64_t blocks = megabytes << 20 >> bits;
    EXPECT_EQ(volume().grow(blocks).code(), ENOSPC);
    device_->resize(megabytes << 20);
    ASSERT_EQ(volume().grow(blocks).code(), 0);
    EXPECT_GE(volume().geometry().block_count, blocks - volume().geometry().inodes_per_group / volume().geometry().inodes_per_block() - 600);
    EXPECT_GT(volume().statistics().value().blocks_free, free);
    EXPECT_EQ(volume().grow(blocks / 2).code(), EINVAL);
    EXPECT_EQ(put("/m/d" + std::to_string(megabytes), text), 0);
    const Geometry geometry = volume().geometry();
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(device_->contents()), "");
    // The copies are right as well.
    const uint32_t copy = (bits == 10 ? 1 : 0) + (wanted.group_blocks ? wanted.group_blocks : 8u << bits);
    const std::string dumped = output_of("dumpe2fs -f -o superblock=" + std::to_string(copy) + " -o blocksize=" + std::to_string(1u << bits) + " " + path_);
    EXPECT_NE(dumped.find("Block count:              " + std::to_string(geometry.block_count) + "\n"), std::string::npos) << dumped.substr(0, 3000);
    EXPECT_EQ(dumped.find("EXPECTED"), std::string::npos);
    ASSERT_EQ(mount(device_), 0);
    EXPECT_EQ(get_all("/m/kept"), text);
    EXPECT_EQ(get_all("/m/d" + std::to_string(megabytes)), text);
    free = volume().statistics().value().blocks_free;
  }
  // All of it: the new groups as well.
  for (int i = 0; i < 400; ++i) {
    ASSERT_EQ(mkdir("/m/dir" + std::to_string(i)), 0);
    ASSERT_EQ(put("/m/dir" + std::to_string(i) + "/f", text), 0);
  }
  ASSERT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
}

INSTANTIATE_TEST_SUITE_P(Layouts, GrowthTest,
                         testing::Values(GrowthCase{"-t ext4 -b 1024", 20, {21, 24, 25, 100, 300}}, GrowthCase{"-t ext4 -b 4096", 40, {200, 700}},
                                         GrowthCase{"-t ext3 -b 1024", 20, {70, 200}}, GrowthCase{"-t ext4 -b 1024 -O ^metadata_csum,uninit_bg", 20, {90}},
                                         GrowthCase{"-t ext4 -b 1024 -O ^resize_inode", 60, {200, 300}}, GrowthCase{"-t ext4 -b 1024 -O meta_bg,^resize_inode", 60, {200, 300}},
                                         GrowthCase{"-t ext4 -b 1024 -E resize=300000", 60, {270, 400}}, GrowthCase{"-t ext4 -b 1024 -g 1024", 10, {60, 120}, 1024},
                                         GrowthCase{"-t ext2 -b 1024", 20, {60, 100}}));

// A crash leaves one of the sizes that were passed, and a clean filesystem.
TEST_F(GrowthTest, SurvivesCrashes) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  Image image = make_image("-t ext4 -b 1024 -g 1024", 6);
  image.resize(24 << 20);
  RefPtr<MemoryDevice> disk = MemoryDevice::make(image);
  ASSERT_EQ(mount(disk), 0);
  ASSERT_EQ(put("/m/kept", "text"), 0);
  ASSERT_TRUE(volume().sync().ok());
  disk->record();
  ASSERT_EQ(volume().grow(24 << 10).code(), 0);
  const size_t synced = disk->events().size();
  ASSERT_EQ(put("/m/after", std::string(5'000'000, 'a')), 0);
  ASSERT_TRUE(volume().sync().ok());
  const size_t count = disk->events().size();
  ASSERT_EQ(unmount(), 0);
  for (unsigned point = 0; point < 40 / kEffortDivisor; ++point) {
    const size_t cut = random(static_cast<uint32_t>(count + 1));
    SCOPED_TRACE("cut " + std::to_string(cut) + " of " + std::to_string(count));
    ASSERT_EQ(mount(disk->image_after_crash(cut, point % 8)), 0);
    EXPECT_EQ(get("/m/kept"), "text");
    if (cut >= synced) {
      EXPECT_GE(volume().geometry().block_count, uint64_t{23 << 10});
    }
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(device_->contents()), "");
  }
}

// EXT4_IOC_GROUP_EXTEND and EXT4_IOC_GROUP_ADD: one step at a time, as told.
TEST_F(GrowthTest, AddsOneGroup) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  Image image = make_image("-t ext4 -b 1024", 20);
  image.resize(64 << 20);
  ASSERT_EQ(mount(image), 0);
  EXPECT_EQ(volume().grow_last_group(50'000).code(), 0);
  const Geometry geometry = volume().geometry();
  EXPECT_EQ(geometry.block_count, 1 + 3 * 8192u);
  const uint64_t first = geometry.block_count + geometry.group_overhead(3);
  EXPECT_EQ(volume().add_group({4, first, first + 1, first + 2, 8192, 0}).code(), EINVAL);
  EXPECT_EQ(volume().add_group({3, first, first, first + 2, 8192, 0}).code(), EINVAL);
  EXPECT_EQ(volume().add_group({3, first, first + 1, first + 2, 8192, 5000}).code(), EINVAL);
  EXPECT_EQ(volume().add_group({3, first - 1, first + 1, first + 2, 8192, 0}).code(), EINVAL);
  EXPECT_EQ(volume().add_group({3, first + 7000, first + 7001, first + 200, 8192, 100}).code(), 0);
  EXPECT_EQ(volume().geometry().block_count, 1 + 4 * 8192u);
  ASSERT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
}

}  // namespace
}  // namespace umk::ext4
