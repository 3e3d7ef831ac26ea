#include "core/drivers/ubd/host_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/drivers/ubd/ubd_disk.h"
#include "core/sync/wait_queue.h"

namespace umk::ubd {
namespace {

using Bytes = std::vector<std::byte>;

/// A queue with its thread, and disks on it.
class HostQueueTest : public testing::TestWithParam<HostQueue::Ring> {
 protected:
  HostQueueTest() : queue_(GetParam()), thread_([this] { queue_.run(); }) {
    while (!queue_.is_running()) std::this_thread::yield();
    if (GetParam() == HostQueue::Ring::Allowed) has_ring_ = host::IoRing::create(8).ok();
  }
  ~HostQueueTest() override {
    queue_.stop();
    thread_.join();
    if (cow_ >= 0) close(cow_);
  }
  uint64_t queued() const {
    const uint64_t by_ring = queue_.counters.by_ring, by_calls = queue_.counters.by_calls;
    EXPECT_EQ(has_ring_ ? by_calls : by_ring, 0u);
    return by_ring + by_calls;
  }
  static int make_file(uint64_t bytes) {
    const int fd = memfd_create("image", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
    return fd;
  }
  RefPtr<UbdDisk> plain(int fd, uint64_t bytes) {
    return UbdDisk::create({.fd = fd, .layout = {}, .bytes = bytes, .file = "image", .backing_file = {}, .serial = {}}, &queue_).take();
  }
  RefPtr<UbdDisk> cow(uint64_t bytes, char letter) {
    const cow_format::Layout layout = cow_format::layout_of({.backing_name = "backing", .backing_bytes = bytes}).take();
    const int backing = make_file(bytes);
    const std::string text(bytes, letter);
    EXPECT_EQ(pwrite(backing, text.data(), bytes, 0), static_cast<ssize_t>(bytes));
    const int fd = make_file(layout.data_offset + bytes);
    cow_ = dup(fd);
    bitmap_offset_ = layout.bitmap_offset;
    return UbdDisk::create({.fd = fd, .backing_fd = backing, .layout = layout, .bytes = bytes, .file = "cow", .backing_file = "backing", .serial = {}}, &queue_).take();
  }
  /// A request that nobody waits for, and then somebody does.
  static int read_in_background(UbdDisk& disk, uint64_t offset, Bytes& into) {
    block::Batch batch;
    block::Batch::Item item;
    item.offset = offset;
    item.is_background = true;
    item.set_memory(into);
    batch.submit(disk, item);
    return batch.wait().code();
  }

  HostQueue queue_;
  std::thread thread_;
  bool has_ring_ = false;
  int cow_ = -1;
  uint64_t bitmap_offset_ = 0;
};

Bytes pattern(size_t bytes, unsigned seed) {
  Bytes made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i / 512 * 7 + seed + i % 251);
  return made;
}

TEST_P(HostQueueTest, BigWritesAndBackgroundReadsGoThroughIt) {
  RefPtr<UbdDisk> disk = plain(make_file(8 << 20), 8 << 20);
  const Bytes data = pattern(3 << 20, 1);
  ASSERT_TRUE(disk->write(512, data).ok());
  EXPECT_EQ(queued(), 12u) << "in pieces";
  Bytes back(data.size());
  EXPECT_EQ(read_in_background(*disk, 512, back), 0);
  EXPECT_EQ(queued(), 13u);
  EXPECT_TRUE(back == data);
  // Small writes and reads that are waited for are the caller's.
  ASSERT_TRUE(disk->write(0, std::span(data).first(4096)).ok());
  ASSERT_TRUE(disk->read(0, std::span(back).first(4096)).ok());
  EXPECT_EQ(queued(), 13u);
  EXPECT_EQ(memcmp(back.data(), data.data(), 4096), 0);
}

/// Pages of the file that the host has in memory alone: cachestat(2), Linux 6.5. Negative: it does not say.
int64_t unwritten_pages(int fd) {
  const uint64_t range[2] = {0, 0};
  struct {
    uint64_t cached, dirty, under_writing, evicted, evicted_lately;
  } counts{};
  if (syscall(451, fd, range, &counts, 0) != 0) return -1;
  return static_cast<int64_t>(counts.dirty + counts.under_writing);
}

TEST_P(HostQueueTest, BigWritesGoOnToTheDiskBeforeAnyFlush) {
  std::string path = std::string(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp") + "/host_queue_test_XXXXXX";
  const int fd = mkstemp(path.data());
  ASSERT_GE(fd, 0);
  unlink(path.c_str());
  ASSERT_EQ(ftruncate(fd, 8 << 20), 0);
  const int look = dup(fd);
  RefPtr<UbdDisk> disk = plain(fd, 8 << 20);
  ASSERT_TRUE(disk->write(1 << 20, pattern(4 << 20, 1)).ok());
  for (int i = 0; queue_.counters.write_outs == 0 && i < 2000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(queue_.counters.write_outs, 1u);
  struct statfs where{};
  ASSERT_EQ(fstatfs(look, &where), 0);
  constexpr long kTmpfs = 0x01021994;
  if (where.f_type != kTmpfs && unwritten_pages(look) >= 0) {
    for (int i = 0; unwritten_pages(look) > 0 && i < 2000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(unwritten_pages(look), 0) << "long before the host does so by itself";
  }
  // Small ones are left to the host.
  ASSERT_TRUE(disk->write(0, pattern(64 << 10, 1)).ok());
  EXPECT_EQ(queue_.counters.write_outs, 1u);
  close(look);
}

TEST_P(HostQueueTest, ManySegmentsKeepTheirOrder) {
  RefPtr<UbdDisk> disk = plain(make_file(8 << 20), 8 << 20);
  Bytes data = pattern(2 << 20, 5);
  std::vector<block::Segment> segments;
  // More than one call of the host takes, and none ends where a piece does.
  for (size_t at = 0; at < data.size();) {
    const size_t here = std::min<size_t>(data.size() - at, 2050 + at % 13);
    segments.push_back({data.data() + at, here});
    at += here;
  }
  ASSERT_LE(segments.size(), block::Request::kMaximumSegments);
  ASSERT_TRUE(disk->write(4096, std::span<const block::Segment>(segments)).ok());
  EXPECT_EQ(queued(), 8u);
  Bytes back(data.size());
  ASSERT_TRUE(disk->read(4096, back).ok());
  EXPECT_TRUE(back == data);
}

TEST_P(HostQueueTest, FailuresOfTheHostAreIoErrors) {
  const int fd = make_file(4 << 20);
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const int read_only = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  RefPtr<UbdDisk> disk = plain(read_only, 4 << 20);
  EXPECT_EQ(disk->write(0, pattern(1 << 20, 1)).code(), EIO);
  // The file becomes shorter than it was.
  ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
  Bytes back(1 << 20);
  EXPECT_EQ(read_in_background(*disk, 0, back), 0);
  EXPECT_EQ(read_in_background(*disk, (1 << 20) - 4096, back), EIO);
  EXPECT_EQ(queued(), 6u);
  close(fd);
}

TEST_P(HostQueueTest, CopiesAreMarkedWhenAllPiecesAreWrittenAndBitsFollowTheFlush) {
  RefPtr<UbdDisk> disk = cow(4 << 20, 'b');
  const Bytes data = pattern(1 << 20, 9);
  ASSERT_TRUE(disk->write(1 << 20, data).ok());
  EXPECT_EQ(queued(), 4u);
  unsigned char byte = 1;
  ASSERT_EQ(pread(cow_, &byte, 1, static_cast<off_t>(bitmap_offset_ + (1 << 20) / 512 / 8)), 1);
  EXPECT_EQ(byte, 0) << "the data may not be durable yet";
  ASSERT_TRUE(disk->flush().ok());
  ASSERT_EQ(pread(cow_, &byte, 1, static_cast<off_t>(bitmap_offset_ + (1 << 20) / 512 / 8)), 1);
  EXPECT_EQ(byte, 0xff);
  // Over both files.
  Bytes back(2 << 20);
  EXPECT_EQ(read_in_background(*disk, 512 * 1024, back), 0);
  EXPECT_EQ(back[0], std::byte{'b'});
  EXPECT_EQ(memcmp(back.data() + 512 * 1024, data.data(), data.size()), 0);
  EXPECT_EQ(back.back(), std::byte{'b'});
  EXPECT_EQ(queued(), 4u + 3u);
}

TEST_P(HostQueueTest, ManySubmittersAtOnce) {
  RefPtr<UbdDisk> disk = plain(make_file(32 << 20), 32 << 20);
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 6; ++id) {
    threads.emplace_back([&, id] {
      const Bytes data = pattern(768 * 1024, id);
      Bytes back(data.size());
      for (int round = 0; round < 20; ++round) {
        ASSERT_TRUE(disk->write(uint64_t{id} * 4 << 20, data).ok());
        ASSERT_EQ(read_in_background(*disk, uint64_t{id} * 4 << 20, back), 0);
        ASSERT_TRUE(back == data);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(queued(), 6u * 20 * 4);
}

INSTANTIATE_TEST_SUITE_P(Rings, HostQueueTest, testing::Values(HostQueue::Ring::Allowed, HostQueue::Ring::Forbidden),
                         [](const auto& instance) { return instance.param == HostQueue::Ring::Allowed ? "Allowed" : "Forbidden"; });

TEST(HostQueue, BeforeItRunsCallersDoTheirOwn) {
  HostQueue queue(HostQueue::Ring::Allowed);
  const int fd = memfd_create("image", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 2 << 20), 0);
  RefPtr<UbdDisk> disk = UbdDisk::create({.fd = fd, .layout = {}, .bytes = 2 << 20, .file = "image", .backing_file = {}, .serial = {}}, &queue).take();
  EXPECT_TRUE(disk->write(0, pattern(1 << 20, 3)).ok());
  EXPECT_EQ(queue.counters.by_ring + queue.counters.by_calls, 0u);
}

}  // namespace
}  // namespace umk::ubd
