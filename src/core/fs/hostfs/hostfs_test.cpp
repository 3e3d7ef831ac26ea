// Files and names of a hostfs, against the host's own view of the same directory.
#include <sys/mman.h>

#include <random>
#include <thread>

#include "core/fs/hostfs/fake_host_tree.h"
#include "core/kernel/guest/fake_user_memory.h"
#include "core/kernel/mm/page_source.h"

namespace umk::hostfs {
namespace {

using namespace vfs::open_flags;
using vfs::FileType;

TEST(Hostfs, WhatTheGuestWritesTheHostReads) {
  HostTree tree;
  ASSERT_EQ(tree.write("file", "hello"), 0);
  EXPECT_EQ(read_on_host(tree.host("file")), "hello");
  write_on_host(tree.host("file"), "changed outside");
  EXPECT_EQ(tree.read("file"), "changed outside");
  EXPECT_EQ(tree.stat("file").value().size_bytes, 15u);
}

TEST(Hostfs, AppendGoesToTheEnd) {
  HostTree tree;
  tree.write("log", "one\n");
  RefPtr<vfs::OpenFile> file = tree.open("log", kWriteOnly | kAppend).take();
  write_on_host(tree.host("log"), "one\ntwo\n");
  const char text[] = "three\n";
  UserInBuffer buffer(reinterpret_cast<uint64_t>(text), 6);
  ASSERT_EQ(file->write(buffer).value(), 6u);
  EXPECT_EQ(file->position(), 14u);
  EXPECT_EQ(read_on_host(tree.host("log")), "one\ntwo\nthree\n");
}

TEST(Hostfs, RemovedFilesStayUsableWhileOpen) {
  HostTree tree;
  tree.write("file", "still here");
  RefPtr<vfs::OpenFile> file = tree.open("file", kReadOnly).take();
  ASSERT_EQ(tree.unlink("file"), 0);
  EXPECT_EQ(tree.read("file"), "!2");
  EXPECT_EQ(HostTree::read(*file), "still here");
  EXPECT_EQ(file->inode().metadata().value().links, 0u);
}

TEST(Hostfs, NamesChangedOutsideAreSeen) {
  HostTree tree;
  tree.write("a", "first");
  EXPECT_EQ(tree.read("a"), "first");
  EXPECT_EQ(tree.read("b"), "!2");
  std::filesystem::rename(tree.host("a"), tree.host("b"));
  EXPECT_EQ(tree.read("a"), "!2");
  EXPECT_EQ(tree.read("b"), "first");
  write_on_host(tree.host("c"), "other");
  std::filesystem::rename(tree.host("c"), tree.host("b"));
  EXPECT_EQ(tree.read("b"), "other");
}

TEST(Hostfs, HardLinksAreOneInode) {
  HostTree tree;
  tree.write("a", "x");
  ASSERT_EQ(tree.link("a", "b"), 0);
  EXPECT_EQ(tree.find("a").value().dentry->inode(), tree.find("b").value().dentry->inode());
  EXPECT_EQ(tree.stat("a").value().links, 2u);
  ASSERT_EQ(tree.unlink("a"), 0);
  EXPECT_EQ(tree.stat("b").value().links, 1u);
  EXPECT_EQ(tree.read("b"), "x");
}

TEST(Hostfs, TemporaryFilesGetANameByLinking) {
  HostTree tree;
  Result<RefPtr<vfs::OpenFile>> file = tree.open("/", kTemporary | kReadWrite);
  if (file.code() == EOPNOTSUPP) GTEST_SKIP() << "the host's filesystem has no O_TMPFILE";
  ASSERT_TRUE(file.ok());
  UserInBuffer buffer(reinterpret_cast<uint64_t>("data"), 4);
  ASSERT_TRUE(file.value()->write(buffer).ok());
  EXPECT_TRUE(tree.list("/").empty());
  ASSERT_EQ(tree.vfs->link_file(tree.caller(), file.value()->path(), {nullptr, "named"}).code(), 0);
  EXPECT_EQ(read_on_host(tree.host("named")), "data");
}

TEST(Hostfs, HolesAndPreallocationAreTheHosts) {
  HostTree tree;
  tree.write("file", "");
  ASSERT_EQ(tree.truncate("file", 1 << 20), 0);
  RefPtr<vfs::OpenFile> file = tree.open("file", kReadWrite).take();
  uint64_t offset = 512 << 10;
  UserInBuffer buffer(reinterpret_cast<uint64_t>("x"), 1);
  ASSERT_TRUE(file->write_at(offset, buffer, false).ok());
  EXPECT_EQ(file->seek(0, 3).value(), uint64_t{512 << 10});
  EXPECT_EQ(file->seek(0, 4).value(), 0u);
  EXPECT_EQ(file->seek(0, 2).value(), uint64_t{1 << 20});
  EXPECT_EQ(file->seek(1 << 20, 3).code(), ENXIO);
  ASSERT_TRUE(file->inode().allocate(1, 2 << 20, 4096).ok());
  EXPECT_EQ(tree.stat("file").value().size_bytes, uint64_t{1 << 20});
}

TEST(Hostfs, AFaultEndsAReadAfterWhatWasCopied) {
  HostTree tree;
  write_on_host(tree.host("file"), std::string(12288, 'x'));
  auto* memory = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(mprotect(memory + 4096, 4096, PROT_NONE), 0);
  fake::BadUserRange bad(memory + 4096, 4096);
  RefPtr<vfs::OpenFile> file = tree.open("file", kReadOnly).take();
  UserOutBuffer buffer(reinterpret_cast<uint64_t>(memory), 8192);
  EXPECT_EQ(file->read(buffer).value(), 4096u);
  UserOutBuffer nowhere(reinterpret_cast<uint64_t>(memory + 4096), 100);
  EXPECT_EQ(file->read(nowhere).code(), EFAULT);
  UserInBuffer from(reinterpret_cast<uint64_t>(memory + 4096), 100);
  EXPECT_EQ(tree.open("file", kReadWrite).value()->write(from).code(), EFAULT);
  UserOutBuffer kernel(uint64_t{0xffff800000000000}, 100);
  EXPECT_EQ(file->read(kernel).code(), EFAULT);
  munmap(memory, 8192);
}

TEST(Hostfs, ListsInPiecesWithStablePositions) {
  HostTree tree;
  for (int i = 0; i < 300; ++i) tree.write("entry-with-a-long-name-" + std::to_string(i), "");
  EXPECT_EQ(tree.list("/", 7), tree.list("/"));
  EXPECT_EQ(tree.list("/").size(), 300u);
}

TEST(Hostfs, MappingsUseTheHostsFile) {
  HostTree tree;
  tree.write("file", "mapped text");
  RefPtr<vfs::OpenFile> reader = tree.open("file", kReadOnly).take();
  mm::PageSource* source = reader->page_source();
  ASSERT_TRUE(source);
  EXPECT_EQ(source->source_kind(), mm::PageSource::Kind::HostFile);
  EXPECT_EQ(source->mappable_bytes(), 11u);
  source->add_mapping_reference();
  const int fd = source->host_fd();
  reader = nullptr;
  tree.unlink("file");
  EXPECT_EQ(source->host_fd(), fd);
  char text[16] = {};
  EXPECT_EQ(source->read_for_text(7, std::as_writable_bytes(std::span(text))).value(), 4u);
  EXPECT_STREQ(text, "text");
  source->drop_mapping_reference();
}

TEST(Hostfs, ClosedWritersDoNotKeepTheHostFromRunningAFile) {
  HostTree tree;
  ASSERT_EQ(tree.write("script", "#!/bin/sh\nexit 0\n", 0, 0755), 0);
  std::filesystem::copy_file("/bin/true", tree.host("true"));
  { RefPtr<vfs::OpenFile> writer = tree.open("true", kReadWrite).take(); }
  EXPECT_EQ(system(tree.host("true").c_str()), 0);
}

TEST(Hostfs, KeepsFewDescriptors) {
  HostTree tree;
  tree.type->descriptors().set_limit(32);
  for (int i = 0; i < 400; ++i) {
    const std::string directory = "d" + std::to_string(i % 20);
    tree.mkdir(directory);
    ASSERT_EQ(tree.write(directory + "/f" + std::to_string(i), std::to_string(i)), 0);
  }
  EXPECT_LT(tree.type->descriptors().open(), 80u);
  for (int i = 0; i < 400; ++i) {
    const std::string path = "d" + std::to_string(i % 20) + "/f" + std::to_string(i);
    EXPECT_EQ(tree.read(path), std::to_string(i));
    EXPECT_EQ(tree.stat(path).value().size_bytes, std::to_string(i).size());
  }
  EXPECT_LT(tree.type->descriptors().open(), 80u);
  tree.unmount();
}

TEST(Hostfs, DeepTreesAreReleasedWithoutDeepRecursion) {
  HostTree tree;
  std::string path = ".";
  vfs::Path at = tree.context->root();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(tree.vfs->make_directory(tree.caller(), {&at, "d"}, 0755).ok());
    at = tree.vfs->lookup(tree.caller(), {&at, "d"}).take();
  }
  at = vfs::Path();
  tree.unmount();
  ASSERT_EQ(system(("rm -rf " + tree.directory + "/d").c_str()), 0);
}

TEST(Hostfs, ManyMayWorkInOneTree) {
  HostTree tree;
  tree.type->descriptors().set_limit(16);
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    const auto name = [&]() { return std::string(1, static_cast<char>('a' + random() % 3)) + "/" + static_cast<char>('a' + random() % 4); };
    for (int step = 0; step < 1500; ++step) {
      const std::string a = name(), b = name();
      switch (random() % 9) {
        case 0: tree.mkdir(a.substr(0, 1)); break;
        case 1: tree.write(a, b); break;
        case 2: tree.read(a); break;
        case 3: tree.rename(a, b); break;
        case 4: tree.unlink(a); break;
        case 5: tree.link(a, b); break;
        case 6: tree.chown(a, random() % 2, 0); break;
        case 7: tree.list(a.substr(0, 1)); break;
        default: (void)tree.stat(a).ok();
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  // Nothing is left of it but what is there.
  tree.unmount();
  EXPECT_TRUE(std::filesystem::exists(tree.directory));
}

TEST(Hostfs, GivesAllDescriptorsBack) {
  HostTree tree;
  for (int i = 0; i < 50; ++i) {
    tree.write("f" + std::to_string(i), "x");
    tree.read("f" + std::to_string(i));
  }
  EXPECT_GT(tree.type->descriptors().open(), 20u);
  DescriptorCache& cache = tree.type->descriptors();
  tree.context.reset();
  tree.vfs.reset();
  EXPECT_EQ(cache.open(), 0u);
}

// The same operations, chosen at random, on the guest's side of one directory and directly on the host in another: same answers, same trees.
struct Shape {
  std::string path;
  mode_t mode;
  uintmax_t size;
  nlink_t links;
  std::string content;
  friend bool operator==(const Shape&, const Shape&) = default;
};

std::vector<Shape> shapes(const std::string& top) {
  std::vector<Shape> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
    struct stat status;
    lstat(entry.path().c_str(), &status);
    Shape shape{entry.path().lexically_relative(top), status.st_mode, S_ISDIR(status.st_mode) ? 0 : static_cast<uintmax_t>(status.st_size), status.st_nlink, ""};
    if (S_ISREG(status.st_mode)) shape.content = read_on_host(entry.path());
    if (S_ISLNK(status.st_mode)) shape.content = std::filesystem::read_symlink(entry.path());
    all.push_back(std::move(shape));
  }
  std::sort(all.begin(), all.end(), [](const Shape& a, const Shape& b) { return a.path < b.path; });
  return all;
}

int outcome(int result) { return result == 0 ? 0 : errno; }

TEST(Hostfs, BehavesAsTheHostDoes) {
  HostTree tree;
  umask(0);
  char text[] = "/tmp/umk-model-XXXXXX";
  const std::string model = mkdtemp(text);
  std::mt19937 random(20);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const auto name = [&]() {
    std::string path;
    for (int depth = pick(3); depth >= 0; --depth) path += (path.empty() ? "" : "/") + std::string(1, static_cast<char>('a' + pick(4)));
    return path;
  };
  for (int step = 0; step < 6000; ++step) {
    const std::string a = name(), b = name();
    const std::string on_model = model + "/" + a, other = model + "/" + b;
    int ours = 0, theirs = 0;
    const int what = pick(9);
    switch (what) {
      case 0:
        ours = tree.mkdir(a, 0755);
        theirs = outcome(::mkdir(on_model.c_str(), 0755));
        break;
      case 1: {
        ours = tree.write(a, b, kTruncate);
        const int fd = ::open(on_model.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        theirs = fd < 0 ? errno : 0;
        if (fd >= 0) {
          EXPECT_EQ(::write(fd, b.data(), b.size()), static_cast<ssize_t>(b.size()));
          ::close(fd);
        }
        break;
      }
      case 2:
        ours = tree.unlink(a);
        theirs = outcome(::unlink(on_model.c_str()));
        break;
      case 3:
        ours = tree.rmdir(a);
        theirs = outcome(::rmdir(on_model.c_str()));
        break;
      case 4:
        ours = tree.rename(a, b);
        theirs = outcome(::rename(on_model.c_str(), other.c_str()));
        break;
      case 5:
        ours = tree.rename(a, b, 2);
        theirs = outcome(renameat2(AT_FDCWD, on_model.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE));
        break;
      case 6:
        ours = tree.link(a, b);
        theirs = outcome(::linkat(AT_FDCWD, on_model.c_str(), AT_FDCWD, other.c_str(), 0));
        break;
      case 7:
        ours = tree.symlink(b, a);
        theirs = outcome(::symlink(b.c_str(), on_model.c_str()));
        break;
      default: {
        ours = tree.chmod(a, 0700 | static_cast<uint32_t>(step % 2 * 055));
        theirs = outcome(::chmod(on_model.c_str(), 0700 | static_cast<mode_t>(step % 2 * 055)));
      }
    }
    ASSERT_EQ(ours, theirs) << "step " << step << " operation " << what << " " << a << " " << b;
    if (step % 500 == 0) {
      ASSERT_EQ(shapes(tree.directory).size(), shapes(model).size()) << step;
    }
  }
  EXPECT_TRUE(shapes(tree.directory) == shapes(model));
  std::filesystem::remove_all(model);
}

}  // namespace
}  // namespace umk::hostfs
