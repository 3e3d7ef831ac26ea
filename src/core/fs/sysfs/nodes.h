// The inodes of sysfs: directories, files of constant text, files whose text is made anew for each read, links; and files that the superuser writes an order to.
// Directories get and lose names as devices come and go; nothing else changes.
#pragma once

#include "core/base/make.h"
#include "core/kernel/block/block_device.h"
#include "core/kernel/device/uevents.h"
#include "core/kernel/vfs/superblock.h"

namespace umk {
class Kernel;
}

namespace umk::sysfs {

class Superblock;
/// Writes the text of a file, of the machine's or of a block device's.
using Show = Result<void> (*)(Kernel& kernel, TextSink& sink);
/// Takes what was written.
using Store = Result<void> (*)(Kernel& kernel, std::string_view text);
using ShowBlock = void (*)(const block::BlockDevice& device, TextSink& sink);

class Node : public vfs::Inode {
 public:
  Result<void> change(const vfs::MetadataChange& wanted) override;

 protected:
  Node(Superblock& superblock, uint32_t mode);
};

class Directory final : public Node {
 public:
  explicit Directory(Superblock& superblock);

  // Building. `path` may have several parts; those that are missing are made. ENOMEM.
  Result<Directory*> directory(std::string_view path);
  Result<void> add_file(std::string_view name, std::string_view text);
  Result<void> add_live_file(std::string_view name, Kernel& kernel, Show show);
  Result<void> add_setting(std::string_view name, Kernel& kernel, Show show, Store store);
  /// The file `uevent` of the device whose events look like `event`, whose texts are copied.
  Result<void> add_uevent_file(device::Uevents& uevents, const device::Uevent& event);
  Result<void> add_link(std::string_view name, std::string_view target);
  Result<void> add_block_file(std::string_view name, block::BlockDevice& device, ShowBlock show);
  /// A directory below this one, which is there while the device has attributes of its driver.
  Result<Directory*> add_attribute_directory(std::string_view name, block::BlockDevice& device);
  /// Takes a name out; nothing happens when there is none.
  void remove(std::string_view name);

  bool names_are_stable() const override { return false; }
  bool revalidate(std::string_view name, vfs::Inode* child) override;
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 private:
  struct Child {
    String name;
    RefPtr<vfs::Inode> inode;
    const block::BlockDevice* condition = nullptr;  // there while this has attributes; the files in the directory keep it alive
    bool is_there() const { return !condition || condition->has_attributes(); }
  };
  RefPtr<vfs::Inode> find(std::string_view name);
  Result<void> add(std::string_view name, RefPtr<vfs::Inode> inode);
  Superblock& tree() const;

  Mutex children_mutex_{LockRank::None};  // a leaf: only memory is allocated under it
  Vector<Child> children_ GUARDED_BY(children_mutex_);
};

/// A file that nobody writes, not even the superuser.
class ReadOnlyNode : public Node {
 public:
  Result<void> check_access(const Credentials& who, unsigned want) override;

 protected:
  explicit ReadOnlyNode(Superblock& superblock);
};

class TextNode final : public ReadOnlyNode {
 public:
  TextNode(Superblock& superblock, String text);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;

 private:
  const String text_;
};

class LiveNode final : public ReadOnlyNode {
 public:
  LiveNode(Superblock& superblock, Kernel& kernel, Show show);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;

 private:
  Kernel& kernel_;
  const Show show_;
};

class BlockNode final : public ReadOnlyNode {
 public:
  BlockNode(Superblock& superblock, block::BlockDevice& device, ShowBlock show);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;

 private:
  const RefPtr<block::BlockDevice> device_;
  const ShowBlock show_;
};

/// A file that the superuser writes, each write an order of its own. It keeps no bytes: truncation has no effect.
class WritableNode : public Node {
 public:
  Result<void> change(const vfs::MetadataChange& wanted) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;

 protected:
  explicit WritableNode(Superblock& superblock);
  virtual Result<void> store(std::string_view text) = 0;
};

class SettingNode final : public WritableNode {
 public:
  SettingNode(Superblock& superblock, Kernel& kernel, Show show, Store store);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;

 protected:
  Result<void> store(std::string_view text) override { return store_(kernel_, text); }

 private:
  Kernel& kernel_;
  const Show show_;
  const Store store_;
};

/// What programs hear of the device; writing to it lets them hear it again.
class UeventNode final : public WritableNode {
 public:
  UeventNode(Superblock& superblock, device::Uevents& uevents, String place, String subsystem, String properties);
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;

 protected:
  Result<void> store(std::string_view text) override;

 private:
  device::Uevents& uevents_;
  const String place_, subsystem_, properties_;
};

class LinkNode final : public Node {
 public:
  LinkNode(Superblock& superblock, String target);
  Result<String> read_link() override { return target_.clone(); }
  std::string_view link_in_memory() const override { return target_.view(); }

 private:
  const String target_;
};

}  // namespace umk::sysfs
