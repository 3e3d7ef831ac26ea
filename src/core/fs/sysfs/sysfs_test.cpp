#include "core/fs/sysfs/sysfs.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "core/fs/tmpfs/tmpfs.h"
#include "core/kernel/block/fake_memory_device.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/task/fake_machine.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::sysfs {
namespace {

using namespace std::string_literals;

class SysfsTest : public testing::Test {
 protected:
  SysfsTest() : tmpfs_(*machine_.kernel.cache_window, uint64_t{1} << 30), sysfs_(machine_.kernel) {
    EXPECT_TRUE(devices_.announce({.name = "null", .type = vfs::FileType::CharacterDevice, .number = {1, 3}, .permissions = 0666}).ok());
    EXPECT_TRUE(
        devices_.announce({.name = "input/mice", .type = vfs::FileType::CharacterDevice, .number = {13, 63}, .permissions = 0600}).ok());
    EXPECT_TRUE(block_devices_.add(block::fake::MemoryDevice::make(1 << 20)).ok());
    machine_.kernel.block_devices = &block_devices_;
    machine_.kernel.devices = &devices_;
    vfs_ = vfs::Vfs::create().take();
    EXPECT_TRUE(vfs_->register_type(tmpfs_).ok());
    EXPECT_TRUE(vfs_->register_type(sysfs_).ok());
    const vfs::Path root = vfs_->mount_root(*Credentials::root().take(), "tmpfs", "root", 0, "mode=0755").take();
    fs().set_root(root);
    fs().set_working_directory(root);
    EXPECT_TRUE(vfs_->make_directory(me(), at("/sys"), 0755).ok());
    EXPECT_TRUE(vfs_->mount(me(), "sysfs", at("/sys"), "sysfs", 0, "").ok());
  }
  ~SysfsTest() override {
    fs().set_root({});
    fs().set_working_directory({});
    vfs_ = nullptr;
  }

  vfs::FsContext& fs() { return machine_.init().fs(); }
  vfs::Caller me() { return machine_.init().caller(); }
  static vfs::At at(std::string_view path) { return {nullptr, path}; }
  std::string get(std::string_view path) {
    const Result<RefPtr<vfs::OpenFile>> file = vfs_->open(me(), at(path), {0, 0, 0});
    if (!file.ok()) return "errno " + std::to_string(file.code());
    std::string text(4096, '\0');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    text.resize(file.value()->read(buffer).value_or(0));
    return text;
  }
  /// The errno, 0 when all is well.
  int put(std::string_view path, std::string text) {
    const Result<RefPtr<vfs::OpenFile>> file = vfs_->open(me(), at(path), {vfs::open_flags::kWriteOnly | vfs::open_flags::kTruncate, 0, 0});
    if (!file.ok()) return file.code();
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return file.value()->write(buffer).code();
  }
  struct NameList final : vfs::DirectorySink {
    bool emit(std::string_view name, vfs::InodeNumber, vfs::FileType, uint64_t) override { return names.insert(std::string(name)).second; }
    std::set<std::string> names;
  };
  std::set<std::string> names(std::string_view path) {
    NameList list;
    EXPECT_TRUE(vfs_->open(me(), at(path), {0, 0, 0}).take()->list(list).ok());
    return list.names;
  }

  fake::FakeMachine machine_;
  device::DeviceRegistry devices_;
  block::BlockDevices block_devices_;
  fs::TmpfsType tmpfs_;
  Type sysfs_;
  std::unique_ptr<vfs::Vfs> vfs_;
};

TEST_F(SysfsTest, ShowsTheProcessorsOfTheMachine) {
  EXPECT_EQ(get("/sys/devices/system/cpu/online"), "0-1\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/possible"), "0-1\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/cpu1/topology/core_id"), "1\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/cpu1/topology/thread_siblings"), "2\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/cpu1/topology/core_siblings"), "3\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/cpu0/topology/package_cpus_list"), "0-1\n");
  EXPECT_EQ(get("/sys/devices/system/node/node0/cpumap"), "3\n");
  EXPECT_EQ(get("/sys/devices/system/cpu/cpu0/node0/cpulist"), "0-1\n");
  EXPECT_FALSE(names("/sys/devices/system/cpu").contains("cpu2"));
}

TEST_F(SysfsTest, TellsTotalAndFreeMemoryOfTheNode) {
  const std::string text = get("/sys/devices/system/node/node0/meminfo");
  EXPECT_NE(text.find("Node 0 MemTotal:"), std::string::npos) << text;
  EXPECT_NE(text.find("Node 0 MemFree:"), std::string::npos) << text;
}

TEST_F(SysfsTest, ShowsAnnouncedDevicesByClassAndNumber) {
  EXPECT_EQ(get("/sys/class/mem/null/dev"), "1:3\n");
  EXPECT_EQ(get("/sys/dev/char/1:3/uevent"), "MAJOR=1\nMINOR=3\nDEVNAME=null\n");
  EXPECT_EQ(get("/sys/dev/char/13:63/subsystem/input!mice/dev"), "13:63\n");
}

TEST_F(SysfsTest, ShowsDisksAndPartitionsAsTheyComeAndGo) {
  EXPECT_EQ(get("/sys/block/ubda/size"), "2048\n");
  EXPECT_EQ(get("/sys/block/ubda/ro"), "0\n");
  EXPECT_EQ(get("/sys/dev/block/98:0/subsystem/ubda/queue/logical_block_size"), "512\n");
  EXPECT_EQ(get("/sys/block/ubda/stat").size(), 17u * 9);
  EXPECT_EQ(get("/sys/class/block/ubda1/size"), "errno 2");
  RefPtr<block::BlockDevice> disk = block_devices_.find("ubda");
  auto& contents = static_cast<block::fake::MemoryDevice&>(*disk).contents();
  contents[446 + 4] = std::byte{0x83};
  contents[446 + 8] = std::byte{8};
  contents[446 + 12] = std::byte{16};
  contents[510] = std::byte{0x55};
  contents[511] = std::byte{0xaa};
  ASSERT_TRUE(block_devices_.rescan(*disk).ok());
  EXPECT_EQ(get("/sys/class/block/ubda1/size"), "16\n");
  EXPECT_EQ(get("/sys/block/ubda/ubda1/start"), "8\n");
  EXPECT_EQ(get("/sys/block/ubda/ubda1/uevent"), "MAJOR=98\nMINOR=1\nDEVNAME=ubda1\nDEVTYPE=partition\nPARTN=1\n");
  EXPECT_FALSE(names("/sys/block").contains("ubda1"));
  contents[510] = std::byte{0};
  ASSERT_TRUE(block_devices_.rescan(*disk).ok());
  EXPECT_EQ(get("/sys/class/block/ubda1/size"), "errno 2");
  EXPECT_FALSE(names("/sys/block/ubda").contains("ubda1"));
}

TEST_F(SysfsTest, ShowsCharacterDevicesAsTheyComeAndGo) {
  const device::Node line{.name = "ttyS3", .type = vfs::FileType::CharacterDevice, .number = {4, 67}, .permissions = 0660};
  EXPECT_EQ(get("/sys/class/tty/ttyS3/dev"), "errno 2");
  ASSERT_TRUE(devices_.announce(line).ok());
  EXPECT_EQ(get("/sys/class/tty/ttyS3/dev"), "4:67\n");
  EXPECT_EQ(get("/sys/dev/char/4:67/uevent"), "MAJOR=4\nMINOR=67\nDEVNAME=ttyS3\n");
  devices_.withdraw(line);
  EXPECT_EQ(get("/sys/class/tty/ttyS3/dev"), "errno 2");
  EXPECT_FALSE(names("/sys/devices/virtual/tty").contains("ttyS3"));
  EXPECT_FALSE(names("/sys/dev/char").contains("4:67"));
}

TEST_F(SysfsTest, NamesTheConsolesTheSystemsOwnLast) {
  KernelLog& log = machine_.kernel.kernel_log;
  EXPECT_EQ(get("/sys/devices/virtual/tty/console/active"), "\n");
  ASSERT_TRUE(devices_.announce({.name = "console", .type = vfs::FileType::CharacterDevice, .number = {5, 1}, .permissions = 0600}).ok());
  log.consoles[0] = {.name = "ttyS0", .device = {4, 64}};
  log.consoles[1] = {.name = "tty0", .device = {4, 0}};
  log.console_count = 2;
  EXPECT_EQ(get("/sys/class/tty/console/active"), "tty0 ttyS0\n");
}

TEST_F(SysfsTest, SendsAnEventForEachOrderWrittenToAUeventFile) {
  struct Receiver final : device::UeventReceiver {
    bool is_listening() override { return true; }
    void receive(RefPtr<device::UeventMessage> message) override { texts.emplace_back(message->text()); }
    std::vector<std::string> texts;
  } receiver;
  ASSERT_TRUE(devices_.uevents().add_receiver(receiver).ok());
  const std::string before = get("/sys/kernel/uevent_seqnum");
  EXPECT_EQ(put("/sys/block/ubda/uevent", "change\n"), 0);
  ASSERT_EQ(receiver.texts.size(), 1u);
  const std::string wanted(
      "change@/devices/virtual/block/ubda\0ACTION=change\0DEVPATH=/devices/virtual/block/ubda\0SUBSYSTEM=block\0SYNTH_UUID=0\0MAJOR=98\0"s);
  EXPECT_EQ(receiver.texts[0].substr(0, wanted.size()), wanted);
  EXPECT_NE(get("/sys/kernel/uevent_seqnum"), before);
  EXPECT_EQ(put("/sys/class/mem/null/uevent", "nonsense"), EINVAL);
  EXPECT_EQ(receiver.texts.size(), 1u);
}

TEST_F(SysfsTest, KeepsTheHelperThatWasWritten) {
  EXPECT_EQ(get("/sys/kernel/uevent_helper"), "\n");
  EXPECT_EQ(put("/sys/kernel/uevent_helper", "/sbin/mdev\n"), 0);
  EXPECT_EQ(get("/sys/kernel/uevent_helper"), "/sbin/mdev\n");
}

TEST_F(SysfsTest, NobodyWritesOtherFiles) {
  EXPECT_EQ(vfs_->open(me(), at("/sys/devices/system/cpu/online"), {vfs::open_flags::kWriteOnly, 0, 0}).code(), EACCES);
  EXPECT_EQ(vfs_->make_directory(me(), at("/sys/new"), 0755).code(), EPERM);
  EXPECT_EQ(vfs_->mount(me(), "sysfs", at("/sys"), "sysfs", 0, "size=1").code(), EINVAL);
}

TEST_F(SysfsTest, HasTheUsualDirectories) {
  const std::set<std::string> top = names("/sys");
  for (const char* name : {"block", "bus", "class", "dev", "devices", "firmware", "fs", "kernel", "module"})
    EXPECT_TRUE(top.contains(name)) << name;
  EXPECT_EQ(names("/sys/fs/cgroup").size(), 2u);
  EXPECT_EQ(get("/sys/kernel/mm/transparent_hugepage/enabled"), "always madvise [never]\n");
}

}  // namespace
}  // namespace umk::sysfs
