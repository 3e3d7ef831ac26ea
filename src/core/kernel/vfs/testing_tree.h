// For unit tests of filesystems: what a tree holds, one line a file, from the host and through a Vfs, to be compared.
#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {

/// Lines by path, the root's is "".
using TreeText = std::map<std::string, std::string>;

enum TreeParts : unsigned { kTreeOwners = 1, kTreeTimes = 2, kTreeLinks = 4, kTreeModes = 8, kTreeAll = 15 };

inline std::string hash_text(const std::string& data) {
  return std::to_string(data.size()) + " bytes " + std::to_string(std::hash<std::string>()(data));
}

/// Empty where there is none.
inline std::string read_host_file(const std::string& path) {
  FILE* file = fopen(path.c_str(), "rb");
  if (!file) return "";
  struct stat st;
  std::string text(fstat(fileno(file), &st) == 0 ? static_cast<size_t>(st.st_size) : 0, '\0');
  text.resize(fread(text.data(), 1, text.size(), file));
  fclose(file);
  return text;
}

inline std::string tree_line(uint32_t mode, uint32_t uid, uint32_t gid, uint64_t links, int64_t modified, uint32_t major, uint32_t minor,
                             const std::string& content, unsigned parts) {
  char head[160];
  snprintf(head, sizeof head, "%o", parts & kTreeModes ? mode : mode & kFileTypeMask);
  std::string line = head;
  const bool is_directory = (mode & kFileTypeMask) == static_cast<uint32_t>(FileType::Directory);
  if (parts & kTreeOwners) line += " " + std::to_string(uid) + ":" + std::to_string(gid);
  if ((parts & kTreeLinks) && !is_directory) line += " links " + std::to_string(links);
  if (parts & kTreeTimes) line += " time " + std::to_string(modified);
  const uint32_t type = mode & kFileTypeMask;
  if (type == static_cast<uint32_t>(FileType::CharacterDevice) || type == static_cast<uint32_t>(FileType::BlockDevice))
    line += " device " + std::to_string(major) + ":" + std::to_string(minor);
  return line + " " + content;
}

inline void describe_host_tree(const std::string& base, const std::string& path, unsigned parts, TreeText& into) {
  struct stat st;
  const std::string full = base + path;
  if (lstat(full.c_str(), &st) != 0) return;
  std::string content;
  if (S_ISREG(st.st_mode)) {
    content = hash_text(read_host_file(full));
  } else if (S_ISLNK(st.st_mode)) {
    char target[4096];
    content = "-> " + std::string(target, static_cast<size_t>(std::max<ssize_t>(readlink(full.c_str(), target, sizeof target), 0)));
  }
  into[path] = tree_line(st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_mtime, major(st.st_rdev), minor(st.st_rdev), content, parts);
  if (!S_ISDIR(st.st_mode)) return;
  DIR* directory = opendir(full.c_str());
  for (dirent* entry; (entry = readdir(directory)) != nullptr;) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") describe_host_tree(base, path + "/" + name, parts, into);
  }
  closedir(directory);
}

/// A VfsTest that describes trees of its own.
class TreeTest : public VfsTest {
 protected:
  std::string get_all(std::string_view path) {
    Result<RefPtr<OpenFile>> file = open(path);
    if (!file.ok()) return "errno " + std::to_string(file.code());
    std::string text;
    std::string part(100'000, '\0');
    for (;;) {
      UserOutBuffer buffer(reinterpret_cast<uint64_t>(part.data()), part.size());
      const Result<size_t> got = file.value()->read(buffer);
      if (!got.ok())
        return "errno " + std::to_string(got.code()) + " after " + std::to_string(text.size()) + " from line " +
               std::to_string(got.failure().line) + " of " + got.failure().file;
      if (got.value() == 0) return text;
      text.append(part, 0, got.value());
    }
  }

  /// Failures are told in the lines. A tree that does not end is cut.
  void describe_tree(const std::string& base, const std::string& path, unsigned parts, TreeText& into, unsigned depth = 0) {
    const std::string full = base + path;
    Result<Path> found = vfs_->lookup(me(), at(full), 0);
    if (!found.ok()) {
      into[path] = "errno " + std::to_string(found.code());
      return;
    }
    Inode& inode = *found.value().dentry->inode();
    Result<Metadata> data = inode.metadata();
    if (!data.ok()) {
      into[path] = "errno " + std::to_string(data.code());
      return;
    }
    const Metadata& m = data.value();
    std::string content;
    if (inode.is_regular()) {
      const std::string text = get_all(full);
      content = text.starts_with("errno ") ? text : hash_text(text);
    } else if (inode.is_symlink()) {
      Result<String> target = inode.read_link();
      content = target.ok() ? "-> " + std::string(target.value().view()) : "errno " + std::to_string(target.code());
    }
    into[path] = tree_line(m.mode, m.uid, m.gid, m.links, m.modify_time.seconds, m.device.major, m.device.minor, content, parts);
    if (!inode.is_directory()) return;
    NameList list;
    Result<RefPtr<OpenFile>> file = open(full);
    if (!file.ok() || depth > 60 || into.size() > 200'000) {
      into[path] += " not listed";
      return;
    }
    // A few names at a time, as a program with a small buffer does.
    for (size_t before = SIZE_MAX; before != list.names.size();) {
      before = list.names.size();
      list.limit = before + 100;
      if (Result<void> listed = file.value()->list(list); !listed.ok()) {
        into[path] += " errno " + std::to_string(listed.code()) + " when listed";
        break;
      }
    }
    for (const std::string& name : list.names)
      if (name != "." && name != "..") describe_tree(base, path + "/" + name, parts, into, depth + 1);
  }

  /// The first lines that differ; empty for the same trees.
  static std::string difference(const TreeText& wanted, const TreeText& got) {
    std::string text;
    unsigned count = 0;
    const auto note = [&](const std::string& line) {
      if (++count <= 10) text += line + "\n";
    };
    for (const auto& [path, line] : wanted) {
      const auto found = got.find(path);
      if (found == got.end()) note("missing " + path);
      else if (found->second != line) note(path + ": wanted " + line + ", got " + found->second);
    }
    for (const auto& [path, line] : got)
      if (!wanted.contains(path)) note("unwanted " + path + ": " + line);
    return text;
  }
};

}  // namespace umk::vfs
