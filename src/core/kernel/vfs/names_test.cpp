#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

using Names = VfsTest;
using namespace open_flags;

TEST_F(Names, MakingWhatIsThereFails) {
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(mkdir("/d"), EEXIST);
  EXPECT_EQ(mkdir("/d/"), EEXIST);
  EXPECT_EQ(mkdir("/"), EEXIST);
  EXPECT_EQ(mkdir("/d/."), EEXIST);
  EXPECT_EQ(mkdir("/d/.."), EEXIST);
  EXPECT_EQ(mkdir("/none/x"), ENOENT);
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(mkdir("/f"), EEXIST);
  EXPECT_EQ(mkdir("/f/x"), ENOTDIR);
  EXPECT_EQ(symlink("nowhere", "/dangling"), 0);
  EXPECT_EQ(mkdir("/dangling"), EEXIST);
  EXPECT_EQ(symlink("x", "/dangling"), EEXIST);
  EXPECT_EQ(symlink("x", "/new/"), ENOENT);
  EXPECT_EQ(symlink("", "/new"), ENOENT);
  EXPECT_EQ(mkdir("/e/"), 0);
}

TEST_F(Names, ThatNobodyUsesGoWhenMemoryIsShort) {
  ASSERT_EQ(mkdir("/used"), 0);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(vfs_->lookup(me(), at("/used/absent" + std::to_string(i))).code(), ENOENT);
  const Path used = vfs_->lookup(me(), at("/used")).take();
  const size_t before = vfs_->dentries().count();
  ASSERT_GE(before, 500u);
  const size_t some = vfs_->dentries().shrink(100);
  EXPECT_GE(some, 100u);
  EXPECT_LT(some, 500u);
  EXPECT_EQ(vfs_->dentries().count(), before - some);
  EXPECT_GE(some + vfs_->dentries().shrink(SIZE_MAX), 500u);
  EXPECT_EQ(vfs_->dentries().shrink(SIZE_MAX), 0u);
  EXPECT_EQ(vfs_->lookup(me(), at("/used")).take().dentry.get(), used.dentry.get());
}

TEST_F(Names, UmaskAndSetGroupIdDirectoriesDecideModes) {
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(inode("/d").mode() & 07777, 0755u);
  EXPECT_EQ(chown("/d", 0, 77), 0);
  EXPECT_EQ(chmod("/d", 02777), 0);
  EXPECT_EQ(mkdir("/d/sub"), 0);
  EXPECT_EQ(inode("/d/sub").mode() & 07777, 02755u);
  EXPECT_EQ(inode("/d/sub").gid(), 77u);
  act_as(user(1000));
  EXPECT_EQ(open_code("/d/f", kCreate | kWriteOnly, 02777), 0);
  EXPECT_EQ(inode("/d/f").mode() & 07777, 0755u);  // not in group 77: the bit is dropped
  EXPECT_EQ(inode("/d/f").gid(), 77u);
  EXPECT_EQ(inode("/d/f").uid(), 1000u);
}

TEST_F(Names, OpenCreatesWhatSymlinksPointTo) {
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(symlink("d/target", "/link"), 0);
  EXPECT_EQ(open_code("/link", kCreate | kExclusive | kWriteOnly), EEXIST);
  EXPECT_EQ(open_code("/link", kCreate | kNoFollow | kWriteOnly), ELOOP);
  EXPECT_EQ(open_code("/link", kWriteOnly), ENOENT);
  EXPECT_EQ(open_code("/link", kCreate | kWriteOnly), 0);
  EXPECT_EQ(lookup("/d/target"), 0);
  EXPECT_EQ(symlink("none/target", "/bad"), 0);
  EXPECT_EQ(open_code("/bad", kCreate | kWriteOnly), ENOENT);
}

TEST_F(Names, OpenChecksKinds) {
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(open_code("/d", kWriteOnly), EISDIR);
  EXPECT_EQ(open_code("/d", kReadWrite), EISDIR);
  EXPECT_EQ(open_code("/d", kCreate), EISDIR);
  EXPECT_EQ(open_code("/d", kCreate | kExclusive), EEXIST);
  EXPECT_EQ(open_code("/d/", kCreate | kWriteOnly), EISDIR);
  EXPECT_EQ(open_code("/none/", kCreate | kWriteOnly), EISDIR);
  EXPECT_EQ(open_code("/f", kDirectory), ENOTDIR);
  EXPECT_EQ(open_code("/f/", kReadOnly), ENOTDIR);
  EXPECT_EQ(open_code("/d", kDirectory), 0);
  EXPECT_EQ(symlink("f", "/l"), 0);
  EXPECT_EQ(open_code("/l", kNoFollow), ELOOP);
  EXPECT_EQ(open_code("/l", kNoFollow | kPath), 0);
  EXPECT_EQ(open_code("/f", kCreate | kDirectory), EINVAL);
}

TEST_F(Names, ANewFileMayBeWrittenWhateverItsMode) {
  act_as(user(1000));
  EXPECT_EQ(open_code("/f", kCreate | kWriteOnly), EACCES);
  act_as(nullptr);
  EXPECT_EQ(chmod("/", 0777), 0);
  act_as(user(1000));
  Result<RefPtr<OpenFile>> file = open("/f", kCreate | kReadWrite, 0);
  ASSERT_EQ(file.code(), 0);
  EXPECT_EQ(write(*file.value(), "abc"), 3u);
  EXPECT_EQ(open_code("/f"), EACCES);
}

TEST_F(Names, UnlinkedFilesLiveWhileOpen) {
  EXPECT_EQ(put("/f", "text"), 0);
  Result<RefPtr<OpenFile>> file = open("/f", kReadWrite);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(unlink("/f"), 0);
  EXPECT_EQ(unlink("/f"), ENOENT);
  EXPECT_EQ(lookup("/f"), ENOENT);
  EXPECT_EQ(read(*file.value()), "text");
  EXPECT_EQ(file.value()->inode().links(), 0u);
  EXPECT_EQ(text_of(file.value()->path()), "/f (deleted)");
  EXPECT_EQ(put("/f", "new"), 0);
  EXPECT_EQ(get("/f"), "new");
  EXPECT_EQ(vfs_->link_file(me(), file.value()->path(), at("/back")).code(), ENOENT);
}

TEST_F(Names, UnlinkAndRmdirCheckKinds) {
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(mkdir("/d/sub"), 0);
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(unlink("/d"), EISDIR);
  EXPECT_EQ(unlink("/f/"), ENOTDIR);
  EXPECT_EQ(unlink("/d/"), EISDIR);
  EXPECT_EQ(unlink("/"), EISDIR);
  EXPECT_EQ(rmdir("/f"), ENOTDIR);
  EXPECT_EQ(rmdir("/d"), ENOTEMPTY);
  EXPECT_EQ(rmdir("/d/sub/."), EINVAL);
  EXPECT_EQ(rmdir("/d/sub/.."), ENOTEMPTY);
  EXPECT_EQ(rmdir("/"), EBUSY);
  EXPECT_EQ(rmdir("/d/sub/"), 0);
  EXPECT_EQ(rmdir("/d"), 0);
}

TEST_F(Names, StickyDirectoriesProtectOthersFiles) {
  EXPECT_EQ(mkdir("/tmp"), 0);
  EXPECT_EQ(chmod("/tmp", 01777), 0);
  act_as(user(1000));
  EXPECT_EQ(put("/tmp/mine"), 0);
  act_as(user(1001));
  EXPECT_EQ(unlink("/tmp/mine"), EPERM);
  EXPECT_EQ(rename("/tmp/mine", "/tmp/yours"), EPERM);
  EXPECT_EQ(put("/tmp/other"), 0);
  EXPECT_EQ(rename("/tmp/other", "/tmp/mine"), EPERM);
  act_as(user(1000));
  EXPECT_EQ(unlink("/tmp/mine"), 0);
}

TEST_F(Names, HardLinksShareTheFile) {
  EXPECT_EQ(put("/f", "text"), 0);
  EXPECT_EQ(link("/f", "/g"), 0);
  EXPECT_EQ(stat("/f").links, 2u);
  EXPECT_EQ(stat("/f").number, stat("/g").number);
  EXPECT_EQ(link("/f", "/g"), EEXIST);
  EXPECT_EQ(link("/none", "/h"), ENOENT);
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(link("/d", "/h"), EPERM);
  EXPECT_EQ(link("/f", "/h/"), ENOENT);
  EXPECT_EQ(unlink("/f"), 0);
  EXPECT_EQ(get("/g"), "text");
  EXPECT_EQ(stat("/g").links, 1u);
  EXPECT_EQ(chmod("/", 0777), 0);
  act_as(user(1000));
  EXPECT_EQ(link("/g", "/h"), EPERM);  // protected_hardlinks
}

TEST_F(Names, TemporaryFilesCanBeLinkedOnceUnlessExclusive) {
  Result<RefPtr<OpenFile>> file = open("/", kTemporary | kReadWrite, 0600);
  ASSERT_EQ(file.code(), 0);
  EXPECT_EQ(file.value()->inode().links(), 0u);
  EXPECT_EQ(write(*file.value(), "data"), 4u);
  EXPECT_EQ(names("/").size(), 0u);
  EXPECT_EQ(vfs_->link_file(me(), file.value()->path(), at("/named")).code(), 0);
  EXPECT_EQ(get("/named"), "data");
  Result<RefPtr<OpenFile>> exclusive = open("/", kTemporary | kExclusive | kReadWrite, 0600);
  ASSERT_EQ(exclusive.code(), 0);
  EXPECT_EQ(vfs_->link_file(me(), exclusive.value()->path(), at("/other")).code(), ENOENT);
  EXPECT_EQ(open_code("/", kTemporary), EINVAL);
}

TEST_F(Names, RenameReplacesWhatIsOfItsKind) {
  EXPECT_EQ(put("/a", "a"), 0);
  EXPECT_EQ(put("/b", "b"), 0);
  EXPECT_EQ(rename("/a", "/b"), 0);
  EXPECT_EQ(get("/b"), "a");
  EXPECT_EQ(lookup("/a"), ENOENT);
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(mkdir("/e"), 0);
  EXPECT_EQ(mkdir("/e/sub"), 0);
  EXPECT_EQ(rename("/b", "/d"), EISDIR);
  EXPECT_EQ(rename("/d", "/b"), ENOTDIR);
  EXPECT_EQ(rename("/d", "/e"), ENOTEMPTY);
  EXPECT_EQ(rename("/e", "/d"), 0);
  EXPECT_EQ(lookup("/d/sub"), 0);
  EXPECT_EQ(stat("/").links, 3u);
  EXPECT_EQ(rename("/none", "/x"), ENOENT);
  EXPECT_EQ(rename("/b/", "/x"), ENOTDIR);
  EXPECT_EQ(rename("/b", "/x/"), ENOTDIR);
  EXPECT_EQ(rename("/d", "/x/"), 0);
}

TEST_F(Names, RenameOfDirectoriesKeepsTheTreeInShape) {
  EXPECT_EQ(mkdir("/a"), 0);
  EXPECT_EQ(mkdir("/a/b"), 0);
  EXPECT_EQ(mkdir("/a/b/c"), 0);
  EXPECT_EQ(mkdir("/other"), 0);
  EXPECT_EQ(rename("/a", "/a/b/c/d"), EINVAL);
  EXPECT_EQ(rename("/a", "/a/d"), EINVAL);
  EXPECT_EQ(rename("/a/b/c", "/a"), ENOTEMPTY);
  EXPECT_EQ(rename("/a/.", "/x"), EBUSY);
  EXPECT_EQ(rename("/a/..", "/x"), EBUSY);
  EXPECT_EQ(rename("/", "/x"), EBUSY);
  const Path deep = place("/a/b/c");
  EXPECT_EQ(rename("/a/b", "/other/moved"), 0);
  EXPECT_EQ(text_of(deep), "/other/moved/c");
  EXPECT_EQ(stat("/a").links, 2u);
  EXPECT_EQ(stat("/other").links, 3u);
  EXPECT_EQ(vfs_->lookup(me(), At{&deep, "../../../a"}).code(), 0);
}

TEST_F(Names, RenameOntoAnotherNameOfTheFileDoesNothing) {
  EXPECT_EQ(put("/a", "x"), 0);
  EXPECT_EQ(link("/a", "/b"), 0);
  EXPECT_EQ(rename("/a", "/b"), 0);
  EXPECT_EQ(lookup("/a"), 0);
  EXPECT_EQ(lookup("/b"), 0);
  EXPECT_EQ(rename("/a", "/a"), 0);
}

TEST_F(Names, RenameFlagsAreHonoured) {
  EXPECT_EQ(put("/a", "a"), 0);
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(mkdir("/d/sub"), 0);
  EXPECT_EQ(mkdir("/e"), 0);
  EXPECT_EQ(rename("/a", "/d", rename_flags::kNoReplace), EEXIST);
  EXPECT_EQ(rename("/a", "/b", rename_flags::kNoReplace), 0);
  EXPECT_EQ(rename("/b", "/none", rename_flags::kExchange), ENOENT);
  EXPECT_EQ(rename("/b", "/d/sub", rename_flags::kExchange), 0);
  EXPECT_EQ(get("/d/sub"), "a");
  EXPECT_TRUE(inode("/b").is_directory());
  EXPECT_EQ(stat("/").links, 5u);
  EXPECT_EQ(stat("/d").links, 2u);
  EXPECT_EQ(rename("/b", "/d/sub", rename_flags::kExchange | rename_flags::kNoReplace), EINVAL);
  EXPECT_EQ(rename("/d", "/d/sub", rename_flags::kExchange), EINVAL);
  EXPECT_EQ(rename("/d/sub", "/d", rename_flags::kExchange), EINVAL);
}

TEST_F(Names, ReadOnlyMountsRefuseChanges) {
  EXPECT_EQ(put("/f", "x"), 0);
  EXPECT_EQ(mkdir("/d"), 0);
  EXPECT_EQ(vfs_->mount(me(), "", at("/"), "", mount_flags::kRemount | mount_flags::kReadOnly, "").code(), 0);
  EXPECT_EQ(mkdir("/x"), EROFS);
  EXPECT_EQ(mkdir("/d"), EEXIST);
  EXPECT_EQ(unlink("/f"), EROFS);
  EXPECT_EQ(rename("/f", "/g"), EROFS);
  EXPECT_EQ(chmod("/f", 0600), EROFS);
  EXPECT_EQ(open_code("/f", kWriteOnly), EROFS);
  EXPECT_EQ(open_code("/new", kCreate | kWriteOnly), EROFS);
  EXPECT_EQ(open_code("/f", kReadOnly | kCreate), 0);
  EXPECT_EQ(get("/f"), "x");
}

TEST_F(Names, AttributesFollowTheRulesOfOwnership) {
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(chown("/f", 1000, 1000), 0);
  EXPECT_EQ(chmod("/f", 06777), 0);
  act_as(user(1001));
  EXPECT_EQ(chmod("/f", 0600), EPERM);
  EXPECT_EQ(chown("/f", 1001, UINT32_MAX), EPERM);
  EXPECT_EQ(open_code("/f", kWriteOnly), 0);
  act_as(user(1000, {60}));
  EXPECT_EQ(chown("/f", UINT32_MAX, 61), EPERM);
  EXPECT_EQ(chown("/f", UINT32_MAX, 60), 0);
  EXPECT_EQ(inode("/f").mode() & 07777, 0777u);
  EXPECT_EQ(inode("/f").gid(), 60u);
  EXPECT_EQ(chown("/f", 1001, UINT32_MAX), EPERM);
  const TimeChange now{TimeChange::Kind::Now, {}}, set{TimeChange::Kind::Set, {5, 0}};
  const Path file = place("/f");
  EXPECT_EQ(vfs_->change_times(me(), Target(file), set, set).code(), 0);
  EXPECT_EQ(stat("/f").modify_time.seconds, 5);
  act_as(user(1001));
  EXPECT_EQ(vfs_->change_times(me(), Target(file), set, set).code(), EPERM);
  EXPECT_EQ(vfs_->change_times(me(), Target(file), now, now).code(), 0);
}

TEST_F(Names, ExecutedFilesCannotBeWritten) {
  EXPECT_EQ(put("/f"), 0);
  Inode& file = inode("/f");
  ASSERT_EQ(file.deny_writers().code(), 0);
  EXPECT_EQ(open_code("/f", kWriteOnly), ETXTBSY);
  file.allow_writers();
  Result<RefPtr<OpenFile>> writer = open("/f", kWriteOnly);
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(file.deny_writers().code(), ETXTBSY);
  writer = error(EIO);
  EXPECT_EQ(file.deny_writers().code(), 0);
  file.allow_writers();
}

TEST_F(Names, ExtendedAttributesHaveNamespaces) {
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(symlink("f", "/l"), 0);
  const Path file = place("/f"), link_place = place("/l", 0);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "user.a", "one", 0).code(), 0);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "user.a", "two", 1).code(), EEXIST);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "user.b", "two", 2).code(), ENODATA);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "trusted.t", "secret", 0).code(), 0);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "other.t", "x", 0).code(), EOPNOTSUPP);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "system.posix_acl_access", "x", 0).code(), EOPNOTSUPP);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(link_place), "user.a", "x", 0).code(), EPERM);
  EXPECT_EQ(vfs_->get_attribute(me(), Target(file), "user.a").value().view(), "one");
  EXPECT_EQ(vfs_->list_attributes(me(), Target(file)).value().view(), std::string_view("user.a\0trusted.t\0", 17));
  act_as(user(1000));
  EXPECT_EQ(vfs_->list_attributes(me(), Target(file)).value().view(), std::string_view("user.a\0", 7));
  EXPECT_EQ(vfs_->get_attribute(me(), Target(file), "trusted.t").code(), ENODATA);
  EXPECT_EQ(vfs_->set_attribute(me(), Target(file), "trusted.t", "x", 0).code(), EPERM);
  EXPECT_EQ(vfs_->remove_attribute(me(), Target(file), "user.a").code(), EACCES);
  act_as(nullptr);
  EXPECT_EQ(vfs_->remove_attribute(me(), Target(file), "user.a").code(), 0);
  EXPECT_EQ(vfs_->get_attribute(me(), Target(file), "user.a").code(), ENODATA);
}

}  // namespace
}  // namespace umk::vfs
