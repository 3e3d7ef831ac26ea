#include "core/kernel/tty/tty.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "core/kernel/tty/fake_job_control.h"

namespace umk::tty {
namespace {

using namespace std::chrono_literals;
using namespace vfs::open_flags;
using namespace termios;

const std::string kWouldBlock = "errno 11", kIoError = "errno 5", kRestart = "errno 512";

/// A terminal whose screen is a string.
class ScreenTty final : public Tty {
 public:
  explicit ScreenTty(JobControl& jobs) : Tty(jobs, {4, 0}) {}

  std::string screen() {
    MutexLock lock(mutex_);
    return screen_;
  }
  void set_room(size_t room) {
    {
      MutexLock lock(mutex_);
      room_ = room;
    }
    resume_writers();
  }
  bool leader_exit_hangs_up = true;

 private:
  size_t output_room() const override { return room_; }
  void output(std::span<const uint8_t> bytes) override {
    screen_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    room_ -= bytes.size();
  }
  bool hangs_up_with_leader() const override { return leader_exit_hangs_up; }

  std::string screen_;
  size_t room_ = 1 << 20;
};

class TtyTest : public testing::Test {
 protected:
  TtyTest() {
    session = make_ref<Session>(10).take();
    foreground = make_ref<ProcessGroup>(10, session).take();
    background = make_ref<ProcessGroup>(20, session).take();
    terminal = make_ref<ScreenTty>(jobs).take();
  }
  ~TtyTest() override {
    // The session and the terminal hold each other, as long as the leader lives.
    terminal->on_leader_exit(*session);
  }

  RefPtr<vfs::OpenFile> open(uint32_t flags = kReadWrite, bool is_console = false) { return terminal->open(fake_inode(), flags, is_console).take(); }
  /// Opens it as the leader of a session without terminal, which makes it the controlling one.
  RefPtr<vfs::OpenFile> open_as_leader() {
    be(foreground, true);
    return open();
  }
  void be(const RefPtr<ProcessGroup>& group, bool is_leader = false) {
    jobs.member = {};
    jobs.member.session = session;
    jobs.member.group = group;
    jobs.member.is_leader = is_leader;
  }
  void type(std::string_view text) { terminal->receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }
  void set_raw(vfs::OpenFile& file, uint8_t minimum, uint8_t tenths) {
    KernelTermios settings;
    ASSERT_EQ(control(file, kTcgets, settings), 0);
    settings.local_flags = 0;
    settings.output_flags = 0;
    settings.control_characters[kVmin] = minimum;
    settings.control_characters[kVtime] = tenths;
    ASSERT_EQ(control(file, kTcsets, settings), 0);
  }

  FakeJobControl jobs;
  RefPtr<Session> session;
  RefPtr<ProcessGroup> foreground, background;
  RefPtr<ScreenTty> terminal;
};

TEST_F(TtyTest, ReadsLinesAndEchoes) {
  const auto file = open(kReadWrite | kNonBlock);
  EXPECT_EQ(read_text(*file), kWouldBlock);
  type("hel");
  EXPECT_EQ(read_text(*file), kWouldBlock);
  type("lo\nmore\n");
  EXPECT_EQ(read_text(*file), "hello\n");
  EXPECT_EQ(read_text(*file, 2), "mo");
  EXPECT_EQ(read_text(*file), "re\n");
  EXPECT_EQ(terminal->screen(), "hello\r\nmore\r\n");
  EXPECT_EQ(write_text(*file, "out\n"), "4");
  EXPECT_EQ(terminal->screen(), "hello\r\nmore\r\nout\r\n");
}

TEST_F(TtyTest, BlockedReaderWakesWhenALineIsTyped) {
  const auto file = open();
  std::string got;
  std::thread reader([&] { got = read_text(*file); });
  std::this_thread::sleep_for(20ms);
  type("a");
  std::this_thread::sleep_for(20ms);
  type("b\n");
  reader.join();
  EXPECT_EQ(got, "ab\n");
}

TEST_F(TtyTest, TimesReadsByVminAndVtime) {
  const auto file = open();
  const auto timed = [&](uint8_t minimum, uint8_t tenths) {
    set_raw(*file, minimum, tenths);
    const auto start = std::chrono::steady_clock::now();
    const std::string got = read_text(*file, 3);
    return std::pair(got, std::chrono::steady_clock::now() - start);
  };
  EXPECT_EQ(timed(0, 0).first, "");
  const auto [nothing, waited] = timed(0, 1);
  EXPECT_EQ(nothing, "");
  EXPECT_GE(waited, 95ms);
  type("x");
  // The time between bytes: it starts with the first.
  EXPECT_EQ(timed(3, 1).first, "x");
  type("abcd");
  EXPECT_EQ(timed(3, 1).first, "abc");
  EXPECT_EQ(timed(1, 0).first, "d");
}

TEST_F(TtyTest, WriterWaitsForRoom) {
  const auto file = open();
  terminal->set_room(3);
  std::string result;
  std::thread writer([&] { result = write_text(*file, "abcdef"); });
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(terminal->screen(), "abc");
  terminal->set_room(100);
  writer.join();
  EXPECT_EQ(result, "6");
  EXPECT_EQ(terminal->screen(), "abcdef");

  const auto hasty = open(kReadWrite | kNonBlock);
  terminal->set_room(2);
  EXPECT_EQ(write_text(*hasty, "xyz"), "2");
  EXPECT_EQ(write_text(*hasty, "z"), kWouldBlock);
  EXPECT_EQ(hasty->poll(nullptr) & vfs::poll_bits::kOut, 0u);
}

TEST_F(TtyTest, LongWritesDoNotMix) {
  const auto file = open();
  set_raw(*file, 1, 0);
  terminal->set_room(0);
  const std::string a(20'000, 'a'), b(20'000, 'b');
  std::thread first([&] { EXPECT_EQ(write_text(*file, a), "20000"); });
  std::this_thread::sleep_for(20ms);
  std::thread second([&] { EXPECT_EQ(write_text(*file, b), "20000"); });
  for (int i = 0; i < 60; ++i) {
    terminal->set_room(700);
    std::this_thread::sleep_for(1ms);
  }
  terminal->set_room(1 << 20);
  first.join();
  second.join();
  EXPECT_EQ(terminal->screen(), a + b);
}

TEST_F(TtyTest, StopAndStartHoldOutput) {
  const auto file = open(kReadWrite | kNonBlock);
  type("\x13");
  EXPECT_EQ(write_text(*file, "x"), kWouldBlock);
  EXPECT_EQ(file->poll(nullptr) & vfs::poll_bits::kOut, 0u);
  type("\x11");
  EXPECT_EQ(write_text(*file, "x"), "1");
  EXPECT_EQ(control_value(*file, kTcxonc, kTcooff), 0);
  EXPECT_EQ(write_text(*file, "x"), kWouldBlock);
  EXPECT_EQ(control_value(*file, kTcxonc, kTcoon), 0);
  EXPECT_EQ(write_text(*file, "y"), "1");
  EXPECT_EQ(control_value(*file, kTcxonc, 7), EINVAL);
}

TEST_F(TtyTest, LeaderGetsItAsControllingTerminalByOpening) {
  be(foreground, true);
  EXPECT_FALSE(session->controlling_tty);
  open(kReadWrite | kNoControllingTty);
  EXPECT_FALSE(session->controlling_tty);
  open(kWriteOnly);
  EXPECT_FALSE(session->controlling_tty);
  open(kReadWrite, true);  // /dev/console
  EXPECT_FALSE(session->controlling_tty);
  be(foreground, false);
  open();
  EXPECT_FALSE(session->controlling_tty);
  open_as_leader();
  EXPECT_TRUE(session->controlling_tty);
  EXPECT_EQ(terminal->foreground_group_id(), 10);
}

TEST_F(TtyTest, TypedSignalsGoToTheForegroundGroup) {
  const auto file = open_as_leader();
  type("abc\x03");
  EXPECT_EQ(jobs.events(), "group 10 signal 2");
  type("\x1a");
  EXPECT_EQ(jobs.events(), "group 10 signal 20");
  type("\x1c");
  EXPECT_EQ(jobs.events(), "group 10 signal 3");
  file->set_status_flags(file->flags() | kNonBlock);
  EXPECT_EQ(read_text(*file), kWouldBlock);  // "abc" was flushed
}

TEST_F(TtyTest, BackgroundReaderIsStopped) {
  const auto file = open_as_leader();
  be(background);
  type("line\n");
  EXPECT_EQ(read_text(*file), kRestart);
  EXPECT_EQ(jobs.events(), "group 20 signal 21");
  jobs.ignores = true;
  EXPECT_EQ(read_text(*file), kIoError);
  jobs.ignores = false;
  jobs.orphaned = true;
  EXPECT_EQ(read_text(*file), kIoError);
  EXPECT_EQ(jobs.events(), "");
  be(foreground);
  EXPECT_EQ(read_text(*file), "line\n");
}

TEST_F(TtyTest, ConsoleFileKnowsNoBackground) {
  const auto file = open_as_leader();
  const auto console = open(kReadWrite, true);
  be(background);
  type("line\n");
  EXPECT_EQ(read_text(*console), "line\n");
}

TEST_F(TtyTest, BackgroundWriterIsStoppedOnlyWithTostop) {
  const auto file = open_as_leader();
  be(background);
  EXPECT_EQ(write_text(*file, "x"), "1");
  be(foreground);
  KernelTermios settings;
  EXPECT_EQ(control(*file, kTcgets, settings), 0);
  settings.local_flags |= kTostop;
  EXPECT_EQ(control(*file, kTcsets, settings), 0);
  be(background);
  EXPECT_EQ(write_text(*file, "x"), kRestart);
  EXPECT_EQ(jobs.events(), "group 20 signal 22");
  jobs.ignores = true;  // output goes through
  EXPECT_EQ(write_text(*file, "x"), "1");
}

TEST_F(TtyTest, BackgroundCannotChangeSettings) {
  const auto file = open_as_leader();
  be(background);
  KernelTermios settings;
  EXPECT_EQ(control(*file, kTcgets, settings), 0);
  EXPECT_EQ(control(*file, kTcsets, settings), ERESTARTSYS);
  EXPECT_EQ(control_value(*file, kTcflsh, kTciflush), ERESTARTSYS);
  jobs.orphaned = true;
  EXPECT_EQ(control(*file, kTcsets, settings), EIO);
}

TEST_F(TtyTest, ForegroundGroupIsSetWithinTheSession) {
  const auto file = open_as_leader();
  int32_t group = 0;
  EXPECT_EQ(control(*file, kTiocgpgrp, group), 0);
  EXPECT_EQ(group, 10);
  jobs.known = background;
  group = 20;
  EXPECT_EQ(control(*file, kTiocspgrp, group), 0);
  EXPECT_EQ(terminal->foreground_group_id(), 20);
  be(background);
  group = -1;
  EXPECT_EQ(control(*file, kTiocspgrp, group), EINVAL);
  group = 77;
  EXPECT_EQ(control(*file, kTiocspgrp, group), ESRCH);
  const auto other_session = make_ref<Session>(30).take();
  jobs.known = make_ref<ProcessGroup>(30, other_session).take();
  group = 30;
  EXPECT_EQ(control(*file, kTiocspgrp, group), EPERM);
  int32_t sid = 0;
  EXPECT_EQ(control(*file, kTiocgsid, sid), 0);
  EXPECT_EQ(sid, 10);
  // A process of another session sees no controlling terminal here.
  jobs.member.session = other_session;
  EXPECT_EQ(control(*file, kTiocgpgrp, group), ENOTTY);
  EXPECT_EQ(control(*file, kTiocspgrp, group), ENOTTY);
  EXPECT_EQ(control(*file, kTiocgsid, sid), ENOTTY);
}

TEST_F(TtyTest, TakingAControllingTerminal) {
  const auto file = open_as_leader();
  EXPECT_EQ(control_value(*file, kTiocsctty, 0), 0);  // has it already
  const auto other = make_ref<Session>(30).take();
  jobs.member.session = other;
  jobs.member.group = make_ref<ProcessGroup>(30, other).take();
  EXPECT_EQ(control_value(*file, kTiocsctty, 0), EPERM);
  EXPECT_EQ(control_value(*file, kTiocsctty, 1), EPERM);
  jobs.member.may_administer = true;
  EXPECT_EQ(control_value(*file, kTiocsctty, 0), EPERM);
  EXPECT_EQ(control_value(*file, kTiocsctty, 1), 0);
  EXPECT_FALSE(session->controlling_tty);
  EXPECT_EQ(terminal->foreground_group_id(), 30);
  terminal->on_leader_exit(*other);
}

TEST_F(TtyTest, GivingUpTheControllingTerminal) {
  const auto file = open_as_leader();
  be(background);
  EXPECT_EQ(control_value(*file, kTiocnotty, 0), 0);
  EXPECT_EQ(jobs.events(), "left");
  be(foreground, true);
  EXPECT_EQ(control_value(*file, kTiocnotty, 0), 0);
  EXPECT_EQ(jobs.events(), "group 10 signal 1; group 10 signal 18");
  EXPECT_FALSE(session->controlling_tty);
  EXPECT_EQ(terminal->foreground_group_id(), -1);
  EXPECT_EQ(control_value(*file, kTiocnotty, 0), ENOTTY);
}

TEST_F(TtyTest, HangUpEndsOpenFiles) {
  const auto file = open_as_leader();
  const auto console = open(kReadWrite, true);
  terminal->hang_up();
  EXPECT_EQ(jobs.events(), "hang up session 10 foreground 10");
  EXPECT_EQ(read_text(*file), "");
  EXPECT_EQ(write_text(*file, "x"), kIoError);
  KernelTermios settings;
  EXPECT_EQ(control(*file, kTcgets, settings), EIO);
  int32_t group = 10;
  EXPECT_EQ(control(*file, kTiocspgrp, group), ENOTTY);
  EXPECT_EQ(file->poll(nullptr), 0x15du);
  // The console's own file and new ones go on.
  EXPECT_EQ(write_text(*console, "x"), "1");
  const auto again = open();
  type("fresh\n");
  EXPECT_EQ(read_text(*again), "fresh\n");
}

TEST_F(TtyTest, HangUpWakesSleepers) {
  const auto file = open();
  terminal->set_room(0);
  std::string read_result, write_result;
  std::thread reader([&] { read_result = read_text(*file); });
  std::thread writer([&] { write_result = write_text(*file, "x"); });
  std::this_thread::sleep_for(20ms);
  terminal->hang_up();
  reader.join();
  writer.join();
  EXPECT_EQ(read_result, "");
  EXPECT_EQ(write_result, kIoError);
}

TEST_F(TtyTest, LeadersExitHangsUpOrOnlySignals) {
  auto file = open_as_leader();
  terminal->on_leader_exit(*session);
  EXPECT_EQ(jobs.events(), "group 10 signal 1");
  EXPECT_EQ(read_text(*file), "");
  EXPECT_FALSE(session->controlling_tty);

  terminal->leader_exit_hangs_up = false;
  file = open_as_leader();
  terminal->on_leader_exit(*session);
  EXPECT_EQ(jobs.events(), "group 10 signal 1");
  EXPECT_EQ(write_text(*file, "x"), "1");
}

TEST_F(TtyTest, WindowSizeChangesAreAnnouncedOnce) {
  const auto file = open_as_leader();
  WindowSize size{24, 80, 0, 0};
  EXPECT_EQ(control(*file, kTiocswinsz, size), 0);
  EXPECT_EQ(jobs.events(), "group 10 signal 28");
  EXPECT_EQ(control(*file, kTiocswinsz, size), 0);
  EXPECT_EQ(jobs.events(), "");
  WindowSize got{};
  EXPECT_EQ(control(*file, kTiocgwinsz, got), 0);
  EXPECT_EQ(got.columns, 80);
}

TEST_F(TtyTest, SettingsOfAllThreeForms) {
  const auto file = open();
  KernelTermios2 full;
  ASSERT_EQ(control(*file, kTcgets2, full), 0);
  EXPECT_EQ(full.output_speed, 38400u);
  full.control_flags = (full.control_flags & ~kBaudMask) | kBother;
  full.input_speed = full.output_speed = 12345;
  ASSERT_EQ(control(*file, kTcsets2, full), 0);
  ASSERT_EQ(control(*file, kTcgets2, full), 0);
  EXPECT_EQ(full.output_speed, 12345u);

  KernelTermio few;
  ASSERT_EQ(control(*file, kTcgeta, few), 0);
  few.local_flags = static_cast<uint16_t>(few.local_flags & ~kEcho);
  ASSERT_EQ(control(*file, kTcsetaf, few), 0);
  KernelTermios settings;
  ASSERT_EQ(control(*file, kTcgets, settings), 0);
  EXPECT_EQ(settings.local_flags & kEcho, 0u);
  EXPECT_NE(settings.local_flags & kIexten, 0u);
}

TEST_F(TtyTest, RestoredSettingsAreThoseOfANewTerminalAndLetHeldOutputGo) {
  const auto file = open(kReadWrite | kNonBlock);
  KernelTermios before, after;
  ASSERT_EQ(control(*file, kTcgets, before), 0);
  type("\x13");
  EXPECT_EQ(write_text(*file, "x"), kWouldBlock);
  set_raw(*file, 3, 0);
  terminal->restore_settings();
  ASSERT_EQ(control(*file, kTcgets, after), 0);
  EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
  EXPECT_EQ(write_text(*file, "x"), "1");
}

TEST_F(TtyTest, ExclusiveUse) {
  const auto file = open();
  EXPECT_EQ(control_value(*file, kTiocexcl, 0), 0);
  EXPECT_EQ(terminal->open(fake_inode(), kReadWrite).code(), EBUSY);
  jobs.member.may_administer = true;
  EXPECT_TRUE(terminal->open(fake_inode(), kReadWrite).ok());
  jobs.member.may_administer = false;
  EXPECT_EQ(control_value(*file, kTiocnxcl, 0), 0);
  EXPECT_TRUE(terminal->open(fake_inode(), kReadWrite).ok());
}

TEST_F(TtyTest, PretendedInputIsForAdministrators) {
  const auto file = open(kReadWrite | kNonBlock);
  char c = '\n';
  EXPECT_EQ(control(*file, kTiocsti, c), EIO);
  jobs.member.may_administer = true;
  EXPECT_EQ(control(*file, kTiocsti, c), 0);
  EXPECT_EQ(read_text(*file), "\n");
  EXPECT_EQ(control_value(*file, 0x5499, 0), ENOTTY);
}

}  // namespace
}  // namespace umk::tty
