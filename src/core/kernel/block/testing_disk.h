// For unit tests of filesystems: a disk in memory, mounted at /m of a Vfs. Its contents come from tools of the host (mke2fs, mksquashfs, genisoimage), which know
// it as a file, and go back into that file for those that check it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/kernel/block/fake_memory_device.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/vfs/testing_tree.h"

namespace umk::block {

/// What stands on a disk.
using Image = std::vector<std::byte>;

class DiskTest : public vfs::TreeTest {
 protected:
  /// `name` tells apart what tests leave in $TMPDIR while they run.
  explicit DiskTest(const std::string& name) : page_cache_(*window_), type_(*this) {
    EXPECT_TRUE(vfs_->register_type(type_).ok());
    EXPECT_EQ(mkdir("/m"), 0);
    const char* base = getenv("TMPDIR");
    path_ = std::string(base ? base : "/tmp") + "/" + name + "_test_" + std::to_string(getpid());
    tree_ = path_ + ".tree";
  }
  ~DiskTest() override {
    if (is_mounted_) unmount();
    device_ = nullptr;
    run("rm -rf " + tree_ + " " + path_);
  }

  /// Mounts device_.
  virtual Result<RefPtr<vfs::Superblock>> mount_volume(const vfs::MountRequest& request) = 0;

  // --- tools of the host
  static bool run(const std::string& command) { return system(("(" + command + ") >/dev/null 2>&1").c_str()) == 0; }
  static bool has(const std::string& tool) { return run("command -v " + tool); }
  /// What the command prints.
  static std::string output_of(const std::string& command, int* status = nullptr) {
    FILE* pipe = popen(("(" + command + ") 2>&1").c_str(), "r");
    std::string text;
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
    const int code = pclose(pipe);
    if (status) *status = code;
    return text;
  }
  Image load() const {
    const std::string text = vfs::read_host_file(path_);
    Image image(text.size());
    memcpy(image.data(), text.data(), text.size());
    return image;
  }
  /// Zeroes become holes.
  void save(const Image& image) const {
    constexpr size_t kPiece = 64 * 1024;
    const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool is_whole = fd >= 0 && ftruncate(fd, static_cast<off_t>(image.size())) == 0;
    static constexpr std::byte kZeroes[kPiece] = {};
    for (size_t at = 0; is_whole && at < image.size(); at += kPiece) {
      const size_t bytes = std::min(kPiece, image.size() - at);
      if (memcmp(image.data() + at, kZeroes, bytes) != 0)
        is_whole = pwrite(fd, image.data() + at, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
    }
    EXPECT_TRUE(is_whole) << path_ << ": " << strerror(errno);
    if (fd >= 0) close(fd);
  }

  // --- the tree that an image is made of
  void start_tree() { run("rm -rf " + tree_ + " && mkdir -p " + tree_); }
  void put_file(const std::string& name, const std::string& content) const { std::ofstream(tree_ + "/" + name, std::ios::binary) << content; }
  vfs::TreeText host_tree(unsigned parts) const {
    vfs::TreeText text;
    vfs::describe_host_tree(tree_, "", parts, text);
    return text;
  }
  vfs::TreeText mounted_tree(unsigned parts) {
    vfs::TreeText text;
    describe_tree("/m", "", parts, text);
    return text;
  }
  /// The same bytes each time.
  std::string noise(size_t bytes) {
    std::string text(bytes, '\0');
    for (char& c : text) c = static_cast<char>(random(256));
    return text;
  }
  /// The same numbers each time.
  uint32_t random(uint32_t bound) {
    state_ = state_ * 1664525 + 1013904223;
    return (state_ >> 8) % bound;
  }

  // --- the disk
  int mount(const Image& image, std::string_view options = "", bool read_only = false) {
    return mount(fake::MemoryDevice::make(image), options, read_only);
  }
  int mount(RefPtr<fake::MemoryDevice> device, std::string_view options = "", bool read_only = false) {
    device_ = std::move(device);
    const int code = vfs_->mount(me(), "disk", at("/m"), "disktest", read_only ? vfs::mount_flags::kReadOnly : 0, options).code();
    is_mounted_ = code == 0;
    return code;
  }
  int unmount() {
    fs_->set_working_directory(place("/"));
    is_mounted_ = false;
    return vfs_->unmount(me(), at("/m"), 0).code();
  }

  class TestType final : public vfs::FilesystemType {
   public:
    explicit TestType(DiskTest& test) : test_(test) {}
    std::string_view name() const override { return "disktest"; }
    Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override { return test_.mount_volume(request); }

   private:
    DiskTest& test_;
  };

  mm::PageCache page_cache_;
  TestType type_;
  RefPtr<fake::MemoryDevice> device_;
  std::string path_, tree_;
  bool is_mounted_ = false;
  uint32_t state_ = 12345;
};

}  // namespace umk::block
