// An ext4 filesystem, made by mke2fs on a disk in memory and mounted at /m of a Vfs, for unit tests; e2fsck and debugfs look at what becomes of it.
#pragma once

#include <iostream>

#include "core/fs/ext4/volume.h"
#include "core/kernel/block/testing_disk.h"

namespace umk::ext4 {

using block::Image;

/// How much of a long test with one thread is worth doing: little where races are looked for.
#if defined(__SANITIZE_THREAD__)
inline constexpr int kEffortDivisor = 20;
#else
inline constexpr int kEffortDivisor = 1;
#endif

class Ext4Test : public block::DiskTest {
 protected:
  Ext4Test() : DiskTest("ext4") {
    // What the filesystem complains of belongs to what a failed test tells.
    set_log_writer([](LogLevel level, std::string_view line) {
      if (level <= LogLevel::Error) std::cerr << line << "\n";
    });
  }

  Result<RefPtr<vfs::Superblock>> mount_volume(const vfs::MountRequest& request) override {
    return RefPtr<vfs::Superblock>(TRY(Volume::mount("ext4", RefPtr<block::BlockDevice>(device_), page_cache_, request.options, request.read_only)));
  }

  static bool has_tools() { return system("mke2fs -V >/dev/null 2>&1 && e2fsck -V >/dev/null 2>&1 && debugfs -V >/dev/null 2>&1") == 0; }

  /// `mke2fs` with these arguments on a file of this size.
  Image make_image(const std::string& arguments, uint64_t megabytes = 32) {
    ::unlink(path_.c_str());
    int status = 0;
    const std::string told = output_of("mke2fs -q -F -E root_owner=0:0 " + arguments + " " + path_ + " " + std::to_string(megabytes) + "M", &status);
    EXPECT_EQ(status, 0) << told;
    return load();
  }
  /// What `e2fsck -fn` has to say; empty when the filesystem is clean.
  std::string fsck(const Image& image) {
    save(image);
    int status = 0;
    const std::string told = output_of("e2fsck -fn " + path_, &status);
    return status == 0 ? "" : told;
  }
  std::string debugfs(const std::string& command) { return output_of("debugfs -R '" + command + "' " + path_ + " 2>/dev/null"); }

  Volume& volume() { return static_cast<Volume&>(inode("/m").superblock()); }
  int truncate(std::string_view path, uint64_t size) {
    Result<vfs::Path> place = vfs_->lookup(me(), at(path));
    return place.ok() ? vfs_->truncate(me(), vfs::Target(place.value()), size, true).code() : place.code();
  }
};

}  // namespace umk::ext4
