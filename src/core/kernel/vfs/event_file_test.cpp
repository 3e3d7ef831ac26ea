// timerfd and inotify. eventfd is tested with poll and epoll (epoll_test.cpp).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/kernel/time/clocks.h"
#include "core/kernel/vfs/anonymous_inode.h"
#include "core/kernel/vfs/inotify.h"
#include "core/kernel/vfs/timer_file.h"

namespace umk::vfs {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;

class EventFiles : public ::testing::Test {
 protected:
  RefPtr<AnonymousSuperblock> superblock = AnonymousSuperblock::create(AnonymousKind::Event, {0, 10}).take();
  RefPtr<AnonymousInode> inode(uint32_t mode = 0600) { return AnonymousInode::create(*superblock, mode, 0, 0).take(); }
};

int64_t read_number(OpenFile& file, uint64_t& number) {
  UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(&number, 1)));
  Result<size_t> read = file.read(buffer);
  return read.ok() ? 0 : -read.failure().code;
}

class TimerFiles : public EventFiles {
 protected:
  time::TimerQueue queue;
  RefPtr<TimerFile> make(uint32_t flags = open_flags::kNonBlock) { return make_ref<TimerFile>(inode(), queue, CLOCK_MONOTONIC, flags).take(); }
};

TEST_F(TimerFiles, CountExpirationsSinceTheLastRead) {
  RefPtr<TimerFile> timer = make();
  uint64_t count = 0;
  EXPECT_EQ(read_number(*timer, count), -EAGAIN);
  ASSERT_TRUE(timer->set({5 * kMillisecond, 10 * kMillisecond}, false).ok());
  EXPECT_EQ(timer->get().interval_ns, 10 * kMillisecond);
  EXPECT_EQ(timer->poll(nullptr), 0u);
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  queue.run_expired(time::monotonic_ns());
  EXPECT_EQ(timer->poll(nullptr), poll_bits::kIn);
  EXPECT_EQ(read_number(*timer, count), 0);
  EXPECT_GE(count, 4u);
  EXPECT_EQ(read_number(*timer, count), -EAGAIN);
  EXPECT_GT(timer->get().value_ns, 0u);
  ASSERT_TRUE(timer->set({}, false).ok());
  EXPECT_EQ(timer->get().value_ns, 0u);
}

TEST_F(TimerFiles, AMomentInThePastExpiresAtOnce) {
  RefPtr<TimerFile> timer = make();
  ASSERT_TRUE(timer->set({1, 0}, true).ok());
  queue.run_expired(time::monotonic_ns());
  uint64_t count = 0;
  EXPECT_EQ(read_number(*timer, count), 0);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(timer->get().value_ns, 0u);
}

TEST_F(TimerFiles, WakeReadersAndMayBeClosedWhileArmed) {
  std::thread runner([&] { time::run_timer_thread(queue); });
  RefPtr<TimerFile> timer = make(0);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(timer->set({kMillisecond, 0}, false).ok());
    uint64_t count = 0;
    ASSERT_EQ(read_number(*timer, count), 0);
    ASSERT_EQ(count, 1u);
  }
  for (int i = 0; i < 300; ++i) {
    RefPtr<TimerFile> passing = make();
    ASSERT_TRUE(passing->set({static_cast<uint64_t>(i) * 1000, 1000}, false).ok());
  }
  timer = nullptr;
  queue.stop();
  runner.join();
}

// --- inotify

struct Event {
  int watch;
  uint32_t mask;
  uint32_t cookie;
  std::string name;
  friend bool operator==(const Event&, const Event&) = default;
};
void PrintTo(const Event& event, std::ostream* out) { *out << event.watch << ":" << std::hex << event.mask << ":" << event.cookie << ":" << event.name; }

std::vector<Event> parse(const char* bytes, size_t size) {
  std::vector<Event> events;
  for (size_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(bytes + at);
    events.push_back({event->wd, event->mask, event->cookie, event->len ? event->name : ""});
    at += sizeof(inotify_event) + event->len;
  }
  return events;
}

class Inotify : public EventFiles {
 protected:
  RefPtr<InotifyFile> file = InotifyFile::create(inode(), open_flags::kNonBlock).take();
  std::vector<Event> events() {
    alignas(8) char bytes[4096];
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(bytes)));
    Result<size_t> read = file->read(buffer);
    if (!read.ok()) return {};
    return parse(bytes, read.value());
  }
};

TEST_F(Inotify, ReportsWantedEventsOnceAndInOrder) {
  RefPtr<AnonymousInode> directory = inode(0040755), other = inode(0100644);
  const int watch = file->add_watch(*directory, IN_CREATE | IN_DELETE).take();
  EXPECT_EQ(watch, 1);
  EXPECT_EQ(file->add_watch(*other, IN_MODIFY).take(), 2);
  EXPECT_EQ(superblock->watched_inodes, 2u);
  notify_entry(*directory, IN_CREATE, "name");
  notify_entry(*directory, IN_CREATE, "name");
  notify_entry(*directory, IN_MOVED_FROM, "unwanted", 3);
  notify_inode(*other, IN_MODIFY);
  notify_entry(*directory, IN_DELETE | IN_ISDIR, "a name of more than sixteen bytes");
  EXPECT_EQ(events(), (std::vector<Event>{{1, IN_CREATE, 0, "name"}, {2, IN_MODIFY, 0, ""}, {1, IN_DELETE | IN_ISDIR, 0, "a name of more than sixteen bytes"}}));
  EXPECT_TRUE(events().empty());
}

TEST_F(Inotify, LayoutIsTheHosts) {
  char directory_name[] = "/tmp/inotify.XXXXXX";
  ASSERT_NE(mkdtemp(directory_name), nullptr);
  const int fd = inotify_init1(IN_NONBLOCK);
  ASSERT_EQ(inotify_add_watch(fd, directory_name, IN_CREATE), 1);
  RefPtr<AnonymousInode> directory = inode(0040755);
  ASSERT_EQ(file->add_watch(*directory, IN_CREATE).take(), 1);
  for (size_t length : {1, 15, 16, 17, 100}) {
    const std::string name(length, 'n');
    const std::string path = std::string(directory_name) + "/" + name;
    ::close(::creat(path.c_str(), 0600));
    notify_entry(*directory, IN_CREATE, name);
    alignas(8) char theirs[512] = {}, mine[512] = {};
    const ssize_t size = ::read(fd, theirs, sizeof theirs);
    EXPECT_EQ(file->readable_bytes().value_or(0), static_cast<uint64_t>(size));
    UserOutBuffer small = UserOutBuffer::kernel(std::as_writable_bytes(std::span(mine).first(static_cast<size_t>(size) - 1)));
    EXPECT_EQ(file->read(small).code(), EINVAL);
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(mine)));
    EXPECT_EQ(file->read(buffer).value_or(0), static_cast<size_t>(size));
    EXPECT_EQ(memcmp(theirs, mine, sizeof mine), 0);
    ::unlink(path.c_str());
  }
  ::rmdir(directory_name);
  ::close(fd);
}

TEST_F(Inotify, WatchesAreChangedAndEnded) {
  RefPtr<AnonymousInode> watched = inode(0100644);
  const int watch = file->add_watch(*watched, IN_MODIFY).take();
  EXPECT_EQ(file->add_watch(*watched, IN_ATTRIB | IN_MASK_ADD).take(), watch);
  EXPECT_EQ(file->add_watch(*watched, IN_ATTRIB | IN_MASK_CREATE).code(), EEXIST);
  notify_inode(*watched, IN_MODIFY);
  notify_inode(*watched, IN_ATTRIB);
  EXPECT_EQ(file->remove_watch(watch + 1).code(), EINVAL);
  EXPECT_TRUE(file->remove_watch(watch).ok());
  EXPECT_EQ(file->remove_watch(watch).code(), EINVAL);
  notify_inode(*watched, IN_MODIFY);
  EXPECT_EQ(events(), (std::vector<Event>{{watch, IN_MODIFY, 0, ""}, {watch, IN_ATTRIB, 0, ""}, {watch, IN_IGNORED, 0, ""}}));
  EXPECT_EQ(superblock->watched_inodes, 0u);

  const int once = file->add_watch(*watched, IN_MODIFY | IN_ONESHOT).take();
  notify_inode(*watched, IN_MODIFY);
  notify_inode(*watched, IN_MODIFY);
  EXPECT_EQ(events(), (std::vector<Event>{{once, IN_MODIFY, 0, ""}, {once, IN_IGNORED, 0, ""}}));
}

TEST_F(Inotify, ADyingInodeEndsItsWatches) {
  RefPtr<AnonymousInode> watched = inode(0100644);
  const int watch = file->add_watch(*watched, IN_DELETE_SELF).take();
  watched->mark_removed();
  watched = nullptr;
  EXPECT_EQ(events(), (std::vector<Event>{{watch, IN_DELETE_SELF, 0, ""}, {watch, IN_IGNORED, 0, ""}}));
  EXPECT_EQ(superblock->watched_inodes, 0u);
}

TEST_F(Inotify, AFullQueueSaysSoOnce) {
  RefPtr<AnonymousInode> directory = inode(0040755);
  (void)file->add_watch(*directory, IN_CREATE).take();
  for (size_t i = 0; i < InotifyQueue::kMaximumEvents + 10; ++i) notify_entry(*directory, IN_CREATE, i % 2 ? "a" : "b");
  size_t total = 0, overflows = 0;
  for (;;) {
    const std::vector<Event> some = events();
    if (some.empty()) break;
    total += some.size();
    for (const Event& event : some)
      if (event.mask == IN_Q_OVERFLOW) {
        EXPECT_EQ(event.watch, -1);
        ++overflows;
      }
  }
  EXPECT_EQ(total, InotifyQueue::kMaximumEvents + 1);
  EXPECT_EQ(overflows, 1u);
}

TEST_F(Inotify, FilesAndInodesMayGoAtTheSameTime) {
  for (int round = 0; round < 300; ++round) {
    RefPtr<InotifyFile> watcher = InotifyFile::create(inode(), open_flags::kNonBlock).take();
    RefPtr<AnonymousInode> watched = inode(0100644);
    const int watch = watcher->add_watch(*watched, IN_MODIFY | IN_DELETE_SELF).take();
    std::vector<std::thread> threads;
    threads.emplace_back([&, held = watched] {
      for (int i = 0; i < 10; ++i) notify_inode(*held, IN_MODIFY);
    });
    threads.emplace_back([&, held = watcher] { (void)held->remove_watch(watch); });
    watched = nullptr;
    watcher = nullptr;
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(superblock->watched_inodes, 0u);
}

}  // namespace
}  // namespace umk::vfs
