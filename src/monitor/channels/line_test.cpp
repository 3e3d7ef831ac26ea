#include "monitor/channels/line.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include "monitor/channels/lines.h"
#include "monitor/channels/xterm_channel.h"

namespace umk::monitor {
namespace {

using namespace std::chrono_literals;
using console::ConsoleBoard;
using console::ConsoleChannel;
using console::ConsoleLine;
using console::ConsoleRing;
using State = ConsoleLine::State;

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

std::string read_all(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  std::string got;
  char piece[65536];
  for (ssize_t count; (count = read(fd, piece, sizeof piece)) > 0;) got.append(piece, static_cast<size_t>(count));
  return got;
}

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

/// A port that nobody has now.
int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  bind(fd, reinterpret_cast<const sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

/// Lines of a machine whose core is played by the test.
class LineTest : public testing::Test {
 protected:
  LineTest() {
    signal(SIGPIPE, SIG_IGN);
    lines.set_patience(300ms);
  }

  void configure(unsigned index, const char* text) {
    ChannelPair pair;
    ASSERT_FALSE(parse_channel_pair(text, pair));
    lines.configure(index, pair);
  }
  void start() {
    lines.start(*board);
    board->monitor_event.store(loop.wake_fd());
    loop.on_wake([this] { lines.serve(); });
  }
  template <typename Condition>
  bool turn_until(Condition condition, std::chrono::milliseconds limit = 5s) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      loop.run_once(5);
    }
    return true;
  }
  void turn(int times = 10) {
    for (int i = 0; i < times; ++i) loop.run_once(1);
  }
  ConsoleLine& line() { return board->lines[kIndex]; }
  void wish(uint32_t session, bool is_open) {
    if (!line().channel()) line().set_channel(*channel);
    line().set_wish({session, is_open});
    news();
  }
  void news() {
    board->monitor_news.tell(kIndex);
    const uint64_t one = 1;
    ASSERT_EQ(write(loop.wake_fd(), &one, sizeof one), 8);
  }
  void open_line(uint32_t session) {
    wish(session, true);
    EXPECT_TRUE(turn_until([&] {
      return line().report() == ConsoleLine::Report{session, State::Open, 0};
    })) << "state "
        << int(line().report().state);
  }
  void put(std::string_view text) {
    ASSERT_EQ(channel->output.put(bytes_of(text)), text.size());
    if (channel->output.must_wake_consumer()) news();
  }
  std::string take() {
    std::string text(ConsoleRing::kCapacity, '\0');
    text.resize(channel->input.take({reinterpret_cast<uint8_t*>(text.data()), text.size()}));
    if (channel->input.must_wake_producer()) news();
    return text;
  }
  std::string take_at_least(size_t count) {
    std::string got;
    turn_until([&] { return (got += take()).size() >= count; });
    return got;
  }
  /// What comes out of `fd`, until there is as much.
  std::string shown(int fd, size_t count) {
    std::string got;
    turn_until([&] { return (got += read_all(fd)).size() >= count; });
    return got;
  }
  bool is_lost(uint32_t session) {
    return turn_until([&] { return line().report() == ConsoleLine::Report{session, State::Lost, 0}; });
  }
  /// The device that the log named last.
  std::string announced() const {
    const size_t begin = log.rfind(" '") + 2;
    return log.substr(begin, log.rfind('\'') - begin);
  }

  static constexpr unsigned kIndex = 3;
  EventLoop loop;
  Configuration configuration = [] {
    Configuration made;
    made.action = Configuration::Action::Run;  // no lines but the test's
    return made;
  }();
  std::string log;
  std::unique_ptr<ConsoleChannel> channel = std::make_unique<ConsoleChannel>();
  std::unique_ptr<ConsoleBoard> board = std::make_unique<ConsoleBoard>();
  Lines lines{loop, configuration, "box", [this](const std::string& text) { log += text + "\n"; }};
};

TEST_F(LineTest, NullTakesAllAndGivesNothing) {
  configure(kIndex, "null");
  start();
  open_line(1);
  put(std::string(ConsoleRing::kCapacity, 'x'));
  EXPECT_TRUE(turn_until([&] { return channel->output.empty(); }));
  EXPECT_EQ(take(), "");
  EXPECT_EQ(lines.describe(kIndex), "null");
}

TEST_F(LineTest, PtsIsAnnouncedWhenTheGuestOpensIt) {
  configure(kIndex, "pts");
  start();
  EXPECT_EQ(log, "");
  EXPECT_EQ(lines.describe(kIndex), "pts");
  open_line(1);
  EXPECT_EQ(log, "Virtual console 3 assigned device '" + announced() + "'\n");
  EXPECT_EQ(lines.describe(kIndex), "pts:" + announced());
  // Shown before anybody has come, and not echoed.
  put("login: ");
  turn();
  EXPECT_EQ(take(), "");
  const int slave = open(announced().c_str(), O_RDWR | O_NOCTTY);
  ASSERT_GE(slave, 0);
  EXPECT_EQ(shown(slave, 7), "login: ");
  ASSERT_EQ(write(slave, "root\r", 5), 5);
  EXPECT_EQ(take_at_least(5), "root\r");
  close(slave);
  EXPECT_TRUE(is_lost(1));
  EXPECT_EQ(lines.describe(kIndex), "pts");
  open_line(2);
  EXPECT_NE(lines.describe(kIndex), "pts");
}

TEST_F(LineTest, LostLineThatIsOpenedAgainAtOnceStays) {
  configure(kIndex, "pts");
  start();
  open_line(1);
  close(open(announced().c_str(), O_RDWR | O_NOCTTY));
  // The guest's wish comes before anything else that the loop has to do.
  while (line().report().state != State::Lost) loop.run_once(5);
  line().set_wish({2, true});
  board->monitor_news.tell(kIndex);
  lines.serve();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{2, State::Open, 0}));
  turn();
  EXPECT_EQ(lines.describe(kIndex), "pts:" + announced());
}

TEST_F(LineTest, PtyIsRefusedHonestlyWhereTheHostHasNone) {
  if (access("/dev/ptyp0", F_OK) == 0) GTEST_SKIP() << "the host has BSD pseudo-terminals";
  configure(kIndex, "pty");
  start();
  wish(1, true);
  turn();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{1, State::Failed, ENODEV}));
  EXPECT_NE(log.find("no free BSD pseudo-terminal"), std::string::npos);
}

TEST_F(LineTest, ChannelsAreKeptForWhoOpensTheLineAgainSoon) {
  configure(kIndex, "pts");
  start();
  open_line(1);
  const std::string device = announced();
  const int slave = open(device.c_str(), O_RDWR | O_NOCTTY);
  put("bye\r\n");
  wish(1, false);
  EXPECT_EQ(shown(slave, 5), "bye\r\n");
  // Typed when nobody listens.
  ASSERT_EQ(write(slave, "x", 1), 1);
  turn();
  open_line(2);
  EXPECT_EQ(lines.describe(kIndex), "pts:" + device);
  ASSERT_EQ(write(slave, "y", 1), 1);
  EXPECT_EQ(take_at_least(1), "y");
  // Nobody comes again: the terminal is given back.
  wish(2, false);
  EXPECT_TRUE(turn_until([&] { return lines.describe(kIndex) == "pts"; }));
  EXPECT_EQ(line().report(), (ConsoleLine::Report{2, State::Open, 0}));
  close(slave);
}

TEST_F(LineTest, TerminalOfTheHostIsRawWhileItIsUsed) {
  int master, slave;
  char name[64];
  ASSERT_EQ(openpty(&master, &slave, name, nullptr, nullptr), 0);
  winsize size{24, 80, 0, 0};
  ioctl(slave, TIOCSWINSZ, &size);
  const auto is_raw = [&] {
    ::termios now;
    tcgetattr(slave, &now);
    return !(now.c_lflag & ICANON);
  };
  configure(kIndex, (std::string("tty:") + name).c_str());
  start();
  EXPECT_FALSE(is_raw());
  open_line(1);
  EXPECT_TRUE(is_raw());
  EXPECT_EQ(channel->window().columns, 80);
  EXPECT_EQ(lines.describe(kIndex), std::string("tty:") + name);
  put("a\n");
  EXPECT_EQ(shown(master, 2), "a\n");
  ASSERT_EQ(write(master, "\x03", 1), 1);
  EXPECT_EQ(take_at_least(1), "\x03");
  // The guardian, whose terminal it is, hears of the new size.
  size.ws_col = 132;
  turn_until([&] {
    ioctl(master, TIOCSWINSZ, &size);
    size.ws_row = static_cast<uint16_t>(size.ws_row + 1);
    return channel->window().columns == 132;
  });
  EXPECT_EQ(channel->window().columns, 132);
  lines.remove(kIndex);
  EXPECT_FALSE(is_raw());
  close(slave);
  close(master);
}

TEST_F(LineTest, TerminalThatIsNotThereFailsTheOpen) {
  configure(kIndex, "tty:/dev/null");
  start();
  wish(1, true);
  turn();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{1, State::Failed, ENODEV}));
  EXPECT_NE(log.find("tty_open"), std::string::npos);
}

TEST_F(LineTest, GuestThatTriesForEverDoesNotFillTheLog) {
  configure(kIndex, "tty:/dev/null");
  start();
  if (!line().channel()) line().set_channel(*channel);
  for (uint32_t session = 1; session <= 1000; ++session) {
    line().set_wish({session, true});
    board->monitor_news.tell(kIndex);
    lines.serve();
    ASSERT_EQ(line().report().session, session);
  }
  EXPECT_LE(std::count(log.begin(), log.end(), '\n'), 100);
}

TEST_F(LineTest, DescriptorsThatUmkWasNotStartedWithAreRefused) {
  configure(kIndex, ("fd:" + std::to_string(loop.wake_fd())).c_str());
  start();
  wish(1, true);
  turn();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{1, State::Failed, EBADF}));
}

TEST_F(LineTest, DescriptorIsALineThatEndsWithIt) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  // Inherited, as far as another set of lines is concerned.
  Lines further(loop, configuration, "box", [](const std::string&) {});
  ChannelPair pair;
  ASSERT_FALSE(parse_channel_pair("fd:" + std::to_string(ends[0]), pair));
  further.configure(kIndex, pair);
  further.start(*board);
  loop.on_wake([&] { further.serve(); });
  open_line(1);
  put("out");
  EXPECT_EQ(shown(ends[1], 3), "out");
  EXPECT_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
  ASSERT_EQ(write(ends[1], "in", 2), 2);
  EXPECT_EQ(take_at_least(2), "in");
  close(ends[1]);
  EXPECT_TRUE(is_lost(1));
  close(ends[0]);
}

TEST_F(LineTest, InputAndOutputMayBeDifferentChannels) {
  int master, slave;
  char name[64];
  ASSERT_EQ(openpty(&master, &slave, name, nullptr, nullptr), 0);
  configure(kIndex, (std::string("tty:") + name + ",pts").c_str());
  start();
  open_line(1);
  const std::string device = announced();
  EXPECT_EQ(lines.describe(kIndex), std::string("tty:") + name + ",pts:" + device);
  ASSERT_EQ(write(master, "typed", 5), 5);
  EXPECT_EQ(take_at_least(5), "typed");
  const int reader = open(device.c_str(), O_RDWR | O_NOCTTY);
  put("shown");
  EXPECT_EQ(shown(reader, 5), "shown");
  EXPECT_EQ(read_all(master), "");
  // Output alone is best effort.
  close(reader);
  turn();
  put("lost");
  EXPECT_TRUE(turn_until([&] { return channel->output.empty(); }));
  EXPECT_EQ(line().report().state, State::Open);
  close(slave);
  close(master);
}

TEST_F(LineTest, PortListensAtOnceAndOpenWaitsForSomebody) {
  const int port = free_port();
  configure(kIndex, ("port:" + std::to_string(port)).c_str());
  start();
  wish(1, true);
  turn();
  EXPECT_EQ(line().report().session, 0u);
  const int client = connect_to(port);
  EXPECT_TRUE(turn_until([&] { return line().report() == ConsoleLine::Report{1, State::Open, 0}; }));
  EXPECT_EQ(lines.describe(kIndex), "port:" + std::to_string(port));
  put("login: ");
  EXPECT_EQ(shown(client, 18 + 7).substr(18), "login: ");
  const uint8_t answer[] = {255, 251, 31, 255, 250, 31, 0, 100, 0, 40, 255, 240, 'r', '\r', 0};
  ASSERT_EQ(write(client, answer, sizeof answer), static_cast<ssize_t>(sizeof answer));
  EXPECT_EQ(take_at_least(2), "r\r");
  EXPECT_EQ(channel->window().columns, 100);
  EXPECT_EQ(channel->window().rows, 40);
  // Who leaves hangs up, and the next open waits for the next one.
  close(client);
  EXPECT_TRUE(is_lost(1));
  wish(2, true);
  turn();
  EXPECT_EQ(line().report().session, 1u);
  const int next = connect_to(port);
  EXPECT_TRUE(turn_until([&] { return line().report() == ConsoleLine::Report{2, State::Open, 0}; }));
  close(next);
}

TEST_F(LineTest, ConnectionWithoutALineIsToldSoAndKept) {
  const int port = free_port();
  configure(kIndex, ("port:" + std::to_string(port)).c_str());
  start();
  const int gone = connect_to(port), kept = connect_to(port);
  EXPECT_TRUE(turn_until([&] { return log.find("No one waiting for port\nNo one waiting for port\n") != std::string::npos; }));
  const std::string notice = shown(kept, 10);
  EXPECT_TRUE(notice.starts_with("****\r\n") && notice.ends_with("****\r\n")) << notice;
  close(gone);
  turn();
  open_line(1);
  put("here");
  EXPECT_EQ(shown(kept, 18 + 4).substr(18), "here");
  close(kept);
}

TEST_F(LineTest, LinesOnOnePortShareIt) {
  const int port = free_port();
  const std::string text = "port:" + std::to_string(port);
  configure(kIndex, text.c_str());
  configure(kIndex + 1, text.c_str());
  ChannelPair pair;
  ASSERT_FALSE(parse_channel_pair(text, pair));
  // Another machine is refused.
  Lines other(loop, configuration, "other", [](const std::string&) {});
  try {
    other.configure(kIndex, pair);
    FAIL();
  } catch (const ChannelError& error) {
    EXPECT_EQ(error.what(), "binding to port " + std::to_string(port) + " failed, errno = " + std::to_string(EADDRINUSE));
  }
  // The port is free when the last of them is gone.
  lines.remove(kIndex);
  EXPECT_THROW(other.configure(kIndex, pair), ChannelError);
  lines.remove(kIndex + 1);
  EXPECT_NO_THROW(other.configure(kIndex, pair));
}

TEST_F(LineTest, ClientThatNeverReadsHoldsTheGuestAndNobodyElse) {
  const int port = free_port();
  configure(kIndex, ("port:" + std::to_string(port)).c_str());
  start();
  wish(1, true);
  turn();
  const int client = connect_to(port);
  open_line(1);
  size_t sent = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000 && channel->output.room() > 0; ++i) {
    sent += channel->output.put(bytes_of(std::string(4096, 'x')));
    if (channel->output.must_wake_consumer()) news();
    loop.run_once(1);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(channel->output.room(), 0u);
  const std::string got = shown(client, 18 + sent);
  EXPECT_EQ(got.size(), 18 + sent);
  close(client);
}

TEST_F(LineTest, FloodWaitsUntilTheGuestReads) {
  const int port = free_port();
  configure(kIndex, ("port:" + std::to_string(port)).c_str());
  start();
  const int client = connect_to(port);
  fcntl(client, F_SETFL, O_NONBLOCK);
  open_line(1);
  std::string flood, got;
  for (int i = 0; flood.size() < 2'000'000; ++i) flood += std::to_string(i) + "\n";
  size_t sent = 0;
  const bool is_whole = turn_until(
      [&] {
        const ssize_t count = send(client, flood.data() + sent, flood.size() - sent, MSG_NOSIGNAL);
        if (count > 0) sent += static_cast<size_t>(count);
        EXPECT_LE(channel->input.used(), ConsoleRing::kCapacity);
        if (sent == flood.size() || count < 0) got += take();
        return got.size() >= flood.size();
      },
      20s);
  EXPECT_TRUE(is_whole);
  EXPECT_TRUE(got == flood);
  close(client);
}

/// A script in the place of xterm(1): it runs what follows -e on a terminal of its own.
class WindowTest : public LineTest {
 protected:
  WindowTest() {
    char name[] = "/tmp/umk-test-windowXXXXXX";
    folder = mkdtemp(name);
    const std::string script = folder + "/emulator";
    std::ofstream(script) << "#!/bin/sh\necho \"$2\" > " << folder << "/title\nshift 3\nexec script -qfc \"$*\" " << folder
                          << "/typescript < " << folder << "/keys\n";
    chmod(script.c_str(), 0755);
    mkfifo((folder + "/keys").c_str(), 0600);
    setenv("DISPLAY", ":99", 1);
    ChannelPair pair;
    configuration.xterm.emulator = script;
    windows = std::make_unique<Lines>(loop, configuration, "box", [this](const std::string& text) { log += text + "\n"; });
    parse_channel_pair("xterm", pair);
    windows->configure(kIndex, pair);
    windows->set_patience(100ms);
    windows->start(*board);
    loop.on_wake([this] { windows->serve(); });
  }
  ~WindowTest() override { (void)!system(("rm -rf " + folder).c_str()); }
  std::string file(const char* name) const {
    std::ifstream stream(folder + "/" + name);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  std::string folder;
  std::unique_ptr<Lines> windows;
};

TEST_F(WindowTest, IsOpenedByTheEmulatorAndEndsTheLineWhenItIsClosed) {
  if (find_program("script").empty() || find_port_helper().empty()) GTEST_SKIP() << "script(1) or port-helper is missing";
  wish(1, true);
  const int keys = open((folder + "/keys").c_str(), O_RDWR);
  ASSERT_TRUE(turn_until([&] { return line().report() == ConsoleLine::Report{1, State::Open, 0}; })) << log;
  EXPECT_EQ(file("title"), "Virtual Console #3 (box)\n");
  put("prompt> ");
  EXPECT_TRUE(turn_until([&] { return file("typescript").find("prompt> ") != std::string::npos; }));
  ASSERT_EQ(write(keys, "ls\r", 3), 3);
  EXPECT_EQ(take_at_least(3), "ls\r");
  // Removing the line ends the window.
  windows->remove(kIndex);
  close(keys);
  EXPECT_TRUE(turn_until([&] {
    const int end = open((folder + "/keys").c_str(), O_WRONLY | O_NONBLOCK);
    if (end >= 0) close(end);
    return end < 0;
  }));
}

TEST_F(WindowTest, EmulatorThatRefusesToEndIsKilled) {
  if (find_program("script").empty() || find_port_helper().empty()) GTEST_SKIP() << "script(1) or port-helper is missing";
  std::ofstream(folder + "/emulator") << "#!/bin/sh\ntrap '' TERM\necho $$ > " << folder << "/pid\nshift 3\nscript -qfc \"$*\" " << folder
                                      << "/typescript < " << folder << "/keys\nwhile :; do sleep 0.05; done\n";
  for (const bool umk_ends : {false, true}) {
    wish(umk_ends ? 2 : 1, true);
    const int keys = open((folder + "/keys").c_str(), O_RDWR);
    ASSERT_TRUE(turn_until([&] { return line().report() == ConsoleLine::Report{umk_ends ? 2u : 1u, State::Open, 0}; })) << log;
    const pid_t pid = std::stoi(file("pid"));
    if (umk_ends) windows = nullptr;
    else wish(1, false);
    int status = 0;
    EXPECT_TRUE(turn_until([&] { return waitpid(pid, &status, WNOHANG) == pid; }));
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    close(keys);
  }
}

TEST_F(WindowTest, NeedsADisplay) {
  unsetenv("DISPLAY");
  wish(1, true);
  turn();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{1, State::Failed, ENODEV}));
  EXPECT_EQ(log, "xterm_open: $DISPLAY not set.\n");
}

TEST_F(WindowTest, EmulatorThatEndsWithoutAWindowFailsTheOpen) {
  std::ofstream(folder + "/emulator") << "#!/bin/sh\nexit 1\n";
  wish(1, true);
  EXPECT_TRUE(turn_until([&] { return line().report() == ConsoleLine::Report{1, State::Failed, ENODEV}; }));
  EXPECT_NE(log.find("ended without a window"), std::string::npos);
  lines.remove(kIndex);
  // The emulator that is not there at all is told at once.
  std::remove((folder + "/emulator").c_str());
  wish(2, true);
  turn();
  EXPECT_EQ(line().report(), (ConsoleLine::Report{2, State::Failed, ENOENT}));
}

}  // namespace
}  // namespace umk::monitor
