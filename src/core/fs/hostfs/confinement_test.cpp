// What a guest must not reach through a hostfs, and how owners that the host does not know are kept.
#include "core/fs/hostfs/fake_host_tree.h"

namespace umk::hostfs {
namespace {

using namespace vfs::open_flags;
using vfs::FileType;

TEST(HostfsConfinement, SymlinksOfTheHostLeadNowhereOutside) {
  HostTree tree;
  std::filesystem::create_symlink("/etc", tree.host("directory"));
  std::filesystem::create_symlink("/etc/passwd", tree.host("file"));
  std::filesystem::create_symlink("../../../../../../etc/passwd", tree.host("up"));
  EXPECT_EQ(tree.read("directory/passwd"), "!2");
  EXPECT_EQ(tree.read("file"), "!2");
  EXPECT_EQ(tree.read("up"), "!2");
  EXPECT_EQ(tree.read("../../../etc/passwd"), "!2");
  EXPECT_EQ(tree.open("file", kReadOnly | kNoFollow).code(), ELOOP);
  EXPECT_EQ(tree.write("directory/x", "y"), ENOENT);
}

TEST(HostfsConfinement, ADirectoryReplacedByASymlinkIsNotFollowed) {
  HostTree tree;
  std::filesystem::create_directory(tree.host("d"));
  write_on_host(tree.host("d/passwd"), "ours");
  EXPECT_EQ(tree.read("d/passwd"), "ours");
  std::filesystem::rename(tree.host("d"), tree.host("aside"));
  std::filesystem::create_symlink("/etc", tree.host("d"));
  // The old directory may be believed in for a moment; what is outside is never seen.
  const std::string seen = tree.read("d/passwd");
  EXPECT_TRUE(seen == "ours" || seen == "!2") << seen;
  usleep(150'000);
  EXPECT_EQ(tree.read("d/passwd"), "!2");
}

TEST(HostfsConfinement, OtherKindsOfFilesystemsAreEmptyDirectories) {
  HostTree tree;
  tree.vfs->make_directory(tree.caller(), {nullptr, "mnt"}, 0755).value();
  ASSERT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/mnt"}, "hostfs", 0, "/").code(), 0);
  EXPECT_TRUE(tree.list("/mnt/proc").empty());
  EXPECT_EQ(tree.read("/mnt/proc/self/mem"), "!2");
  EXPECT_EQ(tree.write("/mnt/proc/sysrq-trigger", "x"), EACCES);
  EXPECT_EQ(tree.read("/mnt/sys/kernel/uevent_seqnum"), "!2");
  EXPECT_FALSE(tree.list("/mnt/etc").empty());
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/mnt"}, "hostfs", 0, "/proc").code(), EACCES);
}

TEST(HostfsConfinement, SpecialFilesOfTheHostAreNotOpened) {
  HostTree tree;
  ASSERT_EQ(::mkfifo(tree.host("fifo").c_str(), 0600), 0);
  ASSERT_EQ(tree.stat("fifo").value().mode & vfs::kFileTypeMask, static_cast<uint32_t>(FileType::Fifo));
  // Opened for both sides it is the guest's own pipe at once; the host's would keep what was written.
  Result<RefPtr<vfs::OpenFile>> file = tree.open("fifo", kReadWrite | kNonBlock);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value()->kind(), vfs::FileKind::Pipe);
  auto& inode = static_cast<HostInode&>(*tree.find("fifo").value().dentry->inode());
  EXPECT_EQ(inode.descriptor(HostDescriptor::kRead).code(), ENXIO);
  ASSERT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/"}, "hostfs", 0, "/dev").code(), 0);
}

TEST(HostfsConfinement, MountsCanBeKeptBelowADirectory) {
  HostTree tree;
  tree.mkdir("inner");
  tree.mkdir("mnt");
  write_on_host(tree.host("inner/file"), "x");
  std::filesystem::create_symlink("/", tree.host("inner/root"));
  ASSERT_TRUE(tree.type->confine(tree.host("inner")).ok());
  ASSERT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/mnt"}, "hostfs", 0, "/").code(), 0);
  EXPECT_EQ(tree.read("/mnt/file"), "x");
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/mnt"}, "hostfs", 0, "/etc").code(), ENOENT);
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/mnt"}, "hostfs", 0, "/root/etc").code(), ENOENT);
}

TEST(HostfsConfinement, UnknownOptionsAreRefused) {
  HostTree tree;
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/"}, "hostfs", 0, "/tmp,owners=me").code(), EINVAL);
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/"}, "hostfs", 0, "tmp").code(), EINVAL);
  EXPECT_EQ(tree.vfs->mount(tree.caller(), "none", {nullptr, "/"}, "hostfs", 0, "/no/such").code(), ENOENT);
}

// --- owners=map

TEST(HostfsOwners, TheUserOfUmkIsTheSuperuser) {
  HostTree tree;
  write_on_host(tree.host("file"), "x");
  const vfs::Metadata data = tree.stat("file").value();
  EXPECT_EQ(data.uid, 0u);
  EXPECT_EQ(data.gid, 0u);
}

TEST(HostfsOwners, WhatTheHostCannotSetIsKeptInAttributes) {
  HostTree tree;
  tree.write("su", "x", 0, 0755);
  EXPECT_EQ(host_attribute(tree.host("su"), "user.umk.owner"), "");
  ASSERT_EQ(tree.chown("su", 0, 42), 0);
  ASSERT_EQ(tree.chmod("su", 04755), 0);
  EXPECT_EQ(host_attribute(tree.host("su"), "user.umk.owner"), "0:42");
  EXPECT_EQ(host_attribute(tree.host("su"), "user.umk.mode"), "4755");
  struct stat status;
  ASSERT_EQ(::stat(tree.host("su").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);

  tree.remount();
  EXPECT_EQ(tree.stat("su").value().mode & 07777, 04755u);
  EXPECT_EQ(tree.stat("su").value().gid, 42u);
  ASSERT_EQ(tree.chown("su", 0, 0), 0);
  ASSERT_EQ(tree.chmod("su", 0755), 0);
  EXPECT_EQ(host_attribute(tree.host("su"), "user.umk.owner"), "");
  EXPECT_EQ(host_attribute(tree.host("su"), "user.umk.mode"), "");
}

TEST(HostfsOwners, AttributesWrittenOutsideAreSeen) {
  HostTree tree;
  tree.write("file", "x");
  EXPECT_EQ(tree.stat("file").value().uid, 0u);
  usleep(50'000);
  EXPECT_EQ(tree.stat("file").value().uid, 0u);
  ASSERT_EQ(lsetxattr(tree.host("file").c_str(), "user.umk.owner", "7:8", 3, 0), 0);
  EXPECT_EQ(tree.stat("file").value().uid, 7u);
}

TEST(HostfsOwners, LockedFilesStayReadableToUmk) {
  HostTree tree;
  tree.write("shadow", "secret", 0, 0);
  EXPECT_EQ(tree.stat("shadow").value().mode & 07777, 0u);
  EXPECT_EQ(tree.read("shadow"), "secret");
  tree.mkdir("locked", 0);
  EXPECT_EQ(tree.write("locked/file", "x"), 0);
  tree.act_as(1000, 1000);
  EXPECT_EQ(tree.read("shadow"), "!13");
  EXPECT_EQ(tree.read("locked/file"), "!13");
}

TEST(HostfsOwners, NewFilesBelongToTheirMaker) {
  HostTree tree;
  ASSERT_EQ(tree.chmod("/", 0755), 0);
  ASSERT_EQ(tree.mkdir("home", 01777), 0);
  tree.act_as(1000, 100);
  ASSERT_EQ(tree.write("home/file", "x", 0, 0640), 0);
  ASSERT_EQ(tree.symlink("file", "home/link"), 0);
  ASSERT_EQ(tree.mkdir("home/dir"), 0);
  EXPECT_EQ(tree.chown("home/file", 0, 0), EPERM);
  tree.act_as_root();
  tree.remount();
  for (const char* path : {"home/file", "home/link", "home/dir"}) {
    EXPECT_EQ(tree.stat(path).value().uid, 1000u) << path;
    EXPECT_EQ(tree.stat(path).value().gid, 100u) << path;
  }
  EXPECT_EQ(read_on_host(tree.host(".umk-owners")), "home/link\t1000:100\t777\t-\n");
}

TEST(HostfsOwners, TheSideFileFollowsRenames) {
  HostTree tree;
  tree.mkdir("a");
  tree.symlink("x", "a/link");
  tree.symlink("x", "second");
  ASSERT_EQ(tree.chown("a/link", 5, 6), 0);
  ASSERT_EQ(tree.chown("second", 7, 8), 0);
  ASSERT_EQ(tree.rename("a", "b"), 0);
  ASSERT_EQ(tree.rename("b/link", "second", 2), 0);
  tree.remount();
  EXPECT_EQ(tree.stat("second").value().uid, 5u);
  EXPECT_EQ(tree.stat("b/link").value().uid, 7u);
  ASSERT_EQ(tree.unlink("second"), 0);
  ASSERT_EQ(tree.symlink("y", "second"), 0);
  tree.remount();
  EXPECT_EQ(tree.stat("second").value().uid, 0u);
}

TEST(HostfsOwners, WhereTheTopIsClosedTheyHoldUntilTheEnd) {
  HostTree tree;
  tree.mkdir("home");
  ASSERT_EQ(::chmod(tree.host("").c_str(), 0555), 0);
  ASSERT_EQ(tree.symlink("x", "home/link"), 0);
  ASSERT_EQ(tree.chown("home/link", 5, 6), 0);
  EXPECT_EQ(tree.stat("home/link").value().uid, 5u);
  ASSERT_EQ(tree.rename("home/link", "home/moved"), 0);
  EXPECT_EQ(tree.stat("home/moved").value().gid, 6u);
  ASSERT_EQ(tree.unlink("home/moved"), 0);
  ASSERT_EQ(tree.symlink("x", "home/moved"), 0);
  EXPECT_EQ(tree.stat("home/moved").value().uid, 0u);
  ASSERT_EQ(tree.chown("home/moved", 7, 8), 0);
  tree.remount();
  EXPECT_EQ(tree.stat("home/moved").value().uid, 0u);
  EXPECT_FALSE(std::filesystem::exists(tree.host(".umk-owners")));
}

TEST(HostfsOwners, DevicesAreTheGuestsOwn) {
  HostTree tree;
  tree.mkdir("dev");
  ASSERT_EQ(tree.mknod("dev/null", 020666, {1, 3}), 0);
  ASSERT_EQ(tree.mknod("dev/pipe", 010644), 0);
  ASSERT_EQ(tree.mknod("dev/socket", 0140755), 0);
  ASSERT_EQ(tree.write("dev/file", ""), 0);
  EXPECT_EQ(host_attribute(tree.host("dev/null"), "user.umk.device"), "c 1:3");
  struct stat status;
  ASSERT_EQ(::lstat(tree.host("dev/null").c_str(), &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));
  tree.remount();
  const vfs::Metadata data = tree.stat("dev/null").value();
  EXPECT_EQ(data.mode, 020666u);
  EXPECT_EQ(data.device, (vfs::DeviceNumber{1, 3}));
  const std::vector<HostTree::Entry> expected = {
      {"file", FileType::Regular}, {"null", FileType::CharacterDevice}, {"pipe", FileType::Fifo}, {"socket", FileType::Socket}};
  EXPECT_EQ(tree.list("dev"), expected);
  // Without a driver for it there is nothing behind the node, the file on the host least of all.
  EXPECT_EQ(tree.open("dev/null", kReadOnly).code(), ENXIO);
}

TEST(HostfsOwners, TheRecordsAreHidden) {
  HostTree tree;
  tree.write("file", "x");
  tree.symlink("x", "link");
  tree.chown("file", 1, 1);
  tree.chown("link", 1, 1);
  tree.remount();
  EXPECT_EQ(tree.list("/").size(), 2u);
  EXPECT_EQ(tree.read(".umk-owners"), "!2");
  EXPECT_EQ(tree.write(".umk-owners", "x"), EACCES);
  EXPECT_EQ(tree.rename("file", ".umk-owners"), EACCES);
  const vfs::Path file = tree.find("file").take();
  const vfs::Target target(file);
  EXPECT_EQ(tree.vfs->set_attribute(tree.caller(), target, "user.note", "mine", 0).code(), 0);
  EXPECT_EQ(tree.vfs->list_attributes(tree.caller(), target).value().view(), std::string_view("user.note\0", 10));
  EXPECT_EQ(tree.vfs->get_attribute(tree.caller(), target, "user.note").value().view(), "mine");
  EXPECT_EQ(tree.vfs->get_attribute(tree.caller(), target, "user.umk.owner").code(), ENODATA);
  EXPECT_EQ(tree.vfs->set_attribute(tree.caller(), target, "user.umk.owner", "0:0", 0).code(), EPERM);
}

TEST(HostfsOwners, AsTheHostSaysWhenAsked) {
  HostTree tree("owners=host");
  write_on_host(tree.host("file"), "x");
  EXPECT_EQ(tree.stat("file").value().uid, geteuid());
  EXPECT_EQ(tree.chown("file", 12, 12), EPERM);
  ASSERT_EQ(tree.chmod("file", 0400), 0);
  struct stat status;
  ASSERT_EQ(::stat(tree.host("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0400u);
  EXPECT_EQ(host_attribute(tree.host("file"), "user.umk.mode"), "");
}

}  // namespace
}  // namespace umk::hostfs
