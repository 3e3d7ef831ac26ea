// What common work costs in requests to the disk.
#include <algorithm>
#include <thread>

#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using block::Operation;

class DiskRequestsTest : public Ext4Test {
 protected:
  void SetUp() override {
    if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  }
  size_t recorded(Operation operation) {
    size_t count = 0;
    for (const auto& event : device_->events()) count += event.operation == operation;
    return count;
  }
  void overwrite(const std::string& text) {
    // Until the time that a file gets is another one.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    uint64_t offset = 0;
    ASSERT_TRUE(inode("/m/f").write_at(offset, buffer, false).ok());
  }
};

TEST_F(DiskRequestsTest, FdatasyncLeavesOutTimesAndFsyncDoesNot) {
  ASSERT_EQ(mount(make_image("-t ext4")), 0);
  ASSERT_EQ(put("/m/f", std::string(8192, 'a')), 0);
  ASSERT_TRUE(inode("/m/f").sync(true).ok());
  EXPECT_EQ(inode("/m").sync(true).code(), 0);
  device_->record();
  ASSERT_NO_FATAL_FAILURE(overwrite(std::string(4096, 'b')));
  ASSERT_TRUE(inode("/m/f").sync(true).ok());
  EXPECT_EQ(recorded(Operation::Write), 1u) << "the data and no transaction";
  EXPECT_EQ(recorded(Operation::Flush), 1u);
  ASSERT_TRUE(inode("/m/f").sync(true).ok());
  EXPECT_EQ(recorded(Operation::Flush), 1u) << "nothing was written since";
  ASSERT_TRUE(inode("/m/f").sync(false).ok());
  EXPECT_EQ(recorded(Operation::Flush), 3u) << "the time is in a transaction now";
}

TEST_F(DiskRequestsTest, SmallTransactionsFindRoomInTheLog) {
  ASSERT_EQ(mount(make_image("-t ext4 -b 1024")), 0);
  Image image = device_->contents();
  device_->record();
  ASSERT_EQ(put("/m/f", std::string(4096, 'a')), 0);
  ASSERT_TRUE(inode("/m/f").sync(false).ok());
  const size_t flushes = recorded(Operation::Flush);
  constexpr int kTimes = 30;
  for (int i = 0; i < kTimes; ++i) {
    ASSERT_NO_FATAL_FAILURE(overwrite("b"));
    ASSERT_TRUE(inode("/m/f").sync(false).ok());
  }
  EXPECT_EQ(recorded(Operation::Flush), flushes + 2 * kTimes);
  // Where the host would have to find room.
  int writes_to_holes = 0;
  size_t bytes = 0;
  for (const auto& event : device_->events()) {
    if (event.operation != Operation::Write) continue;
    const auto place = image.begin() + static_cast<ptrdiff_t>(event.offset);
    writes_to_holes += std::all_of(place, place + static_cast<ptrdiff_t>(event.data.size()), [](std::byte byte) { return byte == std::byte{0}; });
    std::fill(place, place + static_cast<ptrdiff_t>(event.data.size()), std::byte{1});
    bytes += event.data.size();
  }
  // The first transaction writes to the log and to the new file's places, and fills a piece of the log.
  EXPECT_LE(writes_to_holes, 6);
  EXPECT_LE(bytes, kTimes * (4096u + 3 * 1024) + 2 * 256 * 1024) << "the data, a descriptor, the inode's block and the commit block";
}

TEST_F(DiskRequestsTest, FdatasyncStoresASizeThatGrew) {
  ASSERT_EQ(mount(make_image("-t ext4")), 0);
  ASSERT_EQ(put("/m/f", std::string(100, 'a')), 0);
  ASSERT_TRUE(inode("/m/f").sync(true).ok());
  ASSERT_NO_FATAL_FAILURE(overwrite(std::string(300, 'b')));
  ASSERT_TRUE(inode("/m/f").sync(true).ok());
  const Image crashed = device_->contents();
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(mount(crashed), 0);
  EXPECT_EQ(get_all("/m/f"), std::string(300, 'b'));
}

TEST_F(DiskRequestsTest, InodesAndBlocksOfADirectoryAreReadTogether) {
  ASSERT_EQ(mount(make_image("-t ext4")), 0);
  ASSERT_EQ(mkdir("/m/d"), 0);
  constexpr int kFiles = 600;
  for (int i = 0; i < kFiles; ++i) ASSERT_EQ(put("/m/d/a-file-with-a-name-" + std::to_string(i), ""), 0);
  ASSERT_EQ(unmount(), 0);
  ASSERT_EQ(mount(device_->contents()), 0);
  std::atomic<int> reads{0};
  device_->set_filter([&](const block::Request& request) {
    reads += request.operation == Operation::Read;
    return 0;
  });
  for (int i = 0; i < kFiles; ++i) ASSERT_EQ(lookup("/m/d/a-file-with-a-name-" + std::to_string(i)), 0);
  device_->stop_failing();
  EXPECT_LE(reads.load(), 12) << "with 38 blocks of inodes and at least 6 of names";
}

TEST_F(DiskRequestsTest, WhatWasReadAheadIsCheckedBeforeItIsUsed) {
  ASSERT_EQ(mount(make_image("-t ext4")), 0);
  ASSERT_EQ(mkdir("/m/d"), 0);
  for (int i = 0; i < 600; ++i) ASSERT_EQ(put("/m/d/a-file-with-a-name-" + std::to_string(i), ""), 0);
  ASSERT_EQ(unmount(), 0);
  Image image = device_->contents();
  // A letter of a name, which only the block's checksum tells.
  const std::string_view bytes(reinterpret_cast<const char*>(image.data()), image.size());
  size_t damaged = 0;
  for (size_t at = bytes.find("a-file-with-a-name-7"); at != std::string_view::npos;
       at = bytes.find("a-file-with-a-name-7", at + 1), ++damaged)
    image[at] = std::byte{'b'};
  ASSERT_GT(damaged, 0u);
  ASSERT_EQ(mount(image, "errors=continue"), 0);
  int failed = 0;
  for (int i = 0; i < 600 && failed == 0; ++i) failed += lookup("/m/d/a-file-with-a-name-" + std::to_string(i)) == EUCLEAN;
  EXPECT_GT(failed, 0);
}

}  // namespace
}  // namespace umk::ext4
