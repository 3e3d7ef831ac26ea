// The inodes of proc: files, links and directories that entries describe.
#pragma once

#include "core/fs/proc/entry.h"
#include "core/fs/proc/proc.h"

namespace umk::proc {

/// Common to all: the owner is that of the subject now, and nobody changes owner or mode.
class Node : public vfs::Inode {
 public:
  Result<vfs::Metadata> metadata() override;
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<void> check_access(const Credentials& who, unsigned want) override;

  const Entry& entry() const { return entry_; }
  const Subject& subject() const { return subject_; }
  Superblock& proc() const { return static_cast<Superblock&>(superblock()); }
  Kernel& kernel() const { return proc().kernel; }
  Context context(const Credentials& reader) const { return {proc(), kernel(), subject_, reader}; }

 protected:
  Node(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject, LockRank rank = LockRank::Inode);

 private:
  void refresh_owner();

  const Entry& entry_;
  const Subject subject_;
};

class FileNode final : public Node {
 public:
  FileNode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) : Node(superblock, number, entry, subject) {}
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, uint32_t flags) override;
};

class LinkNode final : public Node {
 public:
  LinkNode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) : Node(superblock, number, entry, subject) {}
  Result<String> read_link() override;
  bool is_magic_link() const override { return entry().follow != nullptr; }
  Result<vfs::Path> magic_target(const vfs::Caller& caller) override;
};

/// A directory; the base of those whose entries come and go.
class DirectoryNode : public Node {
 public:
  DirectoryNode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject);
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, uint32_t flags) override;
  bool names_are_stable() const override { return !subject(); }
  bool revalidate(std::string_view name, vfs::Inode* child) override;
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 protected:
  /// Positions: 0 ".", 1 "..", then the entries of the table; what a derived directory lists begins here.
  uint64_t first_dynamic_position() const { return vfs::kFirstNamePosition + entry().children.size(); }
  /// "." and ".." and the table; true when all of it was emitted and `position` is first_dynamic_position() or more.
  bool list_table(uint64_t& position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink);
};

}  // namespace umk::proc
