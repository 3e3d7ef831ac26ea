// File data in the journal.
#include <algorithm>

#include "core/fs/ext4/node.h"
#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using namespace vfs::open_flags;
using block::fake::MemoryDevice;

class JournaledDataTest : public Ext4Test {
 protected:
  int overwrite(const std::string& path, uint64_t offset, const std::string& text) {
    Result<RefPtr<OpenFile>> file = open(path, kReadWrite);
    if (!file.ok()) return file.code();
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return file.value()->write_at(offset, buffer, false).code();
  }
  int sync(const std::string& path) { return inode(path).sync(false).code(); }
};

// A file that is written over in place has its old contents or its new ones, which no other mode promises.
TEST_F(JournaledDataTest, WritesHappenAsAWhole) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  for (const bool by_flag : {false, true}) {
    RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image("-t ext4 -b 1024", 16));
    ASSERT_EQ(mount(disk, by_flag ? "" : "data=journal"), 0);
    constexpr size_t kSize = 40'000;
    ASSERT_EQ(put("/m/f", ""), 0);
    Node& node = static_cast<Node&>(inode("/m/f"));
    if (by_flag) {
      ASSERT_EQ(node.set_visible_flags(*Credentials::root().value(), node.visible_flags() | inode_flags::kJournalData).code(), 0);
    }
    ASSERT_TRUE(node.journals_data());
    ASSERT_EQ(overwrite("/m/f", 0, std::string(kSize, 'a')), 0);
    // Blocks that look like the journal's own are written as they are.
    const std::string magic = "\xc0\x3b\x39\x98";
    ASSERT_EQ(put("/m/magic", magic), 0);
    ASSERT_TRUE(volume().sync().ok());
    disk->record();
    std::vector<size_t> synced;
    for (char letter = 'b'; letter < 'h'; ++letter) {
      ASSERT_EQ(overwrite("/m/f", 0, std::string(kSize, letter)), 0);
      // Blocks change hands meanwhile.
      const bool is_odd = letter % 2;
      ASSERT_EQ(unlink(is_odd ? "/m/even" : "/m/odd"), letter == 'b' ? ENOENT : 0);
      ASSERT_EQ(put(is_odd ? "/m/odd" : "/m/even", std::string(3000, letter)), 0);
      ASSERT_EQ(sync("/m/f"), 0);
      synced.push_back(disk->events().size());
    }
    ASSERT_TRUE(volume().journal().checkpoint().ok());
    const size_t count = disk->events().size();
    ASSERT_EQ(unmount(), 0);
    for (size_t cut = 0; cut <= count; cut += kEffortDivisor) {
      SCOPED_TRACE("cut " + std::to_string(cut) + " of " + std::to_string(count));
      ASSERT_EQ(mount(disk->image_after_crash(cut, cut % 7), by_flag ? "" : "data=journal"), 0);
      const std::string text = get_all("/m/f");
      ASSERT_EQ(text.size(), kSize);
      ASSERT_EQ(text, std::string(kSize, text[0]));
      ASSERT_GE(text[0] - 'a', std::upper_bound(synced.begin(), synced.end(), cut) - synced.begin());
      ASSERT_EQ(get("/m/magic"), magic);
      ASSERT_EQ(unmount(), 0);
      ASSERT_EQ(fsck(device_->contents()), "");
    }
  }
}

// Blocks that held journaled data and are another file's now are not written over by a replay.
TEST_F(JournaledDataTest, FreedDataIsRevoked) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image("-t ext4 -b 4096", 8));
  ASSERT_EQ(mount(disk), 0);
  ASSERT_EQ(put("/m/journaled", ""), 0);
  Node& node = static_cast<Node&>(inode("/m/journaled"));
  ASSERT_EQ(node.set_visible_flags(*Credentials::root().value(), node.visible_flags() | inode_flags::kJournalData).code(), 0);
  const uint64_t free = volume().statistics().value().blocks_free;
  ASSERT_EQ(overwrite("/m/journaled", 0, std::string((free / 2) << 12, 'j')), 0);
  ASSERT_TRUE(volume().sync().ok());
  ASSERT_EQ(unlink("/m/journaled"), 0);
  ASSERT_TRUE(volume().sync().ok());
  const std::string text((free - 60) << 12, 'p');
  ASSERT_EQ(put("/m/plain", text), 0);
  ASSERT_TRUE(volume().sync().ok());
  const Image crashed = disk->contents();
  ASSERT_EQ(unmount(), 0);
  ASSERT_EQ(mount(crashed), 0);
  EXPECT_TRUE(get_all("/m/plain") == text);
}

TEST_F(JournaledDataTest, ModesAreChosenAsInLinux) {
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  ASSERT_EQ(mount(make_image("-t ext4", 8), "data=writeback"), 0);
  EXPECT_EQ(volume().remount("data=journal", false).code(), EINVAL);
  EXPECT_EQ(volume().remount("data=writeback", false).code(), 0);
  EXPECT_EQ(put("/m/f", std::string(100'000, 'w')), 0);
  ASSERT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(device_, "data=nonsense"), EINVAL);
  ASSERT_EQ(mount(device_), 0);
  EXPECT_EQ(get_all("/m/f"), std::string(100'000, 'w'));
  // The attribute comes and goes with data in all places.
  Node& node = static_cast<Node&>(inode("/m/f"));
  for (int round = 0; round < 4; ++round) {
    const uint32_t flag = round % 2 == 0 ? inode_flags::kJournalData : 0;
    ASSERT_EQ(node.set_visible_flags(*Credentials::root().value(), (node.visible_flags() & ~inode_flags::kJournalData) | flag).code(), 0);
    EXPECT_EQ(node.journals_data(), flag != 0);
    ASSERT_EQ(overwrite("/m/f", 5000, std::string(7000, static_cast<char>('0' + round))), 0);
    ASSERT_EQ(sync("/m/f"), 0);
    page_cache_.drop_clean();
    EXPECT_EQ(get_all("/m/f"), std::string(5000, 'w') + std::string(7000, static_cast<char>('0' + round)) + std::string(88'000, 'w'));
  }
  ASSERT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(make_image("-t ext2", 8), "data=ordered"), EINVAL);
}

}  // namespace
}  // namespace umk::ext4
