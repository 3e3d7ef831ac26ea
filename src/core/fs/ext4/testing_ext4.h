// An ext4 filesystem, made by mke2fs on a disk in memory and mounted at /m of a Vfs, for unit tests; e2fsck and debugfs look at what becomes of it.
#pragma once

#include <fstream>
#include <iostream>

#include "core/base/log.h"
#include "core/fs/ext4/volume.h"
#include "core/kernel/block/fake_memory_device.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/vfs/testing_vfs.h"

namespace umk::ext4 {

using Image = std::vector<std::byte>;

/// How much of a long test with one thread is worth doing: little where races are looked for.
#if defined(__SANITIZE_THREAD__)
inline constexpr int kEffortDivisor = 20;
#else
inline constexpr int kEffortDivisor = 1;
#endif

class Ext4Test : public vfs::VfsTest {
 protected:
  Ext4Test() : page_cache_(*window_), type_(*this) {
    // What the filesystem complains of belongs to what a failed test tells.
    set_log_writer([](LogLevel level, std::string_view line) {
      if (level <= LogLevel::Error) std::cerr << line << "\n";
    });
    EXPECT_TRUE(vfs_->register_type(type_).ok());
    EXPECT_EQ(mkdir("/m"), 0);
    const char* base = getenv("TMPDIR");
    path_ = std::string(base ? base : "/tmp") + "/ext4_test_" + std::to_string(getpid()) + ".img";
  }
  ~Ext4Test() override {
    if (is_mounted_) unmount();
    device_ = nullptr;
    ::unlink(path_.c_str());
  }

  static bool has_tools() { return system("mke2fs -V >/dev/null 2>&1 && e2fsck -V >/dev/null 2>&1 && debugfs -V >/dev/null 2>&1") == 0; }

  void save(const Image& image) {
    std::ofstream out(path_, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  }
  Image load() {
    std::ifstream in(path_, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    Image image(text.size());
    memcpy(image.data(), text.data(), text.size());
    return image;
  }
  static std::string run(const std::string& command, int* status = nullptr, bool with_errors = true) {
    FILE* pipe = popen((with_errors ? "(" + command + ") 2>&1" : command).c_str(), "r");
    std::string text;
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
    const int code = pclose(pipe);
    if (status) *status = code;
    return text;
  }
  /// `mke2fs` with these arguments on a file of this size.
  Image make_image(const std::string& arguments, uint64_t megabytes = 32) {
    ::unlink(path_.c_str());
    int status = 0;
    const std::string told = run("mke2fs -q -F -E root_owner=0:0 " + arguments + " " + path_ + " " + std::to_string(megabytes) + "M", &status);
    EXPECT_EQ(status, 0) << told;
    return load();
  }
  /// What `e2fsck -fn` has to say; empty when the filesystem is clean.
  std::string fsck(const Image& image) {
    save(image);
    int status = 0;
    const std::string told = run("e2fsck -fn " + path_, &status);
    return status == 0 ? "" : told;
  }
  std::string debugfs(const std::string& command) { return run("debugfs -R '" + command + "' " + path_ + " 2>/dev/null", nullptr, false); }

  int mount(const Image& image, std::string_view options = "", bool read_only = false) { return mount(block::fake::MemoryDevice::make(image), options, read_only); }
  int mount(RefPtr<block::fake::MemoryDevice> device, std::string_view options = "", bool read_only = false) {
    device_ = std::move(device);
    const int code = vfs_->mount(me(), "disk", at("/m"), "ext4test", read_only ? vfs::mount_flags::kReadOnly : 0, options).code();
    is_mounted_ = code == 0;
    return code;
  }
  int unmount() {
    fs_->set_working_directory(place("/"));
    is_mounted_ = false;
    return vfs_->unmount(me(), at("/m"), 0).code();
  }
  Volume& volume() { return static_cast<Volume&>(inode("/m").superblock()); }
  int truncate(std::string_view path, uint64_t size) {
    Result<vfs::Path> place = vfs_->lookup(me(), at(path));
    return place.ok() ? vfs_->truncate(me(), vfs::Target(place.value()), size, true).code() : place.code();
  }
  std::string get_all(std::string_view path) {
    Result<RefPtr<vfs::OpenFile>> file = open(path);
    if (!file.ok()) return "errno " + std::to_string(file.code());
    std::string text;
    for (;;) {
      std::string part(1 << 20, '\0');
      UserOutBuffer buffer(reinterpret_cast<uint64_t>(part.data()), part.size());
      const Result<size_t> got = file.value()->read(buffer);
      if (!got.ok()) return text + " errno " + std::to_string(got.code()) + " from line " + std::to_string(got.failure().line) + " of " + got.failure().file;
      if (got.value() == 0) return text;
      text.append(part, 0, got.value());
    }
  }

  /// The same numbers each time.
  uint32_t random(uint32_t bound) {
    state_ = state_ * 1664525 + 1013904223;
    return (state_ >> 8) % bound;
  }

  class TestType final : public vfs::FilesystemType {
   public:
    explicit TestType(Ext4Test& test) : test_(test) {}
    std::string_view name() const override { return "ext4test"; }
    Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override {
      return RefPtr<vfs::Superblock>(TRY(Volume::mount("ext4", RefPtr<block::BlockDevice>(test_.device_), test_.page_cache_, request.options, request.read_only)));
    }

   private:
    Ext4Test& test_;
  };

  mm::PageCache page_cache_;
  TestType type_;
  RefPtr<block::fake::MemoryDevice> device_;
  std::string path_;
  bool is_mounted_ = false;
  uint32_t state_ = 12345;
};

}  // namespace umk::ext4
