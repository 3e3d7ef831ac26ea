#include "core/kernel/device/uevents.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/kernel/device/device_registry.h"

namespace umk::device {
namespace {

using namespace std::string_literals;

struct Receiver final : UeventReceiver {
  bool is_listening() override { return listens; }
  void receive(RefPtr<UeventMessage> message) override { texts.emplace_back(message->text()); }
  bool listens = true;
  std::vector<std::string> texts;
};

const Uevent kDisk{.action = UeventAction::Add,
                   .place = "devices/virtual/block/ubda",
                   .subsystem = "block",
                   .properties = "MAJOR=98\nMINOR=0\nDEVNAME=ubda\nDEVTYPE=disk\n",
                   .remarks = {}};

class UeventsTest : public testing::Test {
 protected:
  UeventsTest() { EXPECT_TRUE(uevents_.add_receiver(receiver_).ok()); }
  int ask(std::string_view request) { return uevents_.send_as_asked(request, kDisk).code(); }
  Uevents uevents_;
  Receiver receiver_;
};

// As a Linux 6.18 sends it.
TEST_F(UeventsTest, SaysWhatHappenedToWhichDeviceInLinuxsWords) {
  ASSERT_TRUE(uevents_.send(kDisk).ok());
  ASSERT_EQ(receiver_.texts.size(), 1u);
  EXPECT_EQ(receiver_.texts[0],
            "add@/devices/virtual/block/ubda\0ACTION=add\0DEVPATH=/devices/virtual/block/"
            "ubda\0SUBSYSTEM=block\0MAJOR=98\0MINOR=0\0DEVNAME=ubda\0DEVTYPE=disk\0"
            "SEQNUM=1\0"s);
}

TEST_F(UeventsTest, CountsEventsThatNobodyHears) {
  receiver_.listens = false;
  ASSERT_TRUE(uevents_.send(kDisk).ok());
  receiver_.listens = true;
  ASSERT_TRUE(uevents_.send(kDisk).ok());
  ASSERT_EQ(receiver_.texts.size(), 1u);
  EXPECT_NE(receiver_.texts[0].find("SEQNUM=2"), std::string::npos);
  EXPECT_EQ(uevents_.last_number(), 2u);
}

TEST_F(UeventsTest, PutsRemarksBeforeProperties) {
  Uevent event = kDisk;
  event.action = UeventAction::Change;
  event.remarks = "DISK_MEDIA_CHANGE=1\n";
  ASSERT_TRUE(uevents_.send(event).ok());
  EXPECT_NE(receiver_.texts[0].find("SUBSYSTEM=block\0DISK_MEDIA_CHANGE=1\0MAJOR=98"s), std::string::npos);
}

TEST_F(UeventsTest, SendsWhatIsAskedForWithItsMarks) {
  EXPECT_EQ(ask("remove"), 0);
  EXPECT_EQ(ask("change 12345678-1234-1234-1234-123456789abc A=b C3=4d\n"), 0);
  ASSERT_EQ(receiver_.texts.size(), 2u);
  EXPECT_EQ(receiver_.texts[0].rfind("remove@/devices/virtual/block/ubda\0"s, 0), 0u);
  EXPECT_NE(receiver_.texts[0].find("\0SYNTH_UUID=0\0"s), std::string::npos);
  EXPECT_NE(receiver_.texts[1].find("\0SYNTH_UUID=12345678-1234-1234-1234-123456789abc\0SYNTH_ARG_A=b\0SYNTH_ARG_C3=4d\0MAJOR"s),
            std::string::npos);
}

TEST_F(UeventsTest, RefusesOrdersThatAreNone) {
  for (const char* request :
       {"", "\n", "bogus", "add 1", "add 12345678-1234-1234-1234-12345678901", "add 12345678-1234-1234-1234-123456789abc A",
        "add 12345678-1234-1234-1234-123456789abc A=", "add 12345678-1234-1234-1234-123456789abc A=b-c"})
    EXPECT_EQ(ask(request), EINVAL) << request;
  EXPECT_TRUE(receiver_.texts.empty());
}

TEST_F(UeventsTest, RefusesWhatIsTooLong) {
  const std::string place(Uevents::kMaximumBytes, 'x');
  Uevent event = kDisk;
  event.place = place;
  EXPECT_EQ(uevents_.send(event).code(), ENOMEM);
}

TEST_F(UeventsTest, KeepsAHelperOfBoundedLength) {
  EXPECT_FALSE(uevents_.has_helper());
  EXPECT_TRUE(uevents_.set_helper("/sbin/mdev\n").ok());
  EXPECT_EQ(uevents_.helper().take().view(), "/sbin/mdev");
  EXPECT_EQ(uevents_.set_helper(std::string(256, 'x')).code(), ENOENT);
  EXPECT_TRUE(uevents_.has_helper());
  EXPECT_TRUE(uevents_.set_helper("\n").ok());
  EXPECT_FALSE(uevents_.has_helper());
}

TEST(DeviceRegistry, TellsProgramsOfCharacterDevicesThatComeAndGo) {
  DeviceRegistry registry;
  Receiver receiver;
  ASSERT_TRUE(registry.uevents().add_receiver(receiver).ok());
  const Node line{.name = "ttyS1", .type = vfs::FileType::CharacterDevice, .number = {4, 65}, .permissions = 0660};
  ASSERT_TRUE(registry.announce(line).ok());
  registry.withdraw(line);
  // Of disks programs hear when they are ready.
  ASSERT_TRUE(registry.announce({.name = "ubda", .type = vfs::FileType::BlockDevice, .number = {98, 0}, .permissions = 0660}).ok());
  ASSERT_EQ(receiver.texts.size(), 2u);
  EXPECT_EQ(
      receiver.texts[0],
      "add@/devices/virtual/tty/ttyS1\0ACTION=add\0DEVPATH=/devices/virtual/tty/ttyS1\0SUBSYSTEM=tty\0MAJOR=4\0MINOR=65\0DEVNAME=ttyS1\0SEQNUM=1\0"s);
  EXPECT_EQ(receiver.texts[1].rfind("remove@/devices/virtual/tty/ttyS1\0"s, 0), 0u);
}

}  // namespace
}  // namespace umk::device
