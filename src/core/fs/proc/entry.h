// Entry: one line of the tables that proc's tree is made of.
#pragma once

#include <span>
#include <string_view>

#include "core/fs/proc/subject.h"
#include "core/kernel/vfs/caller.h"
#include "core/kernel/vfs/inode.h"

namespace umk::proc {

class Superblock;

/// For whom and about whom a file's functions work.
struct Context {
  Superblock& superblock;
  Kernel& kernel;
  const Subject& subject;      // none for files that are about the machine
  const Credentials& reader;   // who opened the file, or follows the link
};

class FileNode;

struct Entry {
  std::string_view name;
  uint32_t mode;  // type and permissions
  /// Regular files: writes the whole text. ESRCH when the subject is gone.
  Result<void> (*show)(const Context&, TextSink&) = nullptr;
  /// Regular files that can be written: takes what one write(2) brought.
  Result<void> (*store)(const Context&, std::string_view) = nullptr;
  /// Regular files of another kind: opens one, after the mode was checked. The rest is theirs.
  Result<RefPtr<vfs::OpenFile>> (*open)(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags) = nullptr;
  /// Symbolic links.
  Result<String> (*read_link)(const Context&) = nullptr;
  /// Magic links: where they lead.
  Result<vfs::Path> (*follow)(const Context&) = nullptr;
  /// Directories: their entries, or a function that makes one of another kind.
  std::span<const Entry> children = {};
  Result<RefPtr<vfs::Inode>> (*make)(Superblock&, vfs::InodeNumber, const Entry&, const Subject&) = nullptr;
  enum class Check : uint8_t {
    Mode,        // the mode bits
    Inspection,  // also, that the opener may inspect the subject (check_inspection)
    Strict,      // the mode bits, which bind the superuser too: /proc/sys
  } check = Check::Mode;
};

constexpr Entry file_entry(std::string_view name, Result<void> (*show)(const Context&, TextSink&), uint32_t permissions = 0444,
                           Result<void> (*store)(const Context&, std::string_view) = nullptr) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Regular) | permissions, .show = show, .store = store};
}
constexpr Entry inspection_entry(std::string_view name, Result<void> (*show)(const Context&, TextSink&), uint32_t permissions) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Regular) | permissions, .show = show, .check = Entry::Check::Inspection};
}
constexpr Entry sysctl_entry(std::string_view name, Result<void> (*show)(const Context&, TextSink&), uint32_t permissions = 0444,
                             Result<void> (*store)(const Context&, std::string_view) = nullptr) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Regular) | permissions, .show = show, .store = store, .check = Entry::Check::Strict};
}
constexpr Entry directory_entry(std::string_view name, std::span<const Entry> children, uint32_t permissions = 0555) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Directory) | permissions, .children = children};
}
constexpr Entry link_entry(std::string_view name, Result<String> (*read_link)(const Context&), Result<vfs::Path> (*follow)(const Context&) = nullptr) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Symlink) | 0777, .read_link = read_link, .follow = follow};
}
constexpr Entry made_entry(std::string_view name, uint32_t permissions,
                           Result<RefPtr<vfs::Inode>> (*make)(Superblock&, vfs::InodeNumber, const Entry&, const Subject&)) {
  return {.name = name, .mode = static_cast<uint32_t>(vfs::FileType::Directory) | permissions, .make = make};
}

/// The number of a file: the same whenever it is asked for, without a table of those given out.
vfs::InodeNumber child_number(vfs::InodeNumber parent, std::string_view name);

/// The inode that an entry describes.
Result<RefPtr<vfs::Inode>> make_inode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject);

}  // namespace umk::proc
