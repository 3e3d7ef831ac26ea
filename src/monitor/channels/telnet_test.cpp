#include "monitor/channels/telnet.h"

#include <gtest/gtest.h>

#include <random>

namespace umk::monitor {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes bytes(std::string_view text) { return {text.begin(), text.end()}; }

/// A server that has made its offers, and what goes by.
class TelnetTest : public testing::Test {
 protected:
  TelnetTest() {
    telnet.start();
    offers = std::exchange(answer, {});
  }
  Bytes receive(const Bytes& from_client) {
    Bytes input;
    telnet.receive(from_client, input);
    return input;
  }
  Bytes send(std::string_view text) {
    Bytes output;
    telnet.send(bytes(text), output);
    return output;
  }

  Bytes answer, offers;
  Telnet telnet{answer};
};

TEST_F(TelnetTest, AsksForCharactersAsTheyComeAndForTheWindowsSize) {
  EXPECT_EQ(offers, (Bytes{255, 251, 1, 255, 251, 3, 255, 253, 3, 255, 251, 0, 255, 253, 0, 255, 253, 31}));
}

TEST_F(TelnetTest, SaysNothingMoreToWhoAgrees) {
  EXPECT_EQ(receive({255, 253, 1, 255, 253, 3, 255, 251, 3, 255, 253, 0, 255, 251, 0, 255, 251, 31}), Bytes{});
  EXPECT_EQ(answer, Bytes{});
}

TEST_F(TelnetTest, SaysNothingMoreToWhoRefuses) {
  EXPECT_EQ(receive({255, 254, 1, 255, 254, 3, 255, 252, 3, 255, 254, 0, 255, 252, 0, 255, 252, 31}), Bytes{});
  EXPECT_EQ(answer, Bytes{});
}

TEST_F(TelnetTest, RefusesWhatItDoesNotHave) {
  receive({255, 251, 24, 255, 253, 5, 255, 251, 1, 255, 253, 31});
  EXPECT_EQ(answer, (Bytes{255, 254, 24, 255, 252, 5, 255, 254, 1, 255, 252, 31}));
}

TEST_F(TelnetTest, FollowsAChangeOfMindOnce) {
  receive({255, 253, 0});
  EXPECT_EQ(answer, Bytes{});
  receive({255, 254, 0});
  EXPECT_EQ(answer, (Bytes{255, 252, 0}));
  receive({255, 254, 0, 255, 254, 0});
  EXPECT_EQ(answer.size(), 3u);
  receive({255, 253, 0});
  EXPECT_EQ(answer, (Bytes{255, 252, 0, 255, 251, 0}));
}

TEST_F(TelnetTest, TakesTheWindowsSizeHoweverItIsCut) {
  EXPECT_FALSE(telnet.window());
  // A width of 255 is sent as two bytes of 255.
  for (const uint8_t byte : Bytes{255, 251, 31, 255, 250, 31, 0, 255, 255, 0, 50, 255, 240}) EXPECT_EQ(receive({byte}), Bytes{});
  ASSERT_TRUE(telnet.window());
  EXPECT_EQ(telnet.window()->columns, 255);
  EXPECT_EQ(telnet.window()->rows, 50);
}

TEST_F(TelnetTest, TurnsLineEndsIntoTheKeyUnlessBinary) {
  EXPECT_EQ(receive(bytes(std::string_view("a\r\0b\r\nc\rd\n", 10))), bytes("a\rb\rc\rd\n"));
  receive({255, 251, 0});
  EXPECT_EQ(receive(bytes(std::string_view("a\r\0b\r\n", 6))), bytes(std::string_view("a\r\0b\r\n", 6)));
}

TEST_F(TelnetTest, PassesEveryByteInBinary) {
  receive({255, 251, 0, 255, 253, 0});
  Bytes all, doubled;
  for (int i = 0; i < 256; ++i) {
    all.push_back(static_cast<uint8_t>(i));
    doubled.push_back(static_cast<uint8_t>(i));
  }
  doubled.push_back(255);
  EXPECT_EQ(receive(doubled), all);
  Bytes output;
  telnet.send(all, output);
  EXPECT_EQ(output, doubled);
}

TEST_F(TelnetTest, MarksLoneCarriageReturns) {
  EXPECT_EQ(send("a\r\nb\rc"), bytes(std::string_view("a\r\nb\r\0c", 7)));
  // Also across calls.
  EXPECT_EQ(send("\r"), bytes("\r"));
  EXPECT_EQ(send("\n"), bytes("\n"));
}

TEST_F(TelnetTest, TurnsCommandsIntoKeys) {
  EXPECT_EQ(receive({255, 244, 255, 236, 255, 237, 255, 241, 'x'}), (Bytes{3, 4, 0x1a, 'x'}));
  receive({255, 246});
  EXPECT_EQ(answer, bytes("\r\n[Yes]\r\n"));
}

TEST_F(TelnetTest, SurvivesAnything) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    Bytes noise(random() % 64);
    for (uint8_t& byte : noise) byte = random() % 3 == 0 ? static_cast<uint8_t>(240 + random() % 16) : static_cast<uint8_t>(random());
    answer.clear();
    EXPECT_LE(receive(noise).size(), noise.size());
    EXPECT_LE(answer.size(), 9 * noise.size());
  }
}

}  // namespace
}  // namespace umk::monitor
