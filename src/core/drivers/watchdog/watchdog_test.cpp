#include "core/drivers/watchdog/watchdog.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/caller.h"

namespace umk::watchdog {
namespace {

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() {
    EXPECT_EQ(pipe2(pipe_, O_NONBLOCK), 0);
    EXPECT_TRUE(watchdog_.attach(registry_).ok());
  }
  ~WatchdogTest() override {
    for (const int fd : {event_, pipe_[0], pipe_[1]}) ::close(fd);
  }

  Result<RefPtr<vfs::OpenFile>> open() {
    return registry_.open_device(caller_, vfs::AnonymousInode::create(*superblock_, 0020600, 0, 0).take(), vfs::FileType::CharacterDevice,
                                 Watchdog::kNumber, {}, vfs::open_flags::kReadWrite);
  }
  /// Opens while a thread is the monitor, which has `fd` for an answer.
  Result<RefPtr<vfs::OpenFile>> open_with_dog(int fd) {
    std::thread monitor([&] {
      while (watchdog_.take_order() != Order::Start) std::this_thread::yield();
      watchdog_.note_started(fd);
    });
    Result<RefPtr<vfs::OpenFile>> file = open();
    monitor.join();
    return file;
  }
  int pets() {
    char byte;
    int count = 0;
    while (::read(pipe_[0], &byte, 1) == 1) count += byte == '\n';
    return count;
  }
  static int64_t write(vfs::OpenFile& file, std::string_view text) {
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(text)));
    const Result<size_t> written = file.write(buffer);
    return written.ok() ? static_cast<int64_t>(written.value()) : -written.code();
  }

  const int event_ = eventfd(0, EFD_NONBLOCK);
  int pipe_[2];
  Watchdog watchdog_{event_};
  device::DeviceRegistry registry_;
  RefPtr<vfs::AnonymousSuperblock> superblock_ = vfs::AnonymousSuperblock::create(vfs::AnonymousKind::Socket, {0, 8}).take();
  RefPtr<Credentials> credentials_ = Credentials::root().take();
  RefPtr<vfs::FsContext> fs_ = make_ref<vfs::FsContext>(vfs::Path(), vfs::Path(), 022u).take();
  vfs::Caller caller_{*credentials_, *fs_};
};

TEST_F(WatchdogTest, PetsTheDogForEachWrite) {
  RefPtr<vfs::OpenFile> file = open_with_dog(pipe_[1]).take();
  EXPECT_EQ(write(*file, "x"), 1);
  EXPECT_EQ(write(*file, "any text"), 8);
  EXPECT_EQ(write(*file, ""), 0);
  EXPECT_EQ(pets(), 2);
}

TEST_F(WatchdogTest, HasOneOpenerAtATimeAndStopsTheDogWithHim) {
  RefPtr<vfs::OpenFile> file = open_with_dog(pipe_[1]).take();
  EXPECT_EQ(open().code(), EBUSY);
  EXPECT_EQ(watchdog_.take_order(), Order::None);
  file = nullptr;
  EXPECT_EQ(watchdog_.take_order(), Order::Stop);
  EXPECT_EQ(watchdog_.take_order(), Order::None);
  watchdog_.note_stopped();
  EXPECT_TRUE(open_with_dog(pipe_[1]).ok());
}

TEST_F(WatchdogTest, WhoOpensWhileTheDogStopsGetsAnotherOne) {
  open_with_dog(pipe_[1]).take();
  std::thread monitor([&] {
    while (watchdog_.take_order() != Order::Stop) std::this_thread::yield();
    watchdog_.note_stopped();
    while (watchdog_.take_order() != Order::Start) std::this_thread::yield();
    watchdog_.note_started(pipe_[1]);
  });
  EXPECT_TRUE(open().ok());
  monitor.join();
}

TEST_F(WatchdogTest, CannotBeOpenedWithoutADog) {
  EXPECT_EQ(open_with_dog(-ENOENT).code(), EIO);
  EXPECT_TRUE(open_with_dog(pipe_[1]).ok());
}

TEST_F(WatchdogTest, SaysThatTheDogIsGone) {
  RefPtr<vfs::OpenFile> file = open_with_dog(event_ + 1000).take();  // no such descriptor
  EXPECT_EQ(write(*file, "x"), -EIO);
}

TEST_F(WatchdogTest, WakesTheMonitorForItsOrders) {
  uint64_t count = 0;
  open_with_dog(pipe_[1]).take();
  ASSERT_EQ(::read(event_, &count, sizeof count), ssize_t{sizeof count});
  EXPECT_EQ(count, 2u);
}

}  // namespace
}  // namespace umk::watchdog
