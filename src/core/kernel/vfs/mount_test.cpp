#include "core/kernel/vfs/mount.h"

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

class MountTest : public VfsTest {
 protected:
  MountTest() {
    EXPECT_EQ(mkdir("/m"), 0);
    EXPECT_EQ(mkdir("/n"), 0);
    EXPECT_EQ(mkdir("/src"), 0);
    EXPECT_EQ(put("/src/file", "source"), 0);
  }
  int mount(std::string_view target, uint64_t flags = 0, std::string_view options = "") {
    return vfs_->mount(me(), "none", at(target), "tmpfs", flags, options).code();
  }
  int bind(std::string_view source, std::string_view target, uint64_t flags = 0) {
    return vfs_->mount(me(), source, at(target), "", mount_flags::kBind | flags, "").code();
  }
  int move(std::string_view source, std::string_view target) { return vfs_->mount(me(), source, at(target), "", mount_flags::kMove, "").code(); }
  int umount(std::string_view target, int flags = 0) { return vfs_->unmount(me(), at(target), flags).code(); }
  std::vector<std::string> mounts() {
    std::vector<std::string> list;
    std::vector<char> scratch(2 * kPathLimit);
    vfs_->mounts().for_each_visible(fs_->root(), scratch, [&](const MountDescription& mount) { list.push_back(std::string(mount.root) + ":" + std::string(mount.place)); });
    return list;
  }
};

TEST_F(MountTest, MountingNeedsPrivilegeAndAKnownType) {
  act_as(user(1000));
  EXPECT_EQ(mount("/m"), EPERM);
  EXPECT_EQ(umount("/"), EPERM);
  act_as(nullptr);
  EXPECT_EQ(vfs_->mount(me(), "", at("/m"), "nofs", 0, "").code(), ENODEV);
  EXPECT_EQ(mount("/none"), ENOENT);
  EXPECT_EQ(mount("/src/file"), ENOTDIR);
  EXPECT_EQ(mount("/m", 0, "size=wrong"), EINVAL);
}

TEST_F(MountTest, ABusyMountStays) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(put("/m/f", "x"), 0);
  {
    Result<RefPtr<OpenFile>> file = open("/m/f");
    EXPECT_EQ(umount("/m"), EBUSY);
    EXPECT_EQ(rmdir("/m"), EBUSY);
    EXPECT_EQ(rename("/m", "/k"), EBUSY);
  }
  EXPECT_EQ(mkdir("/m/inner"), 0);
  ASSERT_EQ(mount("/m/inner"), 0);
  EXPECT_EQ(umount("/m"), EBUSY);
  EXPECT_EQ(umount("/m/inner"), 0);
  EXPECT_EQ(umount("/m"), 0);
  EXPECT_EQ(umount("/m"), EINVAL);
  EXPECT_EQ(names("/m").size(), 0u);
}

TEST_F(MountTest, LazyUnmountLetsUsersGoOn) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(put("/m/f", "x"), 0);
  EXPECT_EQ(mkdir("/m/inner"), 0);
  ASSERT_EQ(mount("/m/inner"), 0);
  Result<RefPtr<OpenFile>> file = open("/m/f");
  EXPECT_EQ(umount("/m", umount_flags::kDetach), 0);
  EXPECT_EQ(lookup("/m/f"), ENOENT);
  EXPECT_EQ(read(*file.value()), "x");
  EXPECT_EQ(mounts().size(), 1u);
}

TEST_F(MountTest, ExpiryNeedsTwoCallsWithoutUseBetween) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(umount("/m", umount_flags::kExpire | umount_flags::kDetach), EINVAL);
  EXPECT_EQ(umount("/m", umount_flags::kExpire), EAGAIN);
  EXPECT_EQ(lookup("/m/x"), ENOENT);
}

TEST_F(MountTest, BindShowsTheSameFiles) {
  ASSERT_EQ(bind("/src", "/m"), 0);
  EXPECT_EQ(get("/m/file"), "source");
  EXPECT_EQ(put("/m/new", "n"), 0);
  EXPECT_EQ(get("/src/new"), "n");
  EXPECT_EQ(text_of(place("/m/..")), "/");
  ASSERT_EQ(put("/target"), 0);
  ASSERT_EQ(bind("/src/file", "/target"), 0);
  EXPECT_EQ(get("/target"), "source");
  EXPECT_EQ(unlink("/target"), EBUSY);
  EXPECT_EQ(bind("/src", "/target"), ENOTDIR);
  EXPECT_EQ(bind("/none", "/n"), ENOENT);
  EXPECT_EQ(mounts(), (std::vector<std::string>{"/:/", "/src:/m", "/src/file:/target"}));
}

TEST_F(MountTest, RecursiveBindTakesWhatIsMountedBelow) {
  EXPECT_EQ(mkdir("/src/inner"), 0);
  ASSERT_EQ(mount("/src/inner"), 0);
  EXPECT_EQ(put("/src/inner/deep", "deep"), 0);
  ASSERT_EQ(bind("/src", "/m"), 0);
  EXPECT_EQ(lookup("/m/inner/deep"), ENOENT);
  ASSERT_EQ(bind("/src", "/n", mount_flags::kRecursive), 0);
  EXPECT_EQ(get("/n/inner/deep"), "deep");
  // Onto a place below itself.
  ASSERT_EQ(bind("/", "/src/inner", mount_flags::kRecursive), 0);
  EXPECT_EQ(get("/src/inner/n/inner/deep"), "deep");
}

TEST_F(MountTest, MoveTakesAMountElsewhere) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(put("/m/f", "x"), 0);
  EXPECT_EQ(mkdir("/m/sub"), 0);
  EXPECT_EQ(move("/m", "/n"), 0);
  EXPECT_EQ(get("/n/f"), "x");
  EXPECT_EQ(names("/m").size(), 0u);
  EXPECT_EQ(move("/n", "/n/sub"), ELOOP);
  EXPECT_EQ(move("/src", "/m"), EINVAL);
  EXPECT_EQ(umount("/n"), 0);
}

TEST_F(MountTest, MountsStackAtOnePlace) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(put("/m/lower"), 0);
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(lookup("/m/lower"), ENOENT);
  EXPECT_EQ(umount("/m"), 0);
  EXPECT_EQ(lookup("/m/lower"), 0);
  EXPECT_EQ(umount("/m"), 0);
}

TEST_F(MountTest, ReadOnlyBindDoesNotTouchTheFilesystem) {
  ASSERT_EQ(bind("/src", "/m"), 0);
  {
    Result<RefPtr<OpenFile>> writer = open("/m/file", open_flags::kWriteOnly);
    EXPECT_EQ(vfs_->mount(me(), "", at("/m"), "", mount_flags::kRemount | mount_flags::kBind | mount_flags::kReadOnly, "").code(), EBUSY);
  }
  EXPECT_EQ(vfs_->mount(me(), "", at("/m"), "", mount_flags::kRemount | mount_flags::kBind | mount_flags::kReadOnly, "").code(), 0);
  EXPECT_EQ(put("/m/x"), EROFS);
  EXPECT_EQ(put("/src/x"), 0);
  EXPECT_EQ(rename("/m/file", "/src/y"), EXDEV);
  EXPECT_EQ(link("/m/file", "/src/y"), EXDEV);
}

TEST_F(MountTest, PropagationIsPrivate) {
  EXPECT_EQ(vfs_->mount(me(), "", at("/"), "", mount_flags::kPrivate | mount_flags::kRecursive, "").code(), 0);
  EXPECT_EQ(vfs_->mount(me(), "", at("/"), "", mount_flags::kShared, "").code(), EINVAL);
  EXPECT_EQ(vfs_->mount(me(), "", at("/src"), "", mount_flags::kPrivate, "").code(), EINVAL);
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(vfs_->mount(me(), "", at("/m"), "", mount_flags::kUnbindable, "").code(), 0);
  EXPECT_EQ(bind("/m", "/n"), EINVAL);
}

TEST_F(MountTest, PivotRootSwapsTheRoots) {
  ASSERT_EQ(mount("/m"), 0);
  const Path outer = place("/m");
  fs_->set_root(outer);
  fs_->set_working_directory(outer);
  EXPECT_EQ(mkdir("/new"), 0);
  ASSERT_EQ(mount("/new"), 0);
  EXPECT_EQ(mkdir("/new/old"), 0);
  EXPECT_EQ(vfs_->pivot_root(me(), at("/"), at("/")).code(), EBUSY);
  EXPECT_EQ(mkdir("/plain"), 0);
  EXPECT_EQ(vfs_->pivot_root(me(), at("/plain"), at("/plain")).code(), EBUSY);
  Result<Vfs::Pivot> pivot = vfs_->pivot_root(me(), at("/new"), at("/new/old"));
  ASSERT_EQ(pivot.code(), 0);
  EXPECT_TRUE(pivot.value().old_root == outer);
  fs_->set_root(pivot.value().new_root);
  fs_->set_working_directory(pivot.value().new_root);
  EXPECT_EQ(lookup("/old/plain"), 0);
  pivot = error(EIO);
}

TEST_F(MountTest, RootWithoutParentCannotBePivoted) {
  ASSERT_EQ(mount("/m"), 0);
  EXPECT_EQ(mkdir("/m/old"), 0);
  EXPECT_EQ(vfs_->pivot_root(me(), at("/m"), at("/m/old")).code(), EINVAL);
}

TEST_F(MountTest, DeepChainsOfMountsComeApart) {
  std::string path = "/m";
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(mount(path), 0);
    path += "/m";
    ASSERT_EQ(mkdir(path), 0);
  }
  EXPECT_EQ(bind("/", "/n", mount_flags::kRecursive), 0);
  EXPECT_EQ(mounts().size(), 402u);
  EXPECT_EQ(umount("/m", umount_flags::kDetach), 0);
  EXPECT_EQ(umount("/n", umount_flags::kDetach), 0);
  EXPECT_EQ(mounts().size(), 1u);
}

}  // namespace
}  // namespace umk::vfs
