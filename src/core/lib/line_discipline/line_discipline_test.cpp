// What a program cannot see of the host's terminals from outside; the rest is compared in host_terminal_test.cpp.
#include "core/lib/line_discipline/line_discipline.h"

#include <gtest/gtest.h>

#include <string>

#include "core/lib/line_discipline/fake_line_device.h"

namespace umk {
namespace {

using namespace termios;

struct Fixture {
  size_t type(std::string_view text) { return line.receive(bytes_of(text)); }
  std::string read(size_t size) {
    std::string buffer(size, '?');
    const auto step = line.read({reinterpret_cast<uint8_t*>(buffer.data()), size});
    if (!step.finished) return "unfinished " + buffer.substr(0, step.count);
    return buffer.substr(0, step.count);
  }
  void set(void (*change)(KernelTermios&)) {
    KernelTermios settings = line.settings();
    change(settings);
    line.set_settings(settings);
  }
  void set_raw(uint8_t minimum, uint8_t tenths) {
    KernelTermios settings = line.settings();
    settings.input_flags = settings.local_flags = 0;
    settings.control_characters[kVmin] = minimum;
    settings.control_characters[kVtime] = tenths;
    line.set_settings(settings);
  }

  FakeLineDevice device;
  LineDiscipline line{device};
};

TEST(LineDiscipline, ControlCharactersBecomeSignals) {
  Fixture f;
  f.type("\x03\x1c\x1a");
  EXPECT_EQ(f.device.signals_, (std::vector{TerminalSignal::Interrupt, TerminalSignal::Quit, TerminalSignal::Stop}));
  EXPECT_EQ(f.device.flushes_, 3);
  EXPECT_FALSE(f.line.is_readable());
}

TEST(LineDiscipline, NoflshKeepsInput) {
  Fixture f;
  f.set([](KernelTermios& s) { s.local_flags |= kNoflsh; });
  f.type("ab\x03\n");
  EXPECT_EQ(f.device.flushes_, 0);
  EXPECT_EQ(f.read(10), "ab\n");
}

TEST(LineDiscipline, WithoutIsigControlCharactersAreInput) {
  Fixture f;
  f.set([](KernelTermios& s) { s.local_flags &= ~kIsig; });
  f.type("\x03\n");
  EXPECT_TRUE(f.device.signals_.empty());
  EXPECT_EQ(f.read(10), "\x03\n");
}

TEST(LineDiscipline, ReadsWaitForALine) {
  Fixture f;
  f.type("ab");
  EXPECT_FALSE(f.line.is_readable());
  EXPECT_EQ(f.line.readable_bytes(), 0u);
  EXPECT_EQ(f.read(10), "unfinished ");
  f.type("\n");
  EXPECT_TRUE(f.line.is_readable());
  EXPECT_EQ(f.line.readable_bytes(), 3u);
  EXPECT_EQ(f.read(10), "ab\n");
}

TEST(LineDiscipline, EndOfFileIsNotCountedAsAByte) {
  Fixture f;
  f.type("ab\x04");
  EXPECT_EQ(f.line.readable_bytes(), 2u);
  f.line.flush_input();
  f.type("\x04");
  EXPECT_EQ(f.line.readable_bytes(), 0u);
  EXPECT_TRUE(f.line.is_readable());
  EXPECT_EQ(f.read(10), "");
  EXPECT_FALSE(f.line.is_readable());
}

TEST(LineDiscipline, MinimumWithoutTimeWaitsForEver) {
  Fixture f;
  f.set_raw(3, 0);
  uint8_t buffer[8];
  LineDiscipline::ReadStep step = f.line.read(buffer);
  EXPECT_FALSE(step.finished);
  EXPECT_EQ(step.wait_tenths, 0u);
  f.type("ab");
  step = f.line.read(buffer, step.count);
  EXPECT_EQ(step.count, 2u);
  EXPECT_FALSE(step.finished);
  EXPECT_EQ(step.wait_tenths, 0u);
  f.type("cd");
  step = f.line.read(buffer, step.count);
  EXPECT_EQ(step.count, 4u);
  EXPECT_TRUE(step.finished);
}

TEST(LineDiscipline, MinimumIsNoMoreThanTheBuffer) {
  Fixture f;
  f.set_raw(200, 0);
  f.type("abcd");
  EXPECT_FALSE(f.line.is_readable());
  EXPECT_EQ(f.read(3), "abc");
}

TEST(LineDiscipline, MinimumAndTimeWaitFromTheFirstByteOn) {
  Fixture f;
  f.set_raw(3, 7);
  uint8_t buffer[8];
  LineDiscipline::ReadStep step = f.line.read(buffer);
  EXPECT_FALSE(step.finished);
  EXPECT_EQ(step.wait_tenths, 0u);
  f.type("a");
  step = f.line.read(buffer, step.count);
  EXPECT_FALSE(step.finished);
  EXPECT_EQ(step.wait_tenths, 7u);
}

TEST(LineDiscipline, TimeAloneLimitsTheWholeRead) {
  Fixture f;
  f.set_raw(0, 5);
  uint8_t buffer[8];
  LineDiscipline::ReadStep step = f.line.read(buffer);
  EXPECT_FALSE(step.finished);
  EXPECT_EQ(step.wait_tenths, 5u);
  f.type("a");
  step = f.line.read(buffer, step.count);
  EXPECT_TRUE(step.finished);
  EXPECT_EQ(step.count, 1u);
}

TEST(LineDiscipline, NeitherMinimumNorTimeNeverWaits) {
  Fixture f;
  f.set_raw(0, 0);
  EXPECT_EQ(f.read(5), "");
}

TEST(LineDiscipline, MinimumBeyondSixtyFourIsKept) {
  Fixture f;
  f.set_raw(100, 0);
  f.type(std::string(99, 'x'));
  uint8_t buffer[200];
  EXPECT_FALSE(f.line.read(buffer).finished);
}

TEST(LineDiscipline, AFullQueueTakesNoMoreUntilItIsRead) {
  Fixture f;
  f.set_raw(1, 0);
  EXPECT_EQ(f.type(std::string(5000, 'x')), InputQueue::kCapacity - 1);
  EXPECT_EQ(f.type("y"), 0u);
  EXPECT_EQ(f.read(1), "x");
  EXPECT_EQ(f.type("yz"), 1u);
}

TEST(LineDiscipline, AFullQueueOfLinesTakesNoMore) {
  Fixture f;
  f.type("line\n");
  EXPECT_EQ(f.type(std::string(5000, 'x')), InputQueue::kCapacity - 1 - 5);
  EXPECT_EQ(f.read(10), "line\n");
  EXPECT_EQ(f.type(std::string(50, 'y') + "\n"), 51u);
  EXPECT_EQ(f.read(8192).size(), InputQueue::kCapacity);
}

TEST(LineDiscipline, StoppedOutputTakesNothing) {
  Fixture f;
  f.type("\x13");
  EXPECT_TRUE(f.line.is_stopped());
  EXPECT_EQ(f.line.write(bytes_of("abc")), 0u);
  f.type("\x11");
  EXPECT_EQ(f.line.write(bytes_of("abc")), 3u);
  EXPECT_EQ(f.device.flow_, (std::vector{true, false}));
}

TEST(LineDiscipline, SuspendedOutputIsNotStartedByTyping) {
  Fixture f;
  f.line.suspend_output();
  f.type("\x11" "a");
  EXPECT_TRUE(f.line.is_stopped());
  EXPECT_EQ(f.device.shown_, "");
  f.line.resume_output();
  EXPECT_EQ(f.device.shown_, "a");
  EXPECT_EQ(f.device.flow_, (std::vector{true, false}));
}

TEST(LineDiscipline, WritesEndWhereRoomEnds) {
  Fixture f;
  f.device.room_ = 4;
  EXPECT_EQ(f.line.write(bytes_of("ab\n\n")), 3u);
  EXPECT_EQ(f.device.shown_, "ab\r\n");
  f.device.room_ = 1;
  EXPECT_EQ(f.line.write(bytes_of("\n")), 0u);
  EXPECT_EQ(f.line.write(bytes_of("c")), 1u);
}

TEST(LineDiscipline, EchoWaitsForRoom) {
  Fixture f;
  f.device.room_ = 2;
  f.type("abc");
  EXPECT_EQ(f.device.shown_, "ab");
  f.device.room_ = 10;
  f.line.flush_echo();
  EXPECT_EQ(f.device.shown_, "abc");
}

TEST(LineDiscipline, EchoThatIsNeverShownDoesNotStopInput) {
  Fixture f;
  f.device.room_ = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(f.type(std::string(200, 'x') + "\n"), 201u);
    EXPECT_EQ(f.read(300).size(), 201u);
  }
  f.device.room_ = 1 << 20;
  f.line.flush_echo();
  EXPECT_LE(f.device.shown_.size(), 2 * EchoQueue::kCapacity);
}

TEST(LineDiscipline, ABreakIsAZeroOrASignalOrMarked) {
  Fixture f;
  f.set_raw(1, 0);
  f.line.receive_break();
  EXPECT_EQ(f.read(5), std::string("\0", 1));
  f.set([](KernelTermios& s) { s.input_flags = kParmrk; });
  f.line.receive_break();
  EXPECT_EQ(f.read(5), std::string("\xff\0\0", 3));
  f.set([](KernelTermios& s) { s.input_flags = kBrkint; });
  f.line.receive_break();
  EXPECT_EQ(f.device.signals_, std::vector{TerminalSignal::Interrupt});
  f.set([](KernelTermios& s) { s.input_flags = kBrkint | kIgnbrk; });
  f.line.receive_break();
  EXPECT_EQ(f.device.signals_.size(), 1u);
}

}  // namespace
}  // namespace umk
