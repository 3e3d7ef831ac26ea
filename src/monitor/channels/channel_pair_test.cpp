#include "monitor/channels/channel_pair.h"

#include <gtest/gtest.h>

namespace umk::monitor {
namespace {

std::string detail_of(const char* text) {
  ChannelPair pair;
  const auto problem = parse_channel_pair(text, pair);
  if (!problem) return "accepted";
  EXPECT_EQ(problem->answer, "failed to parse channel pair");
  return problem->detail;
}

TEST(ChannelPair, IsDescribedAsItIsWritten) {
  for (const char* text :
       {"fd:0,fd:1", "fd:3", "null", "none", "null,fd:2", "pty", "pts", "xterm", "port:9000", "tty:/dev/tty2,xterm", "tty:/dev/ttyS0"}) {
    ChannelPair pair;
    EXPECT_FALSE(parse_channel_pair(text, pair));
    EXPECT_EQ(describe_channel_pair(pair), text);
  }
}

TEST(ChannelPair, OneChannelServesBothDirections) {
  ChannelPair pair;
  EXPECT_FALSE(parse_channel_pair("pts", pair));
  EXPECT_EQ(pair.input, pair.output);
  EXPECT_FALSE(parse_channel_pair("null,pts", pair));
  EXPECT_EQ(pair.input.kind, ChannelEnd::Kind::Null);
  EXPECT_EQ(pair.output.kind, ChannelEnd::Kind::Pts);
}

TEST(ChannelPair, KeywordsAreLookedForAtTheFront) {
  ChannelPair pair;
  EXPECT_FALSE(parse_channel_pair("xterms", pair));
  EXPECT_EQ(pair.input.kind, ChannelEnd::Kind::Xterm);
  EXPECT_FALSE(parse_channel_pair("fd:0x10", pair));
  EXPECT_EQ(pair.input.number, 16);
}

TEST(ChannelPair, SaysWhatIsWrongAsUserModeLinuxDoes) {
  EXPECT_EQ(detail_of(""), "No match for configured backends");
  EXPECT_EQ(detail_of("/dev/tty8"), "No match for configured backends");
  EXPECT_EQ(detail_of("pts,"), "No match for configured backends");
  EXPECT_EQ(detail_of("fd"), "fd_init : channel type 'fd' must specify a file descriptor");
  EXPECT_EQ(detail_of("fd:x"), "fd_init : couldn't parse file descriptor 'x'");
  EXPECT_EQ(detail_of("fd:-1"), "fd_init : couldn't parse file descriptor '-1'");
  EXPECT_EQ(detail_of("fd:99999999999"), "fd_init : couldn't parse file descriptor '99999999999'");
  EXPECT_EQ(detail_of("port"), "port_init : channel type 'port' must specify a port number");
  EXPECT_EQ(detail_of("port:70000"), "port_init : couldn't parse port number '70000'");
  EXPECT_EQ(detail_of("port:0"), "port_init : couldn't parse port number '0'");
  EXPECT_EQ(detail_of("tty:"), "tty_init : channel type 'tty' must specify a device");
}

TEST(ChannelPair, KeepsWhatItWasWhenATextIsWrong) {
  ChannelPair pair;
  EXPECT_FALSE(parse_channel_pair("pts", pair));
  EXPECT_TRUE(parse_channel_pair("pts,what", pair));
  EXPECT_EQ(describe_channel_pair(pair), "pts");
}

}  // namespace
}  // namespace umk::monitor
