// Images by mksquashfs, compared with the trees that they were made of; and damaged ones.
#include <sys/xattr.h>

#include "core/fs/squashfs/nodes.h"
#include "core/kernel/block/testing_disk.h"

namespace umk::squashfs {

namespace {

using block::Image;

class SquashfsTest : public block::DiskTest {
 protected:
  SquashfsTest() : DiskTest("squashfs") {
    set_log_writer([](LogLevel, std::string_view) {});
    start_tree();
  }

  Result<RefPtr<vfs::Superblock>> mount_volume(const vfs::MountRequest& request) override {
    return RefPtr<vfs::Superblock>(TRY(Volume::mount(RefPtr<block::BlockDevice>(device_), page_cache_, request.options)));
  }

  std::string prose(size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += "line " + std::to_string(random(1000)) + " of a text that says little\n";
    text.resize(bytes);
    return text;
  }

  void make_tree() {
    put_file("empty", "");
    put_file("small", "hello\n");
    put_file("one page", prose(4096));
    put_file("text", prose(700'001));
    put_file("noise", noise(300'000));
    put_file("zeroes", std::string(500'000, '\0'));
    put_file("mixed", noise(10'000) + std::string(2'000'000, '\0') + prose(5'000));
    run("truncate -s 40M " + tree_ + "/sparse && printf end >> " + tree_ + "/sparse");
    run("cd " + tree_ + " && ln small link && ln -s small symlink && ln -s /nowhere/" + std::string(200, 'x') +
        " long && mkfifo fifo && mkdir -p a/b/c dir many");
    run("cd " + tree_ +
        " && mknod null c 1 3; mknod disk b 8 300; chmod 4755 text; chmod 1777 dir; chown 1000:2000 small; chown 70000:80000 'one page'");
    run("cd " + tree_ +
        "/many && seq -f 'a file with a rather long name so that the directory needs an index %05g' 3000 | xargs -d '\\n' touch");
    put_file("a/b/c/deep", "deep\n");
    for (int i = 0; i < 60; ++i) put_file("dir/f" + std::to_string(i), prose(static_cast<size_t>(i) * 97));
    run("find " + tree_ + " -exec touch -h -d '2020-02-03 04:05:06 UTC' {} +");
  }

  Image make_image(const std::string& options) {
    ::unlink(path_.c_str());
    EXPECT_TRUE(run("mksquashfs " + tree_ + " " + path_ + " -noappend -quiet -processors 2 " + options)) << options;
    return load();
  }
};

TEST_F(SquashfsTest, HoldsTheTreeWithEveryCompressorAndBlockSize) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  make_tree();
  const vfs::TreeText wanted = host_tree(vfs::kTreeAll);
  for (const char* options : {"-comp gzip", "-comp gzip -b 4096", "-comp gzip -b 1M -no-fragments", "-comp gzip -always-use-fragments",
                              "-comp gzip -noI -noD -noF -noX", "-comp zstd", "-comp zstd -Xcompression-level 1 -b 4096", "-comp xz",
                              "-comp xz -Xbcj x86 -b 16384", "-comp lz4", "-comp lz4 -Xhc -b 256K", "-comp lzo",
                              "-comp lzo -Xalgorithm lzo1x_1 -b 64K", "-no-duplicates -no-exports -no-xattrs"}) {
    const Image image = make_image(options);
    ASSERT_EQ(mount(image), 0) << options;
    EXPECT_EQ(difference(wanted, mounted_tree(vfs::kTreeAll)), "") << options;
    EXPECT_EQ(unmount(), 0);
  }
}

TEST_F(SquashfsTest, NamesAreFoundInADirectoryWithAnIndex) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  make_tree();
  ASSERT_EQ(mount(make_image("")), 0);
  const std::string prefix = "/m/many/a file with a rather long name so that the directory needs an index ";
  EXPECT_EQ(lookup(prefix + "00001"), 0);
  EXPECT_EQ(lookup(prefix + "01777"), 0);
  EXPECT_EQ(lookup(prefix + "03000"), 0);
  EXPECT_EQ(lookup(prefix + "03001"), ENOENT);
  EXPECT_EQ(lookup("/m/many/a"), ENOENT);
  EXPECT_EQ(lookup("/m/many/zzz"), ENOENT);
  EXPECT_EQ(lookup("/m/many/" + std::string(300, 'x')), ENAMETOOLONG);
  EXPECT_EQ(names("/m/many").size(), 3000u);
}

TEST_F(SquashfsTest, NothingCanBeChanged) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  put_file("file", "text");
  ASSERT_EQ(mount(make_image("")), 0);
  EXPECT_EQ(open_code("/m/file", vfs::open_flags::kWriteOnly), EROFS);
  EXPECT_EQ(put("/m/new"), EROFS);
  EXPECT_EQ(chmod("/m/file", 0600), EROFS);
  EXPECT_EQ(unlink("/m/file"), EROFS);
  EXPECT_EQ(vfs_->mount(me(), "", at("/m"), "", vfs::mount_flags::kRemount, "").code(), 0);
  EXPECT_EQ(put("/m/new"), EROFS);
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(mount(make_image(""), "nonsense"), EINVAL);
}

TEST_F(SquashfsTest, PartsOfABigFileAreFoundFromAnyPlace) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  // More blocks than lie between two remembered places.
  std::string content;
  for (int i = 0; i < 5000; ++i)
    content += std::to_string(i) + " " + (i % 3 == 0 ? noise(4090) : std::string(4090, 'x')).substr(std::to_string(i).size() - 1, 4095);
  content = content.substr(0, content.size() / 4096 * 4096 + 100);
  put_file("big", content);
  ASSERT_EQ(mount(make_image("-b 4096")), 0);
  Result<RefPtr<vfs::OpenFile>> file = open("/m/big");
  ASSERT_TRUE(file.ok());
  for (int round = 0; round < 300; ++round) {
    const size_t at = random(static_cast<uint32_t>(content.size()));
    std::string part(5000, '\0');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(part.data()), part.size());
    const Result<size_t> got = file.value()->read_at(at, buffer);
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(part.substr(0, got.value()), content.substr(at, 5000)) << at;
  }
}

TEST_F(SquashfsTest, AttributesAreThoseOfTheTree) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  put_file("file", "text");
  put_file("other", "more");
  const std::string big(5000, 'v');
  if (setxattr((tree_ + "/file").c_str(), "user.small", "value", 5, 0) != 0) GTEST_SKIP() << "the host's filesystem has no attributes";
  const bool has_big = setxattr((tree_ + "/file").c_str(), "user.big", big.data(), 3000, 0) == 0 &&
                       setxattr((tree_ + "/other").c_str(), "user.big", big.data(), 3000, 0) == 0;
  ASSERT_EQ(mount(make_image("")), 0);
  vfs::Inode& file = inode("/m/file");
  EXPECT_EQ(file.get_attribute("user.small").take().view(), "value");
  EXPECT_EQ(file.get_attribute("user.none").code(), ENODATA);
  EXPECT_EQ(std::string(file.list_attributes().take().view()).find("user.small") != std::string::npos, true);
  if (has_big) {
    EXPECT_EQ(inode("/m/other").get_attribute("user.big").take().view(), std::string_view(big).substr(0, 3000));
    EXPECT_EQ(file.get_attribute("user.big").take().view(), std::string_view(big).substr(0, 3000));
  }
}

TEST_F(SquashfsTest, WhatIsNoImageIsRefused) {
  EXPECT_EQ(mount(Image(100'000)), EINVAL);
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  put_file("file", noise(100'000));
  Image image = make_image("");
  Image cut(image.begin(), image.begin() + 50'000 / 512 * 512);
  EXPECT_EQ(mount(cut), EINVAL);
  image[28] = std::byte{5};
  EXPECT_EQ(mount(image), EINVAL);
}

TEST_F(SquashfsTest, DamagedImagesAreRefusedOrGiveErrors) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  for (int i = 0; i < 40; ++i) put_file("file" + std::to_string(i), prose(static_cast<size_t>(i) * 300));
  run("cd " + tree_ + " && mkdir -p a/b && ln -s file1 link && mkfifo fifo && cp file* a && cp file2? a/b");
  // Metadata that is not packed is damaged in its fields and not in its packing; packed data lies before it.
  for (const char* options : {"-noI -noX -noId -b 4096", "-b 4096", "-comp zstd -b 4096"}) {
    const Image good = make_image(options);
    uint64_t inode_table;
    memcpy(&inode_table, good.data() + 64, 8);
    for (int round = 0; round < 250; ++round) {
      Image image = good;
      for (auto count = 1 + random(6); count > 0; --count) {
        const size_t from = random(4) == 0 ? 0 : inode_table;
        image[from + random(from == 0 ? 96 : static_cast<uint32_t>(std::min<size_t>(image.size() - from, 4000)))] =
            static_cast<std::byte>(random(3) ? random(256) : 0xff);
      }
      if (mount(image) != 0) continue;
      (void)mounted_tree(vfs::kTreeAll);
      ASSERT_EQ(unmount(), 0);
    }
  }
}

TEST_F(SquashfsTest, ADirectoryInItselfIsDamage) {
  if (!has("mksquashfs")) GTEST_SKIP() << "needs squashfs-tools";
  run("mkdir -p " + tree_ + "/outer/inner/leaf");
  Image image = make_image("-noI -noD -no-exports");
  // Every directory's entry leads to the inode that the root's leads to.
  uint64_t directories, inodes;
  memcpy(&inodes, image.data() + 64, 8);
  memcpy(&directories, image.data() + 72, 8);
  std::string table(reinterpret_cast<const char*>(image.data()) + directories, image.size() - directories);
  const size_t outer = table.find("outer") - 8, inner = table.find("inner") - 8;
  ASSERT_LT(outer, table.size());
  memcpy(image.data() + directories + inner, table.data() + outer, 2);           // the place of the inode
  memcpy(image.data() + directories + inner - 12 + 8, table.data() + outer - 12 + 8, 4);  // its number
  memcpy(image.data() + directories + inner + 2, table.data() + outer + 2, 2);
  ASSERT_EQ(mount(image), 0);
  EXPECT_EQ(lookup("/m/outer"), 0);
  EXPECT_EQ(lookup("/m/outer/inner"), EIO);
}

}  // namespace

}  // namespace umk::squashfs
