// Pipes against the host's own: the same calls in the same order must have the same results.
#include "core/kernel/vfs/pipe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "core/kernel/guest/fake_user_memory.h"
#include "core/kernel/vfs/anonymous_inode.h"

namespace umk::vfs {
namespace {

int64_t raw(Result<size_t> result) { return result.ok() ? static_cast<int64_t>(result.value()) : -result.failure().code; }
int64_t host(ssize_t result) { return result < 0 ? -errno : result; }

class TestPipe {
 public:
  explicit TestPipe(uint32_t flags = 0) {
    RefPtr<AnonymousSuperblock> superblock = AnonymousSuperblock::create(AnonymousKind::Pipe, {0, 9}).take();
    superblock_ = superblock;
    PipePair pair = make_pipe(AnonymousInode::create(*superblock, 0010600, 0, 0).take(), flags).take();
    reader = std::move(pair.reader);
    writer = std::move(pair.writer);
  }
  int64_t write(std::span<const char> data) {
    UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(data));
    return raw(writer->write(buffer));
  }
  int64_t read(std::span<char> into) {
    UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(into));
    return raw(reader->read(buffer));
  }
  Pipe& pipe() { return *pipe_of(reader ? *reader : *writer); }

 private:
  RefPtr<AnonymousSuperblock> superblock_;

 public:
  RefPtr<OpenFile> reader, writer;
};

struct HostPipe {
  explicit HostPipe(int flags = 0) { EXPECT_EQ(pipe2(fds, flags), 0); }
  ~HostPipe() {
    for (int fd : fds) ::close(fd);
  }
  short poll(int end) {
    pollfd item{fds[end], POLLIN | POLLOUT | POLLRDHUP, 0};
    EXPECT_GE(::poll(&item, 1, 0), 0);
    return item.revents;
  }
  int fds[2];
};

// The bits that both sides were asked for.
short ours(OpenFile& file) { return static_cast<short>(file.poll(nullptr) & (POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP)); }

TEST(Pipe, BehavesAsTheHostsOverRandomCalls) {
  signal(SIGPIPE, SIG_IGN);
  std::mt19937 random(20260);
  for (int round = 0; round < 60; ++round) {
    TestPipe mine(open_flags::kNonBlock);
    HostPipe theirs(O_NONBLOCK);
    std::vector<char> data(200'000), got_mine(200'000), got_theirs(200'000);
    for (char& byte : data) byte = static_cast<char>(random());
    const size_t largest = round % 3 == 0 ? 100 : round % 3 == 1 ? 5000 : 150'000;
    for (int step = 0; step < 200; ++step) {
      const size_t size = random() % (largest + 1);
      switch (random() % 6) {
        case 0:
        case 1:
          ASSERT_EQ(mine.write(std::span(data).first(size)), host(::write(theirs.fds[1], data.data(), size))) << "write of " << size;
          break;
        case 2:
        case 3: {
          const int64_t count = host(::read(theirs.fds[0], got_theirs.data(), size));
          ASSERT_EQ(mine.read(std::span(got_mine).first(size)), count) << "read of " << size;
          if (count > 0) { ASSERT_EQ(memcmp(got_mine.data(), got_theirs.data(), static_cast<size_t>(count)), 0); }
          break;
        }
        case 4: {
          int bytes = 0;
          ASSERT_EQ(ioctl(theirs.fds[0], FIONREAD, &bytes), 0);
          ASSERT_EQ(mine.pipe().available_bytes(), static_cast<size_t>(bytes));
          ASSERT_EQ(ours(*mine.reader), theirs.poll(0));
          ASSERT_EQ(ours(*mine.writer), theirs.poll(1));
          break;
        }
        case 5:
          if (random() % 4 == 0) {
            const size_t capacity = random() % 400'000;
            const int64_t set = raw(mine.pipe().set_capacity(capacity, false));
            ASSERT_EQ(set, host(fcntl(theirs.fds[1], F_SETPIPE_SZ, capacity))) << capacity;
            ASSERT_EQ(mine.pipe().capacity_bytes(), static_cast<size_t>(fcntl(theirs.fds[1], F_GETPIPE_SZ)));
          }
          break;
      }
    }
  }
}

TEST(Pipe, PacketsKeepTheirBounds) {
  TestPipe mine(open_flags::kNonBlock | open_flags::kDirect);
  HostPipe theirs(O_NONBLOCK | O_DIRECT);
  char data[64] = {1, 2, 3}, into[64];
  for (size_t size : {10, 20, 30}) EXPECT_EQ(mine.write(std::span(data).first(size)), host(::write(theirs.fds[1], data, size)));
  EXPECT_EQ(mine.read(std::span(into).first(5)), host(::read(theirs.fds[0], into, 5)));
  EXPECT_EQ(mine.read(into), host(::read(theirs.fds[0], into, sizeof into)));
  EXPECT_EQ(mine.read(into), host(::read(theirs.fds[0], into, sizeof into)));
}

TEST(Pipe, ClosedEndsAreSeen) {
  TestPipe mine(open_flags::kNonBlock);
  HostPipe theirs(O_NONBLOCK);
  char byte = 'x', into[4];
  EXPECT_EQ(mine.write({&byte, 1}), 1);
  EXPECT_EQ(::write(theirs.fds[1], &byte, 1), 1);
  mine.writer = nullptr;
  ::close(theirs.fds[1]);
  EXPECT_EQ(ours(*mine.reader), theirs.poll(0));
  EXPECT_EQ(mine.read(into), 1);
  EXPECT_EQ(::read(theirs.fds[0], into, 4), 1);
  EXPECT_EQ(ours(*mine.reader), theirs.poll(0));
  EXPECT_EQ(mine.read(into), 0);
  theirs.fds[1] = -1;

  TestPipe other;
  other.reader = nullptr;
  EXPECT_EQ(other.write({&byte, 1}), -EPIPE);
  EXPECT_EQ(ours(*other.writer), POLLOUT | POLLERR);
}

TEST(Pipe, FaultsLoseNoData) {
  TestPipe mine(open_flags::kNonBlock);
  char data[100] = {42};
  ASSERT_EQ(mine.write(data), 100);
  {
    fake::BadUserRange bad(data, sizeof data);
    UserOutBuffer into(reinterpret_cast<uint64_t>(data), sizeof data);
    EXPECT_EQ(raw(mine.reader->read(into)), -EFAULT);
    UserInBuffer from(reinterpret_cast<uint64_t>(data), sizeof data);
    EXPECT_EQ(raw(mine.writer->write(from)), -EFAULT);
  }
  EXPECT_EQ(mine.pipe().available_bytes(), 100u);
}

TEST(Pipe, BlockedReadersAndWritersExchangeEverything) {
  TestPipe mine;
  constexpr size_t kTotal = 3'000'000;
  uint64_t sum_written = 0, sum_read = 0;
  std::thread writer([&] {
    std::mt19937 random(1);
    std::vector<char> data(100'000);
    for (size_t left = kTotal; left > 0;) {
      const size_t size = std::min<size_t>(left, 1 + random() % data.size());
      for (size_t i = 0; i < size; ++i) sum_written += static_cast<unsigned char>(data[i] = static_cast<char>(random()));
      ASSERT_EQ(mine.write(std::span(data).first(size)), static_cast<int64_t>(size));
      left -= size;
    }
    mine.writer = nullptr;
  });
  std::mt19937 random(2);
  std::vector<char> into(70'000);
  for (;;) {
    const int64_t count = mine.read(std::span(into).first(1 + random() % into.size()));
    ASSERT_GE(count, 0);
    if (count == 0) break;
    for (int64_t i = 0; i < count; ++i) sum_read += static_cast<unsigned char>(into[static_cast<size_t>(i)]);
  }
  writer.join();
  EXPECT_EQ(sum_read, sum_written);
}

TEST(Pipe, SmallWritesOfManyThreadsStayWhole) {
  TestPipe mine;
  constexpr int kThreads = 4, kRecords = 3000;
  constexpr size_t kRecord = 64;
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t)
    writers.emplace_back([&, t] {
      char record[kRecord];
      memset(record, 'a' + t, sizeof record);
      for (int i = 0; i < kRecords; ++i) ASSERT_EQ(mine.write(record), static_cast<int64_t>(kRecord));
    });
  std::vector<std::thread> readers;
  std::atomic<int> records{0};
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      char record[kRecord];
      while (records.fetch_add(1) < kThreads * kRecords) {
        ASSERT_EQ(mine.read(record), static_cast<int64_t>(kRecord));
        for (char byte : record) ASSERT_EQ(byte, record[0]);
      }
    });
  for (std::thread& thread : writers) thread.join();
  for (std::thread& thread : readers) thread.join();
}

TEST(Pipe, SleepersLearnThatTheOtherSideIsGone) {
  const std::vector<char> data(100'000);
  // Often, as the reader is to go also while the writer is about to sleep and tells readers of what it wrote.
  for (int round = 0; round < 500; ++round) {
    TestPipe mine;
    int64_t written = 0;
    std::thread writer([&] { written = mine.write(data); });
    while (mine.pipe().available_bytes() < 65536) std::this_thread::yield();
    mine.reader = nullptr;
    writer.join();
    EXPECT_EQ(written, 65536);
  }

  TestPipe other;
  int64_t count = -1;
  std::thread reader([&] {
    char into[4];
    count = other.read(into);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  other.writer = nullptr;
  reader.join();
  EXPECT_EQ(count, 0);
}

TEST(Pipe, AnInterruptEndsTheWait) {
  TestPipe mine;
  KernelStackHead* sleeper = nullptr;
  std::atomic<bool> ready{false};
  int64_t count = 0;
  std::thread reader([&] {
    sleeper = &current_stack();
    ready = true;
    char into[4];
    count = mine.read(into);
    current_stack().interrupts = 0;
  });
  while (!ready) std::this_thread::yield();
  sync::interrupt_context(*sleeper, sync::interrupt::kSignal);
  reader.join();
  EXPECT_EQ(count, -ERESTARTSYS);
}

// The writer writes, closes and leaves as soon as the reader has come: its open has met it all the same, and what it wrote is read.
TEST(Fifo, AnOpenThatWasMetReturnsThoughTheOtherSideHasLeftAgain) {
  constexpr int kRounds = 3000;
  RefPtr<AnonymousSuperblock> superblock = AnonymousSuperblock::create(AnonymousKind::Event, {0, 9}).take();
  RefPtr<Inode> inode = AnonymousInode::create(*superblock, 0010600, 0, 0).take();
  std::atomic<KernelStackHead*> sleepers[2] = {};
  std::atomic<int> met = 0;
  std::thread writer([&] {
    sleepers[0] = &current_stack();
    for (int round = 0; round < kRounds; ++round) {
      Result<RefPtr<OpenFile>> file = open_fifo(*inode, open_flags::kWriteOnly);
      if (!file.ok()) break;
      UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span("x", 1)));
      EXPECT_EQ(raw(file.value()->write(buffer)), 1);
      file.value() = nullptr;
      while (met <= round && current_stack().interrupts == 0) std::this_thread::yield();
    }
    current_stack().interrupts = 0;
    sleepers[0] = nullptr;
  });
  std::thread reader([&] {
    sleepers[1] = &current_stack();
    for (int round = 0; round < kRounds; ++round) {
      Result<RefPtr<OpenFile>> file = open_fifo(*inode, open_flags::kReadOnly);
      if (!file.ok()) break;
      char into[4];
      // To the end: the next open must not meet this writer.
      for (const int64_t expected : {1, 0}) {
        UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(into)));
        EXPECT_EQ(raw(file.value()->read(buffer)), expected);
      }
      file.value() = nullptr;
      ++met;
    }
    current_stack().interrupts = 0;
    sleepers[1] = nullptr;
  });
  // Instead of a hang: whoever sleeps for ever is interrupted.
  for (int seen = -1; seen != met && met < kRounds;) {
    seen = met;
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
  EXPECT_EQ(met, kRounds);
  for (std::atomic<KernelStackHead*>& sleeper : sleepers)
    if (met < kRounds && sleeper) sync::interrupt_context(*sleeper, sync::interrupt::kKill);
  writer.join();
  reader.join();
}

// --- splice and tee

TEST(Pipe, FurtherEndsOpenTheSamePipe) {
  TestPipe mine;
  RefPtr<OpenFile> second = open_fifo(mine.reader->inode(), open_flags::kReadOnly).take();
  EXPECT_EQ(pipe_of(*second), &mine.pipe());
  EXPECT_EQ(mine.write(std::span("abc", 3)), 3);
  mine.writer = nullptr;
  char into[8];
  UserOutBuffer buffer = UserOutBuffer::kernel(std::as_writable_bytes(std::span(into)));
  EXPECT_EQ(raw(second->read(buffer)), 3);
  EXPECT_EQ(mine.read(into), 0);
  // Without anybody at the other side an open does not wait, other than that of a FIFO.
  RefPtr<OpenFile> third = open_fifo(mine.reader->inode(), open_flags::kReadOnly).take();
  EXPECT_EQ(pipe_of(*third), &mine.pipe());
}

TEST(Splice, MovesAndCopiesBetweenPipesAsTheHost) {
  TestPipe from(open_flags::kNonBlock), to(open_flags::kNonBlock);
  HostPipe host_from(O_NONBLOCK), host_to(O_NONBLOCK);
  std::vector<char> data(30'000);
  std::mt19937 random(3);
  for (char& byte : data) byte = static_cast<char>(random());
  for (int step = 0; step < 300; ++step) {
    const size_t size = random() % 9000;
    std::vector<char> a(9000), b(9000);
    switch (random() % 4) {
      case 0: ASSERT_EQ(from.write(std::span(data).first(size)), host(::write(host_from.fds[1], data.data(), size))); break;
      case 1: {
        const int64_t count = host(::read(host_to.fds[0], b.data(), size));
        ASSERT_EQ(to.read(std::span(a).first(size)), count);
        ASSERT_EQ(a, b);
        break;
      }
      case 2:
        if (size == 0) break;
        ASSERT_EQ(raw(splice(*from.reader, nullptr, *to.writer, nullptr, size, true)),
                  host(::splice(host_from.fds[0], nullptr, host_to.fds[1], nullptr, size, SPLICE_F_NONBLOCK)));
        break;
      case 3:
        if (size == 0) break;
        ASSERT_EQ(raw(tee(*from.reader, *to.writer, size, true)), host(::tee(host_from.fds[0], host_to.fds[1], size, SPLICE_F_NONBLOCK)));
        break;
    }
  }
}

}  // namespace
}  // namespace umk::vfs
