#include "core/fs/tmpfs/tmpfs.h"

#include <functional>
#include <map>
#include <set>
#include <thread>

#include "core/fs/tmpfs/devtmpfs.h"
#include "core/fs/tmpfs/tmpfs_inode.h"
#include "core/kernel/device/memory_devices.h"
#include "core/kernel/vfs/testing_vfs.h"

namespace umk::fs {
namespace {

using namespace vfs;
using namespace vfs::open_flags;

class TmpfsTest : public VfsTest {
 protected:
  int mount(std::string_view options) {
    if (lookup("/t") != 0) {
      EXPECT_EQ(mkdir("/t"), 0);
    }
    return vfs_->mount(me(), "none", at("/t"), "tmpfs", 0, options).code();
  }
  static Result<size_t> write_at(OpenFile& file, uint64_t offset, std::string_view text) {
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return file.write_at(offset, buffer, false);
  }
  static std::string read_at(OpenFile& file, uint64_t offset, size_t size) {
    std::string text(size, '\0');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), size);
    text.resize(file.read_at(offset, buffer).value_or(0));
    return text;
  }
  int truncate(OpenFile& file, uint64_t size) { return vfs_->truncate(me(), Target(file), size, false).code(); }
};

TEST_F(TmpfsTest, ReadsWhatWasWritten) {
  RefPtr<OpenFile> file = open("/f", kCreate | kReadWrite).take();
  EXPECT_EQ(write(*file, "hello "), 6u);
  EXPECT_EQ(write(*file, "world"), 5u);
  EXPECT_EQ(file->seek(0, 0).value(), 0u);
  EXPECT_EQ(read(*file), "hello world");
  EXPECT_EQ(read(*file), "");
  EXPECT_EQ(write_at(*file, 6, "there").value(), 5u);
  EXPECT_EQ(read_at(*file, 0, 100), "hello there");
  EXPECT_EQ(stat("/f").size_bytes, 11u);
  EXPECT_EQ(stat("/f").blocks, 8u);
}

TEST_F(TmpfsTest, AppendGoesToTheEnd) {
  EXPECT_EQ(put("/f", "start"), 0);
  RefPtr<OpenFile> file = open("/f", kWriteOnly | kAppend).take();
  EXPECT_EQ(write(*file, "+one"), 4u);
  EXPECT_EQ(file->position(), 9u);
  RefPtr<OpenFile> other = open("/f", kWriteOnly | kAppend).take();
  EXPECT_EQ(write(*other, "+two"), 4u);
  EXPECT_EQ(write(*file, "+three"), 6u);
  EXPECT_EQ(get("/f"), "start+one+two+three");
}

TEST_F(TmpfsTest, TruncationAndGrowthLeaveZeroes) {
  RefPtr<OpenFile> file = open("/f", kCreate | kReadWrite).take();
  write(*file, std::string(10000, 'x'));
  EXPECT_EQ(truncate(*file, 5000), 0);
  EXPECT_EQ(truncate(*file, 9000), 0);
  EXPECT_EQ(read_at(*file, 4998, 4), std::string("xx\0\0", 4));
  EXPECT_EQ(read_at(*file, 8000, 5000), std::string(1000, '\0'));
  EXPECT_EQ(stat("/f").size_bytes, 9000u);
  EXPECT_EQ(truncate(*file, 0), 0);
  EXPECT_EQ(stat("/f").blocks, 0u);
  EXPECT_EQ(open_code("/f", kWriteOnly | kTruncate), 0);
}

TEST_F(TmpfsTest, HolesTakeNoSpaceAndCanBeFound) {
  RefPtr<OpenFile> file = open("/f", kCreate | kReadWrite).take();
  EXPECT_EQ(write_at(*file, 1 << 20, "end").value(), 3u);
  EXPECT_EQ(stat("/f").blocks, 8u);
  EXPECT_EQ(file->seek(0, 3).value(), 1u << 20);
  EXPECT_EQ(file->seek(0, 4).value(), 0u);
  EXPECT_EQ(file->seek(1 << 20, 4).value(), (1u << 20) + 3);
  EXPECT_EQ(file->seek((1 << 20) + 3, 3).code(), ENXIO);
  EXPECT_EQ(file->inode().allocate(3, 1 << 20, 4096).code(), 0);
  EXPECT_EQ(file->seek(0, 3).code(), ENXIO);
  EXPECT_EQ(stat("/f").blocks, 0u);
  EXPECT_EQ(file->inode().allocate(0, 0, 2 << 20).code(), 0);
  EXPECT_EQ(stat("/f").size_bytes, 2u << 20);
  EXPECT_EQ(stat("/f").blocks, 4096u);
  EXPECT_EQ(file->inode().allocate(16, 0, 4096).code(), EOPNOTSUPP);
}

TEST_F(TmpfsTest, SizeLimitIsKeptToThePage) {
  ASSERT_EQ(mount("size=64k,nr_inodes=5"), 0);
  RefPtr<OpenFile> file = open("/t/f", kCreate | kReadWrite).take();
  EXPECT_EQ(write(*file, std::string(100000, 'x')), 65536u);
  UserInBuffer more(reinterpret_cast<uint64_t>("y"), 1);
  uint64_t end = 65536;
  EXPECT_EQ(file->write_at(end, more, false).code(), ENOSPC);
  EXPECT_EQ(write_at(*file, 100, "still").value(), 5u);
  EXPECT_EQ(truncate(*file, 4096), 0);
  EXPECT_EQ(write_at(*file, 4096, "now").value(), 3u);
  const FilesystemStatistics statistics = inode("/t").superblock().statistics().take();
  EXPECT_EQ(statistics.blocks, 16u);
  EXPECT_EQ(statistics.blocks_free, 14u);
  EXPECT_EQ(statistics.files_free, 3u);
  EXPECT_EQ(mkdir("/t/1"), 0);
  EXPECT_EQ(link("/t/f", "/t/2"), 0);
  EXPECT_EQ(symlink("x", "/t/3"), 0);
  EXPECT_EQ(mkdir("/t/4"), ENOSPC);
  EXPECT_EQ(unlink("/t/2"), 0);
  EXPECT_EQ(mkdir("/t/4"), 0);
}

TEST_F(TmpfsTest, OptionsSetTheRootAndAreChecked) {
  ASSERT_EQ(mount("mode=0700,uid=12,gid=34,size=50%"), 0);
  EXPECT_EQ(inode("/t").mode() & 07777, 0700u);
  EXPECT_EQ(inode("/t").uid(), 12u);
  EXPECT_EQ(inode("/t").gid(), 34u);
  EXPECT_EQ(vfs_->unmount(me(), at("/t"), 0).code(), 0);
  for (const char* bad : {"size=", "size=x", "mode=9", "uid=-1", "unknown", "nr_inodes=-3"}) EXPECT_EQ(mount(bad), EINVAL) << bad;
}

TEST_F(TmpfsTest, ListingGoesOnAfterChanges) {
  EXPECT_EQ(mkdir("/d"), 0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(put("/d/" + std::to_string(i)), 0);
  RefPtr<OpenFile> directory = open("/d").take();
  std::set<std::string> seen;
  int removed = 0;
  for (;;) {
    NameList list;
    list.limit = 7;
    ASSERT_TRUE(directory->list(list).ok());
    if (list.names.empty()) break;
    for (const std::string& name : list.names) {
      EXPECT_TRUE(seen.insert(name).second) << name;
      // Removing what was seen is what rm -r does; making new ones must not disturb either.
      if (name[0] != '.' && std::stoi(name) % 2 == 0) {
        EXPECT_EQ(unlink("/d/" + name), 0);
        ++removed;
      }
    }
    if (seen.size() < 50) {
      EXPECT_EQ(put("/d/" + std::to_string(1001 + 2 * seen.size())), 0);
    }
  }
  EXPECT_EQ(removed, 50);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(seen.contains(std::to_string(i))) << i;
}

TEST_F(TmpfsTest, SealsForbidChanges) {
  std::unique_ptr<TmpfsMemoryFiles> maker = TmpfsMemoryFiles::create(*window_, {0, 99}).take();
  {
    RefPtr<Inode> file = maker->make(me(), 0777, 0).take();
    auto write_here = [&](uint64_t offset, std::string_view text) {
      UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
      return file->write_at(offset, buffer, false).code();
    };
    auto resize = [&](uint64_t size) {
      MetadataChange change;
      change.size_bytes = size;
      return file->change(change).code();
    };
    EXPECT_EQ(write_here(0, "12345678"), 0);
    EXPECT_EQ(file->add_seals(seals::kGrow).code(), 0);
    EXPECT_EQ(resize(9), EPERM);
    EXPECT_EQ(write_here(8, "9"), EPERM);
    EXPECT_EQ(write_here(7, "8"), 0);
    EXPECT_EQ(resize(4), 0);
    EXPECT_EQ(file->add_seals(seals::kShrink).code(), 0);
    EXPECT_EQ(resize(3), EPERM);
    EXPECT_EQ(file->add_seals(seals::kWrite | seals::kSeal).code(), 0);
    EXPECT_EQ(write_here(0, "x"), EPERM);
    EXPECT_EQ(file->allocate(3, 0, 1).code(), EPERM);
    EXPECT_EQ(file->add_seals(seals::kShrink).code(), EPERM);
    EXPECT_EQ(file->seals().value(), seals::kGrow | seals::kShrink | seals::kWrite | seals::kSeal);
    EXPECT_EQ(file->add_seals(0x1000).code(), EINVAL);
  }
  EXPECT_EQ(put("/f"), 0);
  EXPECT_EQ(inode("/f").seals().value(), seals::kSeal);
}

TEST_F(TmpfsTest, DeepTreesGoWithoutRecursion) {
  ASSERT_EQ(mount("nr_inodes=0"), 0);
  {
    Path here = place("/t");
    for (int i = 0; i < 20000; ++i) {
      ASSERT_EQ(vfs_->make_directory(me(), At{&here, "d"}, 0777).code(), 0);
      here = vfs_->lookup(me(), At{&here, "d"}).take();
    }
    fs_->set_working_directory(place("/"));
  }
  EXPECT_EQ(vfs_->unmount(me(), at("/t"), 0).code(), 0);
}

TEST_F(TmpfsTest, RemovedDeepTreesGoWithoutRecursion) {
  ASSERT_EQ(mount(""), 0);
  std::vector<Path> chain;
  chain.push_back(place("/t"));
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(vfs_->make_directory(me(), At{&chain.back(), "d"}, 0777).code(), 0);
    chain.push_back(vfs_->lookup(me(), At{&chain.back(), "d"}).take());
  }
  Path bottom = chain.back();
  while (chain.size() > 1) {
    chain.pop_back();
    ASSERT_EQ(vfs_->remove_directory(me(), At{&chain.back(), "d"}).code(), 0);
  }
  chain.clear();
  bottom = Path();
  EXPECT_EQ(vfs_->unmount(me(), at("/t"), 0).code(), 0);
}

// A random sequence of operations gives the same tree and contents as a model in ordinary containers.
TEST_F(TmpfsTest, AgreesWithAModel) {
  struct Node {
    bool is_directory;
    std::shared_ptr<std::string> data;
  };
  std::map<std::string, Node> model;  // by path; the root is not in it
  uint32_t state = 4711;
  auto random = [&](uint32_t bound) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % bound;
  };
  auto parent_of = [](const std::string& path) { return path.substr(0, path.rfind('/')); };
  auto parent_is_directory = [&](const std::string& path) {
    const std::string parent = parent_of(path);
    return parent.empty() || (model.contains(parent) && model.at(parent).is_directory);
  };
  auto has_children = [&](const std::string& path) {
    const auto next = model.upper_bound(path + "/");
    return next != model.end() && next->first.starts_with(path + "/");
  };
  auto expect_parent = [&](const std::string& path) -> int {
    if (parent_is_directory(path)) return 0;
    const std::string parent = parent_of(path);
    for (std::string above = parent; !above.empty(); above = parent_of(above))
      if (model.contains(above) && !model.at(above).is_directory) return ENOTDIR;
    return ENOENT;
  };
  auto random_path = [&] {
    std::string path;
    const uint32_t depth = 1 + random(3);
    for (uint32_t i = 0; i < depth; ++i) path += "/" + std::string(1, static_cast<char>('a' + random(4)));
    return path;
  };
  for (int step = 0; step < 20000; ++step) {
    const std::string path = random_path();
    const int above = expect_parent(path);
    const bool exists = model.contains(path);
    switch (random(7)) {
      case 0: {
        ASSERT_EQ(mkdir(path), above ? above : exists ? EEXIST : 0) << step << " mkdir " << path;
        if (!above && !exists) model[path] = {true, nullptr};
        break;
      }
      case 1: {
        ASSERT_EQ(rmdir(path), above ? above : !exists ? ENOENT : !model[path].is_directory ? ENOTDIR : has_children(path) ? ENOTEMPTY : 0) << step;
        if (!above && exists && model[path].is_directory && !has_children(path)) model.erase(path);
        break;
      }
      case 2: {
        ASSERT_EQ(unlink(path), above ? above : !exists ? ENOENT : model[path].is_directory ? EISDIR : 0) << step;
        if (!above && exists && !model[path].is_directory) model.erase(path);
        break;
      }
      case 3: {
        const std::string text(random(10000), static_cast<char>('0' + random(10)));
        ASSERT_EQ(put(path, text), above ? above : exists && model[path].is_directory ? EISDIR : 0) << step;
        if (!above && !exists) {
          model[path] = {false, std::make_shared<std::string>(text)};
        } else if (!above && !model[path].is_directory) {
          *model[path].data = text;
        }
        break;
      }
      case 4: {
        const std::string to = random_path();
        const int code = rename(path, to);
        const int above_to = expect_parent(to);
        if (above || above_to) {
          ASSERT_NE(code, 0) << step;
        } else if (!exists) {
          ASSERT_EQ(code, ENOENT) << step;
        } else if (to == path) {
          ASSERT_EQ(code, 0) << step;
        } else if (to.starts_with(path + "/")) {
          ASSERT_EQ(code, model[path].is_directory ? EINVAL : ENOTDIR) << step;
        } else if (path.starts_with(to + "/")) {
          ASSERT_EQ(code, ENOTEMPTY) << step;
        } else if (model.contains(to) && model[to].is_directory != model[path].is_directory) {
          ASSERT_EQ(code, model[to].is_directory ? EISDIR : ENOTDIR) << step;
        } else if (model.contains(to) && model[to].is_directory && has_children(to)) {
          ASSERT_EQ(code, ENOTEMPTY) << step;
        } else if (model.contains(to) && !model[to].is_directory && model[to].data == model[path].data) {
          ASSERT_EQ(code, 0) << step;
        } else {
          ASSERT_EQ(code, 0) << step << " rename " << path << " " << to;
          std::map<std::string, Node> moved;
          for (auto it = model.begin(); it != model.end();) {
            if (it->first == path || it->first.starts_with(path + "/")) {
              moved[to + it->first.substr(path.size())] = it->second;
              it = model.erase(it);
            } else {
              ++it;
            }
          }
          model.erase(to);
          model.merge(moved);
        }
        break;
      }
      case 5: {
        const std::string to = random_path();
        const int code = link(path, to);
        if (!above && exists && !model[path].is_directory && !expect_parent(to) && !model.contains(to)) {
          ASSERT_EQ(code, 0) << step;
          model[to] = model[path];
        } else {
          ASSERT_NE(code, 0) << step;
        }
        break;
      }
      default: {
        if (!above && exists && !model[path].is_directory) {
          RefPtr<OpenFile> file = open(path).take();
          ASSERT_EQ(read_at(*file, 0, 20000), *model[path].data) << step;
        } else if (!above && exists) {
          std::vector<std::string> listed = names(path);
          std::sort(listed.begin(), listed.end());
          std::vector<std::string> wanted;
          for (const auto& [name, node] : model)
            if (parent_of(name) == path) wanted.push_back(name.substr(path.size() + 1));
          ASSERT_EQ(listed, wanted) << step;
        } else {
          ASSERT_EQ(lookup(path), above ? above : ENOENT) << step;
        }
      }
    }
  }
  for (const auto& [path, node] : model) {
    uint32_t links = node.is_directory ? 2 : 0;
    for (const auto& [other, other_node] : model) {
      if (node.is_directory) links += other_node.is_directory && parent_of(other) == path;
      if (!node.is_directory && !other_node.is_directory) links += other_node.data == node.data;
    }
    EXPECT_EQ(stat(path).links, links) << path;
  }
}

TEST_F(TmpfsTest, TwoThreadsMayDoAnything) {
  for (const char* name : {"/a", "/b"}) EXPECT_EQ(mkdir(name), 0);
  auto work = [&](uint32_t seed) {
    uint32_t state = seed;
    auto random = [&](uint32_t bound) {
      state = state * 1664525 + 1013904223;
      return (state >> 8) % bound;
    };
    auto path = [&] { return std::string(random(2) ? "/a" : "/b") + "/" + static_cast<char>('a' + random(3)) + (random(3) == 0 ? "/x" : ""); };
    for (int i = 0; i < 3000; ++i) {
      switch (random(7)) {
        case 0: mkdir(path()); break;
        case 1: rmdir(path()); break;
        case 2: unlink(path()); break;
        case 3: put(path(), "data"); break;
        case 4: rename(path(), path()); break;
        case 5: rename(path(), path(), rename_flags::kExchange); break;
        default: lookup(path() + "/../.."); break;
      }
    }
  };
  std::thread one(work, 1), two(work, 2);
  one.join();
  two.join();
  // What is left can be listed and removed.
  std::function<void(const std::string&)> empty = [&](const std::string& directory) {
    for (const std::string& name : names(directory)) {
      const std::string path = directory + "/" + name;
      if (inode(path).is_directory()) {
        empty(path);
        EXPECT_EQ(rmdir(path), 0) << path;
      } else {
        EXPECT_EQ(unlink(path), 0) << path;
      }
    }
  };
  empty("/a");
  empty("/b");
  EXPECT_EQ(rmdir("/a"), 0);
  EXPECT_EQ(rmdir("/b"), 0);
}

TEST_F(TmpfsTest, DevtmpfsShowsDevicesThatWork) {
  device::DeviceRegistry registry;
  device::MemoryDevices memory;
  ASSERT_TRUE(memory.attach(registry).ok());
  std::unique_ptr<DevtmpfsType> type = DevtmpfsType::create(*window_, registry, {0, 98}).take();
  ASSERT_TRUE(vfs_->register_type(*type).ok());
  vfs_->set_device_opener(registry);
  EXPECT_EQ(mkdir("/dev"), 0);
  EXPECT_EQ(vfs_->mount(me(), "none", at("/dev"), "devtmpfs", 0, "").code(), 0);
  ASSERT_TRUE(registry.announce({"input/mice", FileType::CharacterDevice, {13, 63}, 0660}).ok());
  EXPECT_EQ(inode("/dev/null").mode(), 0020666u);
  EXPECT_TRUE(inode("/dev/zero").device() == (DeviceNumber{1, 5}));
  EXPECT_EQ(inode("/dev/input/mice").mode(), 0020660u);
  EXPECT_EQ(open_code("/dev/input/mice"), ENXIO);
  // Devices come and go, whatever was looked for before.
  const device::Node disk{"ubdq", FileType::BlockDevice, {98, 256}, 0660};
  EXPECT_EQ(lookup("/dev/ubdq"), ENOENT);
  ASSERT_TRUE(registry.announce(disk).ok());
  EXPECT_EQ(inode("/dev/ubdq").mode(), 0060660u);
  registry.withdraw(disk);
  EXPECT_EQ(lookup("/dev/ubdq"), ENOENT);
  ASSERT_TRUE(registry.announce(disk).ok());
  EXPECT_EQ(lookup("/dev/ubdq"), 0);
  // What somebody else put there stays.
  EXPECT_EQ(vfs_->unlink(me(), at("/dev/ubdq")).code(), 0);
  EXPECT_EQ(mkdir("/dev/ubdq"), 0);
  registry.withdraw(disk);
  EXPECT_EQ(lookup("/dev/ubdq"), 0);
  RefPtr<OpenFile> zero = open("/dev/zero").take();
  EXPECT_EQ(read(*zero, 10), std::string(10, '\0'));
  RefPtr<OpenFile> null = open("/dev/null", kReadWrite).take();
  EXPECT_EQ(write(*null, "gone"), 4u);
  EXPECT_EQ(read(*null), "");
  RefPtr<OpenFile> full = open("/dev/full", kReadWrite).take();
  UserInBuffer text(reinterpret_cast<uint64_t>("x"), 1);
  EXPECT_EQ(full->write(text).code(), ENOSPC);
  RefPtr<OpenFile> random = open("/dev/urandom").take();
  EXPECT_NE(read(*random, 5000), read(*random, 5000));
  zero = null = full = random = nullptr;
  EXPECT_EQ(vfs_->unmount(me(), at("/dev"), 0).code(), 0);
  EXPECT_EQ(vfs_->mount(me(), "none", at("/dev"), "devtmpfs", 0, "").code(), 0);
  EXPECT_EQ(lookup("/dev/null"), 0);
  EXPECT_EQ(vfs_->unmount(me(), at("/dev"), 0).code(), 0);
  EXPECT_EQ(vfs_->mount(me(), "none", at("/"), "nodev", 0, "").code(), ENODEV);
}

}  // namespace
}  // namespace umk::fs
