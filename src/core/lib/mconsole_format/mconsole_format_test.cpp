#include "core/lib/mconsole_format/mconsole_format.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace umk::mconsole_format {

namespace {

std::vector<std::byte> packet(std::initializer_list<uint32_t> words, std::string_view text) {
  std::vector<std::byte> bytes(words.size() * 4 + text.size());
  std::memcpy(bytes.data(), std::data(words), words.size() * 4);
  std::memcpy(bytes.data() + words.size() * 4, text.data(), text.size());
  return bytes;
}

TEST(MconsoleRequest, IsReadAsItWasWritten) {
  std::array<std::byte, kRequestBytes> bytes;
  EXPECT_EQ(write_request(bytes, "config ubd0").size(), 524u);
  const Request request = parse_request(bytes);
  EXPECT_EQ(request.fault, Request::Fault::None);
  EXPECT_EQ(request.text, "config ubd0");
}

TEST(MconsoleRequest, TextEndsWithThePacketTheLengthOrNul) {
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 100}, "version")).text, "version");
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 3}, "version")).text, "ver");
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 7}, std::string_view("go\0more", 7))).text, "go");
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 0}, "")).text, "");
}

TEST(MconsoleRequest, FaultsAreTold) {
  EXPECT_EQ(parse_request({}).fault, Request::Fault::Magic);
  EXPECT_EQ(parse_request(packet({kMagic, kVersion}, "abc")).fault, Request::Fault::Magic);
  EXPECT_EQ(parse_request(packet({0x20525245, kVersion, 4}, "halt")).fault, Request::Fault::Magic);
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 512}, std::string(600, 'x'))).fault, Request::Fault::TooLarge);
  EXPECT_EQ(parse_request(packet({kMagic, kVersion, 0xffffffff}, "x")).fault, Request::Fault::TooLarge);
  const std::vector<std::byte> bytes = packet({kMagic, 3, 4}, "help");
  const Request other = parse_request(bytes);
  EXPECT_EQ(other.fault, Request::Fault::Version);
  EXPECT_EQ(other.text, "help");
}

TEST(MconsoleReply, IsReadAsItWasWritten) {
  std::array<std::byte, kReplyBytes> bytes;
  EXPECT_EQ(write_reply(bytes, {.text = ""}).size(), 13u);
  const auto written = write_reply(bytes, {.error = -19, .has_more = true, .text = "Device doesn't exist"});
  EXPECT_EQ(written.size(), 33u);
  const auto reply = parse_reply(written);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->error, -19);
  EXPECT_TRUE(reply->has_more);
  EXPECT_EQ(reply->text, "Device doesn't exist");
  EXPECT_FALSE(parse_reply(written.first(20)));
  EXPECT_FALSE(parse_reply(written.first(5)));
}

TEST(MconsoleReply, NeverExceedsThePacket) {
  std::array<std::byte, kReplyBytes> bytes;
  EXPECT_EQ(write_reply(bytes, {.text = std::string(2000, 'x')}).size(), 524u);
  EXPECT_EQ(bytes[kReplyBytes - 1], std::byte{0});
}

TEST(MconsoleNotification, IsReadAsItWasWritten) {
  std::array<std::byte, kNotificationBytes> bytes;
  const auto written = write_notification(bytes, {Notice::Socket, std::string_view("/tmp/uml/debian/mconsole", 25)});
  EXPECT_EQ(written.size(), 41u);
  const auto notice = parse_notification(written);
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->type, Notice::Socket);
  EXPECT_EQ(notice->bytes.size(), 25u);
  EXPECT_EQ(write_notification(bytes, {Notice::User, std::string(2000, 'x')}).size(), kNotificationBytes);
}

TEST(MconsoleNotification, TakesTheWideLayoutOfTheWatchdog) {
  const auto notice = parse_notification(packet({kMagic, 0, kVersion, 2, 0, 0}, ""));
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->type, Notice::Hang);
  EXPECT_FALSE(parse_notification(packet({kMagic, 0, kVersion, 2}, "")));
  EXPECT_FALSE(parse_notification(packet({kMagic, kVersion, 3, 100}, "short")));
}

}  // namespace

}  // namespace umk::mconsole_format
