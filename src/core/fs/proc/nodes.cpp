#include "core/fs/proc/nodes.h"

#include "core/fs/proc/process_files.h"
#include "core/fs/proc/text_file.h"

namespace umk::proc {

namespace {

// Owners of directories that everybody may read and search do not depend on whether the process may be dumped: ps(1) shows whose process it is by them.
constexpr uint32_t kOpenDirectory = static_cast<uint32_t>(vfs::FileType::Directory) | 0555;

}  // namespace

vfs::InodeNumber child_number(vfs::InodeNumber parent, std::string_view name) {
  uint64_t hash = (parent ^ 0xcbf29ce484222325) * 0x9e3779b97f4a7c15;
  for (const char character : name) hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001b3;
  // Not too large for programs that keep inode numbers in a double or print them in a column.
  return (hash >> 24 & 0xffffffff) + 16;
}

Result<RefPtr<vfs::Inode>> make_inode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) {
  if (entry.make) return entry.make(superblock, number, entry, subject);
  switch (static_cast<vfs::FileType>(entry.mode & vfs::kFileTypeMask)) {
    case vfs::FileType::Directory: return RefPtr<vfs::Inode>(TRY(make_ref<DirectoryNode>(superblock, number, entry, subject)));
    case vfs::FileType::Symlink: return RefPtr<vfs::Inode>(TRY(make_ref<LinkNode>(superblock, number, entry, subject)));
    default: return RefPtr<vfs::Inode>(TRY(make_ref<FileNode>(superblock, number, entry, subject)));
  }
}

Node::Node(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject, LockRank rank)
    : Inode(superblock, number, entry.mode, 0, 0, {}, rank), entry_(entry), subject_(subject) {
  if (is_directory()) links_.store(2);
  refresh_owner();
}

void Node::refresh_owner() {
  if (!subject_) return;
  const Result<RefPtr<Task>> task = subject_.find(kernel());
  if (!task.ok()) return;
  Owner owner = owner_of_files(*task.value());
  if (entry_.mode == kOpenDirectory)
    if (const RefPtr<const Credentials> who = task.value()->credentials_ref()) owner = {who->euid, who->egid};
  uid_.store(owner.uid, std::memory_order_relaxed);
  gid_.store(owner.gid, std::memory_order_relaxed);
}

Result<vfs::Metadata> Node::metadata() {
  refresh_owner();
  return Inode::metadata();
}

Result<void> Node::check_access(const Credentials& who, unsigned want) {
  refresh_owner();
  // Nobody may do what no mode bit allows.
  const uint32_t any = (entry_.mode | entry_.mode >> 3 | entry_.mode >> 6) & 7;
  if (entry_.check == Entry::Check::Strict && (any & want) != want) return error(EACCES);
  return Inode::check_access(who, want);
}

Result<void> Node::change(const vfs::MetadataChange& wanted) {
  if (wanted.permissions || wanted.uid || wanted.gid) return error(EPERM);
  // Opening with O_TRUNC, as a shell's ">" does, changes nothing by itself.
  vfs::MetadataChange times = wanted;
  times.size_bytes.reset();
  return Inode::change(times);
}

Result<RefPtr<vfs::OpenFile>> FileNode::open(const vfs::Caller& caller, uint32_t flags) {
  if (entry().open) return entry().open(RefPtr<FileNode>(*this), caller, flags);
  if (subject()) {
    const RefPtr<Task> task = TRY(subject().find(kernel()));
    if (entry().check == Entry::Check::Inspection) TRY(check_inspection(caller.credentials, *task));
  }
  return TextFile::open(RefPtr<FileNode>(*this), caller, flags);
}

Result<String> LinkNode::read_link() {
  const Task* current = Task::current_or_null();
  if (current) return entry().read_link(context(current->credentials()));
  const RefPtr<Credentials> kernel_itself = TRY(Credentials::root());
  return entry().read_link(context(*kernel_itself));
}

Result<vfs::Path> LinkNode::magic_target(const vfs::Caller& caller) { return entry().follow(context(caller.credentials)); }

DirectoryNode::DirectoryNode(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject)
    : Node(superblock, number, entry, subject, LockRank::ProcDirectory) {}

Result<RefPtr<vfs::OpenFile>> DirectoryNode::open(const vfs::Caller&, uint32_t flags) {
  if (&entry() == &process_directory()) return open_process_directory(RefPtr<vfs::Inode>(*this), flags);
  return RefPtr<vfs::OpenFile>(TRY(make_ref<vfs::InodeFile>(RefPtr<vfs::Inode>(*this), flags, LockRank::ProcFile)));
}

bool DirectoryNode::revalidate(std::string_view, vfs::Inode*) { return !subject() || subject().is_alive(kernel()); }

Result<RefPtr<vfs::Inode>> DirectoryNode::lookup(std::string_view name) {
  if (subject() && !subject().is_alive(kernel())) return error(ENOENT);
  for (const Entry& child : entry().children)
    if (child.name == name) return make_inode(proc(), child_number(number(), name), child, subject());
  return error(ENOENT);
}

bool DirectoryNode::list_table(uint64_t& position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number(), parent_number, sink)) return false;
  for (; position < first_dynamic_position(); ++position) {
    const Entry& child = entry().children[position - vfs::kFirstNamePosition];
    const auto type = static_cast<vfs::FileType>(child.mode & vfs::kFileTypeMask);
    if (!sink.emit(child.name, child_number(number(), child.name), type, position + 1)) return false;
  }
  return true;
}

Result<uint64_t> DirectoryNode::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (subject() && !subject().is_alive(kernel())) return error(ENOENT);
  list_table(position, parent_number, sink);
  return position;
}

}  // namespace umk::proc
