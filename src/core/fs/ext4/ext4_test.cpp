#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <thread>

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


TEST_F(Ext4Test, ChangesAreCommittedByThemselves) {
  SKIP_WITHOUT_TOOLS();
  std::thread writer([this] { page_cache_.run_write_back(); });
  EXPECT_EQ(mount(make_image("-t ext4"), "commit=1"), 0);
  EXPECT_EQ(mkdir("/m/kept"), 0);
  for (int i = 0; i < 1000 && volume().journal().has_changes(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(volume().journal().has_changes());
  const Image crashed = device_->contents();
  EXPECT_EQ(unmount(), 0);
  page_cache_.stop();
  writer.join();
  EXPECT_EQ(mount(crashed), 0);
  EXPECT_EQ(lookup("/m/kept"), 0);
}

TEST_F(Ext4Test, UnknownFeaturesRefuseTheMount) {
  SKIP_WITHOUT_TOOLS();
  set_log_writer([](LogLevel, std::string_view) {});
  Image image = make_image("-t ext4 -O ^metadata_csum", 8);
  image[1024 + 0x65] |= std::byte{1};  // quota: may be read
  EXPECT_EQ(mount(image), EROFS);
  EXPECT_EQ(mount(image, "", true), 0);
  EXPECT_EQ(unmount(), 0);
  image[1024 + 0x61] |= std::byte{0x80};  // inline_data: may not
  EXPECT_EQ(mount(image, "", true), EINVAL);
  EXPECT_EQ(mount(Image(1 << 20)), EINVAL);
  EXPECT_EQ(mount(make_image("-t ext4", 8), "nonsense"), EINVAL);
  EXPECT_EQ(mount(make_image("-t ext4", 8), "data_err=abort"), EINVAL);
  EXPECT_EQ(mount(make_image("-t ext4", 8), "bsddf,nombcache,data_err=ignore,stripe=16"), 0);
}

// --- a random sequence of operations against a model in ordinary containers

class Ext4ModelTest : public Ext4Test, public testing::WithParamInterface<const char*> {
 protected:
  struct Model {
    bool is_directory = false;
    std::shared_ptr<std::string> data;   // of a file
    std::shared_ptr<std::string> target;  // of a symbolic link
  };

  std::string random_name() {
    const uint32_t kind = random(20);
    if (kind == 0) return "long_" + std::string(100 + random(140), static_cast<char>('a' + random(26)));
    return "n" + std::to_string(random(60));
  }
  std::string random_directory() {
    std::vector<std::string> all = {""};
    for (const auto& [path, node] : model_)
      if (node.is_directory) all.push_back(path);
    return all[random(static_cast<uint32_t>(all.size()))];
  }
  std::string random_path() { return random_directory() + "/" + random_name(); }
  std::string random_file() {
    std::vector<std::string> all;
    for (const auto& [path, node] : model_)
      if (node.data) all.push_back(path);
    return all.empty() ? "" : all[random(static_cast<uint32_t>(all.size()))];
  }
  bool has_children(const std::string& path) const {
    const auto next = model_.upper_bound(path + "/");
    return next != model_.end() && next->first.starts_with(path + "/");
  }
  static std::string at_mount(const std::string& path) { return "/m" + path; }

  void step() {
    const std::string path = random_path();
    const std::string real = at_mount(path);
    const bool exists = model_.contains(path);
    switch (random(15)) {
      case 0:
      case 1:
        if (std::count(path.begin(), path.end(), '/') > 4) break;
        ASSERT_EQ(mkdir(real), exists ? EEXIST : 0) << path;
        if (!exists) model_[path] = {true, nullptr, nullptr};
        break;
      case 2:
        ASSERT_EQ(rmdir(real), !exists ? ENOENT : !model_[path].is_directory ? ENOTDIR : has_children(path) ? ENOTEMPTY : 0) << path;
        if (exists && model_[path].is_directory && !has_children(path)) model_.erase(path);
        break;
      case 3:
      case 4:
        ASSERT_EQ(unlink(real), !exists ? ENOENT : model_[path].is_directory ? EISDIR : 0) << path;
        if (exists && !model_[path].is_directory) model_.erase(path);
        break;
      case 5:
      case 6: {
        if (exists) break;
        const std::string text(random(random(4) ? 20000 : 300000), static_cast<char>('0' + random(10)));
        ASSERT_EQ(put(real, text), 0) << path;
        model_[path] = {false, std::make_shared<std::string>(text), nullptr};
        break;
      }
      case 7: {
        if (exists) break;
        const std::string target(1 + random(random(2) ? 50 : 300), 't');
        ASSERT_EQ(symlink(target, real), 0);
        model_[path] = {false, nullptr, std::make_shared<std::string>(target)};
        break;
      }
      case 8: {
        const std::string file = random_file();
        if (file.empty() || exists) break;
        ASSERT_EQ(link(at_mount(file), real), 0);
        model_[path] = model_[file];
        break;
      }
      case 9:
      case 10: {  // write somewhere into a file
        const std::string file = random_file();
        if (file.empty()) break;
        RefPtr<OpenFile> opened = open(at_mount(file), kReadWrite).take();
        std::string& data = *model_[file].data;
        uint64_t offset = random(4) ? random(static_cast<uint32_t>(data.size() + 1)) : random(2'000'000);
        const std::string text(1 + random(random(5) ? 5000 : 100000), static_cast<char>('A' + random(26)));
        UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
        const uint64_t wanted = offset;
        ASSERT_EQ(opened->write_at(offset, buffer, false).value(), text.size());
        if (data.size() < wanted + text.size()) data.resize(wanted + text.size());
        data.replace(wanted, text.size(), text);
        break;
      }
      case 11: {
        const std::string file = random_file();
        if (file.empty()) break;
        std::string& data = *model_[file].data;
        const uint64_t size = random(2) ? random(static_cast<uint32_t>(data.size() + 1)) : random(600'000);
        ASSERT_EQ(truncate(at_mount(file), size), 0);
        data.resize(size);
        break;
      }
      case 12: {  // punch, zero, preallocate, take out, insert
        const std::string file = random_file();
        if (file.empty()) break;
        std::string& data = *model_[file].data;
        if (random(3) == 0) {
          const uint64_t block = volume().geometry().block_size;
          const uint64_t at = random(80) * block, bytes = (1 + random(20)) * block;
          const bool inserts = random(2);
          const bool is_inside = inserts ? at < data.size() : at + bytes < data.size();
          const int expected = !volume().geometry().has_incompat(incompat::kExtents) ? EOPNOTSUPP : is_inside ? 0 : EINVAL;
          ASSERT_EQ(inode(at_mount(file)).allocate(inserts ? 0x20 : 8, at, bytes).code(), expected) << file;
          if (expected == 0) inserts ? data.insert(at, bytes, '\0') : data.erase(at, bytes);
          break;
        }
        const uint64_t offset = random(300'000), length = 1 + random(100'000);
        const uint32_t mode = random(3) == 0 ? 3 : random(2) ? 0x11 : random(2);
        const int code = inode(at_mount(file)).allocate(mode, offset, length).code();
        if (code == EOPNOTSUPP) break;
        ASSERT_EQ(code, 0) << file << " mode " << mode;
        if (mode & 0x12) {
          for (uint64_t i = offset; i < offset + length && i < data.size(); ++i) data[i] = '\0';
        } else if (!(mode & 1) && data.size() < offset + length) {
          data.resize(offset + length);
        }
        break;
      }
      case 13: {
        const std::string to = random_path();
        if (!exists || to == path || to.starts_with(path + "/") || path.starts_with(to + "/")) break;
        const bool to_exists = model_.contains(to);
        if (to_exists && (model_[to].is_directory || model_[path].is_directory)) break;
        if (to_exists && model_[to].data && model_[to].data == model_[path].data) break;
        ASSERT_EQ(rename(real, at_mount(to)), 0) << path << " " << to;
        std::map<std::string, Model> moved;
        for (auto it = model_.begin(); it != model_.end();) {
          if (it->first == path || it->first.starts_with(path + "/")) {
            moved[to + it->first.substr(path.size())] = it->second;
            it = model_.erase(it);
          } else {
            ++it;
          }
        }
        model_.erase(to);
        model_.merge(moved);
        break;
      }
      default:
        if (!exists) {
          ASSERT_EQ(lookup(real), ENOENT) << path;
        } else {
          check(path);
        }
    }
  }
  void check(const std::string& path) {
    const Model& node = model_[path];
    const std::string real = at_mount(path);
    if (node.data) {
      const std::string text = get_all(real);
      ASSERT_EQ(text.size(), node.data->size()) << path << ": ..." << text.substr(text.size() < 120 ? 0 : text.size() - 120);
      ASSERT_TRUE(text == *node.data) << path << " differs at " << std::mismatch(text.begin(), text.end(), node.data->begin()).first - text.begin();
    } else if (node.target) {
      ASSERT_EQ(inode(real).read_link().take().view(), *node.target);
    } else {
      std::vector<std::string> listed = names(real), wanted;
      std::sort(listed.begin(), listed.end());
      for (const auto& [other, unused] : model_)
        if (other.starts_with(path + "/") && other.find('/', path.size() + 1) == std::string::npos) wanted.push_back(other.substr(path.size() + 1));
      std::sort(wanted.begin(), wanted.end());
      ASSERT_EQ(listed, wanted) << path;
    }
  }
  void check_all() {
    for (const auto& [path, node] : model_) ASSERT_NO_FATAL_FAILURE(check(path));
  }

  std::map<std::string, Model> model_;
};

TEST_P(Ext4ModelTest, AgreesWithAModelAndIsClean) {
  SKIP_WITHOUT_TOOLS();
  // What follows a space and "data=" are mount options.
  std::string arguments = GetParam(), options;
  if (const size_t at = arguments.find(" data="); at != std::string::npos) {
    options = arguments.substr(at + 1);
    arguments.resize(at);
  }
  ASSERT_EQ(mount(make_image(arguments, 64), options), 0);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1200 / kEffortDivisor; ++i) {
      ASSERT_NO_FATAL_FAILURE(step()) << "round " << round << " step " << i;
      if (random(150) == 0) {
        ASSERT_TRUE(volume().sync().ok());
      }
    }
    ASSERT_NO_FATAL_FAILURE(check_all());
    ASSERT_EQ(unmount(), 0);
    ASSERT_EQ(fsck(device_->contents()), "") << "round " << round;
    ASSERT_EQ(mount(device_, options), 0);
    ASSERT_NO_FATAL_FAILURE(check_all());
  }
}

INSTANTIATE_TEST_SUITE_P(Features, Ext4ModelTest,
                         testing::Values("-t ext4", "-t ext4 -b 1024", "-t ext3", "-t ext2", "-t ext2 -b 1024", "-t ext4 -O ^metadata_csum,uninit_bg", "-t ext4 -O ^has_journal",
                                         "-t ext4 -O ^64bit,^flex_bg", "-t ext4 -I 128 -O ^metadata_csum", "-t ext4 -O ^dir_index", "-t ext4 -b 1024 -O meta_bg,^resize_inode",
                                         "-t ext4 -O orphan_file,large_dir -b 1024", "-t ext4 -O ^orphan_file,metadata_csum_seed -b 2048", "-t ext4 -b 4096 data=journal",
                                         "-t ext3 -b 1024 data=journal", "-t ext4 -b 1024 data=writeback"));

}  // namespace
}  // namespace umk::ext4
