#include "core/kernel/vfs/path_walk.h"

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

class PathWalkTest : public VfsTest {
 protected:
  PathWalkTest() {
    EXPECT_EQ(mkdir("/a"), 0);
    EXPECT_EQ(mkdir("/a/b"), 0);
    EXPECT_EQ(put("/a/b/file", "text"), 0);
  }
};

TEST_F(PathWalkTest, FindsFilesWithSuperfluousSlashesAndDots) {
  EXPECT_EQ(lookup("/a/b/file"), 0);
  EXPECT_EQ(lookup("//a///b/./file"), 0);
  EXPECT_EQ(lookup("/a/../a/b/../b/file"), 0);
  EXPECT_EQ(lookup("a/b"), 0);
  EXPECT_EQ(lookup("/"), 0);
  EXPECT_EQ(lookup("."), 0);
}

TEST_F(PathWalkTest, EmptyPathIsAnErrorUnlessAllowed) {
  EXPECT_EQ(lookup(""), ENOENT);
  EXPECT_EQ(lookup("", walk::kEmptyPath), 0);
}

TEST_F(PathWalkTest, DotDotStopsAtTheRoot) {
  EXPECT_EQ(lookup("/../../a"), 0);
  fs_->set_root(place("/a"));
  EXPECT_EQ(lookup("/../b/file"), 0);
  EXPECT_EQ(lookup("/a"), ENOENT);
}

TEST_F(PathWalkTest, TrailingSlashNeedsADirectory) {
  EXPECT_EQ(lookup("/a/b/"), 0);
  EXPECT_EQ(lookup("/a/b/file/"), ENOTDIR);
  EXPECT_EQ(lookup("/a/b/file/x"), ENOTDIR);
  EXPECT_EQ(lookup("/a/b/file/."), ENOTDIR);
  EXPECT_EQ(lookup("/a/b/file/.."), ENOTDIR);
  EXPECT_EQ(lookup("/a/b/none/"), ENOENT);
}

TEST_F(PathWalkTest, LongNamesAreRefused) {
  const std::string name(255, 'n');
  EXPECT_EQ(put("/" + name), 0);
  EXPECT_EQ(lookup("/" + name), 0);
  EXPECT_EQ(lookup("/" + name + "n"), ENAMETOOLONG);
  EXPECT_EQ(put("/" + name + "n"), ENAMETOOLONG);
}

TEST_F(PathWalkTest, FollowsSymlinksRelativeToTheirDirectory) {
  EXPECT_EQ(symlink("b/file", "/a/link"), 0);
  EXPECT_EQ(symlink("/a/b", "/absolute"), 0);
  EXPECT_EQ(symlink("../a/link", "/a/again"), 0);
  EXPECT_EQ(get("/a/link"), "text");
  EXPECT_EQ(get("/absolute/file"), "text");
  EXPECT_EQ(get("/a/again"), "text");
  EXPECT_EQ(get("/absolute/../link"), "text");
  EXPECT_EQ(lookup("/absolute/", 0), 0);
  EXPECT_TRUE(place("/absolute", 0).dentry->inode()->is_symlink());
  EXPECT_TRUE(place("/absolute/", 0).dentry->inode()->is_directory());
}

TEST_F(PathWalkTest, SymlinksWithTrailingSlashesNeedDirectories) {
  EXPECT_EQ(symlink("b/", "/a/directory"), 0);
  EXPECT_EQ(symlink("b/file/", "/a/wrong"), 0);
  EXPECT_EQ(lookup("/a/directory/file"), 0);
  EXPECT_EQ(lookup("/a/directory"), 0);
  EXPECT_EQ(lookup("/a/wrong"), ENOTDIR);
}

TEST_F(PathWalkTest, FortySymlinksAreTheLimit) {
  EXPECT_EQ(put("/l0", "end"), 0);
  for (int i = 1; i <= 41; ++i) EXPECT_EQ(symlink("l" + std::to_string(i - 1), "/l" + std::to_string(i)), 0);
  EXPECT_EQ(get("/l40"), "end");
  EXPECT_EQ(lookup("/l41"), ELOOP);
  EXPECT_EQ(symlink("self", "/self"), 0);
  EXPECT_EQ(lookup("/self"), ELOOP);
  EXPECT_EQ(lookup("/self/x"), ELOOP);
}

TEST_F(PathWalkTest, NestedSymlinksKeepTheRestOfEachText) {
  EXPECT_EQ(symlink("/a/.", "/one"), 0);
  EXPECT_EQ(symlink("/one/./", "/two"), 0);
  EXPECT_EQ(symlink("two/b/../b", "/three"), 0);
  EXPECT_EQ(symlink("three/./.", "/four"), 0);
  EXPECT_EQ(get("/four/file"), "text");
  EXPECT_EQ(get("/four/../../four/./file"), "text");
}

TEST_F(PathWalkTest, SearchPermissionIsNeededOnTheWay) {
  EXPECT_EQ(chmod("/a", 0700), 0);
  act_as(user(1000));
  EXPECT_EQ(lookup("/a"), 0);
  EXPECT_EQ(lookup("/a/b"), EACCES);
  EXPECT_EQ(lookup("/a/."), EACCES);
  EXPECT_EQ(lookup("/a/none"), EACCES);
}

TEST_F(PathWalkTest, GroupsAndOwnersDecideInOrder) {
  EXPECT_EQ(chown("/a", 1000, 50), 0);
  EXPECT_EQ(chmod("/a", 0071), 0);
  act_as(user(1000));
  EXPECT_EQ(lookup("/a/b"), EACCES);  // the owner's bits count for the owner, even if the group's would do
  act_as(user(1001, {50}));
  EXPECT_EQ(lookup("/a/b"), 0);
  act_as(user(1002));
  EXPECT_EQ(lookup("/a/b"), 0);
  EXPECT_EQ(open_code("/a"), EACCES);
}

TEST_F(PathWalkTest, BeneathKeepsPathsBelowTheBase) {
  EXPECT_EQ(symlink("/etc", "/a/absolute"), 0);
  EXPECT_EQ(symlink("../outside", "/a/up"), 0);
  const Path base = place("/a");
  auto code = [&](std::string_view path, unsigned flags) { return vfs_->lookup(me(), At{&base, path}, flags | walk::kFollow).code(); };
  EXPECT_EQ(code("b/file", walk::kBeneath), 0);
  EXPECT_EQ(code("b/../b/file", walk::kBeneath), 0);
  EXPECT_EQ(code("..", walk::kBeneath), EXDEV);
  EXPECT_EQ(code("b/../../a", walk::kBeneath), EXDEV);
  EXPECT_EQ(code("/a", walk::kBeneath), EXDEV);
  EXPECT_EQ(code("absolute", walk::kBeneath), EXDEV);
  EXPECT_EQ(code("up", walk::kBeneath), EXDEV);
}

TEST_F(PathWalkTest, InRootMakesTheBaseTheRoot) {
  EXPECT_EQ(symlink("/b/file", "/a/absolute"), 0);
  const Path base = place("/a");
  auto code = [&](std::string_view path) { return vfs_->lookup(me(), At{&base, path}, walk::kInRoot | walk::kFollow).code(); };
  EXPECT_EQ(code("absolute"), 0);
  EXPECT_EQ(code("/b/file"), 0);
  EXPECT_EQ(code("../../b/file"), 0);
  EXPECT_EQ(code("/a"), ENOENT);
}

TEST_F(PathWalkTest, NoSymlinksRefusesThem) {
  EXPECT_EQ(symlink("b", "/a/link"), 0);
  EXPECT_EQ(lookup("/a/link/file", walk::kNoSymlinks), ELOOP);
  EXPECT_EQ(lookup("/a/link", walk::kNoSymlinks), 0);
  EXPECT_EQ(lookup("/a/link", walk::kNoSymlinks | walk::kFollow), ELOOP);
}

TEST_F(PathWalkTest, MountsAreCrossedBothWays) {
  EXPECT_EQ(vfs_->mount(me(), "none", at("/a/b"), "tmpfs", 0, "").code(), 0);
  EXPECT_EQ(lookup("/a/b/file"), ENOENT);
  EXPECT_EQ(put("/a/b/new", "x"), 0);
  EXPECT_EQ(lookup("/a/b/../b/new"), 0);
  EXPECT_EQ(lookup("/a/b", walk::kNoMountCrossing), EXDEV);
  EXPECT_EQ(text_of(place("/a/b/new")), "/a/b/new");
  EXPECT_EQ(text_of(place("/a/b/..")), "/a");
  EXPECT_EQ(vfs_->unmount(me(), at("/a/b"), 0).code(), 0);
  EXPECT_EQ(get("/a/b/file"), "text");
}

TEST_F(PathWalkTest, RemovedDirectoriesFindNothing) {
  EXPECT_EQ(mkdir("/gone"), 0);
  const Path gone = place("/gone");
  EXPECT_EQ(rmdir("/gone"), 0);
  EXPECT_EQ(vfs_->lookup(me(), At{&gone, "x"}).code(), ENOENT);
  EXPECT_EQ(vfs_->lookup(me(), At{&gone, "."}).code(), 0);
  EXPECT_EQ(vfs_->make_directory(me(), At{&gone, "x"}, 0777).code(), ENOENT);
  EXPECT_EQ(vfs_->open(me(), At{&gone, "x"}, {open_flags::kCreate | open_flags::kWriteOnly, 0666}).code(), ENOENT);
  EXPECT_EQ(text_of(gone), "/gone (deleted)");
  fs_->set_working_directory(gone);
  char buffer[kPathLimit];
  EXPECT_EQ(vfs_->working_directory_text(*fs_, buffer).code(), ENOENT);
}

}  // namespace
}  // namespace umk::vfs
