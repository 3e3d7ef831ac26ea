// A Vfs on a tmpfs, with short verbs that give errno, for unit tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/fs/tmpfs/tmpfs.h"
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

class VfsTest : public testing::Test {
 protected:
  static constexpr uint64_t kWindowBytes = uint64_t{1} << 30;
  static constexpr uint64_t kMemoryBytes = uint64_t{64} << 20;

  VfsTest() {
    fd_ = memfd_create("cache", 0);
    EXPECT_EQ(ftruncate(fd_, kWindowBytes), 0);
    base_ = static_cast<std::byte*>(mmap(nullptr, kWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0));
    window_ = std::make_unique<mm::CacheWindow>(base_, kWindowBytes, fd_, account_);
    tmpfs_ = std::make_unique<fs::TmpfsType>(*window_, kMemoryBytes);
    vfs_ = Vfs::create().take();
    EXPECT_TRUE(vfs_->register_type(*tmpfs_).ok());
    root_user_ = Credentials::root().take();
    Result<Path> root = vfs_->mount_root(*root_user_, "tmpfs", "root", 0, "mode=0755");
    EXPECT_TRUE(root.ok());
    fs_ = make_ref<FsContext>(root.value(), root.value(), 022u).take();
  }
  ~VfsTest() override {
    fs_ = nullptr;
    root_user_ = nullptr;
    vfs_ = nullptr;
    tmpfs_ = nullptr;
    window_ = nullptr;
    EXPECT_EQ(account_.charged(), 0u);
    munmap(base_, kWindowBytes);
    close(fd_);
  }

  Caller root() const { return Caller{*root_user_, *fs_}; }
  /// An ordinary user with its own group, and further groups.
  RefPtr<Credentials> user(UserId id, std::vector<GroupId> groups = {}) const {
    RefPtr<Credentials> who = root_user_->clone().take();
    who->uid = who->euid = who->suid = who->fsuid = id;
    who->gid = who->egid = who->sgid = who->fsgid = id;
    who->effective = who->permitted = CapabilitySet{};
    for (GroupId group : groups) EXPECT_TRUE(who->groups.push_back(group).ok());
    return who;
  }
  void act_as(RefPtr<Credentials> who) { acting_ = std::move(who); }
  Caller me() const { return Caller{acting_ ? *acting_ : *root_user_, *fs_}; }

  static At at(std::string_view path) { return At{nullptr, path}; }
  int mkdir(std::string_view path, uint32_t mode = 0777) { return vfs_->make_directory(me(), at(path), mode).code(); }
  int rmdir(std::string_view path) { return vfs_->remove_directory(me(), at(path)).code(); }
  int unlink(std::string_view path) { return vfs_->unlink(me(), at(path)).code(); }
  int symlink(std::string_view target, std::string_view path) { return vfs_->make_symlink(me(), target, at(path)).code(); }
  int link(std::string_view from, std::string_view to) { return vfs_->link(me(), at(from), 0, at(to)).code(); }
  int rename(std::string_view from, std::string_view to, unsigned flags = 0) { return vfs_->rename(me(), at(from), at(to), flags).code(); }
  int chmod(std::string_view path, uint32_t mode) {
    Result<Path> place = vfs_->lookup(me(), at(path));
    return place.ok() ? vfs_->change_mode(me(), Target(place.value()), mode).code() : place.code();
  }
  int chown(std::string_view path, UserId uid, GroupId gid) {
    Result<Path> place = vfs_->lookup(me(), at(path), 0);
    return place.ok() ? vfs_->change_owner(me(), Target(place.value()), uid, gid).code() : place.code();
  }
  Result<RefPtr<OpenFile>> open(std::string_view path, uint32_t flags = 0, uint32_t mode = 0666, unsigned resolve = 0) {
    return vfs_->open(me(), at(path), OpenRequest{flags, mode, resolve});
  }
  int open_code(std::string_view path, uint32_t flags = 0, uint32_t mode = 0666) { return open(path, flags, mode).code(); }
  int put(std::string_view path, std::string_view text = "") {
    Result<RefPtr<OpenFile>> file = open(path, open_flags::kCreate | open_flags::kWriteOnly | open_flags::kTruncate);
    if (!file.ok()) return file.code();
    return write(*file.value(), text) == text.size() ? 0 : EIO;
  }
  static size_t write(OpenFile& file, std::string_view text) {
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return file.write(buffer).value_or(0);
  }
  static std::string read(OpenFile& file, size_t size = 4096) {
    std::string text(size, '\0');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), size);
    text.resize(file.read(buffer).value_or(0));
    return text;
  }
  std::string get(std::string_view path) {
    Result<RefPtr<OpenFile>> file = open(path);
    return file.ok() ? read(*file.value()) : "errno " + std::to_string(file.code());
  }
  int lookup(std::string_view path, unsigned flags = walk::kFollow) { return vfs_->lookup(me(), at(path), flags).code(); }
  Path place(std::string_view path, unsigned flags = walk::kFollow) { return vfs_->lookup(me(), at(path), flags).take(); }
  Inode& inode(std::string_view path) { return *place(path, 0).dentry->inode(); }
  Metadata stat(std::string_view path) { return place(path, 0).dentry->inode()->metadata().take(); }
  std::string text_of(const Path& path) {
    char buffer[kPathLimit];
    return std::string(vfs_->path_text(path, fs_->root(), buffer).value_or("?"));
  }

  struct NameList final : DirectorySink {
    bool emit(std::string_view name, InodeNumber, FileType, uint64_t) override {
      if (names.size() >= limit) return false;
      names.emplace_back(name);
      return true;
    }
    std::vector<std::string> names;
    size_t limit = SIZE_MAX;
  };
  /// All names in a directory but `.` and `..`.
  std::vector<std::string> names(std::string_view path) {
    NameList list;
    Result<RefPtr<OpenFile>> file = open(path);
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE(file.value()->list(list).ok());
    EXPECT_GE(list.names.size(), 2u);
    list.names.erase(list.names.begin(), list.names.begin() + 2);
    return list.names;
  }

  int fd_;
  std::byte* base_;
  MemoryAccount account_;
  std::unique_ptr<mm::CacheWindow> window_;
  std::unique_ptr<fs::TmpfsType> tmpfs_;
  std::unique_ptr<Vfs> vfs_;
  RefPtr<Credentials> root_user_;
  RefPtr<Credentials> acting_;
  RefPtr<FsContext> fs_;
};

}  // namespace umk::vfs
