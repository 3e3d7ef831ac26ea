#include "core/drivers/console/message_line.h"

#include <gtest/gtest.h>

#include <string>

#include "core/drivers/console/console_driver.h"
#include "core/kernel/tty/fake_job_control.h"

namespace umk::console {
namespace {

class MessageLineTest : public testing::Test {
 protected:
  MessageLineTest() : driver(ConsoleDriver::create(jobs).take()), terminal(driver->terminal_of(kLine).take()), message_line(terminal, log) {
    EXPECT_TRUE(driver->add_line(kLine).ok());
    terminal->hold();
    log.shows_time = false;
  }
  /// Plays the monitor, which opens the line's channel.
  void open_channel() {
    ConsoleLine& line = driver->board().lines[kLine];
    ASSERT_TRUE(line.wish().is_open);
    line.channel()->output.restart();
    line.set_report({line.wish().session, ConsoleLine::State::Open, 0});
    terminal->serve();
    message_line.serve();
  }
  std::string shown() {
    std::string text(ConsoleRing::kCapacity, '\0');
    text.resize(driver->board().lines[kLine].channel()->output.take(std::span(reinterpret_cast<uint8_t*>(text.data()), text.size())));
    return text;
  }

  static constexpr unsigned kLine = line_of_serial(0);
  tty::FakeJobControl jobs;
  std::unique_ptr<ConsoleDriver> driver;
  RefPtr<ConsoleTty> terminal;
  KernelLog log;
  MessageLine message_line;
};

TEST_F(MessageLineTest, LineIsOpenedAndGetsTheLogFromItsBeginning) {
  log.append(LogLevel::Info, "one");
  log.append(LogLevel::Debug, "not for consoles");
  log.append(LogLevel::Warning, "two");
  message_line.serve();
  open_channel();
  EXPECT_EQ(shown(), "one\r\ntwo\r\n");
  log.append(LogLevel::Info, "three");
  message_line.serve();
  EXPECT_EQ(shown(), "three\r\n");
}

TEST_F(MessageLineTest, WhatDoesNotFitIsShownLater) {
  message_line.serve();
  log.append(LogLevel::Info, "first");
  message_line.serve();
  open_channel();
  const std::string filler(ConsoleRing::kCapacity, 'x');
  ConsoleRing& output = driver->board().lines[kLine].channel()->output;
  output.put(std::span(reinterpret_cast<const uint8_t*>(filler.data()), output.room() - 3));
  log.append(LogLevel::Info, "second");
  message_line.serve();
  EXPECT_EQ(output.room(), 0u);
  const std::string before = shown();
  EXPECT_TRUE(before.starts_with("first\r\n") && before.ends_with("xsec"));
  terminal->serve();
  message_line.serve();
  EXPECT_EQ(shown(), "ond\r\n");
}

TEST_F(MessageLineTest, WhatTheLogHasNoMoreIsCounted) {
  const std::string line(400, 'y');
  message_line.serve();
  log.append(LogLevel::Info, "opens it");
  message_line.serve();
  for (int i = 0; i < 300; ++i) log.append(LogLevel::Info, line);
  const uint64_t first = log.first_sequence();
  ASSERT_GT(first, 1u);
  open_channel();
  EXPECT_TRUE(shown().starts_with("opens it\r\n** " + std::to_string(first - 1) + " printk messages dropped **\r\nyyy"));
}

TEST_F(MessageLineTest, LineThatWasLostIsNotOpenedAgainForMessages) {
  log.append(LogLevel::Info, "one");
  message_line.serve();
  open_channel();
  ConsoleLine& line = driver->board().lines[kLine];
  line.set_report({line.wish().session, ConsoleLine::State::Lost, 0});
  terminal->serve();
  const uint32_t session = line.wish().session;
  log.append(LogLevel::Info, "two");
  message_line.serve();
  EXPECT_EQ(line.wish().session, session);
}

}  // namespace
}  // namespace umk::console
