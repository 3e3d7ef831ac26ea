#include "monitor/channels/console_pump.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace umk::monitor {
namespace {

using namespace std::chrono_literals;
using console::ConsoleBoard;
using console::ConsoleChannel;
using console::ConsoleRing;

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct Pipe {
  int read_end, write_end;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) abort();
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  void close_read() {
    if (read_end >= 0) close(std::exchange(read_end, -1));
  }
  void close_write() {
    if (write_end >= 0) close(std::exchange(write_end, -1));
  }
  void write(std::string_view text) { ASSERT_EQ(::write(write_end, text.data(), text.size()), static_cast<ssize_t>(text.size())); }
  /// What is in the pipe now.
  std::string take() {
    fcntl(read_end, F_SETFL, O_NONBLOCK);
    std::string got;
    char piece[65536];
    for (;;) {
      const ssize_t count = ::read(read_end, piece, sizeof piece);
      if (count <= 0) return got;
      got.append(piece, static_cast<size_t>(count));
    }
  }
};

/// The core's side is played by the test, in the same thread.
class ConsolePumpTest : public testing::Test {
 protected:
  void turn(int times = 20) {
    for (int i = 0; i < times; ++i) loop.run_once(1);
  }
  void put(ConsoleRing& ring, std::string_view text) {
    ASSERT_EQ(ring.put(bytes_of(text)), text.size());
    wake_if(ring.must_wake_consumer());
  }
  std::string take(ConsoleRing& ring, size_t limit = ConsoleRing::kCapacity) {
    std::string text(limit, '\0');
    text.resize(ring.take({reinterpret_cast<uint8_t*>(text.data()), limit}));
    wake_if(ring.must_wake_producer());
    return text;
  }
  /// As the core makes it: console 0 is open from the start.
  std::unique_ptr<ConsoleBoard> make_board() {
    auto made = std::make_unique<ConsoleBoard>();
    made->lines[0].set_channel(*channel);
    made->lines[0].set_wish({1, true});
    made->lines[0].set_report({1, console::ConsoleLine::State::Open, 0});
    return made;
  }
  void wake_if(bool must) {
    const uint64_t one = 1;
    if (!must) return;
    ASSERT_EQ(::write(board->monitor_event.load(), &one, sizeof one), 8);
  }

  EventLoop loop;
  std::unique_ptr<ConsoleChannel> channel = std::make_unique<ConsoleChannel>();
  std::unique_ptr<ConsoleBoard> board = make_board();
  Pipe in, out, err;
};

TEST_F(ConsolePumpTest, CarriesBytesBothWays) {
  ConsolePump pump(loop, *board);
  pump.connect_console(in.read_end, out.write_end);
  in.write("typed");
  turn();
  EXPECT_EQ(take(board->console().input), "typed");
  EXPECT_EQ(board->core_wake.load(), 1u);
  put(board->messages, "message\r\n");
  put(board->console().output, "shown");
  turn();
  EXPECT_EQ(out.take(), "message\r\nshown");
  // The inherited descriptors stay as they were.
  EXPECT_EQ(fcntl(in.read_end, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(fcntl(out.write_end, F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ConsolePumpTest, MessagesBeginTheirLinesOnATerminalToo) {
  int master, slave;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  {
    ::termios raw;
    ASSERT_EQ(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    ASSERT_EQ(tcsetattr(slave, TCSANOW, &raw), 0);
    ConsolePump pump(loop, *board);
    pump.connect_console(-1, slave);
    put(board->messages, "\none\ntw");
    turn();
    put(board->messages, "o\n");
    put(board->console().output, "shown\n");
    turn();
    char text[64];
    const ssize_t count = ::read(master, text, sizeof text);
    EXPECT_EQ(std::string_view(text, count < 0 ? 0 : static_cast<size_t>(count)), "\r\none\r\ntwo\r\nshown\n");
  }
  close(slave);
  close(master);
}

TEST_F(ConsolePumpTest, SlowHostHoldsTheGuestBackAndNothingIsLost) {
  ConsolePump pump(loop, *board);
  pump.connect_console(-1, out.write_end);
  std::string sent, got;
  for (int round = 0; sent.size() < 1'000'000; ++round) {
    std::string piece(10'000, static_cast<char>('a' + round % 26));
    piece.resize(board->console().output.put(bytes_of(piece)));
    wake_if(board->console().output.must_wake_consumer());
    sent += piece;
    turn(1);
    if (piece.size() < 10'000) got += out.take();
  }
  EXPECT_FALSE(pump.drain(50));
  while (!pump.drain(10)) got += out.take();
  got += out.take();
  EXPECT_EQ(got, sent);
}

TEST_F(ConsolePumpTest, OutputThatTheGuestDiscardsIsNotShown) {
  ConsolePump pump(loop, *board);
  pump.connect_console(-1, out.write_end);
  // The host takes no more, and the ring is full behind it.
  size_t sent = 0;
  for (size_t taken; (taken = board->console().output.put(bytes_of(std::string(ConsoleRing::kCapacity, 'x')))) > 0; turn()) {
    sent += taken;
    wake_if(board->console().output.must_wake_consumer());
  }
  board->console().output.forget();
  wake_if(true);
  turn();
  put(board->console().output, "^C");
  std::string got;
  while (!pump.drain(10)) got += out.take();
  got += out.take();
  EXPECT_TRUE(got.ends_with("x^C"));
  EXPECT_EQ(got.size(), sent - ConsoleRing::kCapacity + 2);
}

TEST_F(ConsolePumpTest, SlowGuestHoldsTheHostBackAndNothingIsLost) {
  ConsolePump pump(loop, *board);
  pump.connect_stream(0, in.read_end);
  const std::string text(600'000, 'q');
  std::thread writer([&] {
    in.write(text);
    in.close_write();
  });
  turn(100);
  EXPECT_EQ(board->standard[0].room(), 0u);
  std::string got;
  while (!(board->standard[0].is_ended() && board->standard[0].empty())) {
    got += take(board->standard[0], 5000);
    loop.run_once(1);
  }
  writer.join();
  EXPECT_EQ(got.size(), text.size());
}

TEST_F(ConsolePumpTest, EndOfAPipeEndsTheRing) {
  ConsolePump pump(loop, *board);
  pump.connect_console(in.read_end, -1);
  in.write("last");
  in.close_write();
  turn();
  EXPECT_TRUE(board->console().input.is_ended());
  EXPECT_EQ(take(board->console().input), "last");
  EXPECT_EQ(board->console().notices.load(), 0u);
}

TEST_F(ConsolePumpTest, ReadsPlainFilesToTheirEnd) {
  char name[] = "/tmp/umk-pump-XXXXXX";
  const int file = mkstemp(name);
  unlink(name);
  const std::string text(200'000, 'f');
  ASSERT_EQ(::write(file, text.data(), text.size()), 200'000);
  lseek(file, 0, SEEK_SET);
  ConsolePump pump(loop, *board);
  pump.connect_stream(0, file);
  std::string got;
  while (!(board->standard[0].is_ended() && board->standard[0].empty())) {
    got += take(board->standard[0]);
    loop.run_once(1);
  }
  EXPECT_EQ(got, text);
  close(file);
}

TEST_F(ConsolePumpTest, ReaderThatLeavesIsToldToTheGuest) {
  ConsolePump pump(loop, *board);
  pump.connect_stream(1, out.write_end);
  put(board->standard[1], "x");
  turn();
  EXPECT_EQ(out.take(), "x");
  out.close_read();
  put(board->standard[1], "y");
  turn();
  EXPECT_TRUE(board->standard[1].is_abandoned());
}

TEST_F(ConsolePumpTest, OutputWithoutTakerIsThrownAway) {
  ConsolePump pump(loop, *board);
  pump.connect_console(-1, -1);
  put(board->console().output, std::string(ConsoleRing::kCapacity, 'x'));
  turn();
  EXPECT_TRUE(board->console().output.empty());
}

TEST_F(ConsolePumpTest, SocketsWork) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  ConsolePump pump(loop, *board);
  pump.connect_console(ends[0], ends[0]);
  ASSERT_EQ(::write(ends[1], "in", 2), 2);
  put(board->console().output, "out");
  turn();
  EXPECT_EQ(take(board->console().input), "in");
  char text[8];
  EXPECT_EQ(::read(ends[1], text, sizeof text), 3);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ConsolePumpTest, TerminalIsRawAndTellsItsSize) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  grantpt(master);
  unlockpt(master);
  const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  winsize size{33, 99, 0, 0};
  ioctl(master, TIOCSWINSZ, &size);
  const auto terminal = HostTerminal::open(slave);
  ASSERT_NE(terminal, nullptr);
  {
    ConsolePump pump(loop, *board);
    pump.connect_terminal(*terminal);
    EXPECT_TRUE(terminal->is_raw());
    EXPECT_EQ(board->console().window().rows, 33);
    board->console().notices = 0;
    size.ws_col = 120;
    ioctl(master, TIOCSWINSZ, &size);
    raise(SIGWINCH);
    ASSERT_EQ(::write(master, "a\x03\r", 3), 3);
    turn();
    EXPECT_EQ(board->console().notices.load(), ConsoleChannel::kWindowChanged);
    EXPECT_EQ(board->console().window().columns, 120);
    EXPECT_EQ(take(board->console().input), "a\x03\r");
    close(master);
    turn();
    EXPECT_EQ(board->lines[0].report(), (console::ConsoleLine::Report{1, console::ConsoleLine::State::Lost, 0}));
    // The terminal is gone for good.
    board->lines[0].set_wish({2, true});
    pump.serve();
    EXPECT_EQ(board->lines[0].report(), (console::ConsoleLine::Report{2, console::ConsoleLine::State::Failed, EIO}));
  }
  close(slave);
}

TEST_F(ConsolePumpTest, GivesTheConsoleAgainToWhoOpensItAgain) {
  ConsolePump pump(loop, *board);
  pump.connect_console(in.read_end, out.write_end);
  board->lines[0].set_wish({1, false});
  pump.serve();
  board->lines[0].set_wish({2, true});
  pump.serve();
  EXPECT_EQ(board->lines[0].report(), (console::ConsoleLine::Report{2, console::ConsoleLine::State::Open, 0}));
  in.write("typed");
  turn();
  EXPECT_EQ(take(board->console().input), "typed");
}

TEST_F(ConsolePumpTest, IdleCostsNothing) {
  ConsolePump pump(loop, *board);
  pump.connect_stream(0, in.read_end);
  pump.connect_stream(1, out.write_end);
  // Ends that hung up, with nothing to read or write: the loop must sleep all the same.
  out.close_read();
  in.write(std::string(60'000, 'x'));
  std::thread feeder([&] {
    in.write(std::string(60'000, 'x'));
    in.close_write();
  });
  turn();
  int turns = 0;
  const auto until = std::chrono::steady_clock::now() + 100ms;
  while (std::chrono::steady_clock::now() < until) {
    loop.run_once(50);
    ++turns;
  }
  EXPECT_LE(turns, 4);
  while (!board->standard[0].is_ended()) {
    take(board->standard[0]);
    loop.run_once(1);
  }
  feeder.join();
}

}  // namespace
}  // namespace umk::monitor
