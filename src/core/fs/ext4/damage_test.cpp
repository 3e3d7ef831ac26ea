// Damaged images: errors, but no crash, no loop, no memory that is not ours. UMK_DAMAGE_ROUNDS makes it a long run, UMK_DAMAGE_SEED another one.
#include <algorithm>

#include "core/fs/ext4/node.h"
#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using namespace vfs::open_flags;
using block::fake::MemoryDevice;

class DamageTest : public Ext4Test, public testing::WithParamInterface<const char*> {
 protected:
  /// Something of everything, with a journal that has to be replayed.
  Image make_good(const char* arguments) {
    set_log_writer([](LogLevel, std::string_view) {});
    EXPECT_EQ(mount(make_image(arguments, 8)), 0);
    EXPECT_EQ(mkdir("/m/d"), 0);
    for (int i = 0; i < 60; ++i) EXPECT_EQ(put("/m/d/file_with_some_name_" + std::to_string(i), std::string(random(9000), 'x')), 0);
    EXPECT_EQ(symlink(std::string(100, 'l'), "/m/l"), 0);
    EXPECT_EQ(put("/m/big", std::string(600'000, 'x')), 0);
    (void)inode("/m/big").set_attribute("user.name", std::string(300, 'v'), 0).ok();
    (void)inode("/m/d").set_attribute("user.small", "v", 0).ok();
    EXPECT_TRUE(volume().sync().ok());
    for (uint64_t at = 0; at < 600'000; at += 8192) (void)inode("/m/big").allocate(3, at, 4096).ok();
    EXPECT_EQ(unlink("/m/d/file_with_some_name_7"), 0);
    EXPECT_TRUE(volume().sync().ok());
    const Image good = device_->contents();
    EXPECT_EQ(unmount(), 0);
    return good;
  }

  /// Changes some places where anything lies: a bit, a byte that is all or nothing, or what lies elsewhere.
  Image damage(const Image& good, const std::vector<size_t>& used) {
    Image bad = good;
    const auto place = [&] { return used[random(static_cast<uint32_t>(used.size()))] + random(64); };
    for (uint32_t k = 0; k < 1 + random(30); ++k) {
      switch (random(4)) {
        case 0:
        case 1: bad[place()] ^= static_cast<std::byte>(1u << random(8)); break;
        case 2: bad[place()] = random(2) ? std::byte{0} : std::byte{0xff}; break;
        default: {
          const size_t to = place() & ~size_t{3}, from = place() & ~size_t{3};
          std::copy_n(good.begin() + static_cast<ptrdiff_t>(from), 4, bad.begin() + static_cast<ptrdiff_t>(to));
        }
      }
    }
    return bad;
  }

  void use() {
    for (const std::string& directory : {std::string("/m"), std::string("/m/d")}) {
      Result<RefPtr<OpenFile>> opened = open(directory);
      if (!opened.ok()) continue;
      NameList list;
      (void)opened.value()->list(list).ok();
      for (const std::string& name : list.names) {
        const std::string path = directory + "/" + name;
        Result<vfs::Path> found = vfs_->lookup(me(), at(path));
        if (!found.ok()) continue;
        RefPtr<vfs::Inode> kept(*found.value().dentry->inode());
        vfs::Inode& node = *kept;
        (void)node.metadata().ok();
        (void)node.list_attributes().ok();
        (void)node.get_attribute("user.name").ok();
        (void)node.set_attribute("user.more", "something", 0).ok();
        (void)node.seek_data_or_hole(random(100'000), random(2)).ok();
        (void)get(path);
        if (random(2)) (void)node.allocate(std::array<uint32_t, 6>{0, 1, 3, 0x10, 8, 0x20}[random(6)], random(100) * 4096, (1 + random(20)) * 4096).ok();
        if (random(3) == 0) unlink(path);
      }
    }
    for (int i = 0; i < 10; ++i) put("/m/new" + std::to_string(i), std::string(random(20'000), 'y'));
    mkdir("/m/d2");
    rename("/m/d", "/m/d2/d");
    truncate("/m/new1", 5);
    device_->resize(12 << 20);
    if (lookup("/m", 0) != 0) return;
    (void)volume().grow((12u << 20) >> volume().geometry().block_bits).ok();
    for (int i = 0; i < 40; ++i) put("/m/more" + std::to_string(i), std::string(random(90'000), 'z'));
    (void)volume().trim(0, UINT64_MAX, 0).ok();
    (void)volume().sync().ok();
  }
};

TEST_P(DamageTest, DoesNoHarm) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  const char* rounds = getenv("UMK_DAMAGE_ROUNDS");
  if (const char* seed = getenv("UMK_DAMAGE_SEED")) state_ = static_cast<uint32_t>(atoi(seed));
  const Image good = make_good(GetParam());
  std::vector<size_t> used;
  for (size_t at = 0; at < good.size(); at += 64)
    if (std::any_of(good.begin() + static_cast<ptrdiff_t>(at), good.begin() + static_cast<ptrdiff_t>(at) + 64, [](std::byte b) { return b != std::byte{0} && b != std::byte{'x'}; }))
      used.push_back(at);
  int mounted = 0;
  for (int round = 0; round < (rounds ? atoi(rounds) : 25 / kEffortDivisor); ++round) {
    if (mount(damage(good, used), "errors=continue") != 0) continue;
    ++mounted;
    use();
    (void)unmount();
  }
  RecordProperty("mounted", mounted);
}

INSTANTIATE_TEST_SUITE_P(Features, DamageTest,
                         testing::Values("-t ext4", "-t ext4 -O ^metadata_csum -b 1024", "-t ext4 -O ^metadata_csum,^64bit,^resize_inode -b 4096", "-t ext2",
                                         "-t ext3 -O ^dir_index", "-t ext4 -O ^metadata_csum,orphan_file -b 1024 -g 1024", "-t ext4 -O ^metadata_csum,meta_bg,^resize_inode -b 1024 -I 128"));

}  // namespace
}  // namespace umk::ext4
