// Epoll, poll and eventfd against the host's own.
#include "core/kernel/vfs/epoll.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "core/kernel/vfs/event_file.h"
#include "core/kernel/vfs/pipe.h"
#include "core/kernel/vfs/poll_wait.h"

namespace umk::vfs {
namespace {

constexpr Deadline kAtOnce{0};

struct Reported {
  uint32_t events;
  uint64_t data;
  friend auto operator<=>(const Reported&, const Reported&) = default;
};
void PrintTo(const Reported& reported, std::ostream* out) { *out << std::hex << reported.events << ":" << reported.data; }

struct Collector final : EpollSink {
  Result<void> put(uint32_t events, uint64_t data) override {
    if (fails) return error(EFAULT);
    reported.push_back({events, data});
    return {};
  }
  std::vector<Reported> reported;
  bool fails = false;
};

class Epoll : public ::testing::Test {
 protected:
  RefPtr<AnonymousInode> inode() { return AnonymousInode::create(*superblock, 0600, 0, 0).take(); }
  RefPtr<EpollFile> make_epoll() { return EpollFile::create(inode()).take(); }
  RefPtr<OpenFile> make_event(uint64_t count, bool semaphore = false) {
    return make_ref<EventFile>(inode(), count, semaphore, open_flags::kNonBlock).take();
  }
  std::vector<Reported> wait(EpollFile& epoll, size_t limit = 64) {
    Collector collector;
    EXPECT_TRUE(epoll.wait(collector, limit, kAtOnce).ok());
    return collector.reported;
  }

  RefPtr<AnonymousSuperblock> superblock = AnonymousSuperblock::create(AnonymousKind::Event, {0, 10}).take();
};

int write_number(OpenFile& file, uint64_t number) {
  UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(&number, 1)));
  Result<size_t> written = file.write(buffer);
  return written.ok() ? 0 : -written.failure().code;
}
int read_number(OpenFile& file, uint64_t& number) {
  UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(&number, 1)));
  Result<size_t> read = file.read(buffer);
  return read.ok() ? 0 : -read.failure().code;
}

// A file of ours and its like on the host.
struct Twin {
  RefPtr<OpenFile> mine;
  int theirs;
};

std::vector<Reported> host_wait(int epoll, int limit = 64) {
  epoll_event events[64];
  const int count = epoll_wait(epoll, events, limit, 0);
  std::vector<Reported> reported;
  for (int i = 0; i < count; ++i) reported.push_back({events[i].events, events[i].data.u64});
  return reported;
}

int host_control(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return epoll_ctl(epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

int code(Result<void> result) { return -result.code(); }

TEST_F(Epoll, ReportsWhatTheHostReportsOverRandomCalls) {
  signal(SIGPIPE, SIG_IGN);
  std::mt19937 random(7);
  for (int round = 0; round < 150; ++round) {
    RefPtr<EpollFile> mine = make_epoll();
    const int theirs = epoll_create1(0);
    std::vector<Twin> twins;
    for (int i = 0; i < 3; ++i) twins.push_back({make_event(0), eventfd(0, EFD_NONBLOCK)});
    for (int i = 0; i < 2; ++i) {
      PipePair pair = make_pipe(inode(), open_flags::kNonBlock).take();
      int fds[2];
      ASSERT_EQ(pipe2(fds, O_NONBLOCK), 0);
      twins.push_back({pair.reader, fds[0]});
      twins.push_back({pair.writer, fds[1]});
    }
    for (int step = 0; step < 250; ++step) {
      const size_t index = random() % twins.size();
      Twin& twin = twins[index];
      if (!twin.mine) continue;
      uint32_t events = 0;
      if (random() % 2) events |= EPOLLIN;
      if (random() % 2) events |= EPOLLOUT;
      if (random() % 2) events |= EPOLLET;
      if (random() % 4 == 0) events |= EPOLLONESHOT;
      const uint64_t data = random();
      // Bytes go in units that tell apart a pipe that is empty, in use and full.
      std::vector<char> bytes(random() % 3 == 0 ? 65536 : 100);
      switch (random() % 8) {
        case 0: ASSERT_EQ(code(mine->add(twin.theirs, *twin.mine, events, data)), host_control(theirs, EPOLL_CTL_ADD, twin.theirs, events, data)); break;
        case 1: ASSERT_EQ(code(mine->modify(twin.theirs, *twin.mine, events, data)), host_control(theirs, EPOLL_CTL_MOD, twin.theirs, events, data)); break;
        case 2:
          if (random() % 3 == 0) { ASSERT_EQ(code(mine->remove(twin.theirs, *twin.mine)), host_control(theirs, EPOLL_CTL_DEL, twin.theirs, 0, 0)); }
          break;
        case 3:
        case 4: {
          if (!twin.mine->is_writable()) break;
          if (twin.mine->kind() == FileKind::Event) {
            const uint64_t number = random() % 3 == 0 ? UINT64_MAX - 1 : 1;
            ASSERT_EQ(write_number(*twin.mine, number), ::write(twin.theirs, &number, 8) == 8 ? 0 : -errno);
          } else {
            UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span<const char>(bytes)));
            const ssize_t written = ::write(twin.theirs, bytes.data(), bytes.size());
            const int failure = errno;
            Result<size_t> ours = twin.mine->write(buffer);
            ASSERT_EQ(ours.ok() ? static_cast<ssize_t>(ours.value()) : -ours.failure().code, written < 0 ? -failure : written);
          }
          break;
        }
        case 5: {
          if (!twin.mine->is_readable()) break;
          if (twin.mine->kind() == FileKind::Event) {
            uint64_t a = 0, b = 0;
            ASSERT_EQ(read_number(*twin.mine, a), ::read(twin.theirs, &b, 8) == 8 ? 0 : -errno);
            ASSERT_EQ(a, b);
          } else {
            UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span<char>(bytes)));
            const ssize_t count = ::read(twin.theirs, bytes.data(), bytes.size());
            const int failure = errno;
            Result<size_t> ours = twin.mine->read(buffer);
            ASSERT_EQ(ours.ok() ? static_cast<ssize_t>(ours.value()) : -ours.failure().code, count < 0 ? -failure : count);
          }
          break;
        }
        case 6:
          if (random() % 30 == 0) {
            twin.mine = nullptr;
            ::close(twin.theirs);
          }
          break;
        case 7: {
          const size_t limit = 1 + random() % 8;
          ASSERT_EQ(wait(*mine, limit), host_wait(theirs, static_cast<int>(limit))) << "round " << round << " step " << step;
          break;
        }
      }
    }
    for (Twin& twin : twins)
      if (twin.mine) ::close(twin.theirs);
    ::close(theirs);
  }
}

TEST_F(Epoll, RefusesWhatTheHostRefuses) {
  RefPtr<EpollFile> mine = make_epoll();
  const int theirs = epoll_create1(0);
  Twin event{make_event(0), eventfd(0, 0)};
  Twin inner{make_epoll(), epoll_create1(0)};

  EXPECT_EQ(code(mine->modify(3, *event.mine, EPOLLIN, 0)), host_control(theirs, EPOLL_CTL_MOD, event.theirs, EPOLLIN, 0));
  EXPECT_EQ(code(mine->remove(3, *event.mine)), host_control(theirs, EPOLL_CTL_DEL, event.theirs, 0, 0));
  EXPECT_EQ(code(mine->add(4, *mine, EPOLLIN, 0)), host_control(theirs, EPOLL_CTL_ADD, theirs, EPOLLIN, 0));
  const uint32_t exclusive = EPOLLIN | EPOLLEXCLUSIVE;
  EXPECT_EQ(code(mine->add(3, *event.mine, exclusive | EPOLLONESHOT, 0)), host_control(theirs, EPOLL_CTL_ADD, event.theirs, exclusive | EPOLLONESHOT, 0));
  EXPECT_EQ(code(mine->add(5, *inner.mine, exclusive, 0)), host_control(theirs, EPOLL_CTL_ADD, inner.theirs, exclusive, 0));
  EXPECT_EQ(code(mine->add(3, *event.mine, exclusive, 0)), host_control(theirs, EPOLL_CTL_ADD, event.theirs, exclusive, 0));
  EXPECT_EQ(code(mine->add(3, *event.mine, EPOLLIN, 0)), host_control(theirs, EPOLL_CTL_ADD, event.theirs, EPOLLIN, 0));
  EXPECT_EQ(code(mine->modify(3, *event.mine, EPOLLIN, 0)), host_control(theirs, EPOLL_CTL_MOD, event.theirs, EPOLLIN, 0));
  EXPECT_EQ(code(mine->modify(3, *event.mine, exclusive, 0)), host_control(theirs, EPOLL_CTL_MOD, event.theirs, exclusive, 0));
  for (int fd : {theirs, event.theirs, inner.theirs}) ::close(fd);
}

TEST_F(Epoll, NestsAsDeepAsTheHostAndWithoutLoops) {
  std::vector<Twin> chain;
  for (int i = 0; i < 8; ++i) chain.push_back({make_epoll(), epoll_create1(0)});
  Twin event{make_event(0), eventfd(0, EFD_NONBLOCK)};
  EXPECT_EQ(code(static_cast<EpollFile&>(*chain[0].mine).add(9, *event.mine, EPOLLIN, 1)), host_control(chain[0].theirs, EPOLL_CTL_ADD, event.theirs, EPOLLIN, 1));
  int depth = 0;
  for (size_t i = 1; i < chain.size(); ++i) {
    const int result = host_control(chain[i].theirs, EPOLL_CTL_ADD, chain[i - 1].theirs, EPOLLIN, i);
    EXPECT_EQ(code(static_cast<EpollFile&>(*chain[i].mine).add(9, *chain[i - 1].mine, EPOLLIN, i)), result) << "level " << i;
    if (result == 0) depth = static_cast<int>(i);
  }
  // A loop.
  EXPECT_EQ(code(static_cast<EpollFile&>(*chain[0].mine).add(9, *chain[2].mine, EPOLLIN, 0)), host_control(chain[0].theirs, EPOLL_CTL_ADD, chain[2].theirs, EPOLLIN, 0));
  // Readiness goes up through all levels.
  auto& top = static_cast<EpollFile&>(*chain[static_cast<size_t>(depth)].mine);
  EXPECT_EQ(wait(top), host_wait(chain[static_cast<size_t>(depth)].theirs));
  const uint64_t one = 1;
  EXPECT_EQ(write_number(*event.mine, 1), 0);
  EXPECT_EQ(::write(event.theirs, &one, 8), 8);
  EXPECT_EQ(wait(top), host_wait(chain[static_cast<size_t>(depth)].theirs));
  uint64_t number;
  EXPECT_EQ(read_number(*event.mine, number), 0);
  EXPECT_EQ(::read(event.theirs, &number, 8), 8);
  EXPECT_EQ(wait(top), host_wait(chain[static_cast<size_t>(depth)].theirs));
  for (Twin& twin : chain) ::close(twin.theirs);
  ::close(event.theirs);
}

TEST_F(Epoll, AFaultLeavesTheItemReady) {
  RefPtr<EpollFile> epoll = make_epoll();
  RefPtr<OpenFile> event = make_event(1);
  ASSERT_TRUE(epoll->add(3, *event, EPOLLIN | EPOLLET, 5).ok());
  Collector broken;
  broken.fails = true;
  EXPECT_EQ(epoll->wait(broken, 4, kAtOnce).code(), EFAULT);
  EXPECT_EQ(wait(*epoll), (std::vector<Reported>{{EPOLLIN, 5}}));
  EXPECT_TRUE(wait(*epoll).empty());
}

TEST_F(Epoll, WakesOneSleeperForEachEdge) {
  RefPtr<EpollFile> epoll = make_epoll();
  RefPtr<OpenFile> event = make_event(0);
  ASSERT_TRUE(epoll->add(3, *event, EPOLLIN | EPOLLET, 5).ok());
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      Collector collector;
      if (epoll->wait(collector, 4, Deadline::after_ns(300'000'000)).value_or(0) == 1) ++woken;
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(write_number(*event, 1), 0);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(woken, 1);
}

TEST_F(Epoll, StandsThreadsThatUseAndCloseEverythingAtOnce) {
  std::atomic<bool> stop{false};
  for (int round = 0; round < 20; ++round) {
    RefPtr<EpollFile> outer = make_epoll();
    RefPtr<EpollFile> inner = make_epoll();
    ASSERT_TRUE(outer->add(1, *inner, EPOLLIN, 1).ok());
    RefPtr<OpenFile> shared = make_event(0);
    ASSERT_TRUE(inner->add(2, *shared, EPOLLIN, 2).ok());
    stop = false;
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
      while (!stop) {
        Collector collector;
        (void)outer->wait(collector, 8, Deadline::after_ns(1'000'000));
      }
    });
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        RefPtr<OpenFile> event = make_event(0);
        (void)inner->add(10, *event, i % 2 ? EPOLLIN : EPOLLIN | EPOLLET, 3);
        (void)write_number(*event, 1);
        (void)inner->modify(10, *event, EPOLLIN | EPOLLOUT, 4);
      }
      stop = true;
    });
    threads.emplace_back([&] {
      uint64_t number;
      while (!stop) {
        (void)write_number(*shared, 1);
        (void)read_number(*shared, number);
      }
    });
    // Instances come and go over a file that stays.
    threads.emplace_back([&] {
      while (!stop) {
        RefPtr<EpollFile> passing = make_epoll();
        (void)passing->add(2, *shared, EPOLLIN, 1);
        (void)passing->add(3, *inner, EPOLLIN, 1);
      }
    });
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(Epoll, AFileAndItsWatchersMayGoAtTheSameTime) {
  for (int round = 0; round < 300; ++round) {
    RefPtr<EpollFile> epoll = make_epoll();
    RefPtr<OpenFile> event = make_event(1);
    ASSERT_TRUE(epoll->add(1, *event, EPOLLIN, 1).ok());
    std::thread first([&] { epoll = nullptr; });
    std::thread second([&] { event = nullptr; });
    first.join();
    second.join();
  }
}

// --- poll and eventfd

using Poll = Epoll;

TEST_F(Poll, WaitsForTheFirstFileThatIsReady) {
  std::vector<PolledFile> files;
  std::vector<RefPtr<OpenFile>> events;
  for (int i = 0; i < 40; ++i) {
    events.push_back(make_event(0));
    files.push_back({events.back(), POLLIN, 0});
  }
  EXPECT_EQ(wait_for_files(files, kAtOnce).value_or(9), 0u);
  EXPECT_EQ(wait_for_files(files, Deadline::after_ns(5'000'000)).value_or(9), 0u);
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    (void)write_number(*events[37], 1);
  });
  EXPECT_EQ(wait_for_files(files, Deadline::never()).value_or(9), 1u);
  EXPECT_EQ(files[37].ready, static_cast<uint32_t>(POLLIN));
  writer.join();
}

TEST_F(Poll, EndsWithASignal) {
  std::vector<PolledFile> files{{make_event(0), POLLIN, 0}};
  KernelStackHead* sleeper = nullptr;
  std::atomic<bool> ready{false};
  int result = 0;
  std::thread thread([&] {
    sleeper = &current_stack();
    ready = true;
    result = wait_for_files(files, Deadline::never()).code();
    current_stack().interrupts = 0;
  });
  while (!ready) std::this_thread::yield();
  sync::interrupt_context(*sleeper, sync::interrupt::kSignal);
  thread.join();
  EXPECT_EQ(result, ERESTARTSYS);
}

TEST_F(Poll, EventFilesCountAsTheHosts) {
  Twin semaphore{make_event(3, true), eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK)};
  for (int i = 0; i < 5; ++i) {
    uint64_t a = 0, b = 0;
    ASSERT_EQ(read_number(*semaphore.mine, a), ::read(semaphore.theirs, &b, 8) == 8 ? 0 : -errno);
    ASSERT_EQ(a, b);
  }
  for (const uint64_t number : {UINT64_MAX, UINT64_MAX - 1, uint64_t{0}, uint64_t{1}})
    ASSERT_EQ(write_number(*semaphore.mine, number), ::write(semaphore.theirs, &number, 8) == 8 ? 0 : -errno);
  ::close(semaphore.theirs);
}

TEST_F(Poll, EventFilesPassEveryCountBetweenThreads) {
  RefPtr<OpenFile> event = make_ref<EventFile>(inode(), uint64_t{0}, true, 0u).take();
  std::thread writer([&] {
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(write_number(*event, 1), 0);
  });
  uint64_t number;
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(read_number(*event, number), 0);
  writer.join();
}

}  // namespace
}  // namespace umk::vfs
