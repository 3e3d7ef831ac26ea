#include "core/kernel/block/device_pages.h"

#include <string>

#include "core/kernel/block/fake_memory_device.h"
#include "core/kernel/mm/fake_backing.h"

namespace umk::block {
namespace {

struct Keeper final : DevicePages::Keeper {
  void forget(DevicePages&) override { ++forgotten; }
  int forgotten = 0;
};

class DevicePagesTest : public testing::Test {
 protected:
  DevicePagesTest() : memory_(0), cache_(*memory_.window) {}

  RefPtr<DevicePages> pages_of(fake::MemoryDevice& disk) { return make_ref<DevicePages>(cache_, disk, keeper_).take(); }
  static int write(DevicePages& pages, uint64_t offset, const std::string& text) {
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(text)));
    MutexLock lock(pages.writers);
    return pages.cached_file().write(offset, buffer).code();
  }
  static std::string read(DevicePages& pages, uint64_t offset, size_t size, int* code = nullptr) {
    std::string text(size, '?');
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(text)));
    Result<size_t> got = pages.cached_file().read(offset, buffer);
    if (code) *code = got.code();
    text.resize(got.value_or(0));
    return text;
  }
  static std::string on_disk(fake::MemoryDevice& disk, uint64_t offset, size_t size) {
    return std::string(reinterpret_cast<const char*>(disk.contents().data()) + offset, size);
  }

  mm::fake::Window memory_;
  mm::PageCache cache_;
  Keeper keeper_;
};

TEST_F(DevicePagesTest, WritesReachTheDeviceWithASync) {
  RefPtr<fake::MemoryDevice> disk = fake::MemoryDevice::make(1 << 20);
  RefPtr<DevicePages> pages = pages_of(*disk);
  ASSERT_EQ(write(*pages, 5000, "hello"), 0);
  EXPECT_EQ(read(*pages, 4999, 7), std::string("\0hello\0", 7));
  EXPECT_NE(on_disk(*disk, 5000, 5), "hello");
  ASSERT_TRUE(pages->sync().ok());
  EXPECT_EQ(on_disk(*disk, 5000, 5), "hello");
  EXPECT_EQ(disk->statistics().of(Operation::Flush).requests, 1u);
}

TEST_F(DevicePagesTest, TheLastPageMayLieOnTheDeviceInPart) {
  RefPtr<fake::MemoryDevice> disk = fake::MemoryDevice::make((1 << 20) + 512);
  RefPtr<DevicePages> pages = pages_of(*disk);
  ASSERT_EQ(write(*pages, (1 << 20) + 500, "last"), 0);
  ASSERT_TRUE(pages->sync().ok());
  EXPECT_EQ(on_disk(*disk, (1 << 20) + 500, 4), "last");
  pages->write_and_drop();
  EXPECT_EQ(read(*pages, (1 << 20) + 500, 12), std::string("last\0\0\0\0\0\0\0\0", 12));
}

TEST_F(DevicePagesTest, WhoGoesLastWritesWhatIsDirty) {
  RefPtr<fake::MemoryDevice> disk = fake::MemoryDevice::make(1 << 20);
  RefPtr<DevicePages> pages = pages_of(*disk);
  ASSERT_EQ(write(*pages, 0, "kept"), 0);
  pages = nullptr;
  EXPECT_EQ(on_disk(*disk, 0, 4), "kept");
  EXPECT_EQ(keeper_.forgotten, 1);
}

TEST_F(DevicePagesTest, AFailureAtAnyRequestIsTold) {
  for (uint64_t nth = 0; nth < 6; ++nth) {
    RefPtr<fake::MemoryDevice> disk = fake::MemoryDevice::make(1 << 20);
    RefPtr<DevicePages> pages = pages_of(*disk);
    std::atomic<mm::ErrorSequence::Position> seen{pages->cached_file().errors().sample()};
    disk->fail_at(nth, EIO);
    int read_code = 0;
    read(*pages, 700'000, 100, &read_code);
    const int write_code = write(*pages, 100, "part of a page");
    const int sync_code = pages->sync().code();
    const int error_code = pages->cached_file().errors().check_and_advance(seen).code();
    const bool was_hit = disk->requests_seen() > nth;
    EXPECT_EQ(read_code == EIO || write_code == EIO || sync_code == EIO || error_code == EIO, was_hit) << nth;
    disk->stop_failing();
    EXPECT_EQ(read(*pages, 700'000, 4).size(), 4u);
  }
}

}  // namespace
}  // namespace umk::block
