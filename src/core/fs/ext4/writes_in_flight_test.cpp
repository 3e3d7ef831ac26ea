// Several runs of a file's pages are written at once: what others do meanwhile, and crashes.
#include <thread>

#include "core/fs/ext4/file_node.h"
#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using block::fake::MemoryDevice;

constexpr uint64_t kBig = 512 * 1024;

class WritesInFlightTest : public Ext4Test {
 protected:
  void SetUp() override {
    if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs";
  }
  std::string text_of(size_t bytes) {
    std::string text(bytes, 0);
    for (char& c : text) c = static_cast<char>('a' + random(26));
    return text;
  }
  void wait_for_held(size_t count) {
    for (int i = 0; device_->held_writes() < count && i < 5000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_GE(device_->held_writes(), count);
  }
  /// Writes the file out in another thread.
  class Syncing {
   public:
    Syncing(Node& node, MemoryDevice& device) : device_(device), thread_([this, &node] {
      node.sync_data();
      is_done_ = true;
    }) {}
    ~Syncing() {
      device_.hold_writes(UINT64_MAX);
      while (!is_done_) device_.release_write(0), std::this_thread::yield();
      thread_.join();
    }

   private:
    MemoryDevice& device_;
    std::atomic<bool> is_done_{false};
    std::thread thread_;
  };
  Node& node(std::string_view path) { return static_cast<Node&>(inode(path)); }
};

TEST_F(WritesInFlightTest, ACommitWaitsForTheDataOfAll) {
  ASSERT_EQ(mount(make_image("-t ext4", 64)), 0);
  ASSERT_EQ(put("/m/small", "text"), 0);
  const std::string text = text_of(12 << 20);
  ASSERT_EQ(put("/m/big", text), 0);
  device_->hold_writes(kBig);
  std::atomic<bool> is_committed{false};
  std::thread committer;
  {
    Syncing syncing(node("/m/big"), *device_);
    ASSERT_NO_FATAL_FAILURE(wait_for_held(3));
    committer = std::thread([&] {
      EXPECT_EQ(volume().journal().commit_all().code(), 0);
      is_committed = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(is_committed);
  }
  committer.join();
  EXPECT_TRUE(is_committed);
  ASSERT_TRUE(inode("/m/big").sync(false).ok());
  const Image crashed = device_->contents();
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(crashed), 0);
  EXPECT_TRUE(get_all("/m/big") == text);
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
}

// A hole that is being written may get blocks from somebody else.
TEST_F(WritesInFlightTest, AllocationOfBlocksThatAreBeingWrittenKeepsTheData) {
  for (const char* options : {"", "data=writeback"}) {
    ASSERT_EQ(mount(make_image("-t ext4", 64), options), 0);
    const std::string text = text_of(8 << 20);
    ASSERT_EQ(put("/m/big", text), 0);
    device_->hold_writes(kBig);
    {
      Syncing syncing(node("/m/big"), *device_);
      ASSERT_NO_FATAL_FAILURE(wait_for_held(3));
      EXPECT_EQ(inode("/m/big").allocate(0, 1 << 20, 3 << 20).code(), 0);
    }
    EXPECT_EQ(inode("/m/big").sync(false).code(), 0);
    EXPECT_EQ(unmount(), 0);
    EXPECT_EQ(fsck(device_->contents()), "");
    ASSERT_EQ(mount(device_->contents()), 0);
    EXPECT_TRUE(get_all("/m/big") == text);
    EXPECT_EQ(unmount(), 0);
  }
}

TEST_F(WritesInFlightTest, TruncationWaitsForThem) {
  ASSERT_EQ(mount(make_image("-t ext4", 64)), 0);
  const std::string text = text_of(8 << 20);
  ASSERT_EQ(put("/m/big", text), 0);
  device_->hold_writes(kBig);
  std::atomic<bool> is_cut{false};
  std::thread cutter;
  {
    Syncing syncing(node("/m/big"), *device_);
    ASSERT_NO_FATAL_FAILURE(wait_for_held(3));
    cutter = std::thread([&] {
      EXPECT_EQ(truncate("/m/big", 3 << 20), 0);
      is_cut = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(is_cut) << "its blocks could become another file's";
  }
  cutter.join();
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(device_->contents()), 0);
  EXPECT_TRUE(get_all("/m/big") == text.substr(0, 3 << 20));
}

TEST_F(WritesInFlightTest, OneThatFailsIsReportedAndLeavesTheOthers) {
  ASSERT_EQ(mount(make_image("-t ext4", 64), "errors=continue"), 0);
  const std::string text = text_of(8 << 20);
  ASSERT_EQ(put("/m/big", text), 0);
  int seen = 0;
  size_t failed = 0;
  device_->set_filter([&](const block::Request& request) {
    if (request.operation != block::Operation::Write || request.bytes < kBig || seen++ != 1) return 0;
    failed = request.bytes / 4096;
    return EIO;
  });
  const mm::ErrorSequence::Position before = node("/m/big").page_source()->cached()->errors().sample();
  (void)inode("/m/big").sync(false);
  EXPECT_NE(node("/m/big").page_source()->cached()->errors().sample(), before);
  device_->stop_failing();
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  ASSERT_EQ(mount(device_->contents()), 0);
  const std::string kept = get_all("/m/big");
  ASSERT_EQ(kept.size(), text.size());
  size_t wrong = 0;
  for (size_t at = 0; at < text.size(); at += 4096)
    if (kept.compare(at, 4096, text, at, 4096) != 0) {
      ++wrong;
      EXPECT_EQ(kept.find_first_not_of('\0', at) >= at + 4096, true) << "a hole, and nothing that was on the disk before";
    }
  EXPECT_EQ(wrong, failed);
}

// Whatever of the later writes reached the medium, and in whatever order: a block that a file has holds what was written to it.
TEST_F(WritesInFlightTest, CrashesShowNoBlockWithoutItsData) {
  for (const char* arguments : {"-t ext4", "-t ext4 -b 1024", "-t ext3"}) {
    RefPtr<MemoryDevice> disk = MemoryDevice::make(make_image(arguments, 40));
    ASSERT_EQ(mount(disk), 0);
    // What lies in free blocks is not to show up.
    ASSERT_EQ(put("/m/old", std::string(24 << 20, '#')), 0);
    ASSERT_TRUE(inode("/m/old").sync(false).ok());
    ASSERT_EQ(unlink("/m/old"), 0);
    ASSERT_TRUE(volume().sync().ok());
    disk->record();
    disk->hold_writes(kBig);
    struct Synced {
      size_t events;
      std::string path;
    };
    std::vector<Synced> synced;
    std::map<std::string, std::string> texts;
    std::atomic<bool> is_over{false};
    // Big writes end in another order than they were begun in.
    std::thread releaser([&] {
      for (uint32_t i = 0; !is_over; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(300));
        disk->release_write(i * 7919);
      }
    });
    for (int i = 0; i < 3; ++i) {
      const std::string path = "/m/big" + std::to_string(i);
      texts[path] = text_of((4 << 20) + random(3 << 20));
      ASSERT_EQ(put(path, texts[path]), 0);
      vfs::Inode& big = inode(path);
      std::atomic<bool> is_synced{false};
      std::thread syncer([&] {
        EXPECT_EQ(big.sync(false).code(), 0);
        is_synced = true;
      });
      for (int k = 0; !is_synced && k < 100; ++k) {
        const std::string small = "/m/small" + std::to_string(i) + "-" + std::to_string(k);
        texts[small] = text_of(1 + random(20'000));
        ASSERT_EQ(put(small, texts[small]), 0);
        ASSERT_EQ(inode(small).sync(false).code(), 0);
        synced.push_back({disk->events().size(), small});
      }
      syncer.join();
      synced.push_back({disk->events().size(), path});
    }
    const size_t count = disk->events().size();
    is_over = true;
    releaser.join();
    disk->hold_writes(UINT64_MAX);
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(disk->contents()), "");

    for (unsigned point = 0; point < 8 / std::min(kEffortDivisor, 4); ++point) {
      const size_t cut = random(static_cast<uint32_t>(count + 1));
      SCOPED_TRACE(std::string(arguments) + " cut " + std::to_string(cut) + " of " + std::to_string(count));
      ASSERT_EQ(mount(disk->image_after_crash(cut, point % 8)), 0);
      for (const Synced& file : synced) {
        if (file.events > cut) continue;
        ASSERT_TRUE(get_all(file.path) == texts[file.path]) << file.path;
      }
      for (const auto& [path, text] : texts) {
        if (lookup(path, 0) != 0) continue;
        const std::string kept = get_all(path);
        const size_t wrong = static_cast<size_t>(std::mismatch(kept.begin(), kept.end(), text.begin()).first - kept.begin());
        ASSERT_EQ(wrong, kept.size()) << path << " of " << text.size() << ": " << kept.substr(wrong, 16);
      }
      ASSERT_EQ(unmount(), 0);
      ASSERT_EQ(fsck(device_->contents()), "");
    }
  }
}

}  // namespace
}  // namespace umk::ext4
