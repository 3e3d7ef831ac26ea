// DirectoryNode: a directory: blocks of entries, with a tree over the hashes of the names in large ones.
//
// Called with the inode's mutex held, as the VFS does. A directory of more than one block is indexed where the filesystem has dir_index; one that was
// filled by a tool without an index stays as it is. Listing goes by hash where there can be an index, so that positions stay good when blocks are divided.
#pragma once

#include "core/fs/ext4/node.h"
#include "core/lib/ext4_format/directory_block.h"
#include "core/lib/ext4_format/htree.h"

namespace umk::ext4 {

class DirectoryNode final : public Node {
 public:
  DirectoryNode(Volume& volume, uint32_t number, uint32_t mode, UserId uid, GroupId gid, vfs::DeviceNumber device, Vector<std::byte> record)
      : Node(volume, number, mode, uid, gid, device, std::move(record)) {}

  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<RefPtr<vfs::Inode>> create(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_directory(const vfs::Caller& caller, std::string_view name, uint32_t mode) override;
  Result<RefPtr<vfs::Inode>> make_node(const vfs::Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) override;
  Result<RefPtr<vfs::Inode>> make_symlink(const vfs::Caller& caller, std::string_view name, std::string_view target) override;
  Result<RefPtr<vfs::Inode>> create_temporary(const vfs::Caller& caller, uint32_t mode, bool linkable) override;
  Result<void> link(std::string_view name, vfs::Inode& target) override;
  Result<void> unlink(std::string_view name, vfs::Inode& victim) override;
  Result<void> remove_directory(std::string_view name, vfs::Inode& victim) override;
  Result<void> rename(std::string_view name, vfs::Inode& moved, vfs::Inode& new_parent, std::string_view new_name, vfs::Inode* replaced, bool exchange) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 private:
  struct Place {
    RefPtr<Buffer> buffer;
    DirectoryEntry entry;
  };
  /// A way through the index: the node of each level and the entry that was followed.
  struct IndexPath {
    static constexpr uint32_t kLevels = 3;
    RefPtr<Buffer> buffers[kLevels];
    uint32_t at[kLevels] = {};
    uint32_t last = 0;  // the lowest level of index nodes
  };
  struct Wanted {
    uint32_t mode;
    vfs::DeviceNumber device;
    std::string_view target;
  };

  // directory_node.cpp
  bool is_indexed() const { return (flags() & inode_flags::kIndexed) && volume().geometry().has_compat(compat::kDirectoryIndex); }
  uint32_t block_count() const { return static_cast<uint32_t>(size_bytes() >> volume().geometry().block_bits); }
  DirectoryBlock leaf_of(Buffer& buffer) const { return DirectoryBlock(volume().geometry(), buffer.bytes()); }
  Result<RefPtr<Buffer>> read_block(uint32_t logical, BufferKind kind);
  Result<RefPtr<Buffer>> append_block(Journal::Handle& handle, BufferKind kind, uint32_t& logical);
  Result<std::optional<Place>> find(std::string_view name);
  Result<std::optional<Place>> find_linear(std::string_view name);
  Result<void> insert(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type);
  Result<void> remove_entry(Journal::Handle& handle, std::string_view name);
  Result<void> set_entry(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type);
  Result<void> set_parent(Journal::Handle& handle, uint32_t parent);
  Result<bool> is_empty();
  Result<void> check_may_change() const;
  void add_directory_link(Journal::Handle& handle);
  void drop_directory_link();

  // directory_changes.cpp
  Result<RefPtr<vfs::Inode>> make(const vfs::Caller& caller, std::string_view name, const Wanted& wanted);
  Result<void> fill_new(Journal::Handle& handle, Node& node, const Wanted& wanted);
  Result<void> drop_name(Journal::Handle& handle, Node& victim);

  // directory_index.cpp
  HtreeNode index_node(IndexPath& path, uint32_t level) const {
    return HtreeNode(volume().geometry(), path.buffers[level]->bytes(), level == 0 ? HtreeNode::Kind::Root : HtreeNode::Kind::Inner);
  }
  Result<uint8_t> index_version();
  NameHash hash_of(std::string_view name, uint8_t version) const { return hash_name(name, version, volume().geometry().hash_seed); }
  Result<void> follow_index(uint32_t hash, IndexPath& path);
  /// Goes on to the next leaf. `hash`: only if names of this hash go on there.
  Result<bool> next_leaf(IndexPath& path, std::optional<uint32_t> hash);
  Result<std::optional<Place>> find_indexed(std::string_view name);
  Result<void> insert_indexed(Journal::Handle& handle, std::string_view name, uint32_t inode, uint8_t type);
  Result<void> make_indexed(Journal::Handle& handle);
  Result<void> split_leaf(Journal::Handle& handle, IndexPath& path, Buffer& leaf, uint8_t version);
  Result<bool> make_index_room(Journal::Handle& handle, IndexPath& path);
  void modify_index(Journal::Handle& handle, IndexPath& path, uint32_t level) {
    handle.modify(*path.buffers[level], level == 0 ? BufferKind::HtreeRoot : BufferKind::HtreeInner, checksum_seed());
  }

  // directory_list.cpp
  void note_access() NO_THREAD_SAFETY_ANALYSIS;
  Result<uint64_t> list_linear(uint64_t position, vfs::DirectorySink& sink);
  Result<uint64_t> list_by_hash(uint64_t position, vfs::DirectorySink& sink);
};

}  // namespace umk::ext4
