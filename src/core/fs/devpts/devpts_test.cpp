#include "core/fs/devpts/devpts.h"

#include <gtest/gtest.h>

#include "core/kernel/tty/fake_job_control.h"

namespace umk::devpts {
namespace {

using namespace vfs::open_flags;

class NameSink final : public vfs::DirectorySink {
 public:
  explicit NameSink(size_t room = SIZE_MAX) : room_(room) {}
  bool emit(std::string_view name, vfs::InodeNumber, vfs::FileType, uint64_t) override {
    if (room_-- == 0) return false;
    names += std::string(name) + " ";
    return true;
  }
  std::string names;

 private:
  size_t room_;
};

class DevptsTest : public testing::Test {
 protected:
  DevptsTest() : registry(jobs), credentials(Credentials::root().take()) {}
  RefPtr<Instance> mount(std::string_view options = "") {
    return Instance::create(registry, {0, 30}, Options::parse(options).take(), *credentials).take();
  }
  RefPtr<vfs::OpenFile> master(Instance& instance) {
    RefPtr<vfs::OpenFile> file = instance.open_master(tty::fake_inode(), kReadWrite, *credentials).take();
    int locked = 0;
    EXPECT_EQ(tty::control(*file, termios::kTiocsptlck, locked), 0);
    return file;
  }
  static unsigned number_of(vfs::OpenFile& master) {
    unsigned number = ~0u;
    EXPECT_EQ(tty::control(master, termios::kTiocgptn, number), 0);
    return number;
  }
  static std::string names(Instance& instance) {
    NameSink sink;
    EXPECT_TRUE(instance.root()->list(0, 1, sink).ok());
    return sink.names;
  }

  tty::FakeJobControl jobs;
  tty::TtyRegistry registry;
  RefPtr<const Credentials> credentials;
};

TEST_F(DevptsTest, ParsesOptions) {
  const Options options = Options::parse("gid=5,mode=620,ptmxmode=0666,newinstance,max=7").take();
  EXPECT_EQ(options.gid, GroupId{5});
  EXPECT_FALSE(options.uid);
  EXPECT_EQ(options.mode, 0620u);
  EXPECT_EQ(options.multiplexer_mode, 0666u);
  EXPECT_EQ(options.maximum, 7u);
  for (const char* bad : {"mode=9", "gid", "gid=", "gid=x", "foo=1", "newinstance=1", "max=99999999999", "uid=-1"})
    EXPECT_EQ(Options::parse(bad).code(), EINVAL) << bad;
}

TEST_F(DevptsTest, NamesComeAndGoWithTheirMasters) {
  const auto instance = mount("mode=620,gid=5");
  EXPECT_EQ(names(*instance), ". .. ptmx ");
  auto first = master(*instance);
  auto second = master(*instance);
  EXPECT_EQ(number_of(*first), 0u);
  EXPECT_EQ(number_of(*second), 1u);
  EXPECT_EQ(names(*instance), ". .. ptmx 0 1 ");

  const auto node = instance->root()->lookup("1").take();
  EXPECT_EQ(node->mode(), static_cast<uint32_t>(vfs::FileType::CharacterDevice) | 0620);
  EXPECT_EQ(node->gid(), 5u);
  EXPECT_EQ(node->device(), (vfs::DeviceNumber{136, 1}));
  for (const char* absent : {"2", "01", "x", "", "99999999999", "-1"}) EXPECT_EQ(instance->root()->lookup(absent).code(), ENOENT) << absent;

  first = nullptr;
  EXPECT_EQ(names(*instance), ". .. ptmx 1 ");
  EXPECT_EQ(instance->root()->lookup("0").code(), ENOENT);
  // The lowest free number comes next.
  first = master(*instance);
  EXPECT_EQ(number_of(*first), 0u);
}

TEST_F(DevptsTest, NumberStaysTakenWhileASlaveIsOpen) {
  const auto instance = mount();
  auto first = master(*instance);
  auto slave = instance->open_slave(0, instance->slave_inode(0), kReadWrite | kNoControllingTty).take();
  first = nullptr;
  EXPECT_EQ(tty::read_text(*slave), "");  // hung up
  auto second = master(*instance);
  EXPECT_EQ(number_of(*second), 1u);
  slave = nullptr;
  auto third = master(*instance);
  EXPECT_EQ(number_of(*third), 0u);
}

TEST_F(DevptsTest, NodeOfAClosedPairOpensNothing) {
  const auto instance = mount();
  auto first = master(*instance);
  const auto node = instance->slave_inode(0);
  first = nullptr;
  EXPECT_EQ(instance->open_slave(0, node, kReadWrite).code(), EIO);
  // Nor does it open the next pair of that number.
  first = master(*instance);
  EXPECT_EQ(instance->open_slave(0, node, kReadWrite).code(), EIO);
  EXPECT_TRUE(instance->open_slave(0, instance->slave_inode(0), kReadWrite).ok());
}

TEST_F(DevptsTest, InstancesAreApartAndLimited) {
  const auto one = mount("max=1"), two = mount();
  const auto first = master(*one), second = master(*two);
  EXPECT_EQ(number_of(*first), 0u);
  EXPECT_EQ(number_of(*second), 0u);
  EXPECT_EQ(one->open_master(tty::fake_inode(), kReadWrite, *credentials).code(), ENOSPC);
}

TEST_F(DevptsTest, InstanceOutlivesItsMountWhileAPairIsOpen) {
  auto instance = mount();
  const auto first = master(*instance);
  instance = nullptr;
  EXPECT_EQ(tty::write_text(*first, "x"), "1");
}

TEST_F(DevptsTest, ListingGoesOnWhereItStopped) {
  const auto instance = mount();
  const auto first = master(*instance), second = master(*instance);
  uint64_t position = 0;
  std::string all;
  for (int i = 0; i < 10; ++i) {
    NameSink sink(1);
    position = instance->root()->list(position, 1, sink).take();
    all += sink.names;
  }
  EXPECT_EQ(all, ". .. ptmx 0 1 ");
}

TEST_F(DevptsTest, RemountChangesWhatComesAfter) {
  const auto instance = mount();
  ASSERT_TRUE(instance->remount("mode=666,ptmxmode=666", false).ok());
  const auto first = master(*instance);
  EXPECT_EQ(instance->slave_inode(0)->mode() & 0777, 0666u);
  StringSink sink;
  instance->show_options(sink);
  EXPECT_EQ(sink.view(), ",mode=666,ptmxmode=666");
  EXPECT_EQ(instance->root()->lookup("ptmx").take()->mode() & 0777, 0666u);
}

}  // namespace
}  // namespace umk::devpts
