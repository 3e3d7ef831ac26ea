#include <map>
#include <memory>

#include "core/fs/ext4/testing_ext4.h"

namespace umk::ext4 {
namespace {

using namespace vfs;
using namespace vfs::open_flags;

#define SKIP_WITHOUT_TOOLS() \
  if (!has_tools()) GTEST_SKIP() << "needs e2fsprogs"

TEST_F(Ext4Test, ReadsWhatMke2fsWrote) {
  SKIP_WITHOUT_TOOLS();
  const std::string tree = path_ + ".d";
  run("rm -rf " + tree + "; mkdir -p " + tree + "/sub/deep; echo hello > " + tree + "/hello; head -c 3000000 /dev/zero | tr '\\0' x > " + tree +
      "/sub/big; ln -s hello " + tree + "/short; ln -s " + std::string(100, 'l') + " " + tree + "/long; for i in $(seq 500); do echo $i > " + tree +
      "/sub/deep/file_$i; done; truncate -s 5M " + tree + "/sparse");
  for (const char* arguments : {"-t ext4", "-t ext4 -b 1024", "-t ext3", "-t ext2 -b 1024", "-t ext4 -O ^metadata_csum,^64bit", "-t ext4 -O meta_bg,^resize_inode"}) {
    SCOPED_TRACE(arguments);
    ASSERT_EQ(mount(make_image(std::string(arguments) + " -d " + tree), "", true), 0);
    EXPECT_EQ(get("/m/hello"), "hello\n");
    EXPECT_EQ(get("/m/short"), "hello\n");
    EXPECT_EQ(get_all("/m/sub/big"), std::string(3000000, 'x'));
    EXPECT_EQ(inode("/m/long").read_link().take().view(), std::string(100, 'l'));
    EXPECT_EQ(names("/m/sub/deep").size(), 500u);
    for (int i = 1; i <= 500; ++i) EXPECT_EQ(get("/m/sub/deep/file_" + std::to_string(i)), std::to_string(i) + "\n");
    EXPECT_EQ(get_all("/m/sparse"), std::string(5 << 20, '\0'));
    EXPECT_EQ(lookup("/m/absent"), ENOENT);
    EXPECT_EQ(mkdir("/m/new"), EROFS);
    EXPECT_EQ(unmount(), 0);
  }
  run("rm -rf " + tree);
}

TEST_F(Ext4Test, WhatIsWrittenIsThereForOthers) {
  SKIP_WITHOUT_TOOLS();
  ASSERT_EQ(mount(make_image("-t ext4")), 0);
  EXPECT_EQ(put("/m/a", "some text"), 0);
  EXPECT_EQ(mkdir("/m/d"), 0);
  EXPECT_EQ(put("/m/d/b", std::string(1000000, 'b')), 0);
  EXPECT_EQ(symlink("a", "/m/l"), 0);
  EXPECT_EQ(symlink(std::string(200, 'q'), "/m/ll"), 0);
  EXPECT_EQ(link("/m/a", "/m/d/a2"), 0);
  EXPECT_EQ(get("/m/a"), "some text");
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(fsck(device_->contents()), "");
  EXPECT_EQ(debugfs("cat /a"), "some text");
  EXPECT_EQ(debugfs("cat /d/b"), std::string(1000000, 'b'));
  EXPECT_EQ(debugfs("cat /d/a2"), "some text");
}

}  // namespace
}  // namespace umk::ext4
