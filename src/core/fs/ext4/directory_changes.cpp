// Making and removing names. References to nodes are declared before handles: the last one must not be dropped under a handle.
#include "core/fs/ext4/directory_node.h"
#include "core/kernel/vfs/caller.h"

namespace umk::ext4 {

namespace {

constexpr uint32_t kNameCredits = 24;  // an entry that divides blocks, with allocation
constexpr uint32_t kNewInodeCredits = 16;
constexpr uint32_t kLinkLimit = 65000;

uint8_t type_code(const Node& node) { return file_type_code(node.mode()); }

/// Two inodes' mutexes, one of which may be held already or be missing.
class NodePairLock {
 public:
  NodePairLock(Node* a, Node* b) NO_THREAD_SAFETY_ANALYSIS : first_(a), second_(b) {
    if (second_ < first_) std::swap(first_, second_);
    if (first_ == second_) second_ = nullptr;
    if (first_) first_->mutex().lock();
    if (second_) second_->mutex().lock();
  }
  ~NodePairLock() NO_THREAD_SAFETY_ANALYSIS {
    if (second_) second_->mutex().unlock();
    if (first_) first_->mutex().unlock();
  }
  NodePairLock(const NodePairLock&) = delete;
  NodePairLock& operator=(const NodePairLock&) = delete;

 private:
  Node* first_;
  Node* second_;
};

}  // namespace

/// What a new inode needs apart from a name.
Result<void> DirectoryNode::fill_new(Journal::Handle& handle, Node& node, const Wanted& wanted) {
  TRY(node.inherit_acl(handle, *this));
  if (node.is_symlink()) return static_cast<LinkNode&>(node).set_target(handle, wanted.target);
  if (!node.is_directory()) return {};
  auto& directory = static_cast<DirectoryNode&>(node);
  uint32_t logical;
  RefPtr<Buffer> buffer = TRY(directory.append_block(handle, BufferKind::DirectoryLeaf, logical));
  directory.leaf_of(*buffer).initialise_first(node.inode_number(), inode_number());
  node.set_links(2);
  return {};
}

Result<RefPtr<vfs::Inode>> DirectoryNode::make(const vfs::Caller& caller, std::string_view name, const Wanted& wanted) {
  TRY(check_may_change());
  const bool is_named = !name.empty(), makes_directory = (wanted.mode & vfs::kFileTypeMask) == static_cast<uint32_t>(vfs::FileType::Directory);
  if (name.size() > kNameLimit) return error(ENAMETOOLONG);
  if (makes_directory && links() >= kLinkLimit - 1 && !volume().geometry().has_compat(compat::kDirectoryIndex)) return error(EMLINK);
  vfs::NewOwner owner = vfs::owner_of_new(*this, caller, wanted.mode);
  if (volume().options().takes_directory_group) owner.gid = gid();
  const uint32_t inherited = flags() & (makes_directory ? inode_flags::kInheritedByDirectories
                                                        : wanted.target.empty() ? inode_flags::kInheritedByFiles : inode_flags::kNoAccessTime | inode_flags::kNoDump);
  RefPtr<Node> node;
  Journal::Handle handle = TRY(volume().begin(kNameCredits + kNewInodeCredits + kAttributeCredits));
  const uint32_t fresh_number = TRY(volume().allocate_inode(handle, inode_number(), makes_directory));
  const auto give_up = [&](Error failure) -> Error {
    const Result<void> freed = volume().free_inode(handle, fresh_number, makes_directory);
    return freed.ok() ? failure : volume().failed_midway(freed.failure());
  };
  // Kept, so that storing the inode does not fail when others know it already.
  const Result<Volume::InodePlace> place = volume().inode_place(fresh_number);
  if (!place.ok()) return give_up(place.failure());
  Result<RefPtr<Node>> made = Node::make(volume(), {fresh_number, owner.mode, owner.uid, owner.gid, wanted.device, inherited});
  if (!made.ok()) return give_up(made.failure());
  node = made.take();
  MutexLock node_lock(node->mutex());
  Result<void> outcome = fill_new(handle, *node, wanted);
  if (outcome.ok() && is_named) outcome = insert(handle, name, node->inode_number(), type_code(*node));
  if (!outcome.ok() || !is_named) {
    // Freed when the reference goes, or by the next mount.
    node->set_links(0);
    Result<void> listed = volume().add_orphan(handle, *node);
    if (listed.ok()) listed = node->store(handle);
    if (!listed.ok()) return volume().failed_midway(listed.failure());
    if (!outcome.ok()) return outcome.failure();
    return RefPtr<vfs::Inode>(node);
  }
  if (makes_directory) add_directory_link(handle);
  stamp(true);
  outcome = node->store(handle);
  if (outcome.ok()) outcome = store(handle);
  if (!outcome.ok()) return volume().failed_midway(outcome.failure());
  return RefPtr<vfs::Inode>(node);
}

Result<RefPtr<vfs::Inode>> DirectoryNode::create(const vfs::Caller& caller, std::string_view name, uint32_t mode) {
  return make(caller, name, {(mode & vfs::kPermissionMask) | static_cast<uint32_t>(vfs::FileType::Regular), {}, {}});
}

Result<RefPtr<vfs::Inode>> DirectoryNode::make_directory(const vfs::Caller& caller, std::string_view name, uint32_t mode) {
  return make(caller, name, {(mode & vfs::kPermissionMask) | static_cast<uint32_t>(vfs::FileType::Directory), {}, {}});
}

Result<RefPtr<vfs::Inode>> DirectoryNode::make_node(const vfs::Caller& caller, std::string_view name, uint32_t mode, vfs::DeviceNumber device) {
  return make(caller, name, {mode, device, {}});
}

Result<RefPtr<vfs::Inode>> DirectoryNode::make_symlink(const vfs::Caller& caller, std::string_view name, std::string_view target) {
  // The target and a zero must fit into a block.
  if (target.size() >= volume().geometry().block_size) return error(ENAMETOOLONG);
  return make(caller, name, {0777 | static_cast<uint32_t>(vfs::FileType::Symlink), {}, target});
}

Result<RefPtr<vfs::Inode>> DirectoryNode::create_temporary(const vfs::Caller& caller, uint32_t mode, bool linkable) {
  RefPtr<vfs::Inode> made = TRY(make(caller, {}, {(mode & vfs::kPermissionMask) | static_cast<uint32_t>(vfs::FileType::Regular), {}, {}}));
  static_cast<Node&>(*made).set_linkable(linkable);
  return made;
}

Result<void> DirectoryNode::link(std::string_view name, vfs::Inode& target) {
  TRY(check_may_change());
  Node& node = static_cast<Node&>(target);
  if (node.is_frozen()) return error(EPERM);
  MutexLock node_lock(node.mutex());
  if (node.links() >= kLinkLimit) return error(EMLINK);
  Journal::Handle handle = TRY(volume().begin(kNameCredits + 8));
  TRY(insert(handle, name, node.inode_number(), type_code(node)));
  const auto finish = [&]() NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    if (node.links() == 0) TRY(volume().remove_orphan(handle, node));
    node.set_links(node.links() + 1);
    node.set_linkable(false);
    node.stamp(false);
    stamp(true);
    TRY(node.store(handle));
    return store(handle);
  };
  const Result<void> finished = finish();
  return finished.ok() ? finished : volume().failed_midway(finished.failure());
}

/// The node lost a name; its mutex is held.
Result<void> DirectoryNode::drop_name(Journal::Handle& handle, Node& victim) {
  if (victim.is_directory()) {
    victim.set_links(0);
    drop_directory_link();
  } else {
    victim.set_links(victim.links() == 0 ? 0 : victim.links() - 1);
  }
  victim.stamp(false);
  if (victim.links() == 0) TRY(volume().add_orphan(handle, victim));
  return victim.store(handle);
}

Result<void> DirectoryNode::unlink(std::string_view name, vfs::Inode& victim) {
  TRY(check_may_change());
  Node& node = static_cast<Node&>(victim);
  if (node.is_frozen() || (flags() & inode_flags::kAppend)) return error(EPERM);
  MutexLock node_lock(node.mutex());
  Journal::Handle handle = TRY(volume().begin(12));
  const std::optional<Place> found = TRY(find(name));
  if (!found) return error(ENOENT);
  if (found->entry.inode != node.inode_number()) return volume().damaged("directory entry that changed", inode_number());
  const auto finish = [&]() -> Result<void> {
    TRY(remove_entry(handle, name));
    TRY(drop_name(handle, node));
    stamp(true);
    return store(handle);
  };
  const Result<void> finished = finish();
  return finished.ok() ? finished : volume().failed_midway(finished.failure());
}

Result<void> DirectoryNode::remove_directory(std::string_view name, vfs::Inode& victim) {
  TRY(check_may_change());
  auto& directory = static_cast<DirectoryNode&>(victim);
  if (directory.is_frozen() || (flags() & inode_flags::kAppend)) return error(EPERM);
  if (!TRY(directory.is_empty())) return error(ENOTEMPTY);
  Journal::Handle handle = TRY(volume().begin(12));
  const auto finish = [&]() -> Result<void> {
    TRY(remove_entry(handle, name));
    TRY(drop_name(handle, directory));
    stamp(true);
    return store(handle);
  };
  const Result<void> finished = finish();
  return finished.ok() ? finished : volume().failed_midway(finished.failure());
}

Result<void> DirectoryNode::rename(std::string_view name, vfs::Inode& moved_inode, vfs::Inode& new_parent, std::string_view new_name, vfs::Inode* replaced_inode,
                                   bool exchange) {
  auto& target = static_cast<DirectoryNode&>(new_parent);
  Node& moved = static_cast<Node&>(moved_inode);
  Node* const replaced = static_cast<Node*>(replaced_inode);
  TRY(check_may_change());
  TRY(target.check_may_change());
  if (moved.is_frozen() || (replaced && replaced->is_frozen()) || (flags() & inode_flags::kAppend) || (replaced && (target.flags() & inode_flags::kAppend)))
    return error(EPERM);
  if (new_name.size() > kNameLimit) return error(ENAMETOOLONG);
  const bool crosses = &target != this;
  if (replaced && !exchange && replaced->is_directory() && !TRY(static_cast<DirectoryNode*>(replaced)->is_empty())) return error(ENOTEMPTY);
  // A replaced directory is locked by the VFS.
  const bool is_replaced_locked = replaced && replaced->is_directory() && !exchange;
  NodePairLock nodes_lock(&moved, is_replaced_locked ? nullptr : replaced);
  Journal::Handle handle = TRY(volume().begin(2 * kNameCredits + 16));

  const std::optional<Place> old_place = TRY(find(name));
  if (!old_place) return error(ENOENT);
  if (old_place->entry.inode != moved.inode_number()) return volume().damaged("directory entry that changed", inode_number());
  if (replaced && !TRY(target.find(new_name))) return error(ENOENT);
  // What can fail for want of space comes first.
  if (!replaced) TRY(target.insert(handle, new_name, moved.inode_number(), type_code(moved)));

  const auto finish = [&]() -> Result<void> {
    if (replaced) TRY(target.set_entry(handle, new_name, moved.inode_number(), type_code(moved)));
    if (exchange) {
      TRY(set_entry(handle, name, replaced->inode_number(), type_code(*replaced)));
    } else {
      TRY(remove_entry(handle, name));
    }
    if (crosses) {
      if (moved.is_directory()) {
        TRY(static_cast<DirectoryNode&>(moved).set_parent(handle, target.inode_number()));
        drop_directory_link();
        target.add_directory_link(handle);
      }
      if (exchange && replaced->is_directory()) {
        TRY(static_cast<DirectoryNode*>(replaced)->set_parent(handle, inode_number()));
        target.drop_directory_link();
        add_directory_link(handle);
      }
    }
    if (replaced) {
      if (exchange) {
        replaced->stamp(false);
        TRY(replaced->store(handle));
      } else {
        TRY(target.drop_name(handle, *replaced));
      }
    }
    moved.stamp(false);
    TRY(moved.store(handle));
    stamp(true);
    TRY(store(handle));
    if (!crosses) return {};
    target.stamp(true);
    return target.store(handle);
  };
  const Result<void> finished = finish();
  return finished.ok() ? finished : volume().failed_midway(finished.failure());
}

}  // namespace umk::ext4
