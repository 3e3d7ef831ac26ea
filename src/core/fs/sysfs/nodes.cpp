#include "core/fs/sysfs/nodes.h"

#include <array>

#include "core/fs/sysfs/sysfs.h"

namespace umk::sysfs {

namespace {

constexpr uint32_t kDirectoryMode = static_cast<uint32_t>(vfs::FileType::Directory) | 0755;
constexpr uint32_t kFileMode = static_cast<uint32_t>(vfs::FileType::Regular) | 0444;
constexpr uint32_t kWritableMode = static_cast<uint32_t>(vfs::FileType::Regular) | 0644;
constexpr uint32_t kLinkMode = static_cast<uint32_t>(vfs::FileType::Symlink) | 0777;

Result<size_t> put_from(std::string_view text, uint64_t offset, UserOutBuffer& buffer) {
  if (offset >= text.size()) return size_t{0};
  return buffer.put(std::as_bytes(std::span(text.substr(offset))));
}

}  // namespace

Node::Node(Superblock& superblock, uint32_t mode) : Inode(superblock, superblock.next_number(), mode, 0, 0) {}

Result<void> Node::change(const vfs::MetadataChange& wanted) {
  if (wanted.permissions || wanted.uid || wanted.gid || wanted.size_bytes) return error(EPERM);
  return Inode::change(wanted);
}

Directory::Directory(Superblock& superblock) : Node(superblock, kDirectoryMode) { links_.store(2); }

Superblock& Directory::tree() const { return static_cast<Superblock&>(superblock()); }

RefPtr<vfs::Inode> Directory::find(std::string_view name) {
  MutexLock lock(children_mutex_);
  for (const Child& child : children_)
    if (child.name == name) return child.is_there() ? child.inode : nullptr;
  return {};
}

Result<void> Directory::add(std::string_view name, RefPtr<vfs::Inode> inode) {
  CHECK(!find(name), "a name in sysfs is given once");
  if (inode->is_directory()) links_.fetch_add(1);
  Child child{TRY(String::from(name)), std::move(inode), nullptr};
  MutexLock lock(children_mutex_);
  return children_.push_back(std::move(child));
}

Result<Directory*> Directory::add_attribute_directory(std::string_view name, block::BlockDevice& device) {
  RefPtr<Directory> made = TRY(make_ref<Directory>(tree()));
  Directory* directory = made.get();
  Child child{TRY(String::from(name)), std::move(made), &device};
  MutexLock lock(children_mutex_);
  TRY(children_.push_back(std::move(child)));
  return directory;
}

void Directory::remove(std::string_view name) {
  RefPtr<vfs::Inode> removed;  // goes when the lock is free
  MutexLock lock(children_mutex_);
  for (size_t i = 0; i < children_.size(); ++i) {
    if (children_[i].name != name) continue;
    removed = children_[i].inode;
    if (removed->is_directory()) links_.fetch_sub(1);
    children_.erase(i);
    return;
  }
}

bool Directory::revalidate(std::string_view name, vfs::Inode* child) { return find(name) == child; }

Result<Directory*> Directory::directory(std::string_view path) {
  Directory* here = this;
  while (!path.empty()) {
    const std::string_view name = split_first(path, '/');
    // A directory stays as long as its name, and only who takes names out builds.
    vfs::Inode* next = here->find(name).get();
    if (!next) {
      RefPtr<Directory> made = TRY(make_ref<Directory>(tree()));
      next = made.get();
      TRY(here->add(name, std::move(made)));
    }
    here = static_cast<Directory*>(next);
  }
  return here;
}

Result<void> Directory::add_file(std::string_view name, std::string_view text) {
  return add(name, TRY(make_ref<TextNode>(tree(), TRY(String::from(text)))));
}

Result<void> Directory::add_live_file(std::string_view name, Kernel& kernel, Show show) {
  return add(name, TRY(make_ref<LiveNode>(tree(), kernel, show)));
}

Result<void> Directory::add_setting(std::string_view name, Kernel& kernel, Show show, Store store) {
  return add(name, TRY(make_ref<SettingNode>(tree(), kernel, show, store)));
}

Result<void> Directory::add_uevent_file(device::Uevents& uevents, const device::Uevent& event) {
  String place = TRY(String::from(event.place));
  String subsystem = TRY(String::from(event.subsystem));
  String properties = TRY(String::from(event.properties));
  return add("uevent", TRY(make_ref<UeventNode>(tree(), uevents, std::move(place), std::move(subsystem), std::move(properties))));
}

Result<void> Directory::add_link(std::string_view name, std::string_view target) {
  return add(name, TRY(make_ref<LinkNode>(tree(), TRY(String::from(target)))));
}

Result<void> Directory::add_block_file(std::string_view name, block::BlockDevice& device, ShowBlock show) {
  return add(name, TRY(make_ref<BlockNode>(tree(), device, show)));
}

Result<RefPtr<vfs::Inode>> Directory::lookup(std::string_view name) {
  RefPtr<vfs::Inode> found = find(name);
  if (!found) return error(ENOENT);
  return found;
}

Result<uint64_t> Directory::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number(), parent_number, sink)) return position;
  MutexLock lock(children_mutex_);
  for (; position < children_.size() + vfs::kFirstNamePosition; ++position) {
    const Child& child = children_[position - vfs::kFirstNamePosition];
    if (child.is_there() && !sink.emit(child.name, child.inode->number(), child.inode->type(), position + 1)) break;
  }
  return position;
}

// As in Linux, whatever the text's length is: readers use it as the size of their buffer.
ReadOnlyNode::ReadOnlyNode(Superblock& superblock) : Node(superblock, kFileMode) { size_bytes_.store(kPageSize); }

Result<void> ReadOnlyNode::check_access(const Credentials& who, unsigned want) {
  if (want & 2) return error(EACCES);
  return Node::check_access(who, want);
}

TextNode::TextNode(Superblock& superblock, String text) : ReadOnlyNode(superblock), text_(std::move(text)) {}

Result<size_t> TextNode::read_at(uint64_t offset, UserOutBuffer& buffer) { return put_from(text_.view(), offset, buffer); }

LiveNode::LiveNode(Superblock& superblock, Kernel& kernel, Show show) : ReadOnlyNode(superblock), kernel_(kernel), show_(show) {}

Result<size_t> LiveNode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  StringSink sink;
  TRY(show_(kernel_, sink));
  const String text = TRY(sink.take());
  return put_from(text.view(), offset, buffer);
}

BlockNode::BlockNode(Superblock& superblock, block::BlockDevice& device, ShowBlock show)
    : ReadOnlyNode(superblock), device_(device), show_(show) {}

Result<size_t> BlockNode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  StringSink sink;
  show_(*device_, sink);
  const String text = TRY(sink.take());
  return put_from(text.view(), offset, buffer);
}

WritableNode::WritableNode(Superblock& superblock) : Node(superblock, kWritableMode) { size_bytes_.store(kPageSize); }

Result<void> WritableNode::change(const vfs::MetadataChange& wanted) {
  vfs::MetadataChange kept = wanted;
  kept.size_bytes = std::nullopt;
  return Node::change(kept);
}

Result<size_t> WritableNode::write_at(uint64_t&, UserInBuffer& buffer, bool) {
  std::array<std::byte, kPageSize> bytes;
  const size_t taken = TRY(buffer.get(std::span(bytes)));
  TRY(store(std::string_view(reinterpret_cast<const char*>(bytes.data()), taken)));
  return taken;
}

SettingNode::SettingNode(Superblock& superblock, Kernel& kernel, Show show, Store store)
    : WritableNode(superblock), kernel_(kernel), show_(show), store_(store) {}

Result<size_t> SettingNode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  StringSink sink;
  TRY(show_(kernel_, sink));
  const String text = TRY(sink.take());
  return put_from(text.view(), offset, buffer);
}

UeventNode::UeventNode(Superblock& superblock, device::Uevents& uevents, String place, String subsystem, String properties)
    : WritableNode(superblock),
      uevents_(uevents),
      place_(std::move(place)),
      subsystem_(std::move(subsystem)),
      properties_(std::move(properties)) {}

Result<size_t> UeventNode::read_at(uint64_t offset, UserOutBuffer& buffer) { return put_from(properties_.view(), offset, buffer); }

Result<void> UeventNode::store(std::string_view text) {
  return uevents_.send_as_asked(
      text, {.action = device::UeventAction::Add, .place = place_, .subsystem = subsystem_, .properties = properties_, .remarks = {}});
}

LinkNode::LinkNode(Superblock& superblock, String target) : Node(superblock, kLinkMode), target_(std::move(target)) {}

}  // namespace umk::sysfs
