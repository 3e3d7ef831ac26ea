#include "core/drivers/console/console_driver.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <thread>

#include "core/host/calls.h"
#include "core/kernel/tty/fake_job_control.h"

namespace umk::console {
namespace {

using namespace std::chrono_literals;
using namespace vfs::open_flags;
using tty::read_text;
using tty::write_text;

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

/// The driver with its thread, and the monitor's side played by the test.
class ConsoleDriverTest : public testing::Test {
 protected:
  ConsoleDriverTest() : driver(ConsoleDriver::create(jobs).take()), board(driver->board()), event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    board.monitor_event.store(event);
    thread = std::thread([this] { driver->run(); });
  }
  ~ConsoleDriverTest() override {
    driver->stop();
    thread.join();
    close(event);
  }
  void notify() {
    if (board.notify_core()) host::futex_wake(&board.core_wake, 1);
  }
  void notify(unsigned line) {
    if (board.notify_core(line)) host::futex_wake(&board.core_wake, 1);
  }
  /// The line's wish once it is `expected`, or whatever it still is after a while.
  ConsoleLine::Wish wish_of(unsigned line, ConsoleLine::Wish expected) {
    for (int i = 0; i < 400 && board.lines[line].wish() != expected; ++i) std::this_thread::sleep_for(5ms);
    return board.lines[line].wish();
  }
  void report(unsigned line, ConsoleLine::State state, int error = 0) {
    board.lines[line].set_report({board.lines[line].wish().session, state, static_cast<uint16_t>(error)});
    notify(line);
  }
  /// Plays the monitor for a channel that opens at once.
  void open_channel(unsigned line, uint32_t session) {
    ASSERT_EQ(wish_of(line, {session, true}), (ConsoleLine::Wish{session, true}));
    board.lines[line].channel()->input.restart();
    board.lines[line].channel()->output.restart();
    report(line, ConsoleLine::State::Open);
  }
  /// open(2) of a line on a thread of its own.
  std::future<Result<RefPtr<vfs::OpenFile>>> open_line(uint32_t minor, uint32_t flags = kReadWrite | kNoControllingTty) {
    return std::async(std::launch::async, [this, minor, flags]() -> Result<RefPtr<vfs::OpenFile>> {
      RefPtr<tty::Tty> line = TRY(driver->find_line(minor));
      return line->open(tty::fake_inode(), flags);
    });
  }
  void type(std::string_view text) {
    type_at(0, text);
  }
  void type_at(unsigned line, std::string_view text) {
    ASSERT_EQ(board.lines[line].channel()->input.put(bytes_of(text)), text.size());
    notify(line);
  }
  void notify_of(const ConsoleRing& ring) {
    for (unsigned line = 0; line < kLines; ++line)
      if (board.lines[line].channel() && &board.lines[line].channel()->output == &ring) return notify(line);
    notify();
  }
  /// What the core has put, waiting for at least `size` bytes.
  std::string take(ConsoleRing& ring, size_t size) {
    std::string got;
    while (got.size() < size) {
      char piece[4096];
      const uint32_t count = ring.take({reinterpret_cast<uint8_t*>(piece), sizeof piece});
      if (ring.must_wake_producer()) notify_of(ring);
      got.append(piece, count);
      if (count > 0) continue;
      ring.want_bytes();
      pollfd entry{event, POLLIN, 0};
      if (ring.empty() && poll(&entry, 1, 2000) == 0) break;
      uint64_t ignored;
      if (read(event, &ignored, sizeof ignored) < 0) continue;
    }
    return got;
  }

  tty::FakeJobControl jobs;
  std::unique_ptr<ConsoleDriver> driver;
  ConsoleBoard& board;
  int event;
  std::thread thread;
};

TEST_F(ConsoleDriverTest, TypesAndShows) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  type("hello\n");
  EXPECT_EQ(read_text(*file), "hello\n");
  EXPECT_EQ(write_text(*file, "out\n"), "4");
  EXPECT_EQ(take(board.console().output, 12), "hello\r\nout\r\n");
}

TEST_F(ConsoleDriverTest, InterruptDiscardsWhatWasNotShown) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  EXPECT_EQ(write_text(*file, "much\n"), "5");
  type("\x03");
  ConsoleRing& output = board.console().output;
  bool is_forgotten = false;
  for (int i = 0; i < 2000 && !is_forgotten; ++i) {
    is_forgotten = output.drop_forgotten();
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(is_forgotten);
  EXPECT_EQ(take(output, 2), "^C");
}

TEST_F(ConsoleDriverTest, ReaderSleepsUntilSomethingIsTyped) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  std::string got;
  std::thread reader([&] { got = read_text(*file); });
  std::this_thread::sleep_for(20ms);
  type("x\n");
  reader.join();
  EXPECT_EQ(got, "x\n");
}

TEST_F(ConsoleDriverTest, LongOutputAndLongInputLoseNothing) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  KernelTermios settings = termios::kDefaults;
  settings.local_flags = settings.input_flags = settings.output_flags = 0;
  ASSERT_EQ(tty::control(*file, termios::kTcsets, settings), 0);

  std::string out(500'000, 'x');
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>('a' + i * 7 % 26);
  std::thread writer([&] { EXPECT_EQ(write_text(*file, out), "500000"); });
  EXPECT_EQ(take(board.console().output, out.size()), out);
  writer.join();

  // More than the line discipline takes at once.
  const std::string in(50'000, 'y');
  type(in);
  std::string got;
  while (got.size() < in.size()) got += read_text(*file, 3000);
  EXPECT_EQ(got, in);
}

TEST_F(ConsoleDriverTest, DrainWaitsForTheMonitor) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  EXPECT_EQ(write_text(*file, "text"), "4");
  std::atomic<bool> is_drained{false};
  std::thread drainer([&] {
    EXPECT_EQ(tty::control_value(*file, termios::kTcsbrk, 1), 0);
    is_drained = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(is_drained);
  EXPECT_EQ(take(board.console().output, 4), "text");
  drainer.join();
}

TEST_F(ConsoleDriverTest, NoticesArrive) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  board.console().set_window({30, 100, 0, 0});
  notify(0);
  for (int i = 0; i < 200 && driver->terminal().window_size().rows != 30; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(driver->terminal().window_size().columns, 100);
  std::string got = "nothing";
  std::thread reader([&] { got = read_text(*file); });
  std::this_thread::sleep_for(20ms);
  report(0, ConsoleLine::State::Lost);
  reader.join();
  EXPECT_EQ(got, "");
}

TEST_F(ConsoleDriverTest, EndOfPlainInputIsPassedOnOnce) {
  const auto file = driver->terminal().open(tty::fake_inode(), kReadWrite | kNoControllingTty).take();
  type("line\n");
  board.console().input.end();
  notify(0);
  EXPECT_EQ(read_text(*file), "line\n");
  EXPECT_EQ(read_text(*file), "");
  file->set_status_flags(file->flags() | kNonBlock);
  EXPECT_EQ(read_text(*file), "errno 11");
}

constexpr unsigned kFirstSerial = line_of_serial(0);
constexpr uint32_t kFirstSerialMinor = tty::kFirstSerialMinor;

TEST_F(ConsoleDriverTest, LinesComeAndGo) {
  EXPECT_EQ(driver->find_line(kFirstSerialMinor).code(), ENXIO);
  EXPECT_EQ(driver->find_line(3).code(), ENXIO);
  EXPECT_EQ(driver->find_line(16).code(), ENXIO);
  EXPECT_EQ(driver->find_line(63).code(), ENXIO);
  EXPECT_EQ(driver->find_line(128).code(), ENXIO);
  EXPECT_EQ(driver->remove_line(3).code(), ENODEV);
  EXPECT_EQ(driver->add_line(kLines).code(), ENODEV);
  ASSERT_TRUE(driver->add_line(3).ok());
  EXPECT_EQ(driver->add_line(3).code(), EEXIST);
  const RefPtr<tty::Tty> line = driver->find_line(3).take();
  EXPECT_EQ(line->device_number(), (vfs::DeviceNumber{4, 3}));
  ASSERT_TRUE(driver->add_line(kFirstSerial + 63).ok());
  EXPECT_EQ(driver->find_line(127).take()->device_number(), (vfs::DeviceNumber{4, 127}));
  ASSERT_TRUE(driver->remove_line(3).ok());
  EXPECT_EQ(driver->find_line(3).code(), ENXIO);
  // Whoever found it before that opens nothing either.
  EXPECT_EQ(line->open(tty::fake_inode(), kReadWrite).code(), ENXIO);
  ASSERT_TRUE(driver->add_line(3).ok());
  EXPECT_EQ(driver->find_line(3).value(), line);
}

TEST_F(ConsoleDriverTest, ConsoleOneIsConsoleZeroUntilThereIsOne) {
  EXPECT_EQ(driver->find_line(1).take().get(), &driver->terminal());
  ASSERT_TRUE(driver->add_line(1).ok());
  EXPECT_NE(driver->find_line(1).take().get(), &driver->terminal());
  ASSERT_TRUE(driver->remove_line(1).ok());
  EXPECT_EQ(driver->find_line(1).take().get(), &driver->terminal());
}

TEST_F(ConsoleDriverTest, FirstOpenWaitsForTheChannelAndLastCloseEndsIt) {
  ASSERT_TRUE(driver->add_line(kFirstSerial).ok());
  EXPECT_EQ(board.lines[kFirstSerial].channel(), nullptr);
  auto first = open_line(kFirstSerialMinor), second = open_line(kFirstSerialMinor);
  EXPECT_EQ(first.wait_for(30ms), std::future_status::timeout);
  EXPECT_EQ(driver->remove_line(kFirstSerial).code(), EBUSY);
  open_channel(kFirstSerial, 1);
  auto one = first.get().take(), two = second.get().take();

  type_at(kFirstSerial, "typed\n");
  EXPECT_EQ(read_text(*one), "typed\n");
  EXPECT_EQ(write_text(*two, "shown\n"), "6");
  EXPECT_EQ(take(board.lines[kFirstSerial].channel()->output, 14), "typed\r\nshown\r\n");

  EXPECT_EQ(driver->remove_line(kFirstSerial).code(), EBUSY);
  one = nullptr;
  EXPECT_EQ(board.lines[kFirstSerial].wish(), (ConsoleLine::Wish{1, true}));
  two = nullptr;
  EXPECT_EQ(board.lines[kFirstSerial].wish(), (ConsoleLine::Wish{1, false}));
  EXPECT_TRUE(driver->remove_line(kFirstSerial).ok());
}

TEST_F(ConsoleDriverTest, FailureToOpenTheChannelIsThatOfOpen) {
  ASSERT_TRUE(driver->add_line(2).ok());
  auto file = open_line(2);
  ASSERT_EQ(wish_of(2, {1, true}), (ConsoleLine::Wish{1, true}));
  report(2, ConsoleLine::State::Failed, ENODEV);
  EXPECT_EQ(file.get().code(), ENODEV);
  // And the next one tries anew. A report about a session that is over changes nothing.
  file = open_line(2);
  ASSERT_EQ(wish_of(2, {2, true}), (ConsoleLine::Wish{2, true}));
  board.lines[2].set_report({1, ConsoleLine::State::Open, 0});
  notify(2);
  EXPECT_EQ(file.wait_for(30ms), std::future_status::timeout);
  open_channel(2, 2);
  EXPECT_TRUE(file.get().ok());
}

TEST_F(ConsoleDriverTest, LostLineHangsUpAndIsOpenedAnew) {
  ASSERT_TRUE(driver->add_line(kFirstSerial).ok());
  auto opening = open_line(kFirstSerialMinor);
  open_channel(kFirstSerial, 1);
  const auto old = opening.get().take();
  type_at(kFirstSerial, "not read");
  report(kFirstSerial, ConsoleLine::State::Lost);
  EXPECT_EQ(read_text(*old), "");
  EXPECT_EQ(write_text(*old, "x"), "errno 5");

  // What hung up stays so, and does not count: the line's next session ends with its own last close.
  opening = open_line(kFirstSerialMinor);
  open_channel(kFirstSerial, 2);
  auto fresh = opening.get().take();
  type_at(kFirstSerial, "new\n");
  EXPECT_EQ(read_text(*fresh), "new\n");
  EXPECT_EQ(read_text(*old), "");
  EXPECT_EQ(driver->remove_line(kFirstSerial).code(), EBUSY);
  fresh = nullptr;
  EXPECT_EQ(board.lines[kFirstSerial].wish(), (ConsoleLine::Wish{2, false}));
  EXPECT_TRUE(driver->remove_line(kFirstSerial).ok());
}

TEST_F(ConsoleDriverTest, HangUpFromWithinEndsTheSession) {
  ASSERT_TRUE(driver->add_line(kFirstSerial).ok());
  auto opening = open_line(kFirstSerialMinor);
  open_channel(kFirstSerial, 1);
  const auto file = opening.get().take();
  driver->find_line(kFirstSerialMinor).take()->hang_up();
  EXPECT_EQ(board.lines[kFirstSerial].wish(), (ConsoleLine::Wish{1, false}));
}

TEST_F(ConsoleDriverTest, ConsoleStaysOpenWithoutUsersAndDiscardsOutputWithoutAChannel) {
  auto file = driver->terminal().open(tty::fake_inode(), kReadWrite, true).take();
  file = nullptr;
  EXPECT_EQ(board.lines[0].wish(), (ConsoleLine::Wish{1, true}));
  EXPECT_EQ(driver->remove_line(0).code(), EBUSY);

  file = driver->terminal().open(tty::fake_inode(), kReadWrite, true).take();
  report(0, ConsoleLine::State::Lost);
  // What is open as /dev/console is not hung up: it writes to nobody, instead of sleeping for ever.
  const std::string text(200'000, 'x');
  EXPECT_EQ(write_text(*file, text), "200000");
  // The next such open asks for the channel and does not wait; writers do.
  const auto again = driver->terminal().open(tty::fake_inode(), kReadWrite, true).take();
  ASSERT_EQ(wish_of(0, {2, true}), (ConsoleLine::Wish{2, true}));
  auto written = std::async(std::launch::async, [&] { return write_text(*again, "hello"); });
  EXPECT_EQ(written.wait_for(30ms), std::future_status::timeout);
  open_channel(0, 2);
  EXPECT_EQ(written.get(), "5");
  EXPECT_EQ(take(board.console().output, 5), "hello");
}

TEST_F(ConsoleDriverTest, StreamsAreNoTerminals) {
  const auto in = driver->open_stream(0, tty::fake_inode()).take();
  auto out = driver->open_stream(1, tty::fake_inode()).take();
  KernelTermios settings;
  EXPECT_EQ(tty::control(*in, termios::kTcgets, settings), ENOTTY);
  EXPECT_EQ(in->poll(nullptr), 0u);

  std::string got;
  std::thread reader([&] { got = read_text(*in); });
  std::this_thread::sleep_for(20ms);
  board.standard[0].put(bytes_of("data"));
  notify();
  reader.join();
  EXPECT_EQ(got, "data");

  board.standard[0].put(bytes_of("rest"));
  board.standard[0].end();
  notify();
  EXPECT_EQ(in->poll(nullptr), vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal | vfs::poll_bits::kHangUp);
  EXPECT_EQ(read_text(*in), "rest");
  EXPECT_EQ(read_text(*in), "");

  const std::string text(300'000, 'z');
  std::thread writer([&] { EXPECT_EQ(write_text(*out, text), "300000"); });
  EXPECT_EQ(take(board.standard[1], text.size()), text);
  writer.join();
  out = nullptr;
  EXPECT_TRUE(board.standard[1].is_ended());
}

// The other side acts at every moment of a sleeper's way to its sleep.
TEST(StreamPort, LosesNoWakeUp) {
  constexpr int kRounds = 150'000;
  const auto board = std::make_unique<ConsoleBoard>();
  ConsoleRing& ring = board->standard[0];
  StreamPort port(*board, ring);
  std::thread reader([&] {
    for (int round = 0; round < kRounds; ++round) {
      std::byte into[1];
      UserOutBuffer buffer = UserOutBuffer::kernel(into);
      EXPECT_TRUE(port.read(buffer, false).ok());
    }
  });
  int lost = 0;
  for (int round = 0; round < kRounds; ++round) {
    ring.put(bytes_of("x"));
    port.on_change();
    const auto patience = std::chrono::steady_clock::now() + 2s;
    for (int look = 0; !ring.empty(); ++look) {
      if (look % 1000 != 999) continue;
      std::this_thread::yield();
      if (std::chrono::steady_clock::now() < patience) continue;
      ++lost;
      port.on_change();
      break;
    }
    while (!ring.empty()) std::this_thread::yield();
    // The reader is on its way into its next read.
    for (int i = 0; i < round % 256; ++i) __builtin_ia32_pause();
  }
  reader.join();
  EXPECT_EQ(lost, 0);
}

TEST_F(ConsoleDriverTest, WriterToAnAbandonedStreamFails) {
  const auto out = driver->open_stream(2, tty::fake_inode()).take();
  const std::string text(100'000, 'z');
  std::string first, second;
  std::thread writer([&] {
    first = write_text(*out, text);
    second = write_text(*out, "x");
  });
  std::this_thread::sleep_for(20ms);
  board.standard[2].abandon();
  if (board.standard[2].must_wake_producer()) notify();
  writer.join();
  EXPECT_EQ(first, "65536");
  EXPECT_EQ(second, "errno 32");
  EXPECT_EQ(out->poll(nullptr) & vfs::poll_bits::kError, vfs::poll_bits::kError);
}

}  // namespace
}  // namespace umk::console
