// A temporary directory of the host with a hostfs on it as the root of a VFS, for tests. Run by root it becomes an ordinary user meanwhile.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/fs/hostfs/host_superblock.h"
#include "core/fs/hostfs/hostfs.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::hostfs {

/// Something that root would be allowed and the user of umk is not must not succeed in tests by accident.
class OrdinaryUser {
 public:
  OrdinaryUser() : was_root_(geteuid() == 0) { become(65534); }
  ~OrdinaryUser() { become(0); }
  bool was_root() const { return was_root_; }

 private:
  void become(uid_t id) {
    if (!was_root_) return;
    if (id == 0 && seteuid(0) != 0) abort();
    if (setegid(id) != 0 || (id != 0 && seteuid(id) != 0)) abort();
    prctl(PR_SET_DUMPABLE, 1);  // else /proc/self is root's
  }
  bool was_root_;
};

class HostTree {
 public:
  explicit HostTree(std::string options = "") {
    char text[] = "/tmp/umk-hostfs-XXXXXX";
    directory = mkdtemp(text);
    mount(options);
  }
  ~HostTree() {
    unmount();
    std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
    std::filesystem::remove_all(directory);
  }

  void mount(const std::string& options = "") {
    type = std::make_unique<Type>();
    vfs = vfs::Vfs::create(4096).take();
    EXPECT_TRUE(vfs->register_type(*type).ok());
    root_user = Credentials::root().take();
    vfs::Path top = vfs->mount_root(*root_user, "hostfs", "none", 0, directory + (options.empty() ? "" : "," + options)).take();
    context.emplace(top, top, 0);
  }
  void unmount() {
    context.reset();
    vfs.reset();
    type.reset();
  }
  void remount(const std::string& options = "") {
    unmount();
    mount(options);
  }

  vfs::Caller caller() { return {*root_user, *context}; }
  /// A caller who is an ordinary user of the guest.
  void act_as(UserId uid, GroupId gid) {
    RefPtr<Credentials> user = root_user->clone().take();
    user->uid = user->euid = user->suid = user->fsuid = uid;
    user->gid = user->egid = user->sgid = user->fsgid = gid;
    user->effective = user->permitted = {};
    root_user = user;
  }
  void act_as_root() { root_user = Credentials::root().take(); }

  std::string host(const std::string& path) const { return directory + "/" + path; }

  int mkdir(const std::string& path, uint32_t mode = 0755) { return vfs->make_directory(caller(), {nullptr, path}, mode).code(); }
  int unlink(const std::string& path) { return vfs->unlink(caller(), {nullptr, path}).code(); }
  int rmdir(const std::string& path) { return vfs->remove_directory(caller(), {nullptr, path}).code(); }
  int rename(const std::string& from, const std::string& to, unsigned flags = 0) { return vfs->rename(caller(), {nullptr, from}, {nullptr, to}, flags).code(); }
  int symlink(const std::string& target, const std::string& path) { return vfs->make_symlink(caller(), target, {nullptr, path}).code(); }
  int link(const std::string& from, const std::string& to) { return vfs->link(caller(), {nullptr, from}, 0, {nullptr, to}).code(); }
  int mknod(const std::string& path, uint32_t mode, vfs::DeviceNumber device = {}) { return vfs->make_node(caller(), {nullptr, path}, mode, device).code(); }
  Result<vfs::Path> find(const std::string& path, unsigned flags = 0) { return vfs->lookup(caller(), {nullptr, path}, flags); }
  Result<vfs::Metadata> stat(const std::string& path, unsigned flags = 0) {
    const vfs::Path place = TRY(find(path, flags));
    return place.dentry->inode()->metadata();
  }
  int chmod(const std::string& path, uint32_t mode) {
    Result<vfs::Path> place = find(path, vfs::walk::kFollow);
    return place.ok() ? vfs->change_mode(caller(), vfs::Target(place.value()), mode).code() : place.code();
  }
  int chown(const std::string& path, UserId uid, GroupId gid) {
    Result<vfs::Path> place = find(path);
    return place.ok() ? vfs->change_owner(caller(), vfs::Target(place.value()), uid, gid).code() : place.code();
  }
  int truncate(const std::string& path, uint64_t size) {
    Result<vfs::Path> place = find(path, vfs::walk::kFollow);
    return place.ok() ? vfs->truncate(caller(), vfs::Target(place.value()), size, true).code() : place.code();
  }
  Result<RefPtr<vfs::OpenFile>> open(const std::string& path, uint32_t flags, uint32_t mode = 0644) {
    return vfs->open(caller(), {nullptr, path}, {flags, mode, 0});
  }
  int write(const std::string& path, const std::string& text, uint32_t flags = 0, uint32_t mode = 0644) {
    Result<RefPtr<vfs::OpenFile>> file = open(path, vfs::open_flags::kWriteOnly | vfs::open_flags::kCreate | flags, mode);
    if (!file.ok()) return file.code();
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return text.empty() ? 0 : file.value()->write(buffer).code();
  }
  /// The content, or "!ERRNO".
  std::string read(const std::string& path) {
    Result<RefPtr<vfs::OpenFile>> file = open(path, vfs::open_flags::kReadOnly);
    if (!file.ok()) return "!" + std::to_string(file.code());
    return read(*file.value());
  }
  static std::string read(vfs::OpenFile& file) {
    std::string content;
    char chunk[5000];
    for (;;) {
      UserOutBuffer buffer(reinterpret_cast<uint64_t>(chunk), sizeof chunk);
      Result<size_t> got = file.read(buffer);
      if (!got.ok()) return "!" + std::to_string(got.code());
      if (got.value() == 0) return content;
      content.append(chunk, got.value());
    }
  }

  struct Entry {
    std::string name;
    vfs::FileType type;
    friend bool operator<(const Entry& a, const Entry& b) { return a.name < b.name; }
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  /// Names of a directory without the dots, sorted; `at_once` entries a call.
  std::vector<Entry> list(const std::string& path, size_t at_once = 1000) {
    struct Sink final : vfs::DirectorySink {
      bool emit(std::string_view name, vfs::InodeNumber, vfs::FileType type, uint64_t) override {
        if (room == 0) return false;
        --room, ++emitted;
        if (name != "." && name != "..") entries->push_back({std::string(name), type});
        return true;
      }
      std::vector<Entry>* entries;
      size_t room = 0, emitted = 0;
    } sink;
    std::vector<Entry> entries;
    sink.entries = &entries;
    Result<RefPtr<vfs::OpenFile>> file = open(path, vfs::open_flags::kReadOnly | vfs::open_flags::kDirectory);
    if (!file.ok()) return entries;
    do {
      sink.room = at_once, sink.emitted = 0;
      if (!file.value()->list(sink).ok()) break;
    } while (sink.emitted > 0);
    std::sort(entries.begin(), entries.end());
    return entries;
  }

  OrdinaryUser user;
  std::string directory;
  std::unique_ptr<Type> type;
  std::unique_ptr<vfs::Vfs> vfs;
  RefPtr<Credentials> root_user;
  std::optional<vfs::FsContext> context;
};

/// An attribute of a host file, empty when it is not there.
inline std::string host_attribute(const std::string& path, const char* name) {
  char value[256];
  const ssize_t size = lgetxattr(path.c_str(), name, value, sizeof value);
  return size < 0 ? "" : std::string(value, static_cast<size_t>(size));
}

inline void write_on_host(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
inline std::string read_on_host(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace umk::hostfs
